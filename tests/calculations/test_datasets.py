"""Splitting, filtering and searching datasets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm
from aiida.engine import calcfunction

from aiida_pacemaker.calculations.functions import datasets as functions
from aiida_pacemaker.calculations.functions.datasets import (
    exclude_datasets,
    exclude_frames,
    filter_dataset,
    filter_frames,
    find_candidates,
    split_frames,
)
from aiida_pacemaker.data import dataset as dataset_module
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.errors import RefusedError
from aiida_pacemaker.frames.hashing import hex_hashes
from aiida_pacemaker.frames.table import COLUMNS, Frames
from aiida_pacemaker.sources.known_frames import shared_frames

pytestmark = pytest.mark.usefixtures('aiida_profile')


@pytest.fixture
def dataset(monkeypatch, mgo_frames):
    """Return all MgO frames in many shards, as frames of two trajectories, half a generation each."""
    monkeypatch.setattr(dataset_module, 'SHARD_BYTES', 8192)
    monkeypatch.setattr(functions, 'SHARD_BYTES', 8192)
    columns = {name: getattr(mgo_frames, name) for name in COLUMNS}
    columns['source'] = (np.arange(100) >= 60).astype(np.int64)
    columns['generation'] = np.arange(100) % 2
    frames = Frames(source_keys=('one', 'two'), **columns)
    return PaceDatasetData(frames, sources={'one': 'uuid-1'}).store()


def hashes(dataset: PaceDatasetData) -> list[str]:
    return hex_hashes(dataset.get_hashes())


@calcfunction
def evaluations(gamma: orm.ArrayData, dataset: PaceDatasetData) -> orm.ArrayData:
    """Stand in for a job that has evaluated a dataset."""
    return gamma.clone()


def evaluation(gamma, dataset: PaceDatasetData) -> orm.ArrayData:
    node = orm.ArrayData()
    node.set_array('gamma_max', np.asarray(gamma, dtype=float))
    return evaluations(node, dataset)


def order_in(dataset: PaceDatasetData, part: PaceDatasetData) -> list[int]:
    """Return the positions of the frames of a part in the whole."""
    position = {digest: index for index, digest in enumerate(hashes(dataset))}
    return [position[digest] for digest in hashes(part)]


def assert_origin_is_kept(dataset: PaceDatasetData, part: PaceDatasetData) -> None:
    whole, chosen = dataset.get_frames(), part.get_frames()
    rows = order_in(dataset, part)
    assert rows == sorted(rows)
    for row, index in enumerate(rows):
        assert chosen.source_of(row) == whole.source_of(index)
        assert part.sources[chosen.source_of(row)] == (dataset.sources[whole.source_of(index)] or dataset.uuid)
    for name in ('step', 'generation', 'energy'):
        assert np.array_equal(getattr(chosen, name), getattr(whole, name)[rows])
    assert set(part.sources) == set(chosen.source_keys)


def test_split_by_frame(dataset):
    train, test = split_frames(dataset, test_fraction=0.2, seed=1)
    assert (train.n_frames, test.n_frames) == (80, 20)
    assert sorted(hashes(train) + hashes(test)) == sorted(hashes(dataset))
    assert_origin_is_kept(dataset, train)
    assert_origin_is_kept(dataset, test)
    assert train.creator == test.creator


def test_split_is_that_of_its_seed(dataset):
    tests = [split_frames(dataset, test_fraction=0.2, seed=seed)[1] for seed in (1, 1, 2)]
    assert hashes(tests[0]) == hashes(tests[1]) != hashes(tests[2])


def test_split_by_source(dataset):
    train, test = split_frames(dataset, test_fraction=0.4, seed=1, by='source')
    (one,), (two,) = train.sources, test.sources
    assert one == 'one'
    # It has no node but the dataset.
    assert two.startswith('two@')
    assert test.sources == {two: dataset.uuid}


def test_equal_frames_are_never_on_both_sides(mgo_frames):
    """Not even if they were given twice."""
    rows = [*range(20), *range(20)]
    for seed in range(3):
        train, test = split_frames(PaceDatasetData(mgo_frames.select(rows)), test_fraction=0.3, seed=seed)
        assert not set(hashes(train)) & set(hashes(test))
        assert train.n_frames + test.n_frames == 40


def test_split_of_one_source(mgo_frames):
    with pytest.raises(RefusedError, match='split by frame'):
        split_frames(PaceDatasetData(mgo_frames), test_fraction=0.2, seed=1, by='source')


def test_filter_by_energy_and_force(dataset, mgo_frames):
    per_atom = mgo_frames.energy / mgo_frames.n_atoms
    bound = float(np.median(per_atom))
    forces = np.array([np.linalg.norm(mgo_frames.forces[atoms], axis=1).max() for atoms in mgo_frames.slices()])
    kept, report = filter_frames(dataset, energy_per_atom=(None, bound), max_force=(0.1, 3.0))
    expected = (per_atom <= bound) & (forces >= 0.1) & (forces <= 3.0)
    assert order_in(dataset, kept) == np.flatnonzero(expected).tolist()
    assert report['n_given'] == 100
    assert report['n_kept'] == expected.sum()
    assert report['refused_by'] == {
        'energy_per_atom': int((per_atom > bound).sum()),
        'max_force': int(((forces < 0.1) | (forces > 3.0)).sum()),
    }
    assert_origin_is_kept(dataset, kept)


def test_filter_by_gamma(dataset):
    gamma = np.linspace(0, 10, 100)
    kept, _ = filter_frames(dataset, gamma=(2.0, 5.0), evaluation=evaluation(gamma, dataset))
    assert order_in(dataset, kept) == np.flatnonzero((gamma >= 2) & (gamma <= 5)).tolist()


def test_filter_refuses(dataset):
    with pytest.raises(RefusedError, match='needs an `evaluation`'):
        filter_frames(dataset, gamma=(2.0, None))
    with pytest.raises(RefusedError, match='50 frames, not of the 100'):
        filter_frames(dataset, gamma=(2.0, None), evaluation=evaluation(np.zeros(50), dataset))
    with pytest.raises(RefusedError, match='no gamma'):
        filter_frames(dataset, gamma=(2.0, None), evaluation=orm.ArrayData(np.zeros(100)))
    with pytest.raises(RefusedError, match='nothing of the `evaluation` would be used'):
        filter_frames(dataset, max_force=(None, 1.0), evaluation=evaluation(np.zeros(100), dataset))
    with pytest.raises(RefusedError, match='none of the 100 frames'):
        filter_frames(dataset, max_force=(1e9, None))
    with pytest.raises(ValueError, match='max_forces'):
        filter_frames(dataset, max_forces=(0, 1))
    _, node = filter_dataset.run_get_node(dataset=dataset, options=orm.Dict({'max_force': [1e9, None]}))
    assert node.exit_status == 420


def test_filter_of_unlabelled_frames(mgo_frames):
    with pytest.raises(RefusedError, match='labelled'):
        filter_frames(PaceDatasetData(mgo_frames.without_labels()), max_force=(0, 1))


def test_exclude(dataset, mgo_frames):
    others = {'one': mgo_frames.select(range(10)), 'two': mgo_frames.select(range(5, 30)).without_labels()}
    left = exclude_datasets(dataset, **{label: PaceDatasetData(frames) for label, frames in others.items()})
    assert order_in(dataset, left) == list(range(30, 100))
    assert_origin_is_kept(dataset, left)


def test_exclude_everything(dataset, mgo_frames):
    _, node = exclude_datasets.run_get_node(dataset, other=PaceDatasetData(mgo_frames))
    assert node.exit_status == 420
    assert 'all 100 frames' in node.exit_message


def test_exclude_nothing(dataset):
    assert hashes(exclude_frames(dataset)) == hashes(dataset)


def test_whole_shards_stay_as_they_are(dataset):
    """What is taken out of one shard leaves all others, whose bytes are in the object store already."""
    first = PaceDatasetData(dataset.get_shard(dataset.shards[1]['name']).select([0]))
    left = exclude_frames(dataset, first)
    names = [shard['name'] for shard in dataset.shards]
    assert [shard['name'] for shard in left.shards if shard['name'] in names] == [names[0], *names[2:]]
    assert len(left.shards) == len(names)


def test_few_frames_of_many_shards_are_joined(dataset):
    rows = [0, 40, 80]
    kept, _ = filter_frames(dataset, gamma=(1, None), evaluation=evaluation(np.isin(np.arange(100), rows), dataset))
    assert order_in(dataset, kept) == rows
    assert len(kept.shards) == 1


def test_memory_is_that_of_a_few_shards(dataset, monkeypatch):
    """Of all functions that walk over a dataset only the split looks at it as a whole."""
    monkeypatch.setattr(PaceDatasetData, 'get_frames', lambda self: pytest.fail('read as a whole'))
    kept, _ = filter_frames(dataset, gamma=(1, None), evaluation=evaluation(np.arange(100) % 2, dataset))
    assert len(kept.shards) > 2
    assert order_in(dataset, kept) == list(range(1, 100, 2))


def test_candidates(mgo_frames):
    """Above the threshold, and not known: neither to the dataset nor to the test set."""
    pool = PaceDatasetData(mgo_frames.without_labels())
    gamma = np.zeros(100)
    gamma[[3, 20, 50, 70]] = [5.0, 9.0, 2.0, 1.999]
    known = {'dataset': PaceDatasetData(mgo_frames.select(range(10))), 'test': PaceDatasetData(mgo_frames.select([20]))}
    outputs = find_candidates(pool, evaluation(gamma, pool), orm.Float(2.0), **known)
    assert order_in(pool, outputs['candidates']) == [50]
    assert outputs['report'].get_dict() == {'n_pool': 100, 'n_unknown': 89, 'n_candidates': 1, 'n_unseen': 0}


def test_no_candidates(mgo_frames):
    pool = PaceDatasetData(mgo_frames)
    outputs = find_candidates(pool, evaluation(np.zeros(100), pool), orm.Float(2.0))
    assert outputs['report'].get_dict() == {'n_pool': 100, 'n_unknown': 100, 'n_candidates': 0, 'n_unseen': 0}
    assert 'candidates' not in outputs


@pytest.mark.fault(
    'frames are filtered by the gamma of other frames, of which there are as many',
    engine='takes what it is given',
    here='refused: the job that made the evaluation says of which dataset it is',
    ends='`RefusedError`',
)
def test_evaluation_of_another_dataset(mgo_frames):
    pool, other = PaceDatasetData(mgo_frames.select(range(9))), PaceDatasetData(mgo_frames.select(range(1, 10)))
    foreign = evaluation(np.arange(9), other)
    _, node = find_candidates.run_get_node(pool, foreign, orm.Float(2.0), dataset=pool)
    assert node.exit_status == 410
    assert f'is of {other}, not of {pool}' in node.exit_message
    with pytest.raises(RefusedError, match='whose frames are others: evaluate this dataset'):
        filter_frames(pool, gamma=(2.0, None), evaluation=foreign)
    # The same frames in another node are the same dataset.
    again = PaceDatasetData(mgo_frames.select(range(9)).with_generation(3))
    assert filter_frames(again, gamma=(2.0, None), evaluation=evaluation(np.arange(9), pool))[0].n_frames == 7


def test_evaluation_of_nobody_knows_what(mgo_frames):
    pool = PaceDatasetData(mgo_frames)
    with pytest.raises(RefusedError, match='nothing says which dataset'):
        filter_frames(pool, gamma=(2.0, None), evaluation=evaluation(np.zeros(100), pool).clone())


@pytest.fixture
def copies(mgo_frames) -> Frames:
    """Return ten frames as a file with eight decimals has them, with their atoms in reverse."""
    frames = mgo_frames.select(range(40, 50))
    rows = np.concatenate([np.arange(part.stop - 1, part.start - 1, -1) for part in frames.slices()])
    columns = {name: getattr(frames, name)[rows] for name in ('numbers', 'positions', 'forces')}
    return replace(frames, **columns | {'positions': (columns['positions'] + 0.3).round(8)})


def test_the_same_structure_written_differently_is_on_one_side(mgo_frames, copies):
    whole = PaceDatasetData(Frames.concatenate([mgo_frames, copies]))
    train, test = split_frames(whole, test_fraction=0.3, seed=1)
    assert test.n_frames == 33
    assert not shared_frames(test, {'train': train}).any()
    assert shared_frames(PaceDatasetData(copies), {'train': train, 'test': test}).all()


def test_the_same_structure_written_differently_is_excluded_and_no_candidate(mgo_frames, copies):
    pool, known = PaceDatasetData(Frames.concatenate([mgo_frames.select([3, 4]), copies])), PaceDatasetData(mgo_frames)
    assert exclude_frames(pool, PaceDatasetData(mgo_frames.select(range(45, 50)))).n_frames == 7
    outputs = find_candidates(pool, evaluation(np.full(12, 9.0), pool), orm.Float(2.0), dataset=known)
    assert outputs['report'].get_dict() == {'n_pool': 12, 'n_unknown': 0, 'n_candidates': 0, 'n_unseen': 0}
