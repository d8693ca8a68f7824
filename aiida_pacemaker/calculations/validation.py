"""Checks of inputs before submission. Each returns what is wrong, or None."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from aiida import orm
from aiida.orm.implementation.utils import clean_value
from pydantic import BaseModel, ValidationError

from aiida_pacemaker.baseline.model import DeltaBaseline, LJBaseline
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.engine.config import parse_config
from aiida_pacemaker.engine.errors import ConfigError

Validator = Callable[[Any, Any], str | None]


def all_of(*validators: Validator | None) -> Validator:
    """Return a validator that gives the first complaint of the given ones."""

    def validate(value: Any, port: Any) -> str | None:
        for validator in validators:
            if validator is not None and (complaint := validator(value, port)):
                return complaint
        return None

    return validate


def validate_config(node: orm.Dict | None, _: Any) -> str | None:
    """Check that a node holds a `TrainerConfig`."""
    if node is None:
        return None
    try:
        parse_config(node.get_dict())
    except ConfigError as exception:
        return str(exception)
    return None


def validate_baseline(node: orm.Dict | None, _: Any) -> str | None:
    """Check that a node holds a `DeltaBaseline`."""
    return None if node is None else complaint_about(DeltaBaseline, node)


def complaint_about(model: type[BaseModel], node: orm.Dict) -> str | None:
    """Return what keeps the content of a node from being a model, one problem a line."""
    try:
        model.model_validate(node.get_dict())
    except ValidationError as exception:
        problems = []
        for error in exception.errors():
            path = '.'.join(str(part) for part in error['loc']) or model.__name__
            problems.append(f'{path}: {error["msg"]} (found {error["input"]!r})')
        return '\n'.join(problems)
    return None


def validator_for(model: type[BaseModel]) -> Validator:
    """Return a validator of nodes that hold a model."""
    return lambda node, _: None if node is None else complaint_about(model, node)


def validate_labelled(node: PaceDatasetData | None, _: Any) -> str | None:
    """Check that a dataset carries energies and forces."""
    if node is None or node.labelled:
        return None
    return f'the {node.n_frames} frames of this dataset have no energies and forces: label them first'


def validate_reference_energies(node: orm.Dict | None, _: Any) -> str | None:
    """Check that a node holds an energy per element."""
    if node is None:
        return None
    wrong = {key: value for key, value in node.get_dict().items() if not _is_energy(value)}
    if wrong:
        return f'reference energies are finite numbers in eV, but {wrong} was found'
    return None


def _is_energy(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def validate_parent(inputs: Any, _: Any) -> str | None:
    """Check that the files of an earlier job can be linked by this one."""
    if 'parent_folder' not in inputs or 'code' not in inputs:
        return None
    here, there = inputs['code'].computer, inputs['parent_folder'].computer
    if here is not None and here.uuid != there.uuid:
        return (
            f'`parent_folder` is on the computer {there.label} but the code runs on {here.label}: its files cannot be '
            'linked there. Leave it out, or use a code on the same computer.'
        )
    return None


def validate_training(inputs: Any, _: Any) -> str | None:
    """Check that dataset, config, baseline and reference energies of a training belong together."""
    # A work chain that wraps the job may provide some of these itself.
    if any(name not in inputs for name in ('dataset', 'config', 'baseline', 'reference_energies')):
        return None
    checks = (_check_elements, _check_reference_energies, _check_lj, _check_potential, _check_test_set)
    return next((complaint for check in checks if (complaint := check(inputs))), None)


def _check_elements(inputs: Any) -> str | None:
    in_config, in_data = set(parse_config(inputs['config'].get_dict()).elements), set(inputs['dataset'].elements)
    if in_data - in_config:
        return (
            f'the dataset has {_names(in_data - in_config)} but the config only {_names(in_config)}: '
            'the engine would fit nonsense. Add the element to `elements`, or filter the frames.'
        )
    if in_config - in_data:
        return (
            f'the config has {_names(in_config - in_data)} but no frame of the dataset does: '
            'nothing could be fitted for it. Add frames that have it, or take it from `elements`.'
        )
    if 'test_dataset' in inputs and set(inputs['test_dataset'].elements) - in_config:
        return f'the test set has {_names(set(inputs["test_dataset"].elements) - in_config)} but the config does not'
    return None


def _check_reference_energies(inputs: Any) -> str | None:
    missing = set(inputs['dataset'].elements) - set(inputs['reference_energies'].get_dict())
    if missing:
        return (
            f'there is no reference energy for {_names(missing)}: give the energy of the isolated atom, computed with '
            'the same settings as the dataset, or fit them once with `fit_reference_energies`.'
        )
    return None


def _check_lj(inputs: Any) -> str | None:
    for term in DeltaBaseline.model_validate(inputs['baseline'].get_dict()).subtracted():
        if isinstance(term, LJBaseline):
            try:
                term.pairs_of(inputs['dataset'].elements)
            except ValueError as exception:
                return str(exception)
    return None


def _check_potential(inputs: Any) -> str | None:
    mode = inputs['potential_mode'].value if 'potential_mode' in inputs else 'continue'
    if mode not in ('continue', 'reset', 'extend'):
        return f'`potential_mode` is `continue`, `reset` or `extend`, not `{mode}`'
    if 'potential' not in inputs:
        return 'a `potential_mode` needs a `potential`' if 'potential_mode' in inputs else None
    potential = inputs['potential']
    elements = set(inputs['dataset'].elements)
    if elements - set(potential.elements):
        return (
            f'the potential to start from describes {_names(set(potential.elements))} and the dataset has '
            f'{_names(elements)}: start without it.'
        )
    # The database rounds to 14 digits what it stores, and no difference may come from that.
    given, fitted = clean_value(inputs['reference_energies'].get_dict()), clean_value(potential.reference_energies)
    changed = {key: value for key, value in fitted.items() if given.get(key) != value}
    if changed:
        return (
            f'the potential to start from was fitted with the reference energies {changed} but others are given: '
            'keep them the same in all generations, or their potentials cannot be compared.'
        )
    baseline = DeltaBaseline.model_validate(inputs['baseline'].get_dict())
    if clean_value(potential.baseline.model_dump(mode='json')) != clean_value(baseline.model_dump(mode='json')):
        return (
            'the potential to start from was fitted on another baseline: it would start far from its optimum. '
            'Use its own baseline, or start without it.'
        )
    return None


def _check_test_set(inputs: Any) -> str | None:
    if 'test_dataset' not in inputs:
        return None
    shared = int(np.isin(inputs['test_dataset'].get_hashes(), inputs['dataset'].get_hashes()).sum())
    if shared:
        return (
            f'{shared} frames of the test set are in the dataset too: the test error would say nothing. '
            'Take them out with `exclude_frames`.'
        )
    return None


def _names(elements: set[str]) -> str:
    return ', '.join(sorted(elements))
