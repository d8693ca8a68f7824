"""Cells as three vectors, whatever the periods of the frames."""

from __future__ import annotations

import numpy as np

from aiida_pacemaker.frames.table import BoolArray, FloatArray, Frames

#: The length in angstrom of vectors along directions without a period.
FREE_PERIOD = 7.3
#: A direction that no cell vector has.
_GENERIC = np.array([0.317, 0.871, -0.463])


def lattices_of(frames: Frames) -> FloatArray:
    """Return the cells, with vectors at right angles to the others where there is no period, shape (F, 3, 3)."""
    lattices = np.where(frames.pbc[:, :, None], frames.cells, 0.0)
    n_periods = frames.pbc.sum(axis=1)
    lattices[n_periods == 0] = FREE_PERIOD * np.eye(3)
    for frame in np.flatnonzero((n_periods == 1) | (n_periods == 2)).tolist():
        given = lattices[frame][frames.pbc[frame]]
        # With one period the second vector is at right angles to a generic one, and so changes smoothly.
        other = np.cross(given[0], given[1] if len(given) == 2 else _GENERIC)
        free = [other] if len(given) == 2 else [other, np.cross(given[0], other)]
        lattices[frame][~frames.pbc[frame]] = [FREE_PERIOD * _unit(vector) for vector in free]
    # Nothing can be said of a cell without a volume, but it is no error to ask.
    sound: BoolArray = np.asarray(np.isfinite(lattices).all(axis=(1, 2)))
    sound[sound] = np.abs(np.linalg.det(lattices[sound])) > 1e-9
    lattices[~sound] = FREE_PERIOD * np.eye(3)
    return lattices


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-300))
