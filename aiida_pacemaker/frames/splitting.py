"""Dividing frames: into training and test set, and by ranges of energy, force and extrapolation grade."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

import numpy as np

from aiida_pacemaker.frames.hashing import HashArray, frame_hashes
from aiida_pacemaker.frames.near_duplicates import near_groups
from aiida_pacemaker.frames.table import BoolArray, FloatArray, Frames, IntArray

Range = tuple[float | None, float | None]


def split(
    frames: Frames, test_fraction: float, seed: int, *, by: Literal['frame', 'source'] = 'frame'
) -> tuple[IntArray, IntArray]:
    """Return the positions of the training frames and of the test frames, each in order.

    A structure is never on both sides, be it written in the same way or rounded, wrapped or with its atoms in another
    order. The order in which frames or sources are drawn is that of a hash of the seed
    and their content, so that it depends neither on the version of a random-number generator nor on their order.

    :param frames: the frames.
    :param test_fraction: share of frames in the test set, between 0 and 1; whole groups are drawn as long as they bring
        it nearer, and neither side is left empty.
    :param seed: another seed gives another split.
    :param by: what is kept together: frames of one structure, or all frames of one source (and of
        those that share a structure with it).
    :return: the two sets of positions.
    :raises ValueError: if the fraction is out of range, or either side would be empty.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f'the test fraction is {test_fraction}, a number between 0 and 1 is needed')
    hashes = frame_hashes(frames)
    groups = _groups(frames, hashes, by)
    sizes = np.bincount(groups)
    n_groups = len(sizes)
    if n_groups < 2:
        what = 'sources that share no frame' if by == 'source' else 'distinct frames'
        advice = '; split by frame, or add a source' if by == 'source' else ''
        raise ValueError(f'two {what} are needed to have something on both sides, there is {n_groups}{advice}')
    # The key of a group is its smallest hash, whatever the order of its frames.
    order = np.argsort(hashes, kind='stable')
    _, smallest = np.unique(groups[order], return_index=True)
    keys = hashes[order[smallest]].tolist()
    drawn = sorted(range(n_groups), key=lambda group: blake2b(f'{seed}\n'.encode() + keys[group]).digest())
    wanted, size = test_fraction * len(frames), 0
    test_groups: list[int] = []
    for group in drawn:
        nearer = abs(size + sizes[group] - wanted) < abs(size - wanted)
        if nearer and len(test_groups) + 1 < n_groups:
            test_groups.append(group)
            size += int(sizes[group])
    if not test_groups:
        test_groups = [min(drawn, key=lambda group: int(sizes[group]))]
    in_test = np.isin(groups, test_groups)
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def filter_by(
    frames: Frames,
    *,
    energy_per_atom: Range | None = None,
    max_force: Range | None = None,
    gamma: FloatArray | None = None,
    gamma_range: Range | None = None,
) -> tuple[BoolArray, dict[str, int]]:
    """Return which frames are inside all ranges, and how many each range leaves out.

    What is not a number is in no range.

    :param frames: the frames.
    :param energy_per_atom: smallest and largest energy in eV/atom, both included; None leaves a side open.
    :param max_force: smallest and largest value of the largest force on any atom, in eV/angstrom.
    :param gamma: extrapolation grade of each frame, shape (F,).
    :param gamma_range: smallest and largest extrapolation grade.
    :return: a mask of shape (F,), and the number of frames outside each range that was given, by its name.
    :raises ValueError: if a range is given for what the frames do not have.
    """
    values: dict[str, tuple[Range, FloatArray]] = {}
    if energy_per_atom is not None:
        if frames.energy is None:
            raise ValueError('a range of energies needs labelled frames')
        values['energy_per_atom'] = energy_per_atom, frames.energy / np.maximum(frames.n_atoms, 1)
    if max_force is not None:
        if frames.forces is None:
            raise ValueError('a range of forces needs labelled frames')
        largest = np.zeros(len(frames))
        np.maximum.at(largest, frames.frame_of_atom, np.linalg.norm(frames.forces, axis=1))
        values['max_force'] = max_force, largest
    if gamma_range is not None:
        if gamma is None or gamma.shape != (len(frames),):
            raise ValueError(f'a range of gamma needs the gamma of each of the {len(frames)} frames')
        values['gamma'] = gamma_range, gamma
    mask = np.ones(len(frames), dtype=np.bool_)
    refused = {}
    for name, ((low, high), column) in values.items():
        inside = (column >= (-np.inf if low is None else low)) & (column <= (np.inf if high is None else high))
        refused[name] = int((~inside).sum())
        mask &= inside
    return mask, refused


def _groups(frames: Frames, hashes: HashArray, by: Literal['frame', 'source']) -> IntArray:
    """Return a number for each frame, the same for all that belong on one side, shape (F,)."""
    _, first, equal = np.unique(hashes, return_index=True, return_inverse=True)
    # Of equal frames one is compared with the others.
    _, near = np.unique(near_groups(frames.select(first)), return_inverse=True)
    equal = near.reshape(-1)[equal.reshape(-1)].astype(np.int64)
    if by == 'frame':
        return equal
    # Sources that share a frame belong together: the smallest label spreads until nothing changes.
    group = frames.source.copy()
    while True:
        smallest = np.full(int(equal.max(initial=-1)) + 1, np.iinfo(np.int64).max)
        np.minimum.at(smallest, equal, group)
        of_source = np.full(len(frames.source_keys), np.iinfo(np.int64).max)
        np.minimum.at(of_source, frames.source, smallest[equal])
        spread = of_source[frames.source]
        if np.array_equal(spread, group):
            return np.unique(group, return_inverse=True)[1].reshape(-1).astype(np.int64)
        group = spread
