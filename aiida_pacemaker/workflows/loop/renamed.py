"""Inputs of earlier runs under the names that they have now: databases and archives keep the old ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm

#: Old and present names of settings of the loop.
SETTINGS = {'first_epochs': 'first_iterations', 'later_epochs': 'later_iterations'}
#: Old and present names of inputs that the loop has for its explorer, and of inputs of the explorers of this package.
EXPLORE = {'seeds': 'initial_structures'}
EXPLORER = {'seeds_per_job': 'structures_per_job'}
#: Old and present names of fields of an ASE calculator.
CALCULATOR = {'incidental': 'not_affecting_energy'}


def with_present_names(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a run of the loop, those that have been renamed since under their present names.

    :param inputs: nodes, in nested mappings. Inputs of labellers and explorers of other packages stay as they are.
    """
    named = dict(inputs)
    if 'settings' in named:
        named['settings'] = _renamed_in(named['settings'], SETTINGS)
    if 'explore' in named:
        explore = _renamed(named['explore'], EXPLORE)
        if 'inputs' in explore and _is_ours(explore, 'pacemaker.explore.'):
            explore['inputs'] = _renamed(explore['inputs'], EXPLORER)
        named['explore'] = explore
    if 'label' in named:
        label = dict(named['label'])
        if 'calculator' in label.get('inputs', {}) and _is_ours(label, 'pacemaker.label.'):
            calculator = _renamed_in(label['inputs']['calculator'], CALCULATOR)
            label['inputs'] = {**label['inputs'], 'calculator': calculator}
        named['label'] = label
    return named


def _is_ours(chosen: Mapping[str, Any], prefix: str) -> bool:
    return 'entry_point' in chosen and str(chosen['entry_point'].value).startswith(prefix)


def _renamed(content: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in content.items()}


def _renamed_in(node: orm.Dict, names: Mapping[str, str]) -> orm.Dict:
    """Return the node itself where nothing in it has another name now."""
    content = node.get_dict()
    return orm.Dict(_renamed(content, names)) if content.keys() & names.keys() else node
