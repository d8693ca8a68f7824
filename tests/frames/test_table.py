"""The columns that hold a set of structures."""

from dataclasses import replace

import numpy as np
import pytest
from frame_cases import assert_equal, random_frames
from hypothesis import given
from hypothesis import strategies as st

from aiida_pacemaker.frames.table import Frames


@given(seed=st.integers(0, 10**6), cut=st.integers(0, 8))
def test_a_table_cut_in_two_and_joined_is_the_same(seed, cut):
    frames = random_frames(seed, 8, labelled=bool(seed % 2))
    parts = [frames.select(np.arange(cut)), frames.select(np.arange(8) >= cut)]
    assert_equal(Frames.concatenate(parts), frames)


@given(seed=st.integers(0, 10**6), positions=st.lists(st.integers(0, 6), max_size=10))
def test_selected_frames_keep_their_rows(seed, positions):
    frames = random_frames(seed, 7)
    chosen = frames.select(positions)
    assert len(chosen) == len(positions)
    slices = list(frames.slices())
    for position, rows in zip(positions, chosen.slices(), strict=True):
        np.testing.assert_array_equal(chosen.positions[rows], frames.positions[slices[position]])
        np.testing.assert_array_equal(chosen.forces[rows], frames.forces[slices[position]])
    assert [chosen.source_of(i) for i in range(len(chosen))] == [frames.source_of(i) for i in positions]
    assert chosen.step.tolist() == frames.step[positions].tolist() if positions else not len(chosen)


def test_labelled_and_unlabelled_frames_do_not_mix():
    frames = random_frames(0, 2)
    with pytest.raises(ValueError, match='labelled and unlabelled frames cannot be in one table'):
        Frames.concatenate([frames, frames.without_labels()])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'positions': np.zeros((1, 3))}, r'column `positions` has shape \(1, 3\)'),
        ({'energy': None}, 'without the others'),
        ({'source': np.array([0, 5])}, 'points outside `source_keys`'),
    ],
)
def test_columns_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(random_frames(0, 2, max_atoms=3), **change)


def test_every_atom_knows_its_frame_and_its_element():
    frames = random_frames(3, 5)
    assert np.bincount(frames.frame_of_atom).tolist() == frames.n_atoms.tolist()
    assert set(frames.elements) <= {'H', 'Mg', 'O'}
    assert list(frames.elements) == sorted(frames.elements)
