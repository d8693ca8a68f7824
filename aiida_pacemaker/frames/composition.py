"""How many atoms of each element are in each frame."""

from __future__ import annotations

import numpy as np

from aiida_pacemaker.frames.table import Frames, IntArray


def composition(frames: Frames) -> tuple[IntArray, IntArray]:
    """Return the atomic numbers that occur, ascending, and how many atoms of each are in each frame.

    :returns: arrays of shapes (E,) and (F, E).
    """
    numbers, column = np.unique(frames.numbers, return_inverse=True)
    place = frames.frame_of_atom * len(numbers) + column.reshape(-1)
    counts = np.bincount(place, minlength=len(frames) * len(numbers)).reshape(len(frames), len(numbers))
    return numbers, np.asarray(counts, dtype=np.int64)
