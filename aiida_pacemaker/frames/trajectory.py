"""Frames as the arrays of a trajectory, in the convention of whoever wrote them, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers, chemical_symbols

from aiida_pacemaker.frames.conventions import EV_ASE, Convention
from aiida_pacemaker.frames.table import LABELS, BoolArray, FloatArray, Frames, IntArray
from aiida_pacemaker.frames.weights import WEIGHTS, check_weights

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Frames of one composition and periodicity.

    :param symbols: chemical symbol of each of the n atoms.
    :param pbc: periodicity along each cell vector.
    :param positions: in angstrom, shape (steps, n, 3).
    :param cells: in angstrom, shape (steps, 3, 3).
    :param arrays: the labels, if there are any: `energy` (steps,) in eV, `forces` (steps, n, 3) in eV/angstrom,
        `stress` (steps, 3, 3) in eV/angstrom^3 with the sign of ASE; with weights also `w_energy` (steps,) and
        `w_forces` (steps, n).
    :param frames: positions of these frames in the table they are from, shape (steps,).
    """

    symbols: tuple[str, ...]
    pbc: tuple[bool, bool, bool]
    positions: FloatArray
    cells: FloatArray
    arrays: dict[str, FloatArray]
    frames: IntArray


def from_arrays(
    arrays: Mapping[str, Array],
    symbols: Sequence[str],
    pbc: Sequence[bool] | None,
    *,
    source_key: str,
    convention: Convention = EV_ASE,
) -> Frames:
    """Return the frames of a trajectory.

    :param arrays: `positions` (steps, n, 3) and, for periodic frames, `cells` (steps, 3, 3); the labels `energy`,
        `forces` and `stress`, by the names of the convention, as far as they are there: those that are missing become
        NaN. Without any of them the frames are not labelled. Weights in a fit are read if both `w_energy` (steps,) and
        `w_forces` (steps, n) are there.
    :param symbols: of the n atoms; the name of a kind, such as `Fe1`, counts as its element.
    :param pbc: periodicity; None (trajectories stored by AiiDA before 2.8) means periodic if there are cells.
    :param source_key: key of the source of all frames.
    :param convention: names, units, signs and coordinates of the arrays.
    :raises ValueError: if an array has another shape, naming it, if there is one kind of weights without the other, or
        if a symbol names no element.
    """
    if 'positions' not in arrays:
        raise ValueError(f'the trajectory has no array `positions`, only {sorted(arrays)}')
    named = {'energy': next((name for name in convention.energy if name in arrays), 'energy')}
    named |= {'forces': convention.forces, 'stress': convention.stress}
    weights = {name: arrays[name] for name in WEIGHTS if name in arrays}
    arrays = convention.standard(arrays)
    positions = np.asarray(arrays['positions'], dtype=float)
    steps, n_atoms = len(positions), len(symbols)
    _expect('positions', positions, (steps, n_atoms, 3))
    has_cells = 'cells' in arrays
    periodic = (has_cells,) * 3 if pbc is None else tuple(bool(flag) for flag in pbc)
    if any(periodic) and not has_cells:
        raise ValueError('the trajectory is periodic but has no array `cells`')
    cells = np.asarray(arrays['cells'], dtype=float) if has_cells else np.zeros((steps, 3, 3))
    _expect('cells', cells, (steps, 3, 3))
    numbers = np.array([_atomic_number(symbol) for symbol in symbols], dtype=np.int64)

    shapes = {'energy': (steps,), 'forces': (steps, n_atoms, 3), 'stress': (steps, 3, 3)}
    labels: dict[str, FloatArray | None] = dict.fromkeys(LABELS)
    if any(name in arrays for name in LABELS):
        for name, shape in shapes.items():
            label = arrays.get(name, np.full(shape, np.nan))
            _expect(named[name], label, shape)
            labels[name] = label
    energy, forces, stress = labels['energy'], labels['forces'], labels['stress']
    w_energy, w_forces = _weights(weights, steps, n_atoms) if energy is not None else (None, None)
    return Frames(
        n_atoms=np.full(steps, n_atoms, dtype=np.int64),
        numbers=np.tile(numbers, steps),
        positions=positions.reshape(-1, 3),
        cells=cells,
        pbc=np.tile(np.array(periodic, dtype=np.bool_), (steps, 1)),
        energy=energy,
        forces=None if forces is None else forces.reshape(-1, 3),
        stress=stress,
        source_keys=(source_key,) if steps else (),
        source=np.zeros(steps, dtype=np.int64),
        step=np.arange(steps, dtype=np.int64),
        generation=np.zeros(steps, dtype=np.int64),
        w_energy=w_energy,
        w_forces=w_forces,
    )


def to_arrays(frames: Frames) -> list[Trajectory]:
    """Return frames as trajectories, one for each composition (in the order of its atoms) and periodicity.

    The order of the frames is kept within each, and the trajectories are in the order of their first frames.
    """
    groups: dict[tuple[bytes, bytes], list[int]] = {}
    for frame, atoms in enumerate(frames.slices()):
        key = frames.numbers[atoms].tobytes(), frames.pbc[frame].tobytes()
        groups.setdefault(key, []).append(frame)
    return [_trajectory(frames.select(group), group) for group in groups.values()]


def _trajectory(frames: Frames, members: list[int]) -> Trajectory:
    """Return frames of one composition and periodicity as a trajectory."""
    steps, n_atoms = len(frames), int(frames.n_atoms[0])
    pbc: BoolArray = frames.pbc[0]
    arrays = {}
    if frames.energy is not None and frames.forces is not None and frames.stress is not None:
        arrays = {
            'energy': frames.energy,
            'forces': frames.forces.reshape(steps, n_atoms, 3),
            'stress': frames.stress,
        }
        if frames.w_energy is not None and frames.w_forces is not None:
            arrays |= {'w_energy': frames.w_energy, 'w_forces': frames.w_forces.reshape(steps, n_atoms)}
    return Trajectory(
        symbols=tuple(str(chemical_symbols[number]) for number in frames.numbers[:n_atoms]),
        pbc=(bool(pbc[0]), bool(pbc[1]), bool(pbc[2])),
        positions=frames.positions.reshape(steps, n_atoms, 3),
        cells=frames.cells,
        arrays=arrays,
        frames=np.array(members, dtype=np.int64),
    )


def _atomic_number(symbol: str) -> int:
    match = re.fullmatch(r'([A-Z][a-z]?)([^A-Za-z].*)?', symbol)
    if match is None or match[1] not in chemical_symbols[1:]:
        raise ValueError(f'`{symbol}` is neither a chemical symbol nor one with a number behind it')
    return int(atomic_numbers[match[1]])


def _weights(given: Mapping[str, Array], steps: int, n_atoms: int) -> tuple[FloatArray, FloatArray] | tuple[None, None]:
    if not given:
        return None, None
    if len(given) < len(WEIGHTS):
        raise ValueError(f'the trajectory has `{next(iter(given))}` alone: weights need both of {", ".join(WEIGHTS)}')
    w_energy, w_forces = (np.asarray(given[name], dtype=float) for name in WEIGHTS)
    _expect('w_energy', w_energy, (steps,))
    _expect('w_forces', w_forces, (steps, n_atoms))
    check_weights(w_energy, w_forces.reshape(-1), np.full(steps, n_atoms, dtype=np.int64))
    return w_energy, w_forces.reshape(-1)


def _expect(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f'the array `{name}` of the trajectory has shape {array.shape}, {shape} is needed')
