"""Datasets that are constructed at one time and stored at another, while the storage is maintained."""

from __future__ import annotations

import numpy as np
import pytest
from aiida import orm
from aiida.common.exceptions import StoringNotAllowed
from aiida.manage import get_manager
from aiida.orm.nodes.repository import NodeRepository
from aiida.storage.sqlite_zip.backend import SqliteZipBackend
from aiida.tools import delete_nodes
from aiida.tools.archive import create_archive

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.hashing import frame_hashes

pytestmark = pytest.mark.usefixtures('aiida_profile')


def maintain() -> None:
    """Do what `verdi storage maintain` does."""
    get_manager().get_profile_storage().maintain()


@pytest.fixture
def frames(mgo_frames):
    """Return four frames that no other test has."""
    frames = mgo_frames.select(range(4))
    frames.positions[:] += np.random.default_rng().normal(size=frames.positions.shape) * 1e-3
    return frames


@pytest.fixture
def parent(frames) -> PaceDatasetData:
    return PaceDatasetData(frames.select([0, 1])).store()


def assert_whole(node: PaceDatasetData, frames) -> None:
    assert np.array_equal(frame_hashes(node.get_frames()), frame_hashes(frames))
    assert np.array_equal(node.get_hashes(), frame_hashes(frames))
    assert np.array_equal(node.get_energies(), frames.energy)


@pytest.mark.fault(
    'the storage is maintained while a dataset is made, merged or stored',
    engine='-',
    here='new files wait in a sandbox; those that are gone when the dataset has been stored are put again',
    ends='the same frames',
)
def test_stored_after_maintenance(frames, parent):
    """New shards and shared ones, neither of which any stored node but the parent refers to."""
    node = PaceDatasetData(frames.select([2, 3]), parents=[parent])
    assert_whole(node, frames)
    maintain()
    assert_whole(node, frames)
    assert_whole(orm.load_node(node.store().pk), frames)
    maintain()
    assert_whole(orm.load_node(node.pk), frames)


def test_maintained_while_it_is_stored(frames, parent, monkeypatch):
    """Between the files and the row of the database, the files are rubbish to the storage: it may remove them."""
    original = NodeRepository._store
    monkeypatch.setattr(NodeRepository, '_store', lambda self: (original(self), maintain()))
    node = PaceDatasetData(frames.select([2, 3]), parents=[parent]).store()
    monkeypatch.undo()
    assert_whole(orm.load_node(node.pk), frames)


def test_stored_at_the_second_attempt(frames, parent, monkeypatch):
    node = PaceDatasetData(frames.select([2, 3]), parents=[parent])
    original = NodeRepository._store
    monkeypatch.setattr(NodeRepository, '_store', lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        node.store()
    monkeypatch.setattr(NodeRepository, '_store', original)
    maintain()
    assert_whole(orm.load_node(node.store().pk), frames)


def test_a_shared_shard_that_is_gone_is_not_lost_in_silence(frames, parent):
    node = PaceDatasetData(frames.select([2, 3]), parents=[parent])
    delete_nodes([parent.pk], dry_run=False)
    maintain()
    with pytest.raises(StoringNotAllowed, match=r'not in the repository any more .*Construct it again'):
        node.store()
    assert not node.is_stored
    assert not orm.QueryBuilder().append(orm.Node, filters={'uuid': node.uuid}).count()


def test_a_parent_that_was_deleted_may_still_have_its_files(frames, parent):
    """As long as nobody maintains the storage; or where another dataset has the same shard."""
    node = PaceDatasetData(frames.select([2, 3]), parents=[parent])
    delete_nodes([parent.pk], dry_run=False)
    stored = node.store()
    maintain()
    assert_whole(orm.load_node(stored.pk), frames)


def test_a_parent_in_an_archive_that_is_not_imported(frames, parent, tmp_path):
    """Its shards are not in the repository of the profile, so they are put there."""
    create_archive([parent], filename=tmp_path / 'parent.aiida')
    uuid = parent.uuid
    delete_nodes([parent.pk], dry_run=False)
    maintain()
    backend = SqliteZipBackend(SqliteZipBackend.create_profile(tmp_path / 'parent.aiida'))
    try:
        node = PaceDatasetData(frames.select([2, 3]), parents=[orm.Node.get_collection(backend).get(uuid=uuid)])
        assert_whole(node, frames)
        node.store()
    finally:
        backend.close()
    assert_whole(orm.load_node(node.pk), frames)
