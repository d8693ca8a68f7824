"""Questions to the graph: where frames come from, and what became of them."""

from __future__ import annotations

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.manage.caching import enable_caching
from aiida.tools import delete_nodes

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.functions.datasets import exclude_frames, split_frames
from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.data.trajectories import trajectories_from_frames
from aiida_pacemaker.frames.hashing import frame_hashes, hex_hashes
from aiida_pacemaker.provenance import (
    ancestors,
    contributing_trajectories,
    dataset_of,
    descendants,
    difference,
    frame_origin,
    idle_sources,
    potentials_from,
    training_history,
    unsourced_frames,
)
from aiida_pacemaker.workflows.loop.history import state_of
from aiida_pacemaker.workflows.loop.table import loop_table

pytestmark = pytest.mark.usefixtures('aiida_profile')


@pytest.fixture
def trajectory(mgo_images, mgo_frames):
    """Return a function that makes a trajectory of some of the frames that have the same atoms in the same order."""
    symbols = str(mgo_images[0].symbols)
    rows = [row for row, image in enumerate(mgo_images) if str(image.symbols) == symbols]

    def build(start: int, stop: int) -> orm.TrajectoryData:
        (node,) = trajectories_from_frames(mgo_frames.select(rows[start:stop]))
        return node

    return build


@pytest.fixture
def train(fixture_path, reference_energies, aiida_localhost):
    """Return a function that makes a finished training job, as the engine would leave it, and its potential."""
    content = (fixture_path / 'output_potential.yaml').read_bytes()

    def build(dataset, potential=None, rmse=None) -> PacePotentialData:
        job = orm.CalcJobNode(computer=aiida_localhost, process_type='aiida.calculations:pacemaker.train')
        job.base.links.add_incoming(dataset, LinkType.INPUT_CALC, 'dataset')
        if potential is not None:
            job.base.links.add_incoming(potential, LinkType.INPUT_CALC, 'potential')
        job.store()
        made = PacePotentialData(
            content, baseline=DeltaBaseline.for_elements(['Mg', 'O']), reference_energies=reference_energies
        )
        outputs = {'potential': made} if rmse is not None else {'interim_potential': made}
        if rmse is not None:
            outputs['metrics'] = orm.Dict({'rmse_energy': rmse})
        for label, node in outputs.items():
            node.base.links.add_incoming(job, LinkType.CREATE, label)
            node.store()
        job.seal()
        return made

    return build


@pytest.fixture
def fixture_path(request):
    """Return a folder with a recorded potential of MgO."""
    return request.config.rootpath / 'tests' / 'fixtures' / 'select' / 'default'


def uuids(nodes) -> list[str]:
    return [node.uuid for node in nodes]


def test_every_source_and_no_other(trajectory, train):
    one, two, repeated = trajectory(0, 5), trajectory(5, 10), trajectory(3, 7)
    base, _ = merge_frames(one)
    dataset, _ = merge_frames(two, repeated, base=base, generation=1)
    potential = train(dataset, rmse=0.1)
    for node in (dataset, potential):
        assert uuids(contributing_trajectories(node)) == [one.uuid, two.uuid]
        assert uuids(idle_sources(node)) == [repeated.uuid]
    assert unsourced_frames(dataset) == 0


def test_what_was_taken_out_does_not_contribute(trajectory):
    one, two = trajectory(0, 5), trajectory(5, 10)
    dataset, _ = merge_frames(one, two)
    left = exclude_frames(dataset, merge_frames(two)[0])
    assert uuids(contributing_trajectories(left)) == [one.uuid]
    assert uuids(idle_sources(left)) == [two.uuid]
    assert unsourced_frames(left) == 0


def test_unrelated_trajectory_is_not_found(trajectory):
    one, unrelated = trajectory(0, 5), trajectory(5, 10).store()
    dataset, _ = merge_frames(one)
    assert unrelated.uuid not in uuids([*contributing_trajectories(dataset), *idle_sources(dataset)])


def test_datasets_given_frames_are_sources_themselves(mgo_frames, trajectory):
    given = PaceDatasetData(mgo_frames.select(range(60, 70)))
    one = trajectory(0, 5)
    train_set, test_set = split_frames(merge_frames(one, given)[0], test_fraction=0.3, seed=0)
    for part in (train_set, test_set):
        assert set(uuids(contributing_trajectories(part))) == {given.uuid, one.uuid}
        assert unsourced_frames(part) == 0
    assert contributing_trajectories(given) == [given]


def test_origin_of_each_frame(trajectory, monkeypatch):
    """The structure that the source has at the step is the frame, whatever happened in between."""
    monkeypatch.setattr('aiida_pacemaker.data.dataset.SHARD_BYTES', 2048)
    one, two = trajectory(0, 6), trajectory(4, 12)
    base, _ = merge_frames(one)
    dataset, _ = merge_frames(two, base=base, generation=3)
    dataset = exclude_frames(dataset, merge_frames(trajectory(2, 3))[0])
    assert len(dataset.shards) > 2
    frames = dataset.get_frames()
    for index, atoms in enumerate(frames.slices()):
        origin = frame_origin(dataset, index)
        assert origin.source.uuid == (one.uuid if index < 5 else two.uuid)
        assert origin.generation == (0 if index < 5 else 3)
        assert np.array_equal(origin.source.get_positions()[origin.step], frames.positions[atoms])
        assert origin.hash == hex_hashes(frame_hashes(frames.select([index])))[0]


@pytest.mark.parametrize('index', [-1, 5])
def test_origin_of_no_frame(trajectory, index):
    dataset, _ = merge_frames(trajectory(0, 5))
    with pytest.raises(IndexError, match=f'0 to 4, not {index}'):
        frame_origin(dataset, index)


def test_dataset_from_the_cache_has_sources_of_its_own(trajectory):
    """It is a copy of the dataset of another run, but its frames came from the trajectory that it was merged from."""
    one, two = trajectory(20, 25), trajectory(20, 25)
    merge_frames(one)
    with enable_caching():
        dataset, _ = merge_frames(two)
    assert dataset.creator.base.caching.is_created_from_cache
    assert uuids(contributing_trajectories(dataset)) == [two.uuid]
    assert frame_origin(dataset, 2).source.uuid == two.uuid
    assert unsourced_frames(dataset) == 0


def test_frames_without_a_source_are_counted(mgo_frames):
    """A dataset that names a node which is not in its past."""
    stranger = orm.Int(1).store()
    columns = mgo_frames.select(range(4))
    dataset = PaceDatasetData(columns, sources={'mgo-lda': stranger.uuid}).store()
    assert unsourced_frames(dataset) == 4
    assert contributing_trajectories(dataset) == []
    with pytest.raises(LookupError, match=stranger.uuid):
        frame_origin(dataset, 0)


def test_deleted_source_is_noticed(trajectory):
    """Deleting a trajectory deletes what was made of it, so that no frame is left without a source."""
    one, two = trajectory(0, 3), trajectory(3, 5)
    dataset, _ = merge_frames(one, two)
    gone, _ = delete_nodes([one.pk], dry_run=True)
    assert dataset.pk in gone


def test_dataset_of_potential(trajectory, train):
    dataset, _ = merge_frames(trajectory(0, 5))
    assert dataset_of(train(dataset, rmse=0.1)).uuid == dataset.uuid


def test_potential_from_elsewhere(fixture_path, reference_energies):
    potential = PacePotentialData(
        (fixture_path / 'output_potential.yaml').read_bytes(),
        baseline=DeltaBaseline.for_elements(['Mg', 'O']),
        reference_energies=reference_energies,
    ).store()
    assert training_history(potential) == []
    with pytest.raises(ValueError, match='not made by a training job'):
        dataset_of(potential)
    with pytest.raises(ValueError, match='not made by a training job'):
        contributing_trajectories(potential)


def test_potentials_from_a_trajectory(trajectory, train):
    one, two = trajectory(0, 5), trajectory(5, 10)
    first = train(merge_frames(one)[0], rmse=0.2)
    both = train(merge_frames(two, base=dataset_of(first))[0], rmse=0.1)
    assert uuids(potentials_from(one)) == [first.uuid, both.uuid]
    assert uuids(potentials_from(two)) == [both.uuid]
    assert uuids(potentials_from(dataset_of(both))) == [both.uuid]


def test_example_of_a_query(trajectory, train):
    """The queries that the docstrings show give what they say."""
    one = trajectory(0, 5)
    potential = train(merge_frames(one)[0], rmse=0.2)
    found = descendants(one, PacePotentialData)
    assert [(node.pk, node.n_functions) for node in found] == [(potential.pk, potential.n_functions)]
    assert uuids(ancestors(potential, orm.TrajectoryData)) == [one.uuid]


def test_paths_that_branch_and_join(aiida_profile):
    """Each node is come across once, however many paths lead to it: here there are 2 to the power of 40."""
    first = last = orm.Int(0).store()
    for step in range(40):
        both = []
        for number in (1, 2):
            job = orm.CalcFunctionNode()
            job.base.links.add_incoming(last, LinkType.INPUT_CALC, 'before')
            job.store()
            made = orm.Int(number * step)
            made.base.links.add_incoming(job, LinkType.CREATE, 'result')
            both.append(made.store())
        join = orm.CalcFunctionNode()
        for label, node in zip(('one', 'two'), both, strict=True):
            join.base.links.add_incoming(node, LinkType.INPUT_CALC, label)
        join.store()
        last = orm.Int(step)
        last.base.links.add_incoming(join, LinkType.CREATE, 'result')
        last.store()
    assert len(ancestors(last, orm.Int)) == 3 * 40
    assert ancestors(last, orm.Int)[0].uuid == first.uuid
    assert len(descendants(first, orm.CalcFunctionNode)) == 3 * 40


def test_difference(mgo_frames):
    left = PaceDatasetData(mgo_frames.select(range(6)))
    right = PaceDatasetData(mgo_frames.select([4, 5, 6]))
    result = difference(left, right)
    digests = hex_hashes(frame_hashes(mgo_frames))
    assert result.n_common == 2
    assert result.only_in_a == sorted(digests[:4])
    assert result.only_in_b == [digests[6]]
    assert difference(right, left).only_in_b == result.only_in_a


def test_training_history(trajectory, train):
    """All generations, and the legs of a fit that was interrupted, oldest first."""
    one, _ = merge_frames(trajectory(0, 5))
    two, _ = merge_frames(trajectory(5, 10), base=one)
    first = train(one, rmse=0.3)
    interim = train(two, potential=first)
    last = train(two, potential=interim, rmse=0.1)
    train(two, rmse=0.5)
    history = training_history(last)
    assert uuids(step.potential for step in history) == [first.uuid, interim.uuid, last.uuid]
    assert uuids(step.dataset for step in history) == [one.uuid, two.uuid, two.uuid]
    assert [step.errors for step in history] == [{'rmse_energy': 0.3}, None, {'rmse_energy': 0.1}]
    assert [step.job.uuid for step in history] == uuids(step.potential.creator for step in history)


def test_questions_by_pk(trajectory):
    """People have PKs: they stand for their nodes, and those of other nodes are named with what is needed."""
    dataset, _ = merge_frames(trajectory(0, 3))
    for given in (dataset.pk, dataset.uuid):
        assert frame_origin(given, 0) == frame_origin(dataset, 0)
        assert uuids(contributing_trajectories(given)) == uuids(contributing_trajectories(dataset))
    assert difference(dataset.pk, dataset).n_common == dataset.n_frames
    loop = orm.WorkChainNode()
    loop.set_process_label('PaceActiveLearningWorkChain')
    loop.store()
    with pytest.raises(ValueError, match=r'`dataset` is WorkChainNode<\d+>, a `PaceDatasetData` is needed'):
        frame_origin(loop, 1)
    with pytest.raises(ValueError, match='has not begun yet'):
        loop_table(loop.pk)
    for wrong in (dataset, dataset.pk):
        for question in (loop_table, state_of):
            with pytest.raises(ValueError, match=r'is PaceDatasetData(.|\n)*verdi process list -a -L PaceActive'):
                question(wrong)
    with pytest.raises(ValueError, match='there is no node 99999'):
        loop_table(99999)
    source = contributing_trajectories(dataset)[0]
    with pytest.raises(ValueError, match=r'a `PaceDatasetData` or `PacePotentialData` is needed'):
        contributing_trajectories(source.pk)
