"""Whether the structures of a trajectory are those that its labels belong to, or one step behind them.

A program that prints its structure after each step, and not before the first one, gives a parser structures of which
each is the *next* one of the label at the same place: labels e(0) ... e(n-1) belong to the input structure and to
p(0) ... p(n-2).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

#: In eV: energies are compared with the work of the forces where they change by more than this along the path. What
#: is less is noise of the calculation.
SMALLEST_CHANGE = 1e-4
#: A pairing is taken for the wrong one if its work misses the energies by this many times more than that of the other,
#: and for the right one the other way round.
CONTRAST = 3.0
#: Largest share of the changes of energy that the right pairing may miss.
LARGEST_MISS = 0.5


class Pairing(str, Enum):
    """How structures and labels go together."""

    #: Each structure stands beside its own labels.
    OWN = 'own'
    #: Each structure stands beside the labels of the one before.
    NEXT = 'next'
    #: The arrays do not tell.
    UNKNOWN = 'unknown'


def moved_one_step(
    arrays: Mapping[str, Array], first_positions: Array | None, first_cell: Array | None
) -> dict[str, Array]:
    """Return arrays in which each structure stands beside its own labels, of arrays where the next one does.

    The last structure has no labels and is left out, as are labels at the end that belong to no structure.

    :param arrays: `positions` (steps, n, 3), `cells` (steps, 3, 3), and others, whose first axis is the steps.
    :param first_positions: positions that the first labels belong to, shape (n, 3); None leaves these labels out.
    :param first_cell: cell that they belong to, shape (3, 3); not needed if there are no cells.
    :raises ValueError: if the first structure has another number of atoms.
    """
    positions = np.asarray(arrays['positions'], dtype=float)
    steps = len(positions)
    if first_positions is None:
        return {
            name: values[:-1] if name in ('positions', 'cells') else values[1:steps] if np.ndim(values) else values
            for name, values in arrays.items()
        }
    first_positions = np.asarray(first_positions, dtype=float)
    if positions.shape[1:] != first_positions.shape:
        raise ValueError(
            f'the first structure has {len(first_positions)} atoms, those of the trajectory {positions.shape[1]}'
        )
    moved = {name: values[:steps] if np.ndim(values) else values for name, values in arrays.items()}
    moved['positions'] = np.concatenate([first_positions[None], positions[:-1]])
    if 'cells' in arrays:
        moved['cells'] = np.concatenate([np.asarray(first_cell, dtype=float)[None], arrays['cells'][:-1]])
    return moved


def pairing_of(
    positions: Array, cells: Array | None, energy: Array | None, forces: Array | None, stress: Array | None = None
) -> Pairing:
    """Tell from energies and forces along a path whether structures stand beside their own labels.

    Between two structures that are close the energy changes by the work, dE = -F.dx + V sigma:strain, with the mean of
    the forces (and stresses) at both ends. It is calculated for both pairings and held against the energies. Where a
    structure is repeated with another energy the labels cannot all be its own.

    :param positions: in angstrom, shape (steps, n, 3).
    :param cells: in angstrom, shape (steps, 3, 3).
    :param energy: in eV, shape (steps,) or longer.
    :param forces: in eV/angstrom, shape (steps, n, 3) or longer.
    :param stress: in eV/angstrom^3, tension positive, shape (steps, 3, 3) or longer; without it a path along which the
        cell changes tells nothing.
    """
    steps = len(positions)
    if energy is None or len(energy) < steps or steps < 2:
        return Pairing.UNKNOWN
    if _repeats_with_other_energy(positions, cells, energy):
        return Pairing.NEXT
    if forces is None or len(forces) < steps or (cells is not None and stress is None and np.ptp(cells, axis=0).any()):
        return Pairing.UNKNOWN

    def compare(labels: slice, structures: slice) -> tuple[float, float]:
        """Return by how much the work misses the changes of energy, and how large these are (roots of squares)."""
        changes = np.diff(energy[labels])
        strained = None if cells is None or stress is None else (cells[structures], stress[labels])
        work = _work(positions[structures], forces[labels], strained)
        return float(np.linalg.norm(changes - work)), float(np.linalg.norm(changes))

    missed, size = compare(slice(0, steps), slice(0, steps))
    if steps == 2:
        # The other pairing has a single structure with a label, and no change to be held against anything.
        missed_by_next, size_of_next = size, size
    else:
        missed_by_next, size_of_next = compare(slice(1, steps), slice(0, steps - 1))
    return _better(missed, size, missed_by_next, size_of_next)


def _better(missed: float, size: float, missed_by_next: float, size_of_next: float) -> Pairing:
    """Return the pairing whose work misses the energies by much less than that of the other, and by little."""
    pairing = Pairing.UNKNOWN
    if max(size, size_of_next) < SMALLEST_CHANGE or not np.isfinite([missed, missed_by_next]).all():
        pairing = Pairing.UNKNOWN
    elif missed * CONTRAST < missed_by_next and missed < LARGEST_MISS * size:
        pairing = Pairing.OWN
    elif missed_by_next * CONTRAST < missed and missed_by_next < LARGEST_MISS * size_of_next:
        pairing = Pairing.NEXT
    return pairing


def _repeats_with_other_energy(positions: Array, cells: Array | None, energy: Array) -> bool:
    """Tell whether two consecutive structures are equal in every bit and their energies are not."""
    same = (positions[1:] == positions[:-1]).all(axis=(1, 2))
    if cells is not None:
        same &= (cells[1:] == cells[:-1]).all(axis=(1, 2))
    changes = np.abs(np.diff(energy[: len(positions)]))
    return bool((same & (changes > 1e-9)).any())


def _work(positions: Array, forces: Array, strained: tuple[Array, Array] | None) -> Array:
    """Return the change of energy between consecutive structures by their forces and stresses, shape (steps - 1,)."""
    mean_forces = (forces[1:] + forces[:-1]) / 2
    if strained is None:
        work: Array = -np.einsum('sij,sij->s', mean_forces, np.diff(positions, axis=0))
        return work
    cells, stress = strained
    # Rows are vectors: a cell becomes cell @ (1 + strain), and so do the positions.
    deformation = np.linalg.solve(cells[:-1], cells[1:])
    strain = deformation - np.eye(3)
    moves = positions[1:] - positions[:-1] @ deformation
    tension = stress * np.abs(np.linalg.det(cells))[:, None, None]
    mean_tension = (tension[1:] + tension[:-1]) / 2
    strained_work: Array = -np.einsum('sij,sij->s', mean_forces, moves) + np.einsum('sij,sij->s', mean_tension, strain)
    return strained_work
