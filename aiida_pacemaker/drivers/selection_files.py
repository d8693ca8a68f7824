"""The arrays that the driver of selections by the posterior brings back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aiida_pacemaker.errors import ArchiveError, SelectionFileError
from aiida_pacemaker.frames.archives import open_sized
from aiida_pacemaker.frames.table import FloatArray, IntArray


def read_choice(path: Path, n_candidates: int) -> tuple[IntArray, FloatArray]:
    """Read which candidates were chosen, the one that is worth most first.

    :param path: the `.npz` file.
    :param n_candidates: how many there were.
    :returns: positions (S,), and gains (S,): the part of the variance of all candidates that each takes away.
    :raises SelectionFileError: if the file is damaged, or if it is not a choice of so many candidates.
    """
    needed = 16 * n_candidates
    try:
        with open_sized(path, needed, f'a choice of {n_candidates} needs no more than {needed}') as archive:
            positions, gains = archive.read('positions').copy(), archive.read('gains').copy()
    except (OSError, ArchiveError) as exception:
        raise SelectionFileError(f'{path.name} is damaged: {exception}') from exception
    if (
        positions.dtype != np.int64
        or gains.dtype != np.float64
        or positions.ndim != 1
        or gains.shape != positions.shape
    ):
        raise SelectionFileError(f'{path.name}: the arrays are not positions with what each is worth')
    if len(positions) and not (positions.min() >= 0 and positions.max() < n_candidates):
        raise SelectionFileError(
            f'{path.name}: positions {positions.min()} to {positions.max()} were chosen of {n_candidates} candidates'
        )
    if len(np.unique(positions)) < len(positions) or not np.isfinite(gains).all():
        raise SelectionFileError(f'{path.name}: a candidate was chosen twice, or what it is worth is not finite')
    return positions, gains
