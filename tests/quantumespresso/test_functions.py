"""The calculation functions of labelling with Quantum ESPRESSO, each on its own."""

from __future__ import annotations

import numpy as np
import pytest
from aiida import orm
from ase.build import bulk

from aiida_pacemaker.data import dataset as dataset_module
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.quantumespresso.functions import list_failures, structure_of_frame

pytestmark = pytest.mark.usefixtures('aiida_profile')

COUNT = 6


@pytest.fixture
def images():
    return [bulk('Al', a=4.0 + 0.1 * index) for index in range(COUNT)]


@pytest.fixture
def frames(images, monkeypatch):
    """Return a dataset with two frames in each shard."""
    table = from_atoms(images, 'made')
    parts = [table.select([first, first + 1]) for first in range(0, COUNT, 2)]
    return PaceDatasetData(parts).store()


@pytest.fixture
def reads(monkeypatch):
    """Return a list that the name of each shard comes to when it is read."""
    names = []
    read = dataset_module.read_shard

    def counting(handle):
        names.append(handle.name if hasattr(handle, 'name') else '')
        return read(handle)

    monkeypatch.setattr(dataset_module, 'read_shard', counting)
    return names


def test_frames_that_are_asked_for_one_by_one_are_read_once(frames, images, reads):
    assert len(frames.shards) == COUNT // 2
    structures = [structure_of_frame(frames, orm.Int(index)) for index in range(COUNT)]
    for structure, image in zip(structures, images, strict=True):
        assert np.array_equal(structure.cell, image.cell[:])
        assert [site.kind_name for site in structure.sites] == ['Al']
    assert len(reads) == COUNT // 2


def test_a_frame_that_is_not_there_is_refused(frames):
    for index in (-1, COUNT):
        with pytest.raises(IndexError, match=f'has no frame {index}'):
            structure_of_frame(frames, orm.Int(index))


def test_only_shards_with_failures_are_read(frames, reads):
    failures = list_failures(frames, orm.Dict({'failures': {'5': ['reason', 'text']}, 'seconds': 1.0})).get_dict()
    assert len(reads) == 1
    assert [(entry['step'], entry['reason']) for entry in failures['failures']] == [(5, 'reason')]
    assert list_failures(frames, orm.Dict({'failures': {}})).get_dict() == {'failures': []}
