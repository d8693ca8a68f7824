"""Which frames are drawn to explore from, to test with, and to train the members of an ensemble on."""

from __future__ import annotations

import numpy as np
import pytest
from aiida import orm

from aiida_pacemaker.calculations.functions.drawing import choose_initial_structures, hold_out, member_dataset
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.table import Frames


@pytest.fixture
def everything(aiida_profile, mgo_frames) -> PaceDatasetData:
    return PaceDatasetData(mgo_frames).store()


def hashes(dataset):
    return set(dataset.get_hashes().tolist())


def test_initial_structures_follow_from_content_and_seed(everything, mgo_frames):
    """Neither the order of the frames nor what else is in the dataset decides, and each seed gives others."""
    chosen = choose_initial_structures(everything, orm.Int(10), orm.Int(1))
    assert chosen.n_frames == 10
    assert not chosen.labelled
    turned = PaceDatasetData(mgo_frames.select(np.arange(len(mgo_frames))[::-1])).store()
    assert hashes(choose_initial_structures(turned, orm.Int(10), orm.Int(1))) == hashes(chosen)
    assert hashes(choose_initial_structures(everything, orm.Int(10), orm.Int(2))) != hashes(chosen)
    assert choose_initial_structures(everything, orm.Int(1000), orm.Int(1)).n_frames == everything.n_frames


def test_initial_structures_do_not_grow(aiida_profile, mgo_frames):
    """Cells of two atoms that were explored in supercells of eight stay the ones to begin from."""
    small = mgo_frames.select(mgo_frames.n_atoms == 2).with_generation(0)
    large = mgo_frames.select(mgo_frames.n_atoms == 8).with_generation(1)
    dataset = PaceDatasetData(Frames.concatenate([small, large])).store()
    assert hashes(choose_initial_structures(dataset, orm.Int(1000), orm.Int(1))) == hashes(PaceDatasetData(small))


@pytest.mark.parametrize(('n_candidates', 'count', 'n_test'), [(20, 3, 3), (4, 3, 2), (1, 3, 0)])
def test_what_is_held_out(aiida_profile, mgo_frames, n_candidates, count, n_test):
    """The parts are disjoint, and at least half of the candidates is left to select from."""
    candidates = PaceDatasetData(mgo_frames.select(np.arange(n_candidates)).without_labels()).store()
    parts = hold_out(candidates, orm.Int(count), orm.Int(7))
    assert ('test' in parts) == (n_test > 0)
    test = hashes(parts['test']) if n_test else set()
    assert len(test) == n_test
    assert not test & hashes(parts['candidates'])
    assert test | hashes(parts['candidates']) == hashes(candidates)


def test_members_keep_what_they_have_seen(aiida_profile, mgo_frames):
    """A frame is in or out for a member whatever else is in the dataset, and about as many are in as was asked for."""
    few = PaceDatasetData(mgo_frames.select(np.arange(50))).store()
    many = PaceDatasetData(mgo_frames).store()
    shares = {}
    for seed in (1, 2):
        shares[seed] = hashes(member_dataset(many, orm.Int(seed), orm.Float(0.7)))
        assert hashes(member_dataset(few, orm.Int(seed), orm.Float(0.7))) == shares[seed] & hashes(few)
        assert 55 <= len(shares[seed]) <= 85
    assert shares[1] != shares[2]
    assert member_dataset(few, orm.Int(1), orm.Float(1e-9)).n_frames == 1
