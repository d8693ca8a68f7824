"""What a loop did, generation by generation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from aiida import orm
from tabulate import tabulate

from aiida_pacemaker.provenance.graph import CALLS
from aiida_pacemaker.workflows.loop.generations import GammaKey, GenerationRow, TableRow, content_of
from aiida_pacemaker.workflows.loop.history import loop_of, state_of
from aiida_pacemaker.workflows.loop.links import generation_of

#: The columns that `format_table` shows.
_Column = Literal[
    'generation',
    'n_frames',
    'train_rmse_energy',
    'train_rmse_forces',
    'test_rmse_energy',
    'test_rmse_forces',
    'gamma_median',
    'gamma_max',
    'sigma_max',
    'n_candidates',
    'n_selected',
    'seconds',
]


def loop_table(loop: orm.WorkChainNode | int | str) -> list[TableRow]:
    """Return one row per generation of a loop, those of the runs that it continued included.

    Each row is a mapping. Its columns are those of the report of the loop, and `seconds`:

    - `run` and `generation`, both counted on where a loop continues another one;
    - `n_frames`: frames in the training set;
    - `iterations`, `fit_stop_reason` and `fit_warnings` of the fit;
    - `train_rmse_energy` (eV/atom), `train_rmse_forces` (eV/angstrom), `train_rmse_stress` (eV/angstrom^3), and
      `test_rmse_energy`, `test_rmse_forces`, `test_rmse_stress` on the test set; None where there is none;
    - `gamma_median`, `gamma_p90`, `gamma_p99` and `gamma_max`: quantiles of the largest extrapolation grade of each
      frame, over the pool or all that was explored; None where infinite, or without any frame;
    - `gamma_n_unseen`: frames with interactions that the data never had, whose grade is infinite;
    - `sigma_median`, `sigma_p90`, `sigma_p99` and `sigma_max`: quantiles of the largest error bar of the forces of each
      frame of the pool in eV/angstrom; None where there are none; `coverage`: part of the force errors on the test set
      that are within one and two of them;
    - `explored`: `n_runs`, `n_planned` and `reasons` of the exploration, None with a pool;
    - `n_unknown`: frames that are neither in the dataset nor in the test set and have not failed in this run;
    - `n_candidates`: those of them whose grade is not below the threshold;
    - `n_unseen`: those of the candidates with interactions that the data never had;
    - `unseen`: names of interactions that the potential has functions for and the data never had;
    - `quality`: how good the potential is, as of :func:`aiida_pacemaker.analysis.quality.judge`;
    - `n_selected`, `n_added` and `n_failed`: frames that were selected to be trained on, those of them that joined the
      dataset, and those whose labels failed or were refused;
    - `n_test` and `n_set_aside`: frames in the test set, and those that were held out for it in this generation;
    - `failures` and `failures_set_aside`: the frames of both kinds that failed, where there were any to label;
    - `core_hours`: of all jobs of the run so far;
    - `seconds`: wall time from the first process of the generation to its last one, None in earlier runs.

    The types are those of `TableRow`. Rows that an earlier version has written may lack columns that came later.

    :param loop: a `PaceActiveLearningWorkChain`, or its PK or uuid; while it runs, the generations so far are told.
    :raises ValueError: if something else is given, or if the loop has no report yet.
    """
    loop = loop_of(loop)
    found = state_of(loop).report
    if found is None:
        raise ValueError(f'{loop.process_label}<{loop.pk}> has no report: it has not begun yet')
    report = content_of(found)
    seconds = _seconds(loop)
    return [
        {**row, 'seconds': seconds.get(row['generation']) if row['run'] == report['run'] else None}
        for row in report['generations']
    ]


def format_table(rows: Sequence[TableRow]) -> str:
    """Return the rows of a loop as text for a terminal: errors in meV/atom and meV/angstrom, and how good that is."""
    columns: dict[_Column, tuple[str, float, str]] = {
        'generation': ('gen', 1, 'd'),
        'n_frames': ('frames', 1, 'd'),
        'train_rmse_energy': ('E train', 1e3, '.1f'),
        'train_rmse_forces': ('F train', 1e3, '.0f'),
        'test_rmse_energy': ('E test', 1e3, '.1f'),
        'test_rmse_forces': ('F test', 1e3, '.0f'),
        'gamma_median': ('γ median', 1, '.1f'),
        'gamma_max': ('γ max', 1, '.1f'),
        'sigma_max': ('σ max', 1e3, '.0f'),
        'n_candidates': ('candidates', 1, 'd'),
        'n_selected': ('selected', 1, 'd'),
        'seconds': ('seconds', 1, '.0f'),
    }
    if not any(row.get('sigma_max') is not None for row in rows):
        # Potentials without error bars.
        del columns['sigma_max']
    table = [[title for title, _, _ in columns.values()]]
    for row in rows:
        table.append([_cell(row, name, factor, style) for name, (_, factor, style) in columns.items()])
    # As headers the titles would be padded with two more spaces.
    text = tabulate(table, tablefmt='plain', stralign='right', disable_numparse=True)
    return '\n'.join([text, *quality_lines(rows)])


def quality_lines(rows: Sequence[GenerationRow]) -> list[str]:
    """Return how good the last potential of a loop is, in sentences; none where its report does not say.

    :param rows: as of :func:`loop_table`, or `generations` of the report.
    """
    quality = rows[-1].get('quality') if rows else None
    if quality is None:
        return []
    return [*quality['text'], *(f'Warning: {warning}' for warning in quality['warnings'])]


def shown_gamma(row: GenerationRow, name: GammaKey, style: str = '.4f') -> str:
    """Return a quantile of gamma as text: `inf` where interactions occur that the data never had, `no` without any.

    :param row: a row of a loop.
    :param name: `gamma_median`, `gamma_p90`, `gamma_p99` or `gamma_max`.
    """
    gamma = row[name]
    if gamma is None:
        return 'inf' if row.get('gamma_n_unseen') else 'no'
    return format(gamma, style)


def _cell(row: TableRow, name: _Column, factor: float, style: str) -> str:
    value = row.get(name)
    if value is None:
        return 'inf' if name.startswith('gamma') and row.get('gamma_n_unseen') else '-'
    return format(value * factor if factor != 1 else value, style)


def _seconds(loop: orm.WorkChainNode) -> dict[int, float]:
    """Return the wall time of each generation, from the labels of the links to its processes."""
    times: dict[int, list[datetime]] = {}
    calls = loop.base.links.get_outgoing(link_type=CALLS).all()
    for link in calls:
        generation = generation_of(link.link_label)
        if generation is not None:
            times.setdefault(generation, []).extend([link.node.ctime, link.node.mtime])
    return {generation: (max(moments) - min(moments)).total_seconds() for generation, moments in times.items()}
