"""Frames that are one structure written differently: rounded, wrapped into the cell, its atoms in another order.

Such frames have content hashes of their own. They are found by numbers that do not change with the way of writing: how
strongly the atoms scatter waves that fit the cell. Frames in which all of these agree are then compared atom by atom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from aiida_pacemaker.frames.lattices import lattices_of
from aiida_pacemaker.frames.table import BoolArray, FloatArray, Frames, IntArray

ComplexArray: TypeAlias = npt.NDArray[np.complex128]
Pair: TypeAlias = tuple[int, int]

#: In angstrom. Files with six decimals or more are within, the smallest displacements of phonons far outside.
NEAR = 1e-5
#: Waves by their numbers of periods along the cell vectors. In simple lattices most of these are extinct, so that their
#: strength changes in proportion to a displacement.
WAVES = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 2, 0], [0, 1, 2], [2, 0, 1]])
#: Generic directions along which cells are compared at first.
_CELL_WEIGHTS = np.array(
    [[[0.317, 0.871, -0.463], [0.739, -0.211, 0.577], [-0.929, 0.383, 0.661]],
     [[0.843, -0.347, 0.619], [-0.541, 0.907, 0.271], [0.433, 0.751, -0.887]]]
)  # fmt: skip
#: By how much two scalars (in angstrom) of frames that are near may differ: the weight of an atom is at most 1.5, and
#: the cell adds its share.
_TOLERANCE = 4 * NEAR
#: Scalars that are put on grids, the others are compared directly.
_ON_GRID = 4
#: With one grid more than there are scalars, each shifted by a part of the spacing, two frames that are near are in one
#: cell of at least one of them: each scalar is near a boundary of one grid at most.
_N_GRIDS = _ON_GRID + 1
_SPACING = 1.2 * _TOLERANCE * _N_GRIDS
#: More structures than this with one fingerprint are not told apart.
_MOST_ROUNDS = 64
#: Atoms whose waves are in memory at once.
_ATOMS_AT_ONCE = 200_000
#: Atomic numbers as 64 random bits each, whose sum tells compositions apart whatever the order of the atoms.
_BITS = np.random.RandomState(20260101).randint(0, 2**63, 256, dtype=np.int64)
#: The weight of each element in a wave.
_WEIGHTS = 0.5 + (np.arange(256) * 0.6180339887498949) % 1.0


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What does not change with the way in which frames are written.

    :param kind: composition and periodicity, int64, shape (F,).
    :param scalars: of the waves and of the cell, in angstrom, shape (F, S); frames that are near agree in all of them.
    """

    kind: IntArray
    scalars: FloatArray

    def __len__(self) -> int:
        return len(self.kind)

    def select(self, frames: IntArray | BoolArray) -> Fingerprints:
        """Return the fingerprints of some frames."""
        return Fingerprints(self.kind[frames], self.scalars[frames])

    @staticmethod
    def concatenate(parts: list[Fingerprints]) -> Fingerprints:
        """Return the fingerprints of all parts, one after the other."""
        n_scalars = len(WAVES) + len(_CELL_WEIGHTS)
        return Fingerprints(
            np.concatenate([np.empty(0, dtype=np.int64), *(part.kind for part in parts)]),
            np.concatenate([np.empty((0, n_scalars)), *(part.scalars for part in parts)]),
        )


def fingerprints(frames: Frames) -> Fingerprints:
    """Return the fingerprint of each frame."""
    ends = frames.offsets[1:]
    parts, start = [], 0
    while start < len(frames):
        stop = max(start + 1, int(np.searchsorted(ends, frames.offsets[start] + _ATOMS_AT_ONCE, side='right')))
        parts.append(_fingerprints(frames.select(np.arange(start, stop))))
        start = stop
    return Fingerprints.concatenate(parts)


def _fingerprints(frames: Frames) -> Fingerprints:
    bits = np.concatenate([[0], np.cumsum(_BITS[frames.numbers & 255])])  # Wraps around, as it may.
    offsets = frames.offsets
    kind = bits[offsets[1:]] - bits[offsets[:-1]] + (frames.pbc @ np.array([1, 2, 4]))
    lattice = lattices_of(frames)
    strength = np.abs(_amplitudes(frames, lattice)) / np.maximum(frames.n_atoms, 1)[:, None]
    length = np.linalg.norm(_wave_vectors(lattice), axis=2)
    periodic = np.where(frames.pbc[:, :, None], frames.cells, 0.0)
    of_cell = np.einsum('fix,kix->fk', periodic, _CELL_WEIGHTS) / 3.0
    return Fingerprints(kind, np.nan_to_num(np.concatenate([strength / length, of_cell], axis=1)))


def near_groups(frames: Frames) -> IntArray:
    """Return a number for each frame, shape (F,), the same for frames that are the same structure."""

    def verify(pairs: Sequence[Pair]) -> list[bool]:
        ones, twos = np.array(pairs, dtype=np.int64).T
        return [atoms is not None for atoms in matching_atoms(frames.select(ones), frames.select(twos))]

    group = np.arange(len(frames), dtype=np.int64)
    # In ascending order, so that the group of the first is known.
    for one, two in near_pairs(fingerprints(frames), verify):
        group[two] = group[one]
    return group


def near_pairs(
    given: Fingerprints,
    verify: Callable[[Sequence[Pair]], Sequence[bool]],
    n_known: int = 0,
    *,
    among_new: bool = True,
) -> list[Pair]:
    """Return pairs of frames that are the same structure: each frame with the first that it repeats.

    :param given: fingerprints of ``F`` frames.
    :param verify: tells of pairs whose fingerprints agree whether they are the same structure. It is given many at
        once, so that what has to be read for it is read once.
    :param n_known: frames at the beginning that are not compared with each other.
    :param among_new: whether the frames behind these are compared with each other.
    """
    cells = _cells(given, n_known)
    found: dict[int, int] = {}
    different: set[Pair] = set()
    for _ in range(_MOST_ROUNDS):
        open_pairs: dict[Pair, None] = {}
        left = []
        for members in cells:
            pairs = _next_pairs(given, members, n_known, among_new, found, different)
            if pairs:
                open_pairs |= dict.fromkeys(pairs)
                left.append(members)
        if not open_pairs:
            break
        asked = list(open_pairs)
        for pair, same in zip(asked, verify(asked), strict=True):
            if same:
                found.setdefault(pair[1], pair[0])
            else:
                different.add(pair)
        cells = left
    return [(one, two) for two, one in sorted(found.items())]


def matching_atoms(left: Frames, right: Frames) -> list[IntArray | None]:
    """Return which atom of each right frame is each of the left one; None where they are not the same structure.

    They are if the cells and, after a common shift of all atoms, the positions are equal within ``NEAR``, whatever cell
    an atom is in.

    :param left: ``F`` frames.
    :param right: as many, each to be compared with the one in its place.
    :return: for each pair, for each atom of the left frame, the position in the right frame of its partner, shape (n,).
    """
    in_order = _same_in_order(left, right)
    return [
        np.arange(n_atoms, dtype=np.int64) if same else _matching(left.select([frame]), right.select([frame]))
        for frame, (same, n_atoms) in enumerate(zip(in_order.tolist(), left.n_atoms.tolist(), strict=True))
    ]


def _same_in_order(left: Frames, right: Frames) -> BoolArray:
    """Tell which pairs are the same structure with their atoms in the same order, shape (F,)."""
    same: BoolArray = np.asarray((left.n_atoms == right.n_atoms) & (left.pbc == right.pbc).all(axis=1))
    rows = np.flatnonzero(same)
    a, b = left.select(rows), right.select(rows)
    lattice = lattices_of(a)
    inverse, frame = np.linalg.inv(lattice), a.frame_of_atom
    offset = np.einsum('ax,axi->ai', b.positions, np.linalg.inv(lattices_of(b))[frame]) - np.einsum(
        'ax,axi->ai', a.positions, inverse[frame]
    )
    periodic = a.pbc[frame]
    # From the first atom, so that a common shift by half a period does not round to either side.
    offset -= offset[a.offsets[:-1]][frame]
    offset -= np.where(periodic, offset.round(), 0.0)
    middle = np.stack([np.bincount(frame, offset[:, axis], len(a)) for axis in range(3)], axis=1)
    offset -= (middle / a.n_atoms[:, None])[frame]
    apart = np.abs(np.einsum('ai,aix->ax', offset, lattice[frame])).max(axis=1)
    bad = (apart > NEAR) | (a.numbers != b.numbers)
    cells_apart = np.where(a.pbc[:, :, None], np.abs(a.cells - b.cells), 0.0).max(axis=(1, 2))
    same[rows] = (np.bincount(frame, bad, len(a)) == 0) & (cells_apart <= NEAR)
    return same


def _matching(a: Frames, b: Frames) -> IntArray | None:
    """Return which atom of the one frame of ``b`` is each of that of ``a``, see :func:`matching_atoms`."""
    if not _alike(a, b):
        return None
    lattices = lattices_of(a), lattices_of(b)
    amplitudes = _amplitudes(a, lattices[0])[0], _amplitudes(b, lattices[1])[0]
    ends = [frames.positions @ np.linalg.inv(lattice[0]) for frames, lattice in zip((a, b), lattices, strict=True)]
    species, counts = np.unique(a.numbers, return_counts=True)
    rare = species[counts.argmin()]
    start = ends[0][np.flatnonzero(a.numbers == rare)[0]]
    shifts = np.concatenate([np.zeros((1, 3)), ends[1][b.numbers == rare] - start])
    # A shift of all atoms turns the phase of each wave: most shifts are ruled out without a look at the atoms.
    turned = amplitudes[0] * np.exp(2j * np.pi * shifts @ WAVES.T)
    lengths = np.linalg.norm(_wave_vectors(lattices[0])[0], axis=1)
    fits = (np.abs(turned - amplitudes[1]) <= _TOLERANCE * len(a.numbers) * np.maximum(lengths, 0.1)).all(axis=1)
    tree = KDTree(_places(ends[1], b), boxsize=_boxes(a))
    for shift in shifts[fits]:
        distance, partner = tree.query(_places(ends[0] + shift, a))
        if distance.max() > 0.1 or len(np.unique(partner)) < len(partner):
            continue
        offset = ends[1][partner] - ends[0] - shift
        offset -= np.where(a.pbc[0], offset.round(), 0.0)
        # The atom that the shift was taken from may itself be off: what is left is seen from the middle.
        apart = (offset - offset.mean(axis=0)) @ lattices[0][0]
        if np.abs(apart).max() <= NEAR:
            return np.asarray(partner, dtype=np.int64)
    return None


def _alike(a: Frames, b: Frames) -> bool:
    """Tell whether two frames have the same atoms, periods and cell."""
    periodic = a.pbc[0]
    return bool(
        len(a.numbers) == len(b.numbers)
        and (np.sort(a.numbers) == np.sort(b.numbers)).all()
        and (periodic == b.pbc[0]).all()
        and (np.abs(a.cells[0] - b.cells[0])[periodic] <= NEAR).all()
    )


def _places(scaled: FloatArray, frame: Frames) -> FloatArray:
    """Return where atoms are to be looked for, with the element as a fourth coordinate."""
    inside = np.where(frame.pbc[0], scaled - np.floor(scaled), scaled)
    inside[:, frame.pbc[0]] %= 1.0  # What is rounded up to 1.
    return np.concatenate([inside, frame.numbers[:, None].astype(float)], axis=1)


def _boxes(frame: Frames) -> list[float]:
    """Return the periods along the coordinates of :func:`_places`; zero means none."""
    return [*np.where(frame.pbc[0], 1.0, 0.0).tolist(), 0.0]


def _wave_vectors(lattices: FloatArray) -> FloatArray:
    """Return the wave vectors in 1/angstrom, shape (F, waves, 3)."""
    return np.asarray(np.einsum('fxi,ki->fkx', 2 * np.pi * np.linalg.inv(lattices), WAVES))


def _amplitudes(frames: Frames, lattices: FloatArray) -> ComplexArray:
    """Return how each frame scatters each wave, shape (F, waves)."""
    frame = frames.frame_of_atom
    inverse = np.linalg.inv(lattices)
    amplitudes = np.zeros((len(frames), len(WAVES)), dtype=np.complex128)
    weights = _WEIGHTS[frames.numbers & 255]
    scaled = np.einsum('ax,axi->ai', np.nan_to_num(frames.positions), inverse[frame])
    single = np.exp(2j * np.pi * scaled)
    for column, wave in enumerate(WAVES.tolist()):
        factor = weights.astype(np.complex128)
        for axis, order in enumerate(wave):
            for _ in range(order):
                factor = factor * single[:, axis]
        amplitudes[:, column] = np.bincount(frame, factor.real, len(frames)) + 1j * np.bincount(
            frame, factor.imag, len(frames)
        )
    return amplitudes


def _cells(given: Fingerprints, n_known: int) -> list[IntArray]:
    """Return which frames are in one cell of one of the grids, in ascending order, where one of them is new."""
    cells = []
    for shift in range(_N_GRIDS):
        grid = np.floor(given.scalars[:, :_ON_GRID] / _SPACING + shift / _N_GRIDS).astype(np.int64)
        keys = np.column_stack([given.kind, grid])
        order = np.lexsort(keys.T[::-1])
        changed = (np.diff(keys[order], axis=0) != 0).any(axis=1)
        starts = np.concatenate([[0], np.flatnonzero(changed) + 1])
        sizes = np.diff(np.append(starts, len(order)))
        for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
            members = np.sort(order[start : start + size])
            if members[-1] >= n_known:
                cells.append(members)
    return cells


def _next_pairs(
    given: Fingerprints, members: IntArray, n_known: int, among_new: bool, found: dict[int, int], different: set[Pair]
) -> list[Pair]:
    """Return each frame of a cell that repeats nothing yet with the first other one that it may repeat."""
    pairs = []
    first = members[members < n_known].tolist()
    leaders = np.array(first, dtype=np.int64)
    for member in members[len(first) :].tolist():
        if member in found:
            continue
        close = (np.abs(given.scalars[leaders] - given.scalars[member]) <= _TOLERANCE).all(axis=1)
        partner = next((one for one in leaders[close].tolist() if (one, member) not in different), None)
        if partner is not None:
            pairs.append((partner, member))
        elif among_new:
            leaders = np.append(leaders, member)
    return pairs
