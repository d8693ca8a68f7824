"""Which of some new frames join a set of known ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .hashing import HASH_DTYPE, HashArray, frame_hashes
from .table import BoolArray, FloatArray, Frames, IntArray

#: In eV per atom. The same calculation on two machines agrees to about 1e-6, two levels of theory differ by far more.
ENERGY_TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class Deduplication:
    """The outcome of :func:`deduplicate`; positions are those in the new frames, ascending.

    :param kept: the frames that are new, each once.
    :param hashes: their content hashes, shape (number kept,).
    :param positions: where they were.
    :param duplicates: where the others were.
    :param conflicts: those of the duplicates whose energy is not that of the frame they repeat.
    """

    kept: Frames
    hashes: HashArray
    positions: IntArray
    duplicates: IntArray
    conflicts: IntArray


def deduplicate(
    new: Frames,
    known_hashes: HashArray | None = None,
    known_energies: FloatArray | None = None,
    *,
    energy_tolerance: float = ENERGY_TOLERANCE,
) -> Deduplication:
    """Drop the frames that are known already, or that repeat an earlier one of ``new``.

    Which label of a conflict is right cannot be told from here: the first is kept, and the caller must report the rest.

    :param new: ``F`` frames.
    :param known_hashes: content hashes of ``K`` frames, shape (K,); none are known where None.
    :param known_energies: their energies in eV, shape (K,), to compare with; without, only repetitions within ``new``
        can be found to be in conflict.
    :param energy_tolerance: energies that differ by more than this, in eV per atom, are in conflict.
    :raises ValueError: if the numbers of known hashes and energies differ.
    """
    if known_hashes is None:
        known_hashes = np.empty(0, dtype=HASH_DTYPE)
    if known_energies is not None and known_energies.shape != known_hashes.shape:
        raise ValueError(f'there are {len(known_energies)} known energies for {len(known_hashes)} known frames')
    hashes = frame_hashes(new)
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    first_of_each = first[group.reshape(-1)]
    keep = (first_of_each == np.arange(len(new))) & ~np.isin(hashes, known_hashes)
    conflict = np.zeros(len(new), dtype=np.bool_)
    if new.energy is not None:
        conflict = _differ(new.energy, new.energy[first_of_each], new.n_atoms, energy_tolerance)
        if known_energies is not None and len(known_hashes):
            order = np.argsort(known_hashes, kind='stable')
            places = np.searchsorted(known_hashes[order], hashes).clip(max=len(order) - 1)
            met = order[places]
            same = known_hashes[met] == hashes
            conflict |= same & _differ(new.energy, known_energies[met], new.n_atoms, energy_tolerance)
    return Deduplication(
        kept=new.select(keep),
        hashes=hashes[keep],
        positions=np.flatnonzero(keep),
        duplicates=np.flatnonzero(~keep),
        conflicts=np.flatnonzero(conflict & ~keep),
    )


def _differ(left: FloatArray, right: FloatArray, n_atoms: IntArray, tolerance: float) -> BoolArray:
    """Tell where energies differ; a missing energy differs from one that is there, not from another missing one."""
    close = np.abs(left - right) <= tolerance * n_atoms
    differ: BoolArray = ~(close | (np.isnan(left) & np.isnan(right)))
    return differ
