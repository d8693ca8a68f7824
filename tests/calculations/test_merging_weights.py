"""Weights in a merge: those of files arrive, those that are set are set, and what has none counts as is said."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from aiida import orm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiida_pacemaker.baseline.targets import write_targets
from aiida_pacemaker.calculations.functions.datasets import split_frames
from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.errors import RefusedError
from aiida_pacemaker.frames.ase_io import to_atoms

pytestmark = pytest.mark.usefixtures('aiida_profile')


def pickle_of(frames) -> orm.SinglefileData:
    content = io.BytesIO()
    write_targets(frames, content, weights=frames.weighted, stress=True)
    return orm.SinglefileData(io.BytesIO(content.getvalue()), filename='frames.pckl.gzip')


def weighted(frames, energy: float, forces: float):
    return frames.with_weights(np.full(len(frames), energy), np.full(len(frames.numbers), forces))


@pytest.mark.fault(
    'weights of frames and atoms in a dataset of the engine',
    engine='uses them in place of its weighting policy',
    here='carried through merge, split and files to the engine',
    ends='used',
)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.integers(0, 99), min_size=2, max_size=6, unique=True), seed=st.integers(0, 9), bare=st.booleans()
)
def test_what_a_dataset_writes_is_read_back_whole(mgo_frames, tmp_path, rows, seed, bare):
    """Stress and weights too, and left-handed cells, which the engine gets with two vectors exchanged."""
    rng = np.random.default_rng(seed)
    frames = mgo_frames.select(rows)
    if not bare:
        frames = frames.with_weights(rng.random(len(frames)), rng.random(len(frames.numbers)))
    cells = frames.cells.copy()
    cells[0] = cells[0][[1, 0, 2]]
    stress = frames.stress.copy()
    stress[1] = np.nan
    frames = replace(frames, cells=cells, stress=stress)
    dataset = PaceDatasetData(frames).store()
    dataset.write_pickle(tmp_path / 'frames.pckl.gzip')
    back, report = merge_frames(orm.SinglefileData(tmp_path / 'frames.pckl.gzip'), require_stress=False)
    assert report.get_dict()['warnings'] == []
    found = back.get_frames()
    assert back.get_hashes().tolist() == dataset.get_hashes().tolist()
    for name in ('energy', 'forces', 'stress', 'cells', 'positions', 'w_energy', 'w_forces'):
        np.testing.assert_array_equal(getattr(found, name), getattr(frames, name), err_msg=name)


def test_weights_are_set_and_what_has_none_counts_as_one(mgo_frames):
    files = [pickle_of(mgo_frames.select(rows)) for rows in ([0, 1], [2], [3])]
    dataset, report = merge_frames(*files, weights={'source_0000': {'energy': 10.0}, 'source_0001': {'forces': 0.5}})
    frames = dataset.get_frames()
    assert dataset.weighted
    assert frames.w_energy.tolist() == [10.0, 10.0, 1.0, 1.0]
    assert frames.w_forces[frames.frame_of_atom == 2].tolist() == [0.5] * int(frames.n_atoms[2])
    (warning,) = report.get_dict()['warnings']
    assert warning.startswith('source_0002: 1 frame(s) have no weights, others have: they count with 1 for the energy')
    # The whole merge at once, and a split of it.
    dataset, report = merge_frames(*files, weights={'energy': 2.0, 'forces': 3.0})
    assert set(dataset.get_frames().w_energy) == {2.0}
    assert report.get_dict()['warnings'] == []
    assert all(part.weighted for part in split_frames(dataset, test_fraction=0.5, seed=1))
    # A dataset gets other weights.
    again, _ = merge_frames(dataset, weights={'source_0000': {'energy': 7.0}})
    assert set(again.get_frames().w_energy) == {7.0}
    assert again.get_hashes().tolist() == dataset.get_hashes().tolist()
    with pytest.raises(RefusedError, match='`weights` speaks of source_0009, but the sources are source_0000, '):
        merge_frames(*files, weights={'source_0009': {}})
    with pytest.raises(RefusedError, match='a base is taken as it is, give it as a source instead'):
        merge_frames(*files, base=dataset, weights={'base': {}})


def test_weights_of_files_meet_frames_without(mgo_frames):
    """Files of the engine have weights that add up to one: what joins counts as their mean, not as a hundredfold."""
    some = pickle_of(weighted(mgo_frames.select([0, 1]), 1e-3, 1e-4))
    none = pickle_of(mgo_frames.select([2, 3]))
    dataset, report = merge_frames(some, none)
    assert dataset.get_frames().w_energy.tolist() == pytest.approx([1e-3] * 4)
    (warning,) = report.get_dict()['warnings']
    assert "weights={'source_0001': {'energy': 0.001, 'forces': 0.0001}}" in warning
    # As in a loop: new labels join a base that has weights.
    bigger, report = merge_frames(pickle_of(mgo_frames.select([4])), base=dataset)
    assert bigger.get_frames().w_energy.tolist() == pytest.approx([1e-3] * 5)
    # The frames of a dataset are not written anew, and count as one.
    plain, _ = merge_frames(none)
    with pytest.raises(RefusedError, match='frames without weights cannot be merged with these: 2 of base have no'):
        merge_frames(some, base=plain)
    usual = pickle_of(weighted(mgo_frames.select([0, 1]), 2.0, 0.5))
    mixed, report = merge_frames(usual, base=plain)
    assert mixed.get_frames().w_energy.tolist() == [1.0, 1.0, 2.0, 2.0]
    assert '2 of base have no weights and count with 1' in report.get_dict()['warnings'][0]


def test_weights_of_what_is_there_already_are_not_changed_in_silence(mgo_frames):
    base, _ = merge_frames(pickle_of(mgo_frames.select([0, 1])))
    dataset, report = merge_frames(pickle_of(weighted(mgo_frames.select([0, 2]), 2.0, 2.0)), base=base)
    assert dataset.get_frames().w_energy.tolist() == [1.0, 1.0, 2.0]
    assert '1 frame(s) with weights repeat frames that are there already' in report.get_dict()['warnings'][0]


def test_datasets_without_weights_are_as_they_were(mgo_frames):
    """Their attributes are hashed, so nothing may be added to them."""
    node = PaceDatasetData(mgo_frames.select([0, 1]))
    assert 'weighted' not in node.base.attributes.all
    assert 'weights' not in node.shards[0]
    assert not node.weighted
    images = to_atoms(weighted(mgo_frames.select([0]), 2.0, 3.0))
    assert images[0].info['w_energy'] == 2.0
