"""What the fake engine computes: a pair potential that is linear in its coefficients.

The energy of an atom is a sum over the functions of order one of its element, each of them a sum over its neighbours of
that function's element,

    E_i = sum_f c_f B_if,    B_if = sum_j phi_n(r_ij),
    phi_n(r) = cos((n - 1) pi r / r_cut) (1 + cos(pi r / r_cut)) / 2

so that fits are linear least squares, and the projections B give the extrapolation grade gamma by its real definition
(Podryabinkin and Shapeev, Comput. Mater. Sci. 140 (2017) 171): the largest factor by which exchanging one row of the
active set for those of an atom would grow the determinant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from aiida_pacemaker.frames.neighbours import pairs
from aiida_pacemaker.frames.table import BoolArray, FloatArray, Frames, IntArray
from aiida_pacemaker.testing.fake.basis import Potential

#: Shorter distances (angstrom) are refused.
SHORTEST = 1e-6
#: What the engine says of two atoms at the same place.
SMALL_DISTANCE = 'Encountered very small distance. Stopping.'
#: What is left of functions that no atom of the data excites in an inverted active set: as little as of the engine's.
NOISE = 1e-16
#: Projections that differ by less than this fraction of the largest one do not tell atoms apart.
_RESOLUTION = 1e-12


@dataclass(frozen=True, eq=False)
class Description:
    """Projections of A atoms in F frames onto K pair functions, and what follows from their slopes.

    :param columns: the columns of each element, by chemical symbol.
    :param values: projections, shape (A, K); zero in the columns of other elements.
    :param forces: minus the gradient of their sum, in 1/angstrom, shape (A, 3, K).
    :param virials: derivative of their sum with strain, shape (F, 3, 3, K).
    """

    columns: dict[str, list[int]]
    values: FloatArray
    forces: FloatArray
    virials: FloatArray


def check_elements(potential: Potential, frames: Frames) -> None:
    """Check that a potential knows all elements of some frames.

    :raises KeyError: as the engine does.
    """
    for symbol in frames.elements:
        if symbol not in potential.elements:
            raise KeyError(np.bytes_(symbol.encode()))


def describe(potential: Potential, frames: Frames) -> Description:
    """Return the projections of all atoms.

    :raises ValueError: as the engine does, if two atoms are at the same place.
    """
    functions = potential.pair_functions()
    columns: dict[str, list[int]] = {element: [] for element in potential.elements}
    terms: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for column, function in enumerate(functions):
        centre, neighbour = function['type'].split()
        columns[centre].append(column)
        terms.setdefault((centre, neighbour), []).append((column, function['nr'][0]))
    found = pairs(frames, potential.cutoff)
    if len(found) and found.distance.min() < SHORTEST:
        raise ValueError(SMALL_DISTANCE)
    n_functions = len(functions)
    values = np.zeros((len(frames.numbers), n_functions))
    forces = np.zeros((len(frames.numbers), 3, n_functions))
    virials = np.zeros((len(frames), 3, 3, n_functions))
    symbols = np.array(chemical_symbols)[frames.numbers]
    for centres, neighbours in ((found.first, found.second), (found.second, found.first)):
        for (centre, neighbour), members in terms.items():
            rows = np.flatnonzero((symbols[centres] == centre) & (symbols[neighbours] == neighbour))
            distance, vector = found.distance[rows], found.vector[rows]
            direction = vector / distance[:, None]
            for column, n in members:
                value, slope = _radial(n, distance, potential.cutoff)
                np.add.at(values[:, column], centres[rows], value)
                pull = slope[:, None] * direction
                np.add.at(forces[:, :, column], found.first[rows], pull)
                np.add.at(forces[:, :, column], found.second[rows], -pull)
                np.add.at(virials[..., column], found.frame[rows], pull[:, :, None] * vector[:, None, :])
    return Description(columns, values, forces, virials)


def _radial(n: int, distance: FloatArray, cutoff: float) -> tuple[FloatArray, FloatArray]:
    """Return a radial function and its derivative."""
    scale = np.pi / cutoff
    angle = scale * distance
    envelope, wave = (1 + np.cos(angle)) / 2, np.cos((n - 1) * angle)
    slope = -scale * (np.sin(angle) / 2 * wave + envelope * (n - 1) * np.sin((n - 1) * angle))
    return envelope * wave, slope


def coefficients(potential: Potential) -> FloatArray:
    """Return the coefficients of the pair functions in eV, shape (K,)."""
    return np.array([function['c'][0] for function in potential.pair_functions()], dtype=np.float64)


def set_coefficients(potential: Potential, values: FloatArray) -> None:
    """Replace the coefficients of the pair functions."""
    for function, value in zip(potential.pair_functions(), values.tolist(), strict=True):
        function['c'][0] = value


def projections_of(description: Description, frames: Frames, element: str) -> tuple[FloatArray, IntArray]:
    """Return the projections of the atoms of one element, and which atoms these are."""
    atoms = np.flatnonzero(frames.numbers == chemical_symbols.index(element)).astype(np.int64)
    return description.values[atoms][:, description.columns[element]], atoms


def max_volume(rows: FloatArray, start: IntArray, tolerance: float, iterations: int) -> IntArray:
    """Return which rows span the largest volume: the square submatrix in which no element of another row exceeds one.

    :param rows: shape (N, K), with N not less than K.
    :param start: rows to begin with, shape (K,).
    :param tolerance: largest element (gamma) that counts as one.
    :param iterations: most exchanges of rows.
    """
    chosen: IntArray = start.copy()
    for _ in range(iterations):
        shares = rows @ np.linalg.inv(rows[chosen])
        row, place = np.unravel_index(int(np.abs(shares).argmax()), shares.shape)
        if abs(shares[row, place]) <= tolerance:
            break
        chosen[place] = row
    return chosen


def spanning_rows(rows: FloatArray) -> IntArray:
    """Return rows that are linearly independent, by Gram-Schmidt with pivots.

    :raises ValueError: as the engine does, if there are not enough of them.
    """
    rest = rows.copy()
    chosen = []
    for _ in range(rows.shape[1]):
        norms = np.linalg.norm(rest, axis=1)
        row = int(norms.argmax()) if len(norms) else 0
        if not len(norms) or norms[row] <= _RESOLUTION * np.abs(rows).max():
            raise ValueError('Input matrix must not be singular')
        chosen.append(row)
        unit = rest[row] / norms[row]
        rest = rest - np.outer(rest @ unit, unit)
    return np.array(chosen, dtype=np.int64)


def inverted(rows: FloatArray, excited: BoolArray, alive: BoolArray) -> FloatArray:
    """Return the inverted active set: that of the pair functions, and a unit matrix for all other functions.

    :param rows: the active set, shape (K, K).
    :param excited: which of the pair functions any atom excites, K of them; the others drop out but for noise.
    :param alive: which of all functions an atom can excite that has no neighbours but those of excited pairs.
    """
    matrix = np.diag(np.where(alive, 1.0, NOISE))
    pairs_only = NOISE * np.eye(len(excited))
    pairs_only[np.ix_(excited, excited)] = np.linalg.inv(rows)
    matrix[: len(excited), : len(excited)] = pairs_only
    return matrix


def gamma(projections: FloatArray, matrix: FloatArray) -> FloatArray:
    """Return the extrapolation grade of each atom from its projections and the inverted active set."""
    if not projections.shape[1]:
        return np.zeros(len(projections))
    shares = projections @ matrix[: projections.shape[1], : projections.shape[1]]
    return np.asarray(np.abs(shares).max(axis=1), dtype=np.float64)


def load_active_set(path: Path) -> Mapping[str, FloatArray]:
    """Read an inverted active set."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
