"""Pairs of atoms within a cutoff, for a whole table of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from vesin import NeighborList

from aiida_pacemaker.frames.table import BoolArray, FloatArray, Frames, IntArray

#: The search sorts atoms into bins as wide as its cutoff; below 2 angstrom its time goes into empty bins (330 us for
#: 32 atoms at 0.5 angstrom, 34 us at 2). Shorter cutoffs are therefore searched at this one, and filtered.
SHORTEST_SEARCH = 2.0

#: Beyond this many candidate pairs a single frame would need gigabytes, and beyond this many visits of one bin to
#: another seconds: its cell collapsed, or the units are wrong.
MAX_CANDIDATES = 1e8
MAX_VISITS = 1e8

#: vesin merges its bins when they are more than this, and kills the process (a division by zero) where that leaves none
#: in one direction.
MAX_BINS = 1e5


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of atoms closer than a cutoff, as columns of ``P`` rows.

    Each pair is counted once: ``first`` to ``second`` is there, ``second`` to ``first`` is not. A pair of periodic
    images is one row for each distinct vector, and a pair of an atom with its own image is one row for ``vector`` and
    ``-vector`` together. A sum over rows is hence the sum over pairs, without a factor of one half.

    :param first: row in the atom columns of the first atom, int64, shape (P,).
    :param second: row in the atom columns of the second atom, int64, shape (P,).
    :param vector: from the first to the second atom in angstrom, shape (P, 3).
    :param distance: length of the vector in angstrom, shape (P,).
    :param frame: position of the frame that the pair belongs to, int64, shape (P,); it never decreases.
    """

    first: IntArray
    second: IntArray
    vector: FloatArray
    distance: FloatArray
    frame: IntArray

    def __len__(self) -> int:
        return len(self.first)

    @staticmethod
    def concatenate(parts: list[Pairs]) -> Pairs:
        """Return the rows of all parts, one after the other."""
        return Pairs(
            first=np.concatenate([np.empty(0, dtype=np.int64), *(part.first for part in parts)]),
            second=np.concatenate([np.empty(0, dtype=np.int64), *(part.second for part in parts)]),
            vector=np.concatenate([np.empty((0, 3)), *(part.vector for part in parts)]),
            distance=np.concatenate([np.empty(0), *(part.distance for part in parts)]),
            frame=np.concatenate([np.empty(0, dtype=np.int64), *(part.frame for part in parts)]),
        )


def pairs(frames: Frames, cutoff: float) -> Pairs:
    """Return all pairs of atoms closer than ``cutoff`` in every frame.

    A row takes 56 bytes; use :func:`pair_blocks` where the table is large.

    :param frames: ``F`` frames, of any periodicity; cells may be smaller than the cutoff.
    :param cutoff: in angstrom; pairs at exactly this distance are left out.
    :raises ValueError: if the cutoff is not positive and finite, or a frame cannot be searched.
    """
    return Pairs.concatenate(list(pair_blocks(frames, cutoff)))


def pair_blocks(frames: Frames, cutoff: float, *, max_pairs: int = 1_000_000) -> Iterator[Pairs]:
    """Iterate over the pairs of :func:`pairs` in blocks of whole frames, so that memory stays bounded.

    :param frames: ``F`` frames, of any periodicity.
    :param cutoff: in angstrom.
    :param max_pairs: a block ends with the frame in which it reaches this many pairs.
    :raises ValueError: if the cutoff is not positive and finite, or a frame cannot be searched.
    """
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise ValueError(f'the cutoff is {cutoff!r}, a positive number of angstrom is needed')
    bad = np.flatnonzero(~searchable(frames, cutoff))
    if len(bad):
        raise ValueError(
            f'pairs within {cutoff} angstrom cannot be searched in {len(bad)} of {len(frames)} frames, the first is '
            f'frame {bad[0]}: its positions or cell are not finite, its cell is flat or far smaller than the cutoff, '
            'or its atoms are scattered over micrometres; check the frames and leave these out'
        )
    # One thread: the frames are small, and more threads cost ten times the search itself.
    search = NeighborList(cutoff=max(cutoff, SHORTEST_SEARCH), full_list=False, n_threads=1)
    block: list[Pairs] = []
    held = 0
    for index, atoms in enumerate(frames.slices()):
        found = _pairs_of_frame(search, frames, index, atoms, cutoff)
        block.append(found)
        held += len(found)
        if held >= max_pairs:
            yield Pairs.concatenate(block)
            block, held = [], 0
    if held:
        yield Pairs.concatenate(block)


def _pairs_of_frame(search: NeighborList, frames: Frames, index: int, atoms: slice, cutoff: float) -> Pairs:
    periodic = frames.pbc[index]
    box = np.where(periodic[:, None], frames.cells[index], 0.0)
    ends, vector, distance = search.compute(frames.positions[atoms], box, periodic, 'PDd')
    ends = ends.astype(np.int64) + atoms.start
    near = distance < cutoff
    if not near.all():
        ends, vector, distance = ends[near], vector[near], distance[near]
    frame = np.full(len(ends), index, dtype=np.int64)
    return Pairs(first=ends[:, 0], second=ends[:, 1], vector=vector, distance=distance, frame=frame)


def face_distances(frames: Frames) -> FloatArray:
    """Return the distance between opposite faces of each cell along its periodic directions in angstrom, shape (F, 3).

    The faces stand at right angles to the directions that are not periodic, whatever cell vectors are given there;
    along these directions themselves the distance is infinite. A flat cell has zeros.
    """
    periodic = frames.pbc
    vectors = np.where(periodic[:, :, None], frames.cells, 0.0)
    metric = np.einsum('fix,fjx->fij', vectors, vectors) + np.eye(3) * ~periodic[:, None, :]
    # The squared areas of the faces are the minors of the metric, its determinant is the squared volume.
    squared_volume = np.linalg.det(metric)
    distances = np.full((len(frames), 3), np.inf)
    for axis in range(3):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        squared_area = metric[:, one, one] * metric[:, two, two] - metric[:, one, two] ** 2
        with np.errstate(divide='ignore', invalid='ignore'):
            squared = np.where(squared_area > 0, squared_volume / squared_area, 0.0)
        distances[:, axis] = np.where(periodic[:, axis], np.sqrt(np.maximum(squared, 0.0)), np.inf)
    return distances


def searchable(frames: Frames, cutoff: float) -> BoolArray:
    """Tell in which frames pairs within ``cutoff`` (angstrom) can be found at a sane cost, shape (F,).

    Not in those with positions or cells that are not finite, with a flat periodic cell, with so small or so skewed a
    cell that it has millions of images within the cutoff, or with atoms scattered over micrometres.
    """
    cutoff = max(cutoff, SHORTEST_SEARCH)
    scattered = np.bincount(frames.frame_of_atom, ~np.isfinite(frames.positions).all(axis=1), minlength=len(frames)) > 0
    finite = ~scattered & np.isfinite(frames.cells).all(axis=(1, 2))
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        faces = np.where(finite[:, None], face_distances(frames), 0.0)
        widths = np.where(frames.pbc, faces, _extents(frames))
        bins = np.maximum(widths / cutoff, 1.0)
        total = bins.prod(axis=1)
        # Measured: with periods in some directions only, time grows with the square of the width along the others.
        free = np.where(frames.pbc | ~frames.pbc.any(axis=1, keepdims=True), 1.0, bins).prod(axis=1)
        visits = total * free * (2 * cutoff / faces + 1).prod(axis=1)
        shares = 2 * cutoff / widths
        candidates = (
            np.where(frames.pbc, shares, np.minimum(shares, 1.0)).prod(axis=1) * frames.n_atoms.astype(float) ** 2
        )
        # The merged bins keep their ratios and are rounded down one after the other: three leave at least one of each.
        layable = (total <= MAX_BINS) | (bins.min(axis=1) * np.cbrt(MAX_BINS / total) >= 3.0)
    result: BoolArray = finite & (visits <= MAX_VISITS) & (candidates <= MAX_CANDIDATES) & layable
    return result


def _extents(frames: Frames) -> FloatArray:
    """Return the width of the atoms along each Cartesian axis, shape (F, 3), at least 1 angstrom.

    It is these that vesin divides into bins along directions without a period, however the other vectors are turned.
    """
    extents = np.zeros((len(frames), 3))
    occupied = frames.n_atoms > 0
    if occupied.any():
        starts = frames.offsets[:-1][occupied]
        highest = np.maximum.reduceat(frames.positions, starts)
        extents[occupied] = highest - np.minimum.reduceat(frames.positions, starts)
    return np.maximum(1.01 * extents, 1.0)
