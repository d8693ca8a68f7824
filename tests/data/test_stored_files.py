"""Files of nodes are read wherever they are: loose, packed, compressed, or in an archive that is not imported."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.storage.sqlite_zip.backend import SqliteZipBackend
from aiida.tools.archive import create_archive, import_archive

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.frames.ase_io import write_extxyz
from aiida_pacemaker.frames.hashing import frame_hashes
from aiida_pacemaker.sources.reading import read_source

FIXTURES = Path(__file__).parents[1] / 'fixtures'
B_BASIS = (FIXTURES / 'yaml2yace' / 'default' / 'output_potential.yaml').read_bytes()
ACTIVE_SET = (FIXTURES / 'activeset' / 'linear' / 'output_potential.asi').read_bytes()


@pytest.fixture
def nodes(aiida_profile, mgo_frames, reference_energies, tmp_path) -> dict[str, orm.Data]:
    """Return one node of each kind that has files."""
    frames = mgo_frames.select(range(20))
    dataset = PaceDatasetData(frames.select(range(10))).store()
    dataset.write_pickle(tmp_path / 'frames.pckl.gzip')
    text = io.StringIO()
    write_extxyz(frames, text)
    return {
        'dataset': PaceDatasetData(frames.select(range(10, 20)), parents=[dataset]).store(),
        'pickle': orm.SinglefileData(tmp_path / 'frames.pckl.gzip').store(),
        'extxyz': orm.SinglefileData(io.BytesIO(text.getvalue().encode()), 'frames.extxyz').store(),
        'trajectory': next(iter(dataset.to_trajectories())).store(),
        'potential': PacePotentialData(
            B_BASIS, baseline=DeltaBaseline.for_elements(['Mg', 'O']), reference_energies=reference_energies
        ).store(),
        'active_set': PaceActiveSetData(ACTIVE_SET).store(),
    }


def assert_whole(nodes: dict[str, orm.Data], mgo_frames) -> None:
    """Read all that there is of nodes."""
    frames = mgo_frames.select(range(20))
    assert np.array_equal(frame_hashes(nodes['dataset'].get_frames()), frame_hashes(frames))
    assert np.array_equal(nodes['dataset'].get_hashes(), frame_hashes(frames))
    assert np.array_equal(nodes['dataset'].get_energies(), frames.energy)
    assert sorted(nodes['dataset'].frames_per_source().values()) == [10, 10]
    assert np.array_equal(frame_hashes(read_source(nodes['pickle']).frames), frame_hashes(frames)[:10])
    assert len(read_source(nodes['extxyz']).frames) == 20
    assert len(read_source(nodes['trajectory']).frames) == nodes['trajectory'].numsteps
    assert nodes['potential'].get_b_basis() == B_BASIS
    assert nodes['active_set'].content == ACTIVE_SET


@pytest.mark.fault(
    'the storage is maintained: its files are packed',
    engine='-',
    here='read from packed and compressed objects, and from archives, as before',
    ends='the same frames',
)
def test_all_that_has_files_is_read(nodes, mgo_frames):
    assert_whole(nodes, mgo_frames)
    merged, _ = merge_frames(nodes['pickle'], nodes['extxyz'], base=nodes['dataset'], require_stress=False)
    assert len(merged) == 20


def test_archive_that_is_not_imported(nodes, mgo_frames, tmp_path):
    create_archive(list(nodes.values()), filename=tmp_path / 'nodes.aiida')
    backend = SqliteZipBackend(SqliteZipBackend.create_profile(tmp_path / 'nodes.aiida'))
    try:
        load = orm.Node.get_collection(backend).get
        assert_whole({name: load(uuid=node.uuid) for name, node in nodes.items()}, mgo_frames)
    finally:
        backend.close()


def test_archive_that_is_imported(aiida_profile_clean, nodes, mgo_frames, tmp_path):
    create_archive(list(nodes.values()), filename=tmp_path / 'nodes.aiida')
    uuids = {name: node.uuid for name, node in nodes.items()}
    aiida_profile_clean.reset_storage()
    import_archive(tmp_path / 'nodes.aiida')
    assert_whole({name: orm.load_node(uuid) for name, uuid in uuids.items()}, mgo_frames)
