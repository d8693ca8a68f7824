"""Test sets and filters."""

from dataclasses import replace

import numpy as np
import pytest
from frame_cases import random_frames, simple_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_pacemaker.frames.hashing import frame_hashes
from aiida_pacemaker.frames.splitting import filter_by, split
from aiida_pacemaker.frames.table import Frames


@settings(deadline=None)
@given(
    drawn=st.lists(st.integers(0, 11), min_size=2, max_size=40).filter(lambda drawn: len(set(drawn)) > 1),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 99),
)
def test_equal_frames_stay_together_and_every_frame_is_on_one_side(drawn, fraction, seed):
    frames = random_frames(1, 12).select(drawn)
    train, test = split(frames, fraction, seed)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(len(frames)))
    assert len(train)
    assert len(test)
    hashes = frame_hashes(frames)
    assert not set(hashes[train].tolist()) & set(hashes[test].tolist())


def test_distinct_frames_are_split_exactly():
    frames = random_frames(2, 200)
    for fraction in (0.01, 0.1, 0.5, 0.9):
        assert len(split(frames, fraction, 0)[1]) == round(200 * fraction)


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(20)), by=st.sampled_from(['frame', 'source']))
def test_the_order_of_the_frames_does_not_matter_but_the_seed_does(order, by):
    frames = random_frames(3, 20, n_sources=6)
    hashes = frame_hashes(frames)
    chosen = set(hashes[split(frames, 0.3, 5, by=by)[1]].tolist())
    shuffled = frames.select(order)
    assert set(frame_hashes(shuffled)[split(shuffled, 0.3, 5, by=by)[1]].tolist()) == chosen
    assert len({tuple(split(frames, 0.3, seed, by=by)[1]) for seed in range(10)}) > 2


def test_a_split_is_the_same_for_ever():
    """A test set is frozen: these literals must never have to be corrected."""
    frames = Frames.concatenate([simple_frame()] * 8)
    frames = replace(frames, cells=frames.cells * np.arange(1.0, 9.0)[:, None, None])
    assert split(frames, 0.25, 1)[1].tolist() == [2, 6]
    assert split(frames, 0.25, 2)[1].tolist() == [0, 2]


def test_one_structure_written_in_two_ways_is_on_one_side():
    frames = random_frames(5, 30)
    rounded = replace(frames, positions=frames.positions.round(8), cells=frames.cells.round(8))
    both = Frames.concatenate([frames, rounded])
    for seed in range(5):
        for part in split(both, 0.3, seed):
            assert np.array_equal(np.sort(part[part < 30]), np.sort(part[part >= 30] - 30))


@settings(deadline=None)
@given(seed=st.integers(0, 99), fraction=st.floats(0.05, 0.95))
def test_a_source_is_on_one_side(seed, fraction):
    frames = random_frames(4, 40, n_sources=5)
    train, test = split(frames, fraction, seed, by='source')
    assert len(train)
    assert len(test)
    assert not set(frames.source[train]) & set(frames.source[test])


def test_a_large_source_does_not_become_a_small_test_set():
    source = np.array([0] * 90 + [1] * 10)
    frames = replace(random_frames(5, 100), source=source, source_keys=('large', 'small'))
    for seed in range(10):
        assert len(split(frames, 0.1, seed, by='source')[1]) == 10


def test_sources_that_share_a_frame_are_on_one_side():
    frames = random_frames(6, 9)
    frames = frames.select([0, 1, 2, 2, 3, 4, 4, 5, 6])
    frames = replace(frames, source=np.array([0, 0, 0, 1, 1, 1, 2, 2, 3]), source_keys=('a', 'b', 'c', 'd'))
    for seed in range(10):
        _, test = split(frames, 0.3, seed, by='source')
        assert test.tolist() in ([8], list(range(8)))
    with pytest.raises(ValueError, match=r'two sources that share no frame are needed .*there is 1; split by frame'):
        split(frames.select(range(8)), 0.3, 0, by='source')


def test_what_cannot_be_split_is_refused():
    frames = random_frames(7, 1)
    with pytest.raises(ValueError, match='two distinct frames are needed'):
        split(Frames.concatenate([frames, frames]), 0.5, 0)
    with pytest.raises(ValueError, match='there is 0'):
        split(frames.select([]), 0.5, 0)
    for fraction in (0.0, 1.0, -1.0, float('nan')):
        with pytest.raises(ValueError, match='a number between 0 and 1 is needed'):
            split(random_frames(7, 4), fraction, 0)


def test_filters_count_what_each_of_them_refuses():
    frames = random_frames(8, 4, max_atoms=1)
    frames = replace(
        frames, energy=np.array([-1.0, 0.0, 1.0, np.nan]), forces=np.eye(4, 3) * [[1.0], [2.0], [3.0], [0]]
    )
    mask, refused = filter_by(frames, energy_per_atom=(-1.0, 0.5), max_force=(None, 1.5))
    assert mask.tolist() == [True, False, False, False]
    assert refused == {'energy_per_atom': 2, 'max_force': 2}
    mask, refused = filter_by(frames, gamma=np.array([0.5, 2.0, 5.0, np.nan]), gamma_range=(1.0, 5.0))
    assert mask.tolist() == [False, True, True, False]
    assert refused == {'gamma': 2}
    assert filter_by(frames)[0].all()


def test_the_energy_is_per_atom_and_the_force_the_largest_of_the_frame():
    frames = random_frames(9, 30)
    per_atom = frames.energy / frames.n_atoms
    largest = np.array([np.linalg.norm(frames.forces[rows], axis=1).max() for rows in frames.slices()])
    mask, _ = filter_by(frames, energy_per_atom=(0.0, None), max_force=(1.0, 2.0))
    np.testing.assert_array_equal(mask, (per_atom >= 0) & (largest >= 1) & (largest <= 2))
    assert 0 < mask.sum() < 30


@pytest.mark.parametrize(
    ('criteria', 'message'),
    [
        ({'energy_per_atom': (0, 1)}, 'a range of energies needs labelled frames'),
        ({'max_force': (0, 1)}, 'a range of forces needs labelled frames'),
        ({'gamma_range': (0, 1)}, 'needs the gamma of each of the 3 frames'),
        ({'gamma_range': (0, 1), 'gamma': np.zeros(2)}, 'needs the gamma of each of the 3 frames'),
    ],
)
def test_a_range_needs_its_values(criteria, message):
    with pytest.raises(ValueError, match=message):
        filter_by(random_frames(0, 3, labelled=False), **criteria)
