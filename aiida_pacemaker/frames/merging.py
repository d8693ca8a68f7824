"""Which of some new frames join a set of known ones, and whether labels of one structure agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aiida_pacemaker.frames.hashing import HASH_DTYPE, HashArray, frame_hashes
from aiida_pacemaker.frames.table import LABELS, BoolArray, FloatArray, Frames, IntArray

#: In eV per atom. The same calculation on two machines agrees to about 1e-6, two levels of theory differ by far more.
ENERGY_TOLERANCE = 1e-5
#: In eV/angstrom and eV/angstrom^3 (16 MPa): what is left of a self-consistent cycle that has converged.
FORCE_TOLERANCE, STRESS_TOLERANCE = 1e-3, 1e-4
#: Of the largest force or stress of the frame.
RELATIVE_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Deduplication:
    """The outcome of :func:`deduplicate`; positions are those in the new frames, ascending.

    :param kept: the frames that are new, each once.
    :param hashes: their content hashes, shape (number kept,).
    :param positions: where they were.
    :param duplicates: where the others were.
    :param of_known: for each duplicate the position of the known frame that it repeats, or -1.
    :param of_new: for each duplicate the position of the first new frame with its content.
    """

    kept: Frames
    hashes: HashArray
    positions: IntArray
    duplicates: IntArray
    of_known: IntArray
    of_new: IntArray


def deduplicate(new: Frames, known_hashes: HashArray | None = None) -> Deduplication:
    """Drop the frames that are known already, or that repeat an earlier one of ``new``.

    :param new: ``F`` frames.
    :param known_hashes: content hashes of ``K`` frames, shape (K,); none are known where None.
    """
    known = np.empty(0, dtype=HASH_DTYPE) if known_hashes is None else known_hashes
    hashes = frame_hashes(new)
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    first_of_each = first[group.reshape(-1)].astype(np.int64)
    of_known = np.full(len(new), -1, dtype=np.int64)
    if len(known):
        order = np.argsort(known, kind='stable')
        met = order[np.searchsorted(known[order], hashes).clip(max=len(order) - 1)]
        of_known = np.where(known[met] == hashes, met, -1)
    keep = (first_of_each == np.arange(len(new))) & (of_known < 0)
    return Deduplication(
        kept=new.select(keep),
        hashes=hashes[keep],
        positions=np.flatnonzero(keep),
        duplicates=np.flatnonzero(~keep),
        of_known=of_known[~keep],
        of_new=first_of_each[~keep],
    )


def differing_labels(left: Frames, right: Frames, partners: Sequence[IntArray] | None = None) -> list[tuple[str, ...]]:
    """Return which labels of two tables of the same structures differ, for each frame.

    Which of them are right cannot be told from here. A label that is missing differs from one that is there.

    :param left: ``F`` frames.
    :param right: the same structures in the same order.
    :param partners: for each frame the atom of the right frame that each atom of the left one is; the same order where
        None.
    :return: of each frame those of `energy`, `forces` and `stress` that differ by more than the tolerances.
    """
    if left.energy is None or left.forces is None or left.stress is None:
        return [()] * len(left)
    if right.energy is None or right.forces is None or right.stress is None:
        return [()] * len(left)
    frame = left.frame_of_atom
    forces = right.forces
    if partners is not None and len(partners):
        forces = forces[np.concatenate(list(partners)) + np.repeat(right.offsets[:-1], right.n_atoms)]
    largest = np.zeros(len(left))
    np.maximum.at(largest, frame, np.nan_to_num(np.abs(left.forces)).max(axis=1))
    allowed = FORCE_TOLERANCE + RELATIVE_TOLERANCE * largest
    far_atom = _apart(left.forces, forces, allowed[frame][:, None]).any(axis=1)
    largest_stress: FloatArray = np.abs(np.nan_to_num(left.stress)).reshape(-1, 9).max(axis=1, initial=0.0)
    stress_allowed: FloatArray = np.asarray(STRESS_TOLERANCE + RELATIVE_TOLERANCE * largest_stress)
    differ = np.stack(
        [
            _apart(left.energy, right.energy, np.asarray(ENERGY_TOLERANCE * left.n_atoms, dtype=np.float64)),
            np.bincount(frame, far_atom, len(left)) > 0,
            _apart(left.stress, right.stress, stress_allowed[:, None, None]).any(axis=(1, 2)),
        ],
        axis=1,
    )
    return [tuple(name for name, off in zip(LABELS, row, strict=True) if off) for row in differ.tolist()]


def _apart(left: FloatArray, right: FloatArray, allowed: FloatArray) -> BoolArray:
    apart: BoolArray = ~((np.abs(left - right) <= allowed) | (np.isnan(left) & np.isnan(right)))
    return apart
