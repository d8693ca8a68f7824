"""Telling positions in units of the cell vectors from positions in angstrom."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers, covalent_radii
from ase.geometry import get_distances

Array = npt.NDArray[Any]

#: Fractional coordinates are within the cell, up to rounding and atoms that have left it a little.
MARGIN = 0.05
#: In angstrom^3 per atom: matter that has less to itself is dense. In a larger cell there may be a molecule in vacuum,
#: all positions of which are small for good reason.
DENSE = 100.0
#: Atoms closer than this part of the sum of their covalent radii are closer than in any bond.
CLOSE = 0.6


def within_unit_cube(positions: Array) -> bool:
    """Tell whether all numbers are between 0 and 1, as fractional coordinates are."""
    return bool(np.size(positions)) and bool((positions > -MARGIN).all() and (positions < 1 + MARGIN).all())


def look_fractional(positions: Array, cells: Array, symbols: Sequence[str]) -> bool:
    """Tell whether positions of periodic frames make sense as fractional coordinates only, and not in angstrom.

    That is so if all are between 0 and 1, matter is dense, and some atoms of a frame are closer than any bond when the
    positions are read in angstrom, but none when they are read as fractional. The first frame and the last are looked
    at.

    :param positions: shape (steps, n, 3).
    :param cells: in angstrom, shape (steps, 3, 3).
    :param symbols: of the n atoms, or names of kinds such as `Fe1`.
    """
    n_atoms = len(symbols)
    if n_atoms < 2 or positions.ndim != 3 or cells.shape != (len(positions), 3, 3) or not within_unit_cube(positions):
        return False
    if not np.isfinite(cells).all() or np.abs(np.linalg.det(cells)).min() < 1e-6:
        return False
    numbers = [atomic_numbers.get(re.sub(r'[^A-Za-z].*', '', symbol), 0) for symbol in symbols]
    radii = covalent_radii[numbers]
    for frame in {0, len(positions) - 1}:
        cell = cells[frame]
        if abs(np.linalg.det(cell)) / n_atoms > DENSE:
            return False
        if not _too_close(positions[frame], cell, radii) or _too_close(positions[frame] @ cell, cell, radii):
            return False
    return True


def _too_close(positions: Array, cell: Array, radii: Array) -> bool:
    """Tell whether two atoms are closer than in any bond, the images of others included."""
    _, distances = get_distances(positions, cell=cell, pbc=True)
    pairs = np.triu_indices(len(positions), k=1)
    bonds = (radii[:, None] + radii[None, :])[pairs]
    return bool((distances[pairs] < CLOSE * bonds).any())
