"""The dataset node: what it keeps, what it shares, and what it refuses."""

from __future__ import annotations

import io
from hashlib import sha256
from itertools import count

import ase.io
import numpy as np
import pytest
from aiida import orm
from aiida.common.exceptions import ModificationNotAllowed, StoringNotAllowed
from aiida.manage import get_manager
from aiida.tools.archive import create_archive, import_archive

from aiida_pacemaker.baseline.evaluation import subtract
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.data import dataset as dataset_module
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import read
from aiida_pacemaker.frames.hashing import frame_hashes
from aiida_pacemaker.frames.pickles.reading import read_dataset
from aiida_pacemaker.frames.shards import write_shard
from aiida_pacemaker.frames.table import COLUMNS, Frames
from aiida_pacemaker.frames.trajectory import from_arrays
from aiida_pacemaker.sources.merging import MergeOptions, merge_sources

pytestmark = pytest.mark.usefixtures('aiida_profile')

SEEDS = count()


@pytest.fixture
def small_shards(monkeypatch):
    """Let no shard have more than a few frames."""
    monkeypatch.setattr(dataset_module, 'SHARD_BYTES', 4096)


def objects() -> set[str]:
    """Return the names of the objects of the repository, which say their content."""
    return set(get_manager().get_profile_storage().get_repository().list_objects())


def assert_same(left: Frames, right: Frames) -> None:
    # A dataset adds a hash of their content to the keys of frames that have no node but it.
    left_keys, right_keys = ([f.source_of(frame).split('@')[0] for frame in range(len(f))] for f in (left, right))
    assert left_keys == right_keys
    assert (left.labelled, left.weighted) == (right.labelled, right.weighted)
    for name in set(COLUMNS) - {'source'}:
        one, two = getattr(left, name), getattr(right, name)
        assert (one is None) == (two is None), name
        assert one is None or np.array_equal(one, two, equal_nan=True), name


def unique_frames(frames: Frames) -> Frames:
    """Return frames that no other test has."""
    shift = np.random.default_rng(next(SEEDS)).normal(size=frames.positions.shape) * 1e-3
    return Frames(
        **{**{name: getattr(frames, name) for name in (*COLUMNS, 'source_keys')}, 'positions': frames.positions + shift}
    )


def test_round_trip(small_shards, mgo_frames):
    """Frames come back bit for bit and in order, however many shards they are in."""
    node = PaceDatasetData(mgo_frames).store()
    assert len(node.shards) > 10
    assert_same(orm.load_node(node.pk).get_frames(), mgo_frames)
    assert np.array_equal(node.get_hashes(), frame_hashes(mgo_frames))
    assert np.array_equal(node.get_energies(), mgo_frames.energy)
    assert len(node) == 100


def test_attributes_are_those_of_the_frames(small_shards, mgo_frames):
    frames = mgo_frames.with_generation(0)
    frames.generation[:30] = 2
    node = PaceDatasetData(frames).store()
    assert (node.n_frames, node.n_atoms) == (100, len(frames.numbers))
    assert node.elements == ['Mg', 'O']
    assert node.labelled
    per_atom = frames.energy / frames.n_atoms
    assert node.energy_per_atom == pytest.approx((per_atom.min(), per_atom.max()), rel=1e-12)
    assert node.max_force == pytest.approx(np.linalg.norm(frames.forces, axis=1).max(), rel=1e-12)
    assert node.generations == {0: 70, 2: 30}
    assert str(node).endswith('100 labelled frames of Mg-O')


def test_attributes_can_be_queried(mgo_frames):
    node = PaceDatasetData(mgo_frames.select(range(7))).store()
    query = orm.QueryBuilder()
    query.append(
        PaceDatasetData, filters={'attributes.n_frames': 7, 'attributes.elements': {'contains': ['Mg']}}, project='pk'
    )
    assert [node.pk] in query.all()


def test_unlabelled_frames(mgo_frames):
    node = PaceDatasetData(mgo_frames.without_labels()).store()
    assert not node.labelled
    assert (node.energy_per_atom, node.max_force) == (None, None)
    assert np.isnan(node.get_energies()).all()
    assert_same(node.get_frames(), mgo_frames.without_labels())


def test_without_frames():
    with pytest.raises(ValueError, match='at least one frame'):
        PaceDatasetData()


def test_labelled_and_unlabelled_do_not_mix(mgo_frames):
    pool = PaceDatasetData(mgo_frames.select([0]).without_labels()).store()
    with pytest.raises(ValueError, match='labelled and unlabelled'):
        PaceDatasetData(mgo_frames.select([1]), parents=[pool])


def test_files_are_named_by_their_content(mgo_frames):
    node = PaceDatasetData(mgo_frames).store()
    assert node.base.repository.list_object_names() == ['shards']
    for name in node.base.repository.list_object_names('shards'):
        content = node.base.repository.get_object_content(f'shards/{name}', 'rb')
        assert name == f'{sha256(content).hexdigest()}.npz'


def test_immutable(mgo_frames):
    node = PaceDatasetData(mgo_frames).store()
    with pytest.raises(ModificationNotAllowed):
        node.base.attributes.set('n_frames', 1)
    with pytest.raises(ModificationNotAllowed):
        node.base.repository.put_object_from_bytes(b'', 'shards/more.npz')


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('n_frames', 99),
        ('labelled', False),
        ('elements', ['Si']),
        ('max_force', 0.0),
        ('generations', {'0': 1}),
        ('format', 2),
    ],
)
def test_tampered_attributes_are_not_stored(mgo_frames, name, value):
    node = PaceDatasetData(mgo_frames)
    node.base.attributes.set(name, value)
    with pytest.raises(StoringNotAllowed, match=name):
        node.store()


@pytest.mark.fault(
    'a dataset of a format that is not known, of a later version or damaged',
    engine='-',
    here='refused wherever it is read, merged or trained on, with both formats',
    ends='refused',
)
@pytest.mark.parametrize('found', [0, 2, None])
def test_another_format_is_not_read(mgo_frames, found):
    node = PaceDatasetData(mgo_frames.select([0])).store()
    node.backend_entity.set_attribute('format', found)
    loaded = orm.load_node(node.pk)
    for reading in (loaded.get_frames, loaded.get_hashes, loaded.get_energies, loaded.to_ase, loaded.frames_per_source):
        with pytest.raises(ValueError, match=f'is of format {found}, and this version .* reads format 1'):
            reading()
    with pytest.raises(ValueError, match='reads format 1'):
        PaceDatasetData(parents=[loaded])
    with pytest.raises(ValueError, match='reads format 1'):
        merge_sources(None, {'source': loaded}, MergeOptions())


def test_tampered_files_are_not_stored(mgo_frames):
    node = PaceDatasetData(mgo_frames)
    node.base.repository.put_object_from_bytes(b'', 'shards/more.npz')
    with pytest.raises(StoringNotAllowed, match=r'more\.npz'):
        node.store()
    node = PaceDatasetData(mgo_frames)
    node.base.repository.delete_object(f'shards/{node.shards[0]["name"]}')
    with pytest.raises(StoringNotAllowed, match='listed'):
        node.store()


def test_equal_frames_make_equal_hashes(mgo_frames):
    """The nodes behind the frames may differ, their content may not."""
    one = PaceDatasetData(mgo_frames, sources={'mgo-lda': 'uuid-1'}).store()
    two = PaceDatasetData(mgo_frames, sources={'mgo-lda': 'uuid-2'}).store()
    reordered = PaceDatasetData(mgo_frames.select(range(100)[::-1])).store()
    assert one.base.caching.get_hash() == two.base.caching.get_hash()
    assert one.base.caching.get_hash() != reordered.base.caching.get_hash()


def test_child_adds_only_its_own_shards(small_shards, mgo_frames):
    frames = unique_frames(mgo_frames)
    parent = PaceDatasetData(frames.select(range(60))).store()
    before = objects()
    child = PaceDatasetData(frames.select(range(60, 80)), parents=[parent]).store()
    assert len(objects() - before) == len(child.shards) - len(parent.shards)

    middle = objects()
    grandchild = PaceDatasetData(frames.select(range(80, 100)), parents=[child]).store()
    assert len(objects() - middle) == len(grandchild.shards) - len(child.shards)
    assert_same(grandchild.get_frames(), frames)


def test_dataset_of_shared_shards_alone(small_shards, mgo_frames):
    """Two datasets together cost no bytes, and what both have is there once."""
    frames = unique_frames(mgo_frames)
    base = PaceDatasetData(frames.select(range(10))).store()
    left = PaceDatasetData(frames.select(range(10, 20)), parents=[base]).store()
    right = PaceDatasetData(frames.select(range(20, 30)), parents=[base]).store()
    before = objects()
    both = PaceDatasetData(parents=[left, right]).store()
    assert objects() == before
    assert_same(both.get_frames(), frames.select(range(30)))
    assert set(both.sources.values()) == {base.uuid, left.uuid, right.uuid}
    assert len(both.sources) == 3


def test_only_named_shards_are_kept(small_shards, mgo_frames):
    parent = PaceDatasetData(mgo_frames, sources={'mgo-lda': 'uuid'}).store()
    shard = parent.shards[2]
    child = PaceDatasetData(parents=[parent], keep=[shard['name']], sources={'mgo-lda': 'uuid'}).store()
    assert child.shards == [shard]
    assert child.sources == {'mgo-lda': 'uuid'}


def test_parent_has_to_be_stored(mgo_frames):
    with pytest.raises(ValueError, match='not stored'):
        PaceDatasetData(parents=[PaceDatasetData(mgo_frames)])


def test_dropped_child_leaves_nothing_behind(mgo_frames):
    parent = PaceDatasetData(unique_frames(mgo_frames.select(range(5)))).store()
    count, before = orm.QueryBuilder().append(orm.Node).count(), objects()
    child = PaceDatasetData(unique_frames(mgo_frames.select(range(5))), parents=[parent])
    assert child.n_frames == 10
    del child
    assert orm.QueryBuilder().append(orm.Node).count() == count
    assert objects() == before


def test_clone(small_shards, mgo_frames):
    node = PaceDatasetData(mgo_frames).store()
    before = objects()
    clone = node.clone().store()
    assert clone.uuid != node.uuid
    assert objects() == before
    assert clone.base.caching.get_hash() == node.base.caching.get_hash()
    assert_same(clone.get_frames(), mgo_frames)


# AiiDA 2.9 with SQLAlchemy 2, in the import of archives.
def test_archive_round_trip(aiida_profile_clean, small_shards, mgo_frames, tmp_path):
    parent = PaceDatasetData(mgo_frames.select(range(50))).store()
    child = PaceDatasetData(mgo_frames.select(range(50, 100)), parents=[parent]).store()
    uuid, shards, content_hash = child.uuid, child.shards, child.base.caching.get_hash()
    create_archive([child], filename=tmp_path / 'dataset.aiida')
    aiida_profile_clean.reset_storage()
    import_archive(tmp_path / 'dataset.aiida')
    imported = orm.load_node(uuid)
    assert imported.shards == shards
    assert imported.base.caching.compute_hash() == content_hash
    assert_same(imported.get_frames(), mgo_frames)
    # It can be grown in its new home.
    grown = PaceDatasetData(unique_frames(mgo_frames.select([0])), parents=[imported]).store()
    assert grown.n_frames == 101


def test_one_shard_is_read_at_a_time(small_shards, mgo_frames, monkeypatch):
    node = PaceDatasetData(mgo_frames).store()
    read_names = []
    original = PaceDatasetData.get_shard
    monkeypatch.setattr(
        PaceDatasetData, 'get_shard', lambda self, name: read_names.append(name) or original(self, name)
    )
    parts = node.iterate()
    assert read_names == []
    next(parts)
    assert read_names == [node.shards[0]['name']]
    assert sum(len(part) for part in parts) + node.shards[0]['n_frames'] == 100


def test_tables_make_shards_of_their_own(mgo_frames):
    """A table that was a shard before makes the same one again: its bytes are in the object store already."""
    parts = [mgo_frames.select(range(40)), mgo_frames.select(range(40, 100))]
    node = PaceDatasetData(iter(parts)).store()
    assert [shard['n_frames'] for shard in node.shards] == [40, 60]
    content = node.base.repository.get_object_content(node.shard_path(node.shards[0]['name']), 'rb')
    assert content == write_shard(node.get_frames().select(range(40)))
    assert_same(node.get_frames(), mgo_frames)


def test_to_ase(small_shards, mgo_frames, mgo_images):
    for image, original in zip(PaceDatasetData(mgo_frames).to_ase(), mgo_images, strict=True):
        assert image == original
        assert image.get_potential_energy() == original.get_potential_energy()
        assert np.array_equal(image.get_forces(), original.get_forces())
        assert np.allclose(image.get_stress(), original.get_stress(), atol=1e-12)


def test_to_trajectories(small_shards, mgo_frames):
    """Nothing is lost, and frames of one composition are in one trajectory."""
    trajectories = PaceDatasetData(mgo_frames).to_trajectories()
    assert len({tuple(node.symbols) for node in trajectories}) == len(trajectories)
    parts = [
        from_arrays(
            {name: node.get_array(name) for name in node.get_arraynames()}, node.symbols, node.pbc, source_key='key'
        )
        for node in trajectories
    ]
    frames = Frames.concatenate(parts)
    assert len(frames) == 100
    assert set(frame_hashes(frames).tolist()) == set(frame_hashes(mgo_frames).tolist())
    assert frames.energy.sum() == pytest.approx(mgo_frames.energy.sum())


def test_write_extxyz(small_shards, mgo_frames, tmp_path):
    node = PaceDatasetData(mgo_frames)
    node.write_extxyz(tmp_path / 'frames.extxyz')
    back = read(tmp_path / 'frames.extxyz', source_key='key')
    assert np.array_equal(frame_hashes(back), node.get_hashes())
    assert np.array_equal(back.energy, mgo_frames.energy)
    assert len(ase.io.read(tmp_path / 'frames.extxyz', ':')) == 100


@pytest.mark.parametrize('delta', [False, True])
def test_write_pickle(small_shards, mgo_frames, tmp_path, delta):
    baseline = DeltaBaseline.for_elements(['Mg', 'O'], lj=True) if delta else None
    PaceDatasetData(mgo_frames).write_pickle(tmp_path / 'frames.pckl.gzip', baseline)
    back, _ = read_dataset(tmp_path / 'frames.pckl.gzip', 'key')
    targets = subtract(baseline, mgo_frames) if delta else mgo_frames
    assert np.array_equal(frame_hashes(back), frame_hashes(mgo_frames))
    assert np.allclose(back.energy, targets.energy, atol=1e-12)
    assert np.allclose(back.forces, targets.forces, atol=1e-12)
    assert np.allclose(back.stress, targets.stress, atol=1e-12)


def test_write_pickle_needs_labels(mgo_frames, tmp_path):
    with pytest.raises(ValueError, match='no labels'):
        PaceDatasetData(mgo_frames.without_labels()).write_pickle(tmp_path / 'frames.pckl.gzip')


def test_no_shard_is_a_pickle(mgo_frames):
    node = PaceDatasetData(mgo_frames).store()
    for shard in node.shards:
        content = node.base.repository.get_object_content(node.shard_path(shard['name']), 'rb')
        columns = np.load(io.BytesIO(content), allow_pickle=False)
        assert all(columns[name].dtype != object for name in columns.files)
