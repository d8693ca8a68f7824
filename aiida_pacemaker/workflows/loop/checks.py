"""What the active-learning loop checks of its inputs before its first job."""

from __future__ import annotations

from typing import Any

from aiida import orm

from aiida_pacemaker.calculations.checks.inputs import check_model
from aiida_pacemaker.calculations.checks.launch import check_computers, check_mpi
from aiida_pacemaker.calculations.functions.exploring import options_under
from aiida_pacemaker.exploration.options import ExploreOptions
from aiida_pacemaker.workflows.engines import engine_of
from aiida_pacemaker.workflows.loop.settings import LoopSettings
from aiida_pacemaker.workflows.plugins import EXPLORER, LABELLER, jobs_of, process_from


def validate_loop(inputs: Any, _: Any) -> str | None:
    """Check all that is known before the first job: there is something to begin with, and the inputs fit together."""
    checks = (
        _check_begin,
        _check_candidates,
        _check_grades,
        _check_labeller,
        _check_launches,
        _check_engine,
        _check_elements,
    )
    return next((problem for check in checks if (problem := check(inputs))), None)


def _check_begin(inputs: Any) -> str | None:
    if 'dataset' not in inputs and not inputs.get('initial'):
        return 'there is nothing to begin with: give `initial` trajectories, or a `dataset` of an earlier run'
    if 'previous_report' in inputs and 'generations' not in inputs['previous_report'].get_dict():
        return '`previous_report` is not the report of an earlier run of this loop'
    return None


def _check_candidates(inputs: Any) -> str | None:
    explore = inputs.get('explore', {})
    if 'entry_point' not in explore:
        if 'pool' in inputs:
            return None
        return 'there are no candidates: give a `pool`, or an explorer (`explore.entry_point`, `explore.inputs`)'
    if 'pool' in inputs:
        return 'there are a `pool` and an explorer: candidates come from one of them, leave out the other'
    if problem := EXPLORER.check_choice(explore['entry_point'].value, engine_of(inputs).types):
        return problem
    if 'entry_point' not in inputs.get('label', {}):
        return 'what is explored has no labels: give a labeller (`label.entry_point`, `label.inputs`)'
    return None


def _check_grades(inputs: Any) -> str | None:
    """Check that the explorer keeps all frames above the threshold of the loop, which would not converge otherwise."""
    explore = inputs.get('explore', {})
    if 'entry_point' not in explore or 'gamma_low' not in process_from(explore['entry_point'].value).spec().inputs:
        return None
    threshold = orm.Float(LoopSettings.model_validate(inputs['settings'].get_dict()).gamma_threshold)
    chosen = explore.get('inputs', {})
    for label, condition in (chosen.get('conditions') or {'': None}).items():
        options = orm.Dict(options_under(chosen.get('options'), condition, threshold))
        where = f'`explore.inputs.conditions.{label}`' if label else '`explore.inputs.options`'
        if problem := check_model(ExploreOptions, options):
            return f'{where}: {problem}'
        gamma_low = ExploreOptions.model_validate(options.get_dict()).gamma_low
        if gamma_low > threshold.value:
            return (
                f'{where}: found gamma_low={gamma_low:g}, needed: no more than the `gamma_threshold` of the loop, '
                f'{threshold.value:g}. What lies in between is unknown to the loop and not kept by the explorer. Leave '
                '`gamma_low` out: it is the threshold then.'
            )
    return None


def _check_labeller(inputs: Any) -> str | None:
    label = inputs.get('label', {})
    if 'entry_point' in label:
        return LABELLER.check_choice(label['entry_point'].value)
    if 'pool' in inputs and not inputs['pool'].labelled:
        return 'the pool is not labelled: give a labeller (`label.entry_point`, `label.inputs`)'
    if inputs['settings'].get_dict().get('isolated_atoms'):
        return 'the isolated atoms need a labeller (`label.entry_point`, `label.inputs`), or give `reference_energies`'
    if 'unlabelled' in inputs:
        return 'there are `unlabelled` frames of an earlier run: give a labeller (`label.entry_point`, `label.inputs`)'
    return None


def _check_launches(inputs: Any) -> str | None:
    """Check computers and MPI of all codes now, those of labeller and explorer too, and not when they are called."""
    if problem := check_computers(inputs):
        return problem
    for role in ('label', 'explore'):
        given = inputs.get(role, {})
        if 'entry_point' not in given:
            continue
        jobs = jobs_of(process_from(given['entry_point'].value))
        if jobs is None:
            continue
        options = {**given.get('metadata', {}).get('options', {}), **_options(given.get('inputs', {}))}
        if problem := check_mpi(given.get('inputs', {}), options, mpi=jobs.MPI):
            return f'`{role}.inputs`: {problem}'
    return None


def _options(inputs: Any) -> dict[str, Any]:
    """Return the options of the jobs of one of our labellers or explorers, which has them in an input or in a job."""
    if isinstance(node := inputs.get('options'), orm.Dict) and 'withmpi' in node.get_dict():
        return dict(node.get_dict())
    options: dict[str, Any] = inputs.get('job', {}).get('pace', {}).get('metadata', {}).get('options', {})
    return options


def _check_engine(inputs: Any) -> str | None:
    """Look at what the first training would be refused for, and whether the references of a potential are known."""
    engine = engine_of(inputs)
    sources = {'baseline': engine.baseline_of, 'reference_energies': engine.reference_energies_of}
    missing = [name for name, source in sources.items() if source is None and name not in inputs]
    if 'potential' in inputs and missing:
        return f'potentials of the engine `{engine.name}` do not say it themselves: give {", ".join(missing)}'
    return engine.check_inputs(inputs)


def _check_elements(inputs: Any) -> str | None:
    """Look for frames that the potentials will not describe, which would show after the first training only."""
    config = engine_of(inputs).config_in(inputs)
    if config is None:
        return None
    known = set(config.elements)
    given = {
        'the pool': inputs.get('pool'),
        '`explore.initial_structures`': inputs.get('explore', {}).get('initial_structures'),
    }
    for name, frames in given.items():
        unknown = [] if frames is None else sorted(set(frames.elements) - known)
        if unknown:
            return (
                f'{name} has {", ".join(unknown)} but the config does not: add the element to `elements`, with frames '
                'to train on, or filter the frames'
            )
    return None
