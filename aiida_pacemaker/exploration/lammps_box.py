"""How LAMMPS wants a cell: its vectors turned so that the first lies along x and the second in the plane of x and y."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_pacemaker.frames.handedness import EXCHANGED, is_left_handed
from aiida_pacemaker.frames.table import BoolArray, FloatArray

#: Space that is left around atoms along directions without a period, in angstrom. The box grows with them.
MARGIN = 5.0


@dataclass(frozen=True, eq=False)
class Box:
    """The box of one structure, and the way into it and back.

    Cell vectors with a period come first. A left-handed cell, which LAMMPS does not take, has its first two exchanged,
    which describes the same crystal. Directions without a period stand at right angles to the others, whatever cell
    vectors are given there; LAMMPS measures along them from the origin.

    :param order: the position in the cell of each vector of the box, shape (3,).
    :param axes: the Cartesian axes of the box in the frame of the structure, as rows, shape (3, 3).
    :param vectors: those of the box as rows, a lower triangle, in angstrom, shape (3, 3).
    :param low: where the box begins, in angstrom, shape (3,); zero along periods.
    :param periodic: whether there is a period along each vector of the box, shape (3,).
    """

    order: tuple[int, int, int]
    axes: FloatArray
    vectors: FloatArray
    low: FloatArray
    periodic: BoolArray

    def into(self, vectors: FloatArray) -> FloatArray:
        """Return positions, velocities or forces as they are in the box, shape (..., 3)."""
        turned: FloatArray = vectors @ self.axes.T
        return turned

    def back(self, vectors: FloatArray) -> FloatArray:
        """Return positions, velocities or forces as they are in the frame of the structure, shape (..., 3)."""
        turned: FloatArray = vectors @ self.axes
        return turned

    def cell_of(self, vectors: FloatArray) -> FloatArray:
        """Return the cell that vectors of a box with three periods mean, shape (3, 3)."""
        cell = np.empty((3, 3))
        cell[list(self.order)] = self.back(vectors)
        return cell


def box_of(cell: FloatArray, pbc: BoolArray, positions: FloatArray) -> Box:
    """Return the box of a structure.

    :param cell: cell vectors as rows in angstrom, shape (3, 3).
    :param pbc: whether there is a period along each of them, shape (3,).
    :param positions: in angstrom, shape (n, 3).
    :raises ValueError: if the vectors along periods do not span a box.
    """
    order = [*np.flatnonzero(pbc).tolist(), *np.flatnonzero(~pbc).tolist()]
    count = int(pbc.sum())
    if is_left_handed(cell, pbc):
        order = list(EXCHANGED)
    axes = _axes(cell[order[:count]])
    vectors = np.zeros((3, 3))
    vectors[:count] = np.tril(cell[order] @ axes.T)[:count]
    low = np.zeros(3)
    placed = positions @ axes.T
    for direction in range(count, 3):
        low[direction] = placed[:, direction].min() - MARGIN
        vectors[direction, direction] = placed[:, direction].max() + MARGIN - low[direction]
    first, second, third = order
    return Box((first, second, third), axes, vectors, low, np.arange(3) < count)


def _axes(vectors: FloatArray) -> FloatArray:
    """Return three axes at right angles, right-handed, of which the first are those of some vectors, as rows.

    Vectors that are a lower triangle already are not turned, to the last bit; and without any vector nothing is.
    """
    axes = np.eye(3)
    count = len(vectors)
    if not count:
        return axes
    axes[0] = _unit(vectors[0])
    # To a single vector any axis but one that lies along it makes a plane.
    helper = np.eye(3)[(int(np.abs(axes[0]).argmax()) + 1) % 3] if count == 1 else vectors[1]
    axes[1] = _unit(helper - (helper @ axes[0]) * axes[0])
    axes[2] = _unit(np.cross(axes[0], axes[1]))
    if count == 3 and not abs(vectors[2] @ axes[2]) > 1e-6 * np.linalg.norm(vectors[2]):
        raise ValueError('the three cell vectors lie in one plane')
    return axes


def _unit(vector: FloatArray) -> FloatArray:
    length = np.linalg.norm(vector)
    if not length > 1e-9:
        raise ValueError('a cell vector along a period is zero, or two are parallel')
    result: FloatArray = vector / length
    return result
