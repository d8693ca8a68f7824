"""Checks of the memory that jobs ask for against what the engine is going to need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.data.surveys import survey_of
from aiida_pacemaker.pace.config.linear import functions_of
from aiida_pacemaker.pace.config.options import ActiveSetOptions, SelectOptions
from aiida_pacemaker.pace.config.trainer_config import TrainerConfig
from aiida_pacemaker.pace.cost.byte_sizes import shown_bytes
from aiida_pacemaker.pace.cost.memory import (
    REFUSAL_FACTOR,
    MemoryEstimate,
    predict_active_set_memory,
    predict_linear_memory,
    predict_selection_memory,
    predict_training_memory,
)
from aiida_pacemaker.pace.cost.survey import join
from aiida_pacemaker.pace.output.potentials import read_potential

#: What needs memory, and what makes it less, by the parts of an estimate.
PARTS = {
    'program': ('the program and its libraries', 'for no setting makes it less'),
    'structures': ('the structures and their neighbours', 'or use fewer frames or a shorter cutoff'),
    'basis': ('the basis', 'or lower `max_deg` or `max_order`'),
    'working': (
        'what is computed at once',
        'or set a smaller `batch_size` or, of an active set or selection, a `memory_limit`',
    ),
    'optimizer': ('the matrices of BFGS', 'or take fit.optimizer L-BFGS-B, or fewer parameters'),
}


def check_training_memory(inputs: Mapping[str, Any], config: TrainerConfig) -> str | None:
    """Return what there is to say of the memory of a training.

    :param inputs: with `dataset`, `code` and, where there are any, `test_dataset` and `metadata`.
    """
    asked = _asked(inputs)
    if asked is None:
        return None
    datasets = [inputs[label] for label in ('dataset', 'test_dataset') if label in inputs]
    surveyed = join(survey_of(dataset, config.cutoff) for dataset in datasets)
    sections = config.sections()
    if config.used_evaluator == 'linear':
        n_functions = sum(functions_of(config, survey_of(inputs['dataset'], config.cutoff).atoms).values())
        return _check('the fit', predict_linear_memory(sections, surveyed, n_functions), asked)
    estimate = predict_training_memory(sections, surveyed)
    on_cpu = sections['backend'].get('gpu_config', {}).get('gpu_ind') == -1
    # The tensors of a batch are in the memory of the GPU where there is one, and whether there is one is not known.
    hidden = () if sections['backend']['evaluator'] == 'pyace' or on_cpu else ('working',)
    return _check('the fit', estimate, asked, hidden)


def check_active_set_memory(
    inputs: Mapping[str, Any], dataset: PaceDatasetData, options: ActiveSetOptions
) -> str | None:
    """Return what there is to say of the memory of an active set.

    :param inputs: with `potential`, `code` and, where there is any, `metadata`.
    :param dataset: the frames that it is built from.
    """
    asked = _asked(inputs)
    if asked is None:
        return None
    potential: PacePotentialData = inputs['potential']
    summary = read_potential(potential.get_b_basis())
    estimate = predict_active_set_memory(
        survey_of(dataset, potential.cutoff), summary.n_functions_per_element, summary.n_densities, options
    )
    return _check('the active set', estimate, asked)


def check_selection_memory(inputs: Mapping[str, Any], options: SelectOptions) -> str | None:
    """Return what there is to say of the memory of a selection.

    :param inputs: with `potential`, `candidates`, `code` and, where there is any, `metadata`.
    """
    asked = _asked(inputs)
    if asked is None:
        return None
    potential: PacePotentialData = inputs['potential']
    surveyed = join(survey_of(dataset, potential.cutoff) for dataset in inputs['candidates'].values())
    estimate = predict_selection_memory(surveyed, potential.n_functions_per_element, options)
    return _check('the selection', estimate, asked)


def _asked(inputs: Mapping[str, Any]) -> int | None:
    """Return the bytes that a job asks for, by its options or those of its computer; None if it asks for nothing."""
    kilobytes = inputs.get('metadata', {}).get('options', {}).get('max_memory_kb')
    if kilobytes is None and 'code' in inputs and inputs['code'].computer is not None:
        kilobytes = inputs['code'].computer.get_default_memory_per_machine()
    return None if kilobytes is None else kilobytes * 1024


def _check(what: str, estimate: MemoryEstimate, asked: int, hidden: tuple[str, ...] = ()) -> str | None:
    needs = {field.name: getattr(estimate, field.name) for field in fields(estimate) if field.name not in hidden}
    needed = sum(needs.values())
    if needed <= REFUSAL_FACTOR * asked:
        return None
    largest = max(needs, key=lambda name: needs[name])
    reason, advice = PARTS[largest]
    return (
        f'{what} is going to need about {shown_bytes(needed)}, most of it ({shown_bytes(needs[largest])}) for '
        f'{reason}, but {shown_bytes(asked)} are asked for (`max_memory_kb` of the options, or the default of the '
        f'computer). Ask for more, {advice}.'
    )
