"""Which frames of a merge are new."""

from dataclasses import replace

import numpy as np
import pytest
from frame_cases import assert_equal, random_frames
from hypothesis import given
from hypothesis import strategies as st

from aiida_pacemaker.frames.hashing import frame_hashes
from aiida_pacemaker.frames.merging import deduplicate, differing_labels

FRAMES = random_frames(0, 10)
HASHES = frame_hashes(FRAMES)


@given(drawn=st.lists(st.integers(0, 9), max_size=20), known=st.sets(st.integers(0, 9)))
def test_each_unknown_frame_is_kept_once_where_it_first_occurs(drawn, known):
    outcome = deduplicate(FRAMES.select(drawn), HASHES[sorted(known)])
    expected = [place for place, frame in enumerate(drawn) if frame not in known and frame not in drawn[:place]]
    assert outcome.positions.tolist() == expected
    assert sorted([*expected, *outcome.duplicates.tolist()]) == list(range(len(drawn)))
    sources = [drawn.index(frame) for frame in drawn]
    of_known = [sorted(known).index(frame) if frame in known else -1 for frame in drawn]
    assert outcome.of_new.tolist() == [sources[row] for row in outcome.duplicates]
    assert outcome.of_known.tolist() == [of_known[row] for row in outcome.duplicates]
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


def test_unlabelled_frames_are_compared_by_structure():
    outcome = deduplicate(FRAMES.without_labels().select([0, 0, 1]), HASHES[1:2])
    assert outcome.positions.tolist() == [0]


def row(column, factor, at=4):
    array = getattr(FRAMES, column).copy()
    array[at] = array[at] * factor
    return array


@pytest.mark.parametrize(
    ('column', 'atom', 'factor', 'names'),
    [
        ('energy', 4, 1.1, ('energy',)),
        ('energy', 4, 1 + 1e-9, ()),
        ('energy', 4, np.nan, ('energy',)),
        ('forces', int(FRAMES.offsets[4]), -1.0, ('forces',)),
        ('forces', int(FRAMES.offsets[4]), 1 + 1e-6, ()),
        ('stress', 4, 7.0, ('stress',)),
        ('stress', 4, -1.0, ('stress',)),
        ('stress', 4, np.nan, ('stress',)),
        ('stress', 4, 1 + 1e-6, ()),
    ],
)
def test_labels_of_one_structure_are_compared(column, atom, factor, names):
    """Energy, forces and stress, each within its tolerance; what is missing on one side differs."""
    differ = differing_labels(FRAMES, replace(FRAMES, **{column: row(column, factor, atom)}))
    assert differ[4] == names
    assert not any(differ[:4] + differ[5:])


def test_labels_that_both_do_not_have_are_no_difference():
    missing = replace(FRAMES, stress=np.full((10, 3, 3), np.nan))
    assert not any(differing_labels(missing, missing))
    assert not any(differing_labels(FRAMES, FRAMES.without_labels()))


def test_forces_are_compared_atom_by_atom_whatever_their_order():
    order = [np.arange(count)[::-1] for count in FRAMES.n_atoms]
    rows = np.concatenate([start + part for start, part in zip(FRAMES.offsets, order, strict=False)])
    turned = replace(FRAMES, forces=FRAMES.forces[rows], positions=FRAMES.positions[rows])
    assert not any(differing_labels(FRAMES, turned, order))
    assert any(differing_labels(FRAMES, turned))
