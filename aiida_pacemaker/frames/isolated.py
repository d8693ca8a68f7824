"""Frames of one atom alone, whose energies the others can be counted from."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from ase.data import chemical_symbols

from aiida_pacemaker.frames.checks import MAX_LENGTH
from aiida_pacemaker.frames.neighbours import face_distances
from aiida_pacemaker.frames.table import BoolArray, Frames

#: In angstrom. An atom whose images are this far away is alone.
ALONE = 8.0
#: In eV. Energies of one atom that differ by more are of other states, boxes or levels of theory.
TOLERANCE = 1e-3


def isolated_atoms(frames: Frames) -> BoolArray:
    """Tell which frames are one atom without periods, or with images at least ``ALONE`` away, shape (F,)."""
    alone: BoolArray = np.zeros(len(frames), dtype=np.bool_)
    # Nothing can be said of numbers that are none, or absurd.
    sound = (np.abs(np.nan_to_num(frames.cells, nan=np.inf)) <= MAX_LENGTH).all(axis=(1, 2))
    rows = np.flatnonzero((frames.n_atoms == 1) & sound)
    alone[rows] = face_distances(frames.select(rows)).min(axis=1) >= ALONE
    return alone


def atom_energies(parts: Iterable[Frames]) -> dict[str, float]:
    """Return the energy of the isolated atom of each element in eV, of all that are among some frames.

    :raises ValueError: if those of one element differ.
    """
    found: dict[str, list[float]] = {}
    for frames in parts:
        if frames.energy is None:
            continue
        for row in np.flatnonzero(isolated_atoms(frames)).tolist():
            element = str(chemical_symbols[int(frames.numbers[frames.offsets[row]])])
            found.setdefault(element, []).append(float(frames.energy[row]))
    unlike = {element: values for element, values in found.items() if max(values) - min(values) > TOLERANCE}
    if unlike:
        texts = [
            f'{element} has {min(values):.6f} to {max(values):.6f} eV' for element, values in sorted(unlike.items())
        ]
        raise ValueError(
            f'the isolated atoms of one element have several energies: {"; ".join(texts)}. One state at the level of '
            'theory of the other frames is needed: leave the others out'
        )
    return {element: values[0] for element, values in sorted(found.items())}
