"""Checks of a training before submission: consistency of the inputs, and data on which the engine fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.checks.baseline import check_size
from aiida_pacemaker.calculations.checks.initial_potentials import (
    check_embeddings,
    check_initial_potentials,
    initial_potentials,
    keeps_core,
    mode_of,
)
from aiida_pacemaker.calculations.checks.memory import check_training_memory
from aiida_pacemaker.calculations.declarations import declared
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.data.surveys import corrected_energies_of, shortest_of, survey_of
from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.pace.config.linear import functions_of
from aiida_pacemaker.pace.config.short_range import use_baseline, zbl_cores
from aiida_pacemaker.pace.config.trainer_config import TrainerConfig, parse_config
from aiida_pacemaker.pace.cost.survey import ENERGY_RANGE
from aiida_pacemaker.sources.known_frames import shared_frames


def validate_training(inputs: Any, _: Any) -> str | None:
    """Check that dataset, config, baseline, reference energies and code of a training belong together."""
    return check_training(inputs)


def check_training(inputs: Mapping[str, Any]) -> str | None:
    """Return what keeps a training from being useful, None if nothing is known to.

    :param inputs: inputs of the training job. Some may not be known yet, as where a work chain provides them itself:
        what needs these is not checked.
    """
    for needed, check in CHECKS:
        if all(name in inputs for name in needed) and (problem := check(inputs)):
            return problem
    return None


def _check_elements(inputs: Any) -> str | None:
    in_config, in_data = set(_config(inputs).elements), set(inputs['dataset'].elements)
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


def _check_repulsion(inputs: Any) -> str | None:
    """Refuse a fit of our own without any repulsion at short range."""
    baseline = _baseline(inputs)
    if baseline.mode != 'none' or any(one.baseline.mode == 'none' for one in initial_potentials(inputs).values()):
        return None
    return (
        'a baseline of the mode `none` is for potentials from elsewhere and what continues from them: without ZBL '
        'nothing keeps atoms apart at distances that the dataset does not have. Use `default_baseline`.'
    )


def _check_pairs(inputs: Any) -> str | None:
    """Look for pairs of elements that the baseline does not describe."""
    try:
        _baseline(inputs).plain_terms(inputs['dataset'].elements)
    except ValueError as exception:
        return str(exception)
    return None


def _check_short_range(inputs: Any) -> str | None:
    """Look for repulsions that would come twice, and for baselines that leave nothing to ACE."""
    baseline, sections = _baseline(inputs), _config(inputs).sections()
    try:
        use_baseline(sections, baseline, keep_core=keeps_core(inputs))
    except ConfigError as exception:
        return str(exception)
    for potential in initial_potentials(inputs).values():
        cores = zbl_cores(potential.get_b_basis())
        if not cores or sections['fit'].get('repulsion') == 'auto' or 'dataset' not in inputs or baseline.repels:
            continue
        nearest = shortest_of(inputs['dataset'], max(cores.values()))
        inside = sorted('-'.join(pair) for pair, r_in in cores.items() if nearest.get(pair, r_in) < r_in)
        if inside:
            return (
                f'the dataset reaches into the ZBL core of the potential to start from ({", ".join(inside)}), where '
                'there is no ACE to fit it. Set fit.repulsion to auto, by which the core follows the data, or start '
                'without it.'
            )
    return None


def _check_test_set(inputs: Any) -> str | None:
    shared = int(shared_frames(inputs['test_dataset'], {'dataset': inputs['dataset']}).sum())
    if shared:
        return (
            f'{shared} frames of the test set are in the dataset too (equal, or rounded, wrapped or with their atoms '
            'in another order): the test error would say nothing. '
            'Take them out with `exclude_frames`.'
        )
    return None


def _check_weights(inputs: Any) -> str | None:
    """Look for weights that the engine would use in place of what the config asks for, or could not use."""
    sections = _config(inputs).sections()
    policy = (sections['fit'].get('weighting') or {}).get('type')
    used = inputs['dataset'].weighted and not sections['data'].get('ignore_weights')
    if policy == 'ExternalWeightingPolicy' and not used:
        return (
            'the config asks for ExternalWeightingPolicy, but the frames of the dataset have no weights, or '
            '`data.ignore_weights` is set: merge with `weights`, or take out `fit.weighting`.'
        )
    if not used:
        return None
    if policy is not None and policy != 'ExternalWeightingPolicy':
        return (
            f'frames of the dataset have weights, and the config asks for {policy}: the engine would leave that out '
            'without a word. Set `data.ignore_weights: true` for the policy, or take out `fit.weighting`.'
        )
    for label in ('dataset', 'test_dataset'):
        if label in inputs and (kinds := _useless_weights(inputs[label])):
            return (
                f'the weights of all {" and ".join(kinds)} of the {label} are 0, by whose sum the engine divides: give '
                'some of them weight (merge with `weights`), or set `data.ignore_weights: true`. To fit no forces, set '
                '`fit.loss.kappa: 0` (of a linear fit with `linear.prior: pacemaker`).'
            )
    return None


def _useless_weights(dataset: PaceDatasetData) -> list[str]:
    weights = dataset.weights
    if weights.n_frames < dataset.n_frames:
        return []
    return [kind for kind, total in (('energies', weights.energy), ('forces', weights.forces)) if not total > 0]


def _check_neighbours(inputs: Any) -> str | None:
    """Look for frames that the engine would drop without a message, or at which it would stop."""
    config = _config(inputs)
    for label in ('dataset', 'test_dataset'):
        if label not in inputs:
            continue
        dataset, found = inputs[label], survey_of(inputs[label], config.cutoff)
        what = 'dataset' if label == 'dataset' else 'test set'
        if found.mixed:
            return (
                f'{_frames(dataset, found.mixed)} of the {what} are periodic along some directions but not along '
                'others, at which the engine stops. Make them periodic along all three, with vacuum, or along none.'
            )
        if found.unsearchable:
            return (
                f'{_frames(dataset, found.unsearchable)} of the {what} have a cell so small or so skewed that their '
                f'neighbours within {config.cutoff} Å cannot be listed. Check their cells, or use a smaller cutoff.'
            )
        if found.shortest is None:
            return (
                f'no two atoms of the {what} are closer than the cutoff of {config.cutoff} Å, so there is nothing to '
                'fit. Use a larger cutoff (r_cut, in angstrom).'
            )
        if found.isolated and config.sections()['backend']['evaluator'] == 'tensorpot':
            return (
                f'{_frames(dataset, found.isolated)} of the {what} have no two atoms within the cutoff of '
                f'{config.cutoff} Å: `tensorpot` would drop them in silence. Take them out (merge with `cutoff` to '
                'find them), use a larger cutoff, or the evaluator pyace, which keeps them.'
            )
    return None


def _check_energies(inputs: Any) -> str | None:
    """Look for energies outside of the range that the engine accepts."""
    baseline = _baseline(inputs)
    corrected = corrected_energies_of(inputs['dataset'], baseline, inputs['reference_energies'].get_dict())
    lowest, highest = ENERGY_RANGE
    outside = np.flatnonzero((corrected < lowest) | (corrected > highest))
    if not len(outside):
        return None
    return (
        f'{_frames(inputs["dataset"], outside)} have energies of {corrected.min():.6g} to {corrected.max():.6g} '
        f'eV/atom when the isolated atoms and the baseline are subtracted; the engine accepts {lowest:g} to '
        f'{highest:g}. Check that `reference_energies` are total energies of the isolated atoms with the settings of '
        'the dataset (or fit them with `fit_reference_energies`), and take out frames in which atoms almost touch '
        '(`filter_frames`).'
    )


def check_active_set(inputs: Mapping[str, Any]) -> str | None:
    """Return why no active set can be built for the potential of a training, None if one can.

    :param inputs: inputs of the training job. Where dataset or config are not known yet, nothing is checked.
    """
    if 'dataset' not in inputs or 'config' not in inputs:
        return None
    config = _config(inputs)
    if 'potential' in inputs and mode_of(inputs) != 'extend':
        functions = inputs['potential'].n_functions_per_element
    else:
        functions = functions_of(config, survey_of(inputs['dataset'], config.cutoff).atoms)
    return check_counts(functions, inputs['dataset'], config.cutoff)


def check_counts(functions: Mapping[str, int], dataset: PaceDatasetData, cutoff: float) -> str | None:
    """Return which elements have fewer atoms in a dataset than basis functions in a potential.

    MaxVol chooses as many atoms as there are functions.
    """
    short = _fewer_atoms(functions, survey_of(dataset, cutoff).atoms)
    if not short:
        return None
    return (
        f'{short}: at least as many atoms as functions are needed, or there is no active set. Add frames, lower '
        '`max_deg` or `max_order`, or set potential.functions.number_of_functions_per_element.'
    )


def warnings_about_counts(
    potential: PacePotentialData, dataset: PaceDatasetData, n_parameters: int, n_equations: int | None = None
) -> list[str]:
    """Return what there is to say of a fit by the number of its equations.

    :param potential: the potential that was fitted.
    :param dataset: what it was fitted to.
    :param n_parameters: how many parameters were fitted.
    :param n_equations: number of the equations, if there are others than one for each energy and force component.
    """
    warnings = []
    equations = dataset.n_frames + 3 * dataset.n_atoms if n_equations is None else n_equations
    labels = 'energies and force components' if n_equations is None else 'components of energies, forces and stresses'
    if n_parameters > equations:
        warnings.append(
            f'The fit is underdetermined: {n_parameters} parameters for {equations} {labels}. '
            'What the data do not fix follows from the regularisation: add frames, or use fewer functions.'
        )
    functions = potential.n_functions_per_element
    if short := _fewer_atoms(functions, _atoms_up_to(functions, dataset)):
        warnings.append(
            f'{short}: {equations} {labels} can be enough for the fit, but no active set (gamma) '
            'can be built for it, which needs at least as many atoms of an element as it has functions.'
        )
    return warnings


def _atoms_up_to(functions: Mapping[str, int], dataset: PaceDatasetData) -> dict[str, int]:
    """Count the atoms of each element, in as many shards as it takes until there are as many as functions."""
    atoms: Counter[str] = Counter()
    for shard in dataset.shards:
        numbers, counts = np.unique(dataset.get_shard(shard['name']).numbers, return_counts=True)
        atoms.update({chemical_symbols[number]: int(count) for number, count in zip(numbers, counts, strict=True)})
        if not _fewer_atoms(functions, atoms):
            break
    return dict(atoms)


def _fewer_atoms(functions: Mapping[str, int], atoms: Mapping[str, int]) -> str:
    """Return in words which elements have fewer atoms than functions; nothing if there are none."""
    return ', '.join(
        f'{element} has {count} functions but {atoms.get(element, 0)} atoms'
        for element, count in sorted(functions.items())
        if atoms.get(element, 0) < count
    )


def _check_evaluator(inputs: Any) -> str | None:
    evaluator = _config(inputs).used_evaluator
    known = declared(inputs['code']).evaluators
    # Linear fits need nothing but python-ace.
    if known is None or evaluator in (*known, 'linear'):
        return None
    return (
        f'the config asks for the evaluator `{evaluator}` but the code `{inputs["code"].full_label}` declares '
        f'{", ".join(known) or "none"}: install what is missing (tensorpotential and TensorFlow for tensorpot) and run '
        f'`aiida-pacemaker setup` again, use another code, or set the evaluator to {" or ".join(known) or "pyace"}.'
    )


def _check_memory(inputs: Any) -> str | None:
    return check_training_memory(inputs, _config(inputs))


#: What is checked, in this order, and the inputs that each check needs.
CHECKS: tuple[tuple[tuple[str, ...], Callable[[Any], str | None]], ...] = (
    (('dataset', 'config'), _check_elements),
    (('dataset', 'reference_energies'), _check_reference_energies),
    (('baseline',), _check_repulsion),
    (('dataset', 'baseline'), _check_pairs),
    (('config', 'baseline'), _check_short_range),
    (('dataset', 'baseline', 'reference_energies'), check_initial_potentials),
    (('config',), check_embeddings),
    (('dataset', 'test_dataset'), _check_test_set),
    (('dataset', 'config'), _check_weights),
    (('code', 'config'), _check_evaluator),
    (('dataset', 'config'), _check_neighbours),
    (('dataset', 'baseline'), check_size),
    (('dataset', 'baseline', 'reference_energies'), _check_energies),
    (('dataset', 'config', 'code'), _check_memory),
)


def _baseline(inputs: Any) -> DeltaBaseline:
    return DeltaBaseline.model_validate(inputs['baseline'].get_dict())


def _config(inputs: Any) -> TrainerConfig:
    return parse_config(inputs['config'].get_dict())


def _frames(dataset: PaceDatasetData, positions: Any) -> str:
    """Name frames by how many they are, and the first by its position and origin."""
    first, counted = int(positions[0]), 0
    for shard in dataset.shards:
        if first < counted + shard['n_frames']:
            frames = dataset.get_shard(shard['name'])
            row = first - counted
            origin = f'step {int(frames.step[row])} of node {dataset.source_uuids[frames.source_of(row)]}'
            break
        counted += shard['n_frames']
    return f'{len(positions)} of {dataset.n_frames} frames (the first is frame {first}, {origin})'


def _names(elements: set[str]) -> str:
    return ', '.join(sorted(elements))
