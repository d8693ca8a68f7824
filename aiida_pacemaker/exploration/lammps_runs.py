"""Runs of explorations by LAMMPS, put together from its files, in the frame of the structures that they began from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from aiida_pacemaker.errors import ExplorationFileError
from aiida_pacemaker.exploration.keeping import Keeping
from aiida_pacemaker.exploration.lammps_box import Box, box_of
from aiida_pacemaker.exploration.lammps_output import Snapshot, Trace, read_dump, read_log, read_trace
from aiida_pacemaker.exploration.lammps_script import EDGE, KEPT, LOG, TRACE
from aiida_pacemaker.exploration.options import ExploreOptions, Reason
from aiida_pacemaker.exploration.results import Run
from aiida_pacemaker.frames.neighbours import pairs
from aiida_pacemaker.frames.table import BoolArray, FloatArray, Frames
from aiida_pacemaker.pace.unseen import Unseen, unseen_atoms

#: Rounding between two prints of one number.
_ROUNDING = 1e-9
_SILENT = 'LAMMPS stopped without a word: look at the standard error of the job, and at the report of the scheduler'


def read_run(
    folder: Path,
    name: str,
    number: int,
    start: Frames,
    elements: Sequence[str],
    options: ExploreOptions,
    unseen: Unseen | None = None,
) -> Run | None:
    """Read one run; None if it has not said that it ended, nor why it failed: it may have been stopped.

    :param folder: where its files are.
    :param name: what the names of its files begin with.
    :param number: position of its starting structure.
    :param start: this structure.
    :param elements: chemical symbol of each atom type, in order.
    :param options: what was asked for.
    :param unseen: interactions that the data never had: gamma of atoms that have them is infinite.
    :raises ExplorationFileError: if a file is not what the script has LAMMPS write.
    """
    log = folder / f'{name}.{LOG}'
    error = read_log(log)[0] if log.is_file() else None
    trace = _trace(folder / f'{name}.{TRACE}', options)
    if trace.reason is None and error is None:
        return None
    reason = trace.reason or Reason.FAILED
    box = box_of(start.cells[0], start.pbc[0], start.positions)
    n_atoms = int(start.n_atoms[0])
    kept = _dump(folder / f'{name}.{KEPT}', elements, n_atoms, options.max_frames_per_run)
    _check_kept(kept, trace, options, name)
    if reason is Reason.GAMMA_HIGH:
        edge = _dump(folder / f'{name}.{EDGE}', elements, n_atoms, options.check_every + 1)
        kept = _with_edge(kept, edge, start, box, options, unseen)
    return _run(number, reason, trace, error or '', kept, start, box, options, unseen)


def failed_run(number: int, n_atoms: int, folder: Path, name: str, options: ExploreOptions) -> Run:
    """Return a run that came to its end without a word: what is known of it are its checks."""
    trace = _trace(folder / f'{name}.{TRACE}', options)
    empty = np.empty(0, dtype=np.int64)
    return Run(
        number=number,
        reason=Reason.FAILED,
        steps=trace.steps,
        message=_SILENT,
        step=trace.step,
        traces=_marked(trace),
        kept_step=empty,
        positions=np.empty((0, 3)),
        cells=np.empty((0, 3, 3)),
        gamma=np.empty(0),
    )


def _trace(path: Path, options: ExploreOptions) -> Trace:
    if path.is_file():
        return read_trace(path, options)
    nothing = dict.fromkeys(('gamma_max', 'temperature', 'energy', 'min_distance'), np.empty(0))
    return Trace('', np.empty(0, dtype=np.int64), nothing, None, 0, '', np.empty(0, dtype=np.bool_))


def _marked(trace: Trace) -> dict[str, FloatArray]:
    """Return what was seen at the checks, with a gamma that is infinite where the data never had what was there."""
    return {**trace.traces, 'gamma_max': np.where(trace.unseen, np.inf, trace.traces['gamma_max'])}


def _dump(path: Path, elements: Sequence[str], n_atoms: int, most: int) -> list[Snapshot]:
    """Return the frames of a dump, which is not there if it has none."""
    return read_dump(path, elements, n_atoms, most) if path.is_file() else []


def _check_kept(kept: Sequence[Snapshot], trace: Trace, options: ExploreOptions, name: str) -> None:
    """Check that what the script has kept is what it was asked to keep, and what it has seen."""
    seen = dict(zip(trace.step.tolist(), trace.traces['gamma_max'].tolist(), strict=True))
    unseen = set(trace.step[trace.unseen].tolist())
    steps = [snapshot.step for snapshot in kept]
    for snapshot in kept:
        gamma = float(snapshot.gamma.max())
        if not np.isclose(seen.get(snapshot.step, np.nan), gamma, rtol=_ROUNDING):
            raise ExplorationFileError(f'{name}: the frame kept at step {snapshot.step} is none that was checked')
        if gamma > options.gamma_high or (gamma < options.gamma_low and snapshot.step not in unseen):
            raise ExplorationFileError(f'{name}: the frame kept at step {snapshot.step} has gamma {gamma:.6g}')
    if (np.diff(steps) < options.spacing).any():
        raise ExplorationFileError(f'{name}: frames were kept that are less than {options.spacing} steps apart')


def _with_edge(
    kept: list[Snapshot],
    edge: Sequence[Snapshot],
    start: Frames,
    box: Box,
    options: ExploreOptions,
    unseen: Unseen | None,
) -> list[Snapshot]:
    """Return the kept frames with the latest before the end whose gamma is worth a label and not too high.

    It is at the edge of what the potential knows, so it comes in place of the last frame kept if there is no room.
    """
    rule = Keeping(options.gamma_low, options.gamma_high, options.max_frames_per_run, options.spacing)

    def is_wanted(position: int) -> bool:
        snapshot = edge[position]
        gamma = float(snapshot.gamma.max())
        if gamma > options.gamma_high or _too_close(snapshot, start, box, options):
            return False
        # Neighbours are looked for only where gamma does not decide.
        is_unseen = gamma < options.gamma_low and bool(_unseen(snapshot, start, box, options, unseen).any())
        return rule.is_worthy(gamma, is_unseen)

    found = rule.edge([snapshot.step for snapshot in kept], [snapshot.step for snapshot in edge], is_wanted)
    return kept if found is None else [*kept[: found[1]], edge[found[0]]]


def _too_close(snapshot: Snapshot, start: Frames, box: Box, options: ExploreOptions) -> bool:
    frame = _frame(snapshot, start, box, options)
    return options.min_distance > 0 and len(pairs(frame, options.min_distance)) > 0


def _unseen(snapshot: Snapshot, start: Frames, box: Box, options: ExploreOptions, unseen: Unseen | None) -> BoolArray:
    """Return which atoms have interactions that the data never had, shape (n,)."""
    return unseen_atoms(_frame(snapshot, start, box, options), unseen or Unseen({}))


def _frame(snapshot: Snapshot, start: Frames, box: Box, options: ExploreOptions) -> Frames:
    positions, cell = _placed(snapshot, start, box, options)
    return replace(start, positions=positions, cells=cell[None])


def _placed(snapshot: Snapshot, start: Frames, box: Box, options: ExploreOptions) -> tuple[FloatArray, FloatArray]:
    """Return positions and cell as the starting structure has them: turned back from the box of LAMMPS.

    :raises ExplorationFileError: if these are not the atoms or the cell that the run began with.
    """
    if not np.array_equal(snapshot.numbers, start.numbers):
        raise ExplorationFileError(f'the atoms at step {snapshot.step} are not those that the run began with')
    if options.ensemble == 'npt':
        # The box grows from its middle; the origin stays at a corner here.
        return box.back(snapshot.positions - snapshot.low), box.cell_of(snapshot.vectors)
    periods = np.flatnonzero(box.periodic)
    if not np.allclose(snapshot.vectors[periods], box.vectors[periods], rtol=_ROUNDING, atol=_ROUNDING):
        raise ExplorationFileError(f'the cell at step {snapshot.step} is not the one that the run began with')
    return box.back(snapshot.positions), start.cells[0]


def _run(
    number: int,
    reason: Reason,
    trace: Trace,
    error: str,
    kept: Sequence[Snapshot],
    start: Frames,
    box: Box,
    options: ExploreOptions,
    unseen: Unseen | None,
) -> Run:
    placed = [_placed(snapshot, start, box, options) for snapshot in kept]
    n_atoms = len(start.numbers)
    grades = [np.where(_unseen(snapshot, start, box, options, unseen), np.inf, snapshot.gamma) for snapshot in kept]
    return Run(
        number=number,
        reason=reason,
        steps=trace.steps,
        message=error if reason is Reason.FAILED and not trace.message else trace.message,
        step=trace.step,
        traces=_marked(trace),
        kept_step=np.array([snapshot.step for snapshot in kept], dtype=np.int64),
        positions=np.array([positions for positions, _ in placed]).reshape(len(kept) * n_atoms, 3),
        cells=np.array([cell for _, cell in placed]).reshape(len(kept), 3, 3),
        gamma=np.array(grades, dtype=np.float64).reshape(len(kept) * n_atoms),
    )
