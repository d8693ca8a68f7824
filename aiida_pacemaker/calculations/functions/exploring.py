"""Calculation functions of explorations in many jobs: what each job does, and all that came of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_pacemaker.analysis.statistics import quantiles_of
from aiida_pacemaker.data.arrays import array_data
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.exploration.options import ExploreOptions
from aiida_pacemaker.frames.merging import deduplicate
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.option_errors import parse_options
from aiida_pacemaker.pace.config.expansion import deep_merge

#: Columns of grades with one row for each atom.
OF_ATOMS = ('gamma', 'forces')
#: The condition where none is given.
DEFAULT = 'default'


def options_under(
    options: orm.Dict | None, condition: orm.Dict | None, gamma_low: orm.Float | None = None
) -> dict[str, Any]:
    """Return the options of explorations with those that a condition overrides.

    :param gamma_low: `gamma_low` where neither has one.
    """
    given: dict[str, Any] = {} if gamma_low is None else {'gamma_low': gamma_low.value}
    given |= {} if options is None else options.get_dict()
    return given if condition is None else deep_merge(given, condition.get_dict())


@calcfunction
def plan_exploration(
    initial_structures: PaceDatasetData,
    random_seed: orm.Int,
    structures_per_job: orm.Int,
    options: orm.Dict | None = None,
    gamma_low: orm.Float | None = None,
    **conditions: orm.Dict,
) -> dict[str, orm.Data]:
    """Divide an exploration into jobs: each condition from each part of the structures, with a random seed of its own.

    :param gamma_low: frames with a gamma from here on are kept, where the options have no `gamma_low`.
    :param conditions: what is changed in the options, by the label of the condition after `condition_`.
    :returns: `jobs`, of each job its label, condition, part, first structure and number of runs; for each job
        `random_seed_<label>`, for each condition `options_<condition>`, and for each part
        `initial_structures_<part>`, if there are several.
    """
    labels = sorted(label.removeprefix('condition_') for label in conditions) or [DEFAULT]
    size = structures_per_job.value
    parts = [f'{index:04d}' for index in range(-(-initial_structures.n_frames // size))]
    outputs: dict[str, orm.Data] = {}
    jobs: dict[str, dict[str, Any]] = {}
    for index, condition in enumerate(labels):
        merged = options_under(options, conditions.get(f'condition_{condition}'), gamma_low)
        outputs[f'options_{condition}'] = orm.Dict(merged)
        copies = parse_options(ExploreOptions, merged).copies
        for place, part in enumerate(parts):
            label = f'{condition}_{part}'
            n_runs = copies * min(size, initial_structures.n_frames - place * size)
            jobs[label] = {'condition': condition, 'part': part, 'first_frame': place * size, 'n_runs': n_runs}
            derived = np.random.SeedSequence([random_seed.value, index, place]).generate_state(1)
            outputs[f'random_seed_{label}'] = orm.Int(int(derived[0]))
    if len(parts) > 1:
        frames, sources = initial_structures.get_frames(), initial_structures.source_uuids
        for place, part in enumerate(parts):
            chosen = np.arange(place * size, min((place + 1) * size, len(frames)))
            outputs[f'initial_structures_{part}'] = PaceDatasetData(frames.select(chosen), sources=sources)
    # A list, because the order of a mapping is not kept in the database.
    return {'jobs': orm.Dict({'jobs': [{'label': label, **job} for label, job in jobs.items()]}), **outputs}


@calcfunction
def collect_explorations(jobs: orm.Dict, **outputs: orm.Data) -> dict[str, orm.Data]:
    """Return the results of all jobs: the candidates, each once, with their grades, all traces, and one report.

    :param jobs: as of `plan_exploration`.
    :param outputs: those of the jobs, as `<output>_<label of the job>`.
    """
    frames: list[Frames] = []
    sources: dict[str, str] = {}
    grades: list[dict[str, Any]] = []
    traces: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    lost: list[str] = []
    n_planned = 0
    for job in jobs['jobs']:
        label, first_run = job['label'], n_planned
        n_planned += job['n_runs']
        if f'report_{label}' not in outputs:
            lost.append(label)
            continue
        report: Any = outputs[f'report_{label}']
        runs += [_placed(run, job, first_run) for run in report['runs']]
        for name, columns in (('grades', grades), ('traces', traces)):
            if f'{name}_{label}' in outputs:
                columns.append(_columns(outputs[f'{name}_{label}'], first_run))
        if f'candidates_{label}' in outputs:
            candidates: Any = outputs[f'candidates_{label}']
            frames.append(candidates.get_frames())
            for key, uuid in candidates.source_uuids.items():
                sources.setdefault(key, uuid)
    nodes: dict[str, orm.Data] = {}
    n_given = n_kept = 0
    if frames:
        kept, mask = _each_once(Frames.concatenate(frames))
        n_given, n_kept = len(mask), len(kept)
        nodes['candidates'] = PaceDatasetData(kept, sources=sources)
        nodes['grades'] = array_data(_selected(_joined(grades), Frames.concatenate(frames), mask))
    seen = _joined(traces)
    if seen:
        nodes['traces'] = array_data(seen)
    nodes['report'] = orm.Dict(
        {
            'n_runs': len(runs),
            'n_planned': n_planned,
            'n_candidates': n_kept,
            'n_duplicates': n_given - n_kept,
            'reasons': dict(sorted(Counter(run['reason'] for run in runs).items())),
            'gamma': quantiles_of(seen['gamma_max']) if seen else None,
            'lost_jobs': lost,
            'runs': runs,
        }
    )
    return nodes


def _placed(run: Mapping[str, Any], job: Mapping[str, Any], first_run: int) -> dict[str, Any]:
    """Return the entry of a run with its place among the runs of all jobs."""
    return {
        **run,
        'run': first_run + run['run'],
        'seed_frame': job['first_frame'] + run['seed_frame'],
        'condition': job['condition'],
    }


def _columns(node: orm.Data, first_run: int) -> dict[str, Any]:
    arrays: Any = node
    columns = {name: arrays.get_array(name) for name in arrays.get_arraynames()}
    return {**columns, 'run': columns['run'] + first_run}


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the columns that all parts have, one part after the other."""
    names = [name for name in (parts[0] if parts else ()) if all(name in part for part in parts)]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _each_once(frames: Frames) -> tuple[Frames, Any]:
    """Return the distinct frames, and which they are, shape (F,)."""
    outcome = deduplicate(frames)
    mask = np.zeros(len(frames), dtype=np.bool_)
    mask[outcome.positions] = True
    return outcome.kept, mask


def _selected(columns: dict[str, Any], frames: Frames, mask: Any) -> dict[str, Any]:
    """Return the grades of some frames; `OF_ATOMS` have one row for each atom, the others one for each frame."""
    of_atoms = mask[frames.frame_of_atom]
    return {name: column[of_atoms if name in OF_ATOMS else mask] for name, column in columns.items()}
