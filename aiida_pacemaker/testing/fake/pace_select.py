"""The fake `pace_select`: the candidates whose atoms enter the active set.

The atoms that are in it already come first, so that what is known is never selected; the real program does select it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from aiida_pacemaker.frames.table import FloatArray, Frames
from aiida_pacemaker.testing.fake.basis import Potential, load
from aiida_pacemaker.testing.fake.physics import (
    NOISE,
    describe,
    load_active_set,
    max_volume,
    projections_of,
    spanning_rows,
)
from aiida_pacemaker.testing.fake.reporting import log, start_log
from aiida_pacemaker.testing.fake.tables import concatenate, structures, write_selection
from aiida_pacemaker.testing.faults import current


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(prog='pace_select', description='Fake selection: see aiida_pacemaker.testing.')
    result.add_argument('dataset', nargs='+', help='files of candidates')
    result.add_argument('-p', '--potential_file', required=True, help='B-basis potential')
    result.add_argument('-a', '--active-set-inv', dest='active_set_inv_fname', help='active set')
    result.add_argument('-e', '--elements', help='of no effect')
    result.add_argument('-m', '--max-structures', type=int, default=-1, help='most structures; -1 for all')
    result.add_argument('-o', '--output', dest='selected_structures_filename', default='selected.pkl.gz', help='result')
    result.add_argument('-b', '--batch_size', default='auto', help='of no effect but on the log')
    result.add_argument('-g', '--gamma_tolerance', default=1.01, type=float, help='largest gamma at the end')
    result.add_argument('-i', '--maxvol_iters', default=300, type=int, help='most exchanges')
    result.add_argument('-r', '--maxvol_refinement', default=2, type=int, help='of no effect')
    result.add_argument('-mem', '--memory-limit', default='auto', help='of no effect')
    result.add_argument('-V', dest='quiet', action='store_true', help='of no effect')
    return result


def main() -> None:
    """Run the program."""
    arguments = parser().parse_args()
    start_log()
    current('pace_select').begin()
    # Without the option, the engine takes an active set that happens to lie beside the potential.
    active_set = Path(arguments.active_set_inv_fname or arguments.potential_file.replace('.yaml', '.asi'))
    if not active_set.is_file():
        log.info('No ASI file %s found', active_set)
    frames = _load(arguments.dataset)
    log.info('Loading B-basis configuration from %s', arguments.potential_file)
    potential = load(Path(arguments.potential_file))
    log.info('ACEBBasisSet loaded')
    for symbol in frames.elements:
        if symbol not in potential.elements:
            raise KeyError(symbol)
    if active_set.is_file():
        log.info('Loading Active Set Inverted  from %s', active_set)
    else:
        log.info('No Active Set Inverted provided')
    matrices = load_active_set(active_set) if active_set.is_file() else {}
    log.info('Single-shot mode' if arguments.batch_size == 'auto' else 'Batch mode')
    counts = _new_members(potential, frames, matrices, arguments.gamma_tolerance, arguments.maxvol_iters)
    selected = sorted(counts, key=lambda frame: (-counts[frame], frame))
    log.info('Overall %d structures selected', len(selected))
    if arguments.max_structures > 0:
        log.info('Selection top %d structures', arguments.max_structures)
        selected = selected[: arguments.max_structures]
    log.info('Saving selected structures to %s as pickled dataframe', arguments.selected_structures_filename)
    write_selection(Path(arguments.selected_structures_filename), selected)
    log.info('Done')


def _load(names: list[str]) -> Frames:
    parts = []
    for number, name in enumerate(names, start=1):
        if not Path(name).exists():
            raise RuntimeError(f'File {name} not found')
        log.info('Loading dataset #%d/%d from %s', number, len(names), name)
        parts.append(structures(Path(name)))
        log.info('Number of structures: %d', len(parts[-1]))
    frames = concatenate(parts)
    log.info('%d structures in candidate list', len(frames))
    return frames


def _new_members(
    potential: Potential, frames: Frames, matrices: Mapping[str, FloatArray], tolerance: float, iterations: int
) -> Counter[int]:
    """Return how many atoms of each frame enter the active set, for those of which any does."""
    description = describe(potential, frames)
    counts: Counter[int] = Counter()
    for number, element in enumerate(potential.elements):
        rows, atoms = projections_of(description, frames, element)
        known: FloatArray = rows[:0]
        if element in matrices:
            inverse = matrices[element][: rows.shape[1], : rows.shape[1]]
            # What no atom of the data excites has dropped out of the active set.
            excited = np.abs(inverse).max(axis=1) > NOISE
            rows = rows[:, excited]
            known = np.asarray(np.linalg.inv(inverse[np.ix_(excited, excited)]), dtype=np.float64)
        size = rows.shape[1]
        if len(known) + len(rows) < size:
            raise ValueError(
                f'Insufficient atomic environments to determine active set for species type {number}, system is '
                f'under-determined, projections shape=({len(rows)}, {size})'
            )
        stack = np.concatenate([known, rows])
        start = np.arange(size) if len(known) else spanning_rows(stack)
        chosen = max_volume(stack, start, tolerance, iterations)
        new = atoms[chosen[chosen >= len(known)] - len(known)]
        counts.update(frames.frame_of_atom[new].tolist())
    return counts


if __name__ == '__main__':
    main()
