"""The potentials that a training starts from: which they are, and whether it can start from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import combinations_with_replacement
from typing import Any

from aiida_pacemaker._aiida.storage import as_stored
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.data.surveys import shortest_of
from aiida_pacemaker.pace.config.linear_section import LARGEST_REPULSION
from aiida_pacemaker.pace.config.potential_checks import resolve
from aiida_pacemaker.pace.config.short_range import zbl_cores
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.output.potentials import blocks_of_pairs

MODES = ('continue', 'reset', 'extend')


def initial_potentials(inputs: Mapping[str, Any]) -> dict[str, PacePotentialData]:
    """Return the potentials that a training starts from, by the names of their inputs."""
    several = {
        f'initial_potentials.{label}': node for label, node in sorted(inputs.get('initial_potentials', {}).items())
    }
    return {**({'potential': inputs['potential']} if 'potential' in inputs else {}), **several}


def mode_of(inputs: Mapping[str, Any]) -> Any:
    """Return what is done with the potentials to start from: several ones can only be extended."""
    if 'potential_mode' in inputs:
        return inputs['potential_mode'].value
    return 'extend' if inputs.get('initial_potentials') else 'continue'


def keeps_core(inputs: Mapping[str, Any]) -> bool:
    """Return whether a fit that continues from a potential leaves its ZBL core as it is (baseline of the mode `core`).

    It does if the core of each pair ends well below the data, as that of an exact linear fit. Else the engine sets one
    after the fit that ends at the shortest distances themselves, as it does where the config has `fit.repulsion`.
    """
    if any(name not in inputs for name in ('potential', 'dataset', 'config', 'baseline')):
        return False
    potential = inputs['potential']
    baseline = DeltaBaseline.model_validate(inputs['baseline'].get_dict())
    asked = parse_config(inputs['config'].get_dict()).sections()['fit'].get('repulsion')
    if not baseline.engine_repulsion or mode_of(inputs) != 'continue' or asked is not None:
        return False
    cores = zbl_cores(potential.get_b_basis())
    pairs = set(combinations_with_replacement(sorted(potential.elements), 2))
    if set(cores) != pairs:
        return False
    nearest = shortest_of(inputs['dataset'], max(cores.values()) / LARGEST_REPULSION)
    return all(r_in <= LARGEST_REPULSION * nearest.get(pair, float('inf')) for pair, r_in in cores.items())


def check_embeddings(inputs: Mapping[str, Any]) -> str | None:
    """Return where the config asks for another embedding than a potential to start from has.

    The engine keeps that of the potential in all modes, and does not mention it.

    :param inputs: inputs of the training job, with a config.
    """
    embeddings = (inputs['config'].get_dict().get('potential') or {}).get('embeddings') or {}
    for name, potential in initial_potentials(inputs).items() if embeddings else ():
        blocks = blocks_of_pairs(potential.get_b_basis())
        for element in potential.elements:
            asked, block = resolve(embeddings, (element,)), blocks[element, element]
            had: list[Any] = [int(block['ndensityi']), str(block['npoti']), list(map(float, block['parameters']))]
            wanted: list[Any] = [
                asked.get('ndensity') or had[0],
                asked.get('npot') or had[1],
                list(map(float, asked.get('fs_parameters') or had[2])),
            ]
            if wanted != had:
                return (
                    f'the config asks for the embedding {_embedding(wanted)} of {element}, but the potential to start '
                    f'from (`{name}`) has {_embedding(had)}, which the engine keeps without a word. A potential that '
                    'is linear in one density gets more of them by `add_densities`; else leave '
                    '`potential.embeddings` out, or start without the potential.'
                )
    return None


def _embedding(values: Any) -> str:
    count, name, parameters = values
    return f'{name} {parameters} ({count} {"density" if count == 1 else "densities"})'


def check_initial_potentials(inputs: Mapping[str, Any]) -> str | None:
    """Return what keeps a training from starting from its potentials.

    :param inputs: inputs of the training job, with a dataset, a baseline and reference energies.
    """
    mode, potentials = mode_of(inputs), initial_potentials(inputs)
    if mode not in MODES:
        return f'`potential_mode` is `continue`, `reset` or `extend`, not `{mode}`'
    if not potentials:
        return 'a `potential_mode` needs a `potential`' if 'potential_mode' in inputs else None
    if inputs.get('initial_potentials') and (problem := _check_several(inputs, mode)):
        return problem
    in_data = set(inputs['dataset'].elements)
    known = {element for potential in potentials.values() for element in potential.elements}
    if in_data - known and mode != 'extend':
        return (
            f'the potential to start from describes {_names(known)} and the dataset has {_names(in_data)}: set '
            '`potential_mode` to `extend`, by which it gets functions for the others, or start without it.'
        )
    for name, potential in potentials.items():
        if problem := _check_one(f'`{name}`', potential, inputs):
            return problem
    return None


def _check_several(inputs: Mapping[str, Any], mode: str) -> str | None:
    if 'potential' in inputs:
        return 'there are a `potential` and `initial_potentials`: give all of them as `initial_potentials`'
    if mode != 'extend':
        return f'several `initial_potentials` can only be extended: `potential_mode` is `{mode}`, needed: `extend`'
    counts = Counter(element for node in inputs['initial_potentials'].values() for element in node.elements)
    shared = {element for element, count in counts.items() if count > 1}
    if shared:
        return (
            f'several of `initial_potentials` describe {_names(shared)}, whose functions the engine would have twice: '
            'give potentials of different elements'
        )
    return None


def _check_one(name: str, potential: PacePotentialData, inputs: Mapping[str, Any]) -> str | None:
    # The database rounds to 14 digits what it stores, and no difference may come from that.
    given, fitted = as_stored(inputs['reference_energies'].get_dict()), as_stored(potential.reference_energies)
    changed = {key: value for key, value in fitted.items() if given.get(key) != value}
    if changed:
        return (
            f'the potential to start from ({name}) was fitted with the reference energies {changed} but others are '
            'given: keep them the same in all generations, or their potentials cannot be compared.'
        )
    baseline = DeltaBaseline.model_validate(inputs['baseline'].get_dict())
    before, after = (one.plain_for(potential.elements) for one in (potential.baseline, baseline))
    if as_stored(before) != as_stored(after):
        return (
            f'the potential to start from ({name}) was fitted on another baseline: it would start far from its '
            'optimum. Use its own baseline, or start without it.'
        )
    if baseline.repels and zbl_cores(potential.get_b_basis()):
        return (
            f'the potential to start from ({name}) has a ZBL core of the engine and the baseline (mode '
            f'{baseline.mode}) adds ZBL too: atoms that collide would repel each other twice. Start without it.'
        )
    return None


def _names(elements: set[str]) -> str:
    return ', '.join(sorted(elements))
