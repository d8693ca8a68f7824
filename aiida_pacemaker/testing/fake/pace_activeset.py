"""The fake `pace_activeset`: the active set of the pair functions, by the real definition."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from aiida_pacemaker.frames.table import BoolArray, FloatArray, Frames
from aiida_pacemaker.testing.fake.basis import Potential, load
from aiida_pacemaker.testing.fake.physics import (
    check_elements,
    coefficients,
    describe,
    gamma,
    inverted,
    max_volume,
    projections_of,
    spanning_rows,
)
from aiida_pacemaker.testing.fake.reporting import log, size_of, start_log
from aiida_pacemaker.testing.fake.tables import concatenate, forces_of, read, structures
from aiida_pacemaker.testing.faults import Fault, current


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(prog='pace_activeset', description='Fake active set: see aiida_pacemaker.testing.')
    result.add_argument('potential_file', help='B-basis potential')
    result.add_argument('-d', '--dataset', action='append', required=True, help='data file; may be repeated')
    result.add_argument('-q', '--query', help='not there in the fake program')
    result.add_argument('-f', '--full', action='store_true', help='write a full active set')
    result.add_argument('-b', '--batch_size', default='auto', help='structures at once')
    result.add_argument('-g', '--gamma_tolerance', default=1.01, type=float, help='largest gamma at the end')
    result.add_argument('-i', '--maxvol_iters', default=300, type=int, help='most exchanges')
    result.add_argument('-r', '--maxvol_refinement', default=5, type=int, help='of no effect')
    result.add_argument('-m', '--memory-limit', default='auto', help='of no effect')
    result.add_argument('-e', dest='error_based_threshold', default=0, type=float, help='largest force error')
    result.add_argument('-a', '--all-atoms', action='store_true', help='leave no atom out')
    result.add_argument('-V', dest='quiet', action='store_true', help='of no effect')
    return result


def main() -> None:
    """Run the program."""
    command = parser()
    arguments = command.parse_args()
    if arguments.query is not None:
        command.error('the fake program has no queries')
    start_log()
    fault = current('pace_activeset')
    fault.begin()
    frames, forces = _load(arguments.dataset, labelled=not arguments.all_atoms)
    log.info('Total number of structures: %d', len(frames))
    log.info('Potential file: %s', arguments.potential_file)
    potential = load(Path(arguments.potential_file))
    log.info('ACEBBasisSet loaded')
    check_elements(potential, frames)
    description = describe(potential, frames)
    sizes = _sizes(potential, full=arguments.full)
    for element in frames.elements:
        n_atoms = len(projections_of(description, frames, element)[1])
        n_functions = len(list(potential.functions(element)))
        log.info(
            '\tElement: %s, # atoms: %d, # B-func: %d, # projections: %d',
            *(element, n_atoms, n_functions, sizes[element]),
        )
    kind = ('FULL (non-linear)', '.asi.nonlinear') if arguments.full else ('LINEAR', '.asi')
    log.info('%s matrix will be used for active set calculation', kind[0])
    _check_batches(arguments, len(frames), fault)
    errors = forces - description.forces @ coefficients(potential)
    matrices: dict[str, Any] = {}
    for number, element in enumerate(potential.elements):
        rows, atoms = projections_of(description, frames, element)
        if not arguments.all_atoms:
            rows = rows[_trusted(errors[atoms], element, number, arguments.error_based_threshold)]
            rows = rows[:1] if fault.name == 'insufficient_environments' else rows
        if len(rows) < sizes[element]:
            raise ValueError(
                f'Insufficient atomic environments to determine active set for species type {number}, system is '
                f'under-determined, projections shape=({len(rows)}, {sizes[element]})'
            )
        # What no atom excites drops out, as it does by the pseudo-inverse of the engine.
        excited: BoolArray = rows.std(axis=0) > 0
        seen = rows[:, excited]
        chosen = max_volume(seen, spanning_rows(seen), arguments.gamma_tolerance, arguments.maxvol_iters)
        matrices[element] = inverted(seen[chosen], excited, _alive(potential, element, excited, sizes[element]))
        log.info(
            '\tElement: %s, Active set inv. shape: %s, gamma_max: %.3f',
            *(element, matrices[element].shape, gamma(rows, matrices[element]).max()),
        )
    path = Path(arguments.potential_file.replace('.yaml', kind[1]))
    log.info('Saving Active Set Inversion (ASI) to %s', path)
    with path.open('wb') as handle:
        np.savez(handle, **matrices)
    fault.truncate('truncated_asi', path)
    log.info('Saving  done to %s (%s)', path, size_of(path))


def _load(names: list[str], *, labelled: bool) -> tuple[Frames, FloatArray]:
    """Return all frames and, if they have to be labelled, their forces."""
    parts, forces = [], []
    for number, name in enumerate(names, start=1):
        log.info('Loading dataset #%d/%d from %s', number, len(names), name)
        if not Path(name).exists():
            raise RuntimeError(f'File {name} not found')
        parts.append(structures(Path(name)))
        forces.append(forces_of(read(Path(name))) if labelled else np.zeros((len(parts[-1].numbers), 3)))
        log.info('Number of structures: %d', len(parts[-1]))
    return concatenate(parts), np.concatenate(forces)


def _sizes(potential: Potential, *, full: bool) -> dict[str, int]:
    """Return the rows of the matrix of each element."""
    return {
        element: len(list(potential.functions(element))) * (potential.n_densities(element) if full else 1)
        for element in potential.elements
    }


def _alive(potential: Potential, element: str, excited: BoolArray, size: int) -> BoolArray:
    """Return which functions need no neighbours but those that atoms of the data have, in the engine's order."""
    types = sorted(
        (function['type'].split() for function in potential.functions(element)), key=lambda one: (len(one), one)
    )
    pairs = [one for one in types if len(one) == 2]
    there = {neighbour for (_, neighbour), is_excited in zip(pairs, excited.tolist(), strict=True) if is_excited}
    alive = np.array([set(neighbours) <= there for _, *neighbours in types], dtype=np.bool_)
    # Each density of a full active set has its own row.
    return np.repeat(alive, size // len(alive))


def _check_batches(arguments: argparse.Namespace, n_frames: int, fault: Fault) -> None:
    """Refuse what the engine cannot do in batches; what it can is done at once by this program."""
    forced = fault.name == 'batch_needs_all_atoms'
    if arguments.batch_size == 'auto' and not forced:
        log.info('Single-run (no batch_size is provided)')
        return
    size = n_frames // 2 if arguments.batch_size == 'auto' else int(arguments.batch_size)
    log.info('Approximated MaxVol by batches')
    log.info('Batch size: %d', size)
    if not arguments.all_atoms:
        log.error(
            'WARNING! Error-based selection of atoms in batch mode is not implemented. Please use --all-atoms option'
        )
        sys.exit(1)
    log.info('Number of batches: %d', n_frames // max(size, 1))


def _trusted(errors: FloatArray, element: str, number: int, threshold: float) -> BoolArray:
    """Tell which atoms have force errors (eV/angstrom per component) below a threshold, by default Q3 + 1.5 IQR."""
    sizes = np.linalg.norm(errors, axis=1) / np.sqrt(3)
    if threshold <= 0:
        first, third = np.quantile(sizes, [0.25, 0.75])
        threshold = float(third + 1.5 * (third - first))
    trusted: BoolArray = sizes <= threshold
    log.info('\tElement: %s, specie type: %d', element, number)
    log.info('\t\tForce error upper bound: %.3f meV/A', 1000 * threshold)
    log.info('\t\tNumber/fraction of selected atoms: %d (%.1f%%)', trusted.sum(), 100 * trusted.mean())
    return trusted


if __name__ == '__main__':
    main()
