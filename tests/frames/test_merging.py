"""Which frames of a merge are new."""

from dataclasses import replace

import numpy as np
import pytest
from frame_cases import assert_equal, random_frames
from hypothesis import given
from hypothesis import strategies as st

from aiida_pacemaker.frames.hashing import frame_hashes
from aiida_pacemaker.frames.merging import deduplicate
from aiida_pacemaker.frames.table import Frames

FRAMES = random_frames(0, 10)
HASHES = frame_hashes(FRAMES)


@given(drawn=st.lists(st.integers(0, 9), max_size=20), known=st.sets(st.integers(0, 9)))
def test_each_unknown_frame_is_kept_once_where_it_first_occurs(drawn, known):
    outcome = deduplicate(FRAMES.select(drawn), HASHES[sorted(known)])
    expected = [place for place, frame in enumerate(drawn) if frame not in known and frame not in drawn[:place]]
    assert outcome.positions.tolist() == expected
    assert sorted([*expected, *outcome.duplicates.tolist()]) == list(range(len(drawn)))
    assert not len(outcome.conflicts)
    assert_equal(outcome.kept, FRAMES.select(drawn).select(expected))
    assert outcome.hashes.tolist() == frame_hashes(outcome.kept).tolist()


@given(order=st.permutations(range(10)), cut=st.integers(0, 10))
def test_merging_twice_adds_nothing_and_merging_in_parts_adds_the_same(order, cut):
    frames = FRAMES.select(order)
    assert not len(deduplicate(frames, HASHES).kept)
    first = deduplicate(frames.select(order[:cut]))
    second = deduplicate(frames, first.hashes)
    found = [*first.hashes.tolist(), *second.hashes.tolist()]
    assert sorted(found) == sorted(HASHES.tolist())


def relabelled(shift):
    return replace(FRAMES, energy=FRAMES.energy + shift * FRAMES.n_atoms)


def test_the_same_structure_with_another_energy_is_a_conflict():
    twice = Frames.concatenate([FRAMES, relabelled(np.where(np.arange(10) == 4, 1e-3, 1e-6))])
    outcome = deduplicate(twice)
    assert outcome.conflicts.tolist() == [14]
    np.testing.assert_array_equal(outcome.kept.energy, FRAMES.energy)
    assert deduplicate(twice, energy_tolerance=1e-2).conflicts.tolist() == []


def test_known_energies_are_compared_too():
    shuffled = np.random.default_rng(1).permutation(10)
    changed = relabelled(np.where(np.arange(10) == 4, 1e-3, 0.0))
    outcome = deduplicate(changed, HASHES[shuffled], FRAMES.energy[shuffled])
    assert outcome.conflicts.tolist() == [4]
    assert deduplicate(changed, HASHES).conflicts.tolist() == []
    assert deduplicate(changed, HASHES[:4], FRAMES.energy[:4]).conflicts.tolist() == []


def test_an_energy_and_none_are_a_conflict():
    missing = replace(FRAMES, energy=np.full(10, np.nan))
    assert len(deduplicate(Frames.concatenate([FRAMES, missing])).conflicts) == 10
    assert len(deduplicate(Frames.concatenate([missing, missing])).conflicts) == 0


def test_unlabelled_frames_are_compared_by_structure_only():
    outcome = deduplicate(FRAMES.without_labels().select([0, 0, 1]), HASHES[1:2])
    assert outcome.positions.tolist() == [0]
    assert outcome.conflicts.tolist() == []


def test_energies_must_belong_to_the_hashes():
    with pytest.raises(ValueError, match='there are 3 known energies for 10 known frames'):
        deduplicate(FRAMES, HASHES, FRAMES.energy[:3])
