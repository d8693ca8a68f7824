"""Frames that were given to datasets as they are: nobody else has the keys of their sources."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.errors import RefusedError
from aiida_pacemaker.frames.source_keys import follows_from_content, with_content_keys
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.provenance import frame_origin

pytestmark = pytest.mark.usefixtures('aiida_profile')

PBE, LDA = LevelOfTheory(code='vasp', functional='PBE'), LevelOfTheory(code='vasp', functional='LDA')


def given(frames, level=None, key='x') -> PaceDatasetData:
    """Return a dataset of frames whose source was given the same key as others."""
    theories = {} if level is None else {key: level}
    return PaceDatasetData(replace(frames, source_keys=(key,)), theories=theories).store()


@pytest.mark.fault(
    'two sets of structures are given the same name of their source',
    engine='-',
    here='keys follow from the content: each keeps its origin and its level of theory, and levels are not mixed',
    ends='refused',
)
def test_levels_under_one_name_are_not_mixed(mgo_frames):
    one, other = given(mgo_frames.select(range(3)), PBE), given(mgo_frames.select(range(3, 6)), LDA)
    with pytest.raises(RefusedError, match=r'cannot be mixed.*functional'):
        merge_frames(other, base=one)
    with pytest.raises(RefusedError, match=r'cannot be mixed.*functional'):
        merge_frames(one, other)
    merged, report = merge_frames(other, base=one, mixed_levels='warn')
    assert any('mixed' in text for text in report['warnings'])
    assert sorted(level.functional for level in merged.theories.values()) == ['LDA', 'PBE']


def test_origin_under_one_name(mgo_frames):
    one, other = given(mgo_frames.select(range(3)), PBE), given(mgo_frames.select(range(3, 6)), PBE)
    merged, _ = merge_frames(other, base=one)
    assert [frame_origin(merged, frame).source.uuid for frame in range(6)] == [one.uuid] * 3 + [other.uuid] * 3


def test_equal_labels_that_are_said_to_be_of_two_levels(mgo_frames):
    """The same shards, or frames of the same source: nothing but what is said of them differs."""
    frames = mgo_frames.select(range(3))
    one, other = given(frames, PBE), given(frames, LDA)
    with pytest.raises(RefusedError, match='labels of the same source, and differ in functional'):
        merge_frames(other, base=one)
    with pytest.raises(ValueError, match='of two levels of theory'):
        PaceDatasetData(parents=[one, other])


def test_equal_trajectories_that_are_said_to_be_of_two_levels(mgo_frames):
    one, other = (PaceDatasetData(mgo_frames.select([0])).to_trajectories()[0].store() for _ in range(2))
    levels = {'source_0000': PBE, 'source_0001': LDA}
    with pytest.raises(RefusedError, match='labels of the same source, and differ in functional'):
        merge_frames(one, other, levels=levels)
    base, _ = merge_frames(one, levels={'source_0000': PBE})
    with pytest.raises(RefusedError, match='labels of the same source, and differ in functional'):
        merge_frames(other, base=base, levels={'source_0000': LDA})
    assert merge_frames(other, base=base, levels={'source_0000': PBE})[0].n_frames == 1


def test_other_labels_make_another_key(mgo_frames):
    frames = mgo_frames.select(range(3))
    named, renamed = with_content_keys(frames, ())
    assert renamed == {'mgo-lda': named.source_keys[0]}
    assert named.source_keys[0].startswith('mgo-lda@')
    assert with_content_keys(named, ())[0].source_keys == named.source_keys
    assert with_content_keys(frames, ['mgo-lda'])[0].source_keys == ('mgo-lda',)
    shifted, _ = with_content_keys(replace(frames, energy=frames.energy + 1), ())
    assert shifted.source_keys != named.source_keys


def test_keys_that_somebody_has_made_up_for_two_nodes(mgo_frames):
    one = PaceDatasetData(mgo_frames.select([0]), sources={'mgo-lda': 'uuid-1'}).store()
    other = PaceDatasetData(mgo_frames.select([1]), sources={'mgo-lda': 'uuid-2'}).store()
    assert not follows_from_content('mgo-lda')
    with pytest.raises(ValueError, match=r'two different sources have the key `mgo-lda`.*Construct'):
        PaceDatasetData(parents=[one, other])
    with pytest.raises(RefusedError, match='two different sources have the key `mgo-lda`'):
        merge_frames(other, base=one)
