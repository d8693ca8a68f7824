"""Calculation functions that draw frames: to explore from, to test with, to train the members of an ensemble on."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_pacemaker.calculations.functions.datasets import part_of
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.hashing import HashArray
from aiida_pacemaker.frames.near_duplicates import near_groups
from aiida_pacemaker.frames.table import BoolArray, IntArray


@calcfunction
def choose_initial_structures(dataset: PaceDatasetData, count: orm.Int, seed: orm.Int) -> PaceDatasetData:
    """Return frames of a dataset to begin explorations from, without labels; all if there are no more.

    None is larger than the largest frame of the first generation: otherwise supercells of supercells would be built.

    :param dataset: its frames need no labels.
    :param count: number of frames.
    :param seed: another seed gives other frames.
    """
    frames = dataset.get_frames()
    largest = frames.n_atoms[frames.generation == frames.generation.min()].max()
    order = drawn(dataset.get_hashes(), seed.value)
    eligible = order[frames.n_atoms[order] <= largest]
    chosen = frames.select(np.sort(eligible[: count.value])).without_labels()
    return PaceDatasetData(chosen, sources=dataset.source_uuids)


@calcfunction
def hold_out(candidates: PaceDatasetData, count: orm.Int, seed: orm.Int) -> dict[str, PaceDatasetData]:
    """Hold out candidates for the test set, drawn at random, and return both parts.

    The most informative candidates would make a test set of the hardest cases only. There is no output `test` if there
    are too few candidates to spare one.

    :param candidates: with or without labels.
    :param count: number of frames for the test set; at least as many are left to select from.
    :param seed: another seed gives other frames.
    """
    number = min(count.value, candidates.n_frames // 2)
    in_test: BoolArray = np.zeros(candidates.n_frames, dtype=np.bool_)
    in_test[drawn(candidates.get_hashes(), seed.value)[:number]] = True
    # A structure that is there twice, written differently, is on one side.
    groups = near_groups(candidates.get_frames())
    in_test &= ~np.isin(groups, groups[~in_test])
    number = int(in_test.sum())
    outputs = {'candidates': part_of(candidates, ~in_test)}
    if number:
        outputs['test'] = part_of(candidates, in_test)
    return outputs


@calcfunction
def member_dataset(dataset: PaceDatasetData, seed: orm.Int, fraction: orm.Float) -> PaceDatasetData:
    """Return the frames that one member of an ensemble is trained on.

    Each frame is in or out by a number between 0 and 1 that follows from its content and the seed alone, so that it
    stays in or out in all generations.

    :param dataset: that of the loop.
    :param seed: the seed of the member.
    :param fraction: share of the frames that are in, on average.
    """
    numbers = np.array([_number(seed.value, content) for content in dataset.get_hashes().tolist()])
    # Never none, whatever the numbers are.
    return part_of(dataset, numbers <= max(fraction.value, float(numbers.min())))


def drawn(hashes: HashArray, seed: int) -> IntArray:
    """Return the order in which frames are drawn, which follows from their content and a seed, shape (F,)."""
    return np.argsort(np.array([_number(seed, content) for content in hashes.tolist()]), kind='stable')


def _number(seed: int, content: bytes) -> float:
    """Return a number from 0 to 1, the same for the same seed and content with any version of any library."""
    return int.from_bytes(blake2b(f'{seed}\n'.encode() + content, digest_size=8).digest(), 'big') / 2.0**64
