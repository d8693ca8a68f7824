"""Merging trajectories, files and datasets into one dataset."""

from __future__ import annotations

import io
from pathlib import Path

import ase.io
import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.manage import get_manager
from aiida.manage.caching import enable_caching
from ase import units

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.functions.merging import merge, merge_frames, merge_options
from aiida_pacemaker.calculations.train import PaceTrainCalculation
from aiida_pacemaker.data import dataset as dataset_module
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.trajectories import trajectories_from_atoms
from aiida_pacemaker.errors import RefusedError
from aiida_pacemaker.frames.hashing import frame_hashes, hex_hashes
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.sources import merging

pytestmark = pytest.mark.usefixtures('aiida_profile')

PICKLE = Path(__file__).parent.parent / 'fixtures' / 'pickles' / 'pandas-2.2.2-protocol-4.pckl.gzip'


@pytest.fixture
def one_cell(mgo_images):
    """Return 20 structures with the same atoms in the same order."""
    symbols = str(mgo_images[0].symbols)
    return [image for image in mgo_images if str(image.symbols) == symbols][:20]


@pytest.fixture
def arrays(one_cell):
    """Return the arrays of a trajectory of 20 steps, in our units."""
    return {
        'positions': np.array([image.positions for image in one_cell]),
        'cells': np.array([image.cell[:] for image in one_cell]),
        'energy': np.array([image.get_potential_energy() for image in one_cell]),
        'forces': np.array([image.get_forces() for image in one_cell]),
        'stress': np.array([image.get_stress(voigt=False) for image in one_cell]),
    }


@pytest.fixture
def trajectory(one_cell, arrays):
    """Return a function that makes a trajectory of some of these arrays, others taken as given."""

    def build(**changes) -> orm.TrajectoryData:
        given = {**arrays, **changes}
        cells = given['cells']
        node = orm.TrajectoryData()
        symbols = given.pop('symbols', one_cell[0].get_chemical_symbols())
        pbc = given.pop('pbc', [cells is not None] * 3)
        node.set_trajectory(symbols=symbols, positions=given['positions'], cells=cells, pbc=pbc)
        for name, array in given.items():
            if array is not None and name not in ('positions', 'cells'):
                node.set_array(name, array)
        return node

    return build


def extxyz(images, name='frames.extxyz') -> orm.SinglefileData:
    text = io.StringIO()
    ase.io.write(text, images, format='extxyz')
    return orm.SinglefileData(io.BytesIO(text.getvalue().encode()), filename=name)


def hashes(frames: Frames | PaceDatasetData) -> set[str]:
    return set(hex_hashes(frames.get_hashes() if isinstance(frames, PaceDatasetData) else frame_hashes(frames)))


def objects() -> set[str]:
    return set(get_manager().get_profile_storage().get_repository().list_objects())


def with_quantum_espresso(arrays) -> dict[str, np.ndarray]:
    """Return arrays as the `output_trajectory` of aiida-quantumespresso has them."""
    return {
        **arrays,
        'stress': -arrays['stress'] / units.GPa,
        'energy_hartree': np.zeros(len(arrays['energy'])),
        'scf_iterations': np.full(len(arrays['energy']), 9),
    }


def test_any_number_of_sources(trajectory, mgo_images, mgo_frames):
    """Trajectories, files of two formats and a dataset, each with its links."""
    trajectories = trajectories_from_atoms(mgo_images[:50])
    file = extxyz(mgo_images[50:70])
    pickled = orm.SinglefileData(PICKLE)
    part = PaceDatasetData(mgo_frames.select(range(70, 100)))
    dataset, report = merge_frames(*trajectories, file, pickled, part)
    assert hashes(mgo_frames) <= hashes(dataset)
    assert report['n_given'] == report['n_added'] + report['n_duplicates']
    assert dataset.n_frames == report['n_added']
    sources = dataset.creator.base.links.get_incoming(link_label_filter='source_%').all_nodes()
    assert {node.uuid for node in sources} == {node.uuid for node in [*trajectories, file, pickled, part]}
    assert {*dataset.sources.values()} <= {node.uuid for node in sources}


def test_duplicates_within_between_and_with_the_base(mgo_images):
    base, _ = merge_frames(*trajectories_from_atoms(mgo_images[:10]))
    repeated = extxyz([*mgo_images[5:12], mgo_images[11]], 'one.extxyz')
    other = extxyz(mgo_images[10:15], 'two.extxyz')
    dataset, report = merge_frames(repeated, other, base=base)
    assert dataset.n_frames == 15
    assert (report['n_given'], report['n_added'], report['n_duplicates']) == (13, 5, 8)
    assert not report['conflicts']
    assert len(hashes(dataset)) == 15


def test_first_of_equal_frames_names_the_source(mgo_images):
    one, two = extxyz(mgo_images[:3], 'one.extxyz'), extxyz(mgo_images[:4], 'two.extxyz')
    dataset, _ = merge_frames(one, two)
    assert list(dataset.get_frames().step) == [0, 1, 2, 3]
    uuids = [dataset.sources[dataset.get_frames().source_of(frame)] for frame in range(4)]
    assert uuids == [one.uuid] * 3 + [two.uuid]


def test_source_of_duplicates_alone_is_no_source(mgo_images):
    base, _ = merge_frames(extxyz(mgo_images[:3]))
    nothing_new = extxyz(mgo_images[:2], 'other.extxyz')
    dataset, _ = merge_frames(nothing_new, base=base)
    assert dataset.sources == base.sources
    assert dataset.shards == base.shards


def test_conflicts_are_reported(trajectory, arrays):
    """Equal structures with other energies: the first stays, and the others are named."""
    energy = arrays['energy'].copy()
    energy[4] += 1.0
    dataset, report = merge_frames(trajectory(), trajectory(energy=energy))
    assert dataset.n_frames == 20
    assert report['conflicts'] == [{'source': 'source_0001', 'frame': 4, 'step': 4, 'labels': ['energy']}]
    assert np.array_equal(dataset.get_energies(), arrays['energy'])
    _, report = merge_frames(trajectory(energy=energy), base=dataset)
    assert report['conflicts'] == [{'source': 'source_0000', 'frame': 4, 'step': 4, 'labels': ['energy']}]


def test_strict_by_default(trajectory, arrays):
    energy = arrays['energy'].copy()
    energy[7] = np.nan
    sources = {'good': trajectory(), 'bad': trajectory(energy=energy)}
    _, node = merge.run_get_node(options=merge_options(sources), **sources)
    assert node.exit_status == 410
    assert 'frame 7 (source bad, step 7)' in node.exit_message
    assert 'energy is nan' in node.exit_message
    assert not node.base.links.get_outgoing().all()
    with pytest.raises(RefusedError, match='frame 7'):
        merge_frames(*sources.values())


def test_tolerance(trajectory, arrays):
    """The rest is merged, and what is left out is listed."""
    energy = arrays['energy'].copy()
    energy[[3, 7]] = np.nan
    dataset, report = merge_frames(trajectory(energy=energy), max_failed_fraction=0.1)
    assert dataset.n_frames == 18
    assert [(entry['source'], entry['frame'], entry['reason']) for entry in report['refused']] == [
        ('source_0000', 3, 'energy_not_finite'),
        ('source_0000', 7, 'energy_not_finite'),
    ]
    assert (report['n_refused'], report['n_added']) == (2, 18)
    with pytest.raises(RefusedError, match='2 of 20'):
        merge_frames(trajectory(energy=energy), max_failed_fraction=0.09)


def spoilt(arrays, name, change):
    array = arrays[name].copy()
    array[5] = change(array[5])
    return {name: array}


@pytest.mark.parametrize(
    ('name', 'change', 'reason'),
    [
        ('energy', lambda _: np.inf, 'energy_not_finite'),
        ('forces', lambda forces: forces * np.nan, 'forces_not_finite'),
        ('stress', lambda stress: np.where(np.eye(3), np.nan, stress), 'stress_not_finite'),
        ('positions', lambda positions: positions * np.nan, 'positions_not_finite'),
        ('positions', lambda positions: positions * 0, 'atoms_too_close'),
        ('cells', lambda cell: cell * 0, 'cell_degenerate'),
    ],
)
def test_bad_frame(trajectory, arrays, name, change, reason):
    dataset, report = merge_frames(trajectory(**spoilt(arrays, name, change)), max_failed_fraction=0.05)
    assert [(entry['frame'], entry['reason']) for entry in report['refused']] == [(5, reason)]
    assert dataset.n_frames == 19


@pytest.mark.parametrize('missing', ['energy', 'forces'])
def test_missing_label(trajectory, missing):
    with pytest.raises(RefusedError, match=f'20 of 20 frames(.|\n)*{missing}'):
        merge_frames(trajectory(**{missing: None}))


def test_stress_is_needed_only_where_the_caller_says_so(trajectory):
    """No fit uses it."""
    dataset, _ = merge_frames(trajectory(stress=None))
    assert np.isnan(dataset.get_frames().stress).all()
    with pytest.raises(RefusedError, match=r'20 of 20 frames(.|\n)*merge with `require_stress=False`'):
        merge_frames(trajectory(stress=None), require_stress=True)


def test_no_labels_at_all(trajectory):
    with pytest.raises(RefusedError, match='no labels'):
        merge_frames(trajectory(energy=None, forces=None, stress=None))


def test_unknown_element(trajectory, one_cell):
    with pytest.raises(RefusedError, match='only Mg, Si may occur'):
        merge_frames(trajectory(), elements=['Mg', 'Si'])
    symbols = ['Xx' if symbol == 'O' else symbol for symbol in one_cell[0].get_chemical_symbols()]
    with pytest.raises(RefusedError, match=r'source_0000(.|\n)*Xx'):
        merge_frames(trajectory(symbols=symbols))


def test_isolated_atoms(mgo_images):
    """The engine would drop them without a word; whether they are isolated depends on the cutoff."""
    atoms = mgo_images[0][:2].copy()
    atoms.set_cell([30, 30, 30])
    atoms.positions = [[0, 0, 0], [0, 0, 8.0]]
    atoms.info = {'energy': -1.0, 'stress': np.zeros((3, 3))}
    atoms.arrays['forces'] = np.zeros((2, 3))
    (node,) = trajectories_from_atoms([atoms])
    with pytest.raises(RefusedError, match='no two atoms are closer than the cutoff of 7'):
        merge_frames(node, cutoff=7.0)
    assert merge_frames(node, cutoff=9.0)[0].n_frames == 1


def test_pool_of_unlabelled_frames(mgo_images, trajectory):
    """Labels are dropped if there are any, and not needed."""
    dataset, report = merge_frames(
        extxyz(mgo_images[:5]), trajectory(energy=None, forces=None, stress=None), trajectory(), labelled=False
    )
    assert not dataset.labelled
    assert dataset.n_frames == report['n_added']
    assert report['n_duplicates'] >= 20
    assert not report['conflicts']
    with pytest.raises(RefusedError, match='labelled and unlabelled'):
        merge_frames(extxyz(mgo_images[60:62]), base=dataset)


def test_labelled_dataset_as_pool(mgo_frames):
    node = PaceDatasetData(mgo_frames.select(range(5)))
    pool, _ = merge_frames(node, labelled=False)
    assert not pool.labelled
    assert hashes(pool) == hashes(node)
    assert list(pool.sources.values()) == [node.uuid]


def test_conventions_agree(trajectory, arrays):
    """One frame, written by two plugins, has one stress."""
    ours, _ = merge_frames(trajectory())
    theirs, _ = merge_frames(trajectory(**with_quantum_espresso(arrays)))
    assert np.abs(ours.get_frames().stress).max() > 0.01
    assert np.allclose(theirs.get_frames().stress, ours.get_frames().stress, rtol=1e-12, atol=1e-15)
    # GPa in eV/angstrom^3, of compression: an independent number (CODATA).
    given = with_quantum_espresso(arrays)['stress']
    assert np.allclose(theirs.get_frames().stress, -given / 160.21766208, rtol=1e-6)


def test_quantum_espresso_by_its_creator(trajectory, arrays):
    """Without any of its own arrays the trajectory is known by the process that made it."""
    node = trajectory(stress=-arrays['stress'] / units.GPa)
    job = orm.CalcJobNode(
        computer=orm.Computer('host', hostname='h', transport_type='core.local', scheduler_type='core.direct').store(),
        process_type='aiida.calculations:quantumespresso.pw',
    ).store()
    node.base.links.add_incoming(job, link_type=LinkType.CREATE, link_label='output_trajectory')
    node.store()
    assert merge_options({'one': node})['conventions'] == {'one': 'quantumespresso'}
    dataset, _ = merge_frames(node)
    assert np.allclose(dataset.get_frames().stress, arrays['stress'], rtol=1e-12, atol=1e-15)


def test_convention_can_be_given(trajectory, arrays):
    node = trajectory(stress=-arrays['stress'] / units.GPa)
    dataset, _ = merge_frames(node, conventions={'source_0000': 'quantumespresso'})
    assert np.allclose(dataset.get_frames().stress, arrays['stress'], rtol=1e-12, atol=1e-15)


def test_variable_cell_relaxation(trajectory, arrays):
    """The last energy, forces and stress are of the final scf, not of a step."""
    given = with_quantum_espresso(arrays)
    longer = {name: np.concatenate([given[name], given[name][:1] + 5.0]) for name in ('energy', 'forces', 'stress')}
    dataset, _ = merge_frames(trajectory(**{**given, **longer}))
    assert np.array_equal(dataset.get_energies(), arrays['energy'])
    # In any other trajectory this is a mistake.
    with pytest.raises(RefusedError, match=r'source_0000(.|\n)*shape \(21,\)'):
        merge_frames(trajectory(energy=longer['energy']))


def test_trajectory_without_pbc(trajectory, arrays):
    """Nodes of AiiDA before 2.8 do not say whether they are periodic: they are if they have cells."""
    node = trajectory()
    node.base.attributes.delete('pbc')
    node.store()
    dataset, _ = merge_frames(node)
    assert dataset.get_frames().pbc.all()


def test_molecules(trajectory):
    """Without cells there is no stress to be missed."""
    dataset, _ = merge_frames(trajectory(cells=None, stress=None))
    frames = dataset.get_frames()
    assert not frames.pbc.any()
    assert not frames.cells.any()


def test_other_dtypes(trajectory, arrays):
    """Labels in single precision or as integers are numbers, too."""
    dataset, _ = merge_frames(
        trajectory(forces=arrays['forces'].astype(np.float32), energy=np.rint(arrays['energy']).astype(int))
    )
    assert np.array_equal(dataset.get_energies(), np.rint(arrays['energy']))
    assert dataset.get_frames().forces.dtype == np.float64


@pytest.mark.parametrize('name', ['energy', 'forces', 'stress'])
def test_label_of_wrong_shape_names_the_source(trajectory, arrays, name):
    with pytest.raises(RefusedError, match=rf'source_0001(.|\n)*`{name}`'):
        merge_frames(trajectory(), trajectory(**{name: arrays[name][:-1]}))


def test_unreadable_files_name_the_source():
    text = orm.SinglefileData(io.BytesIO(b'no structure'), filename='notes.extxyz')
    with pytest.raises(RefusedError, match=r'source_0000(.|\n)*notes\.extxyz'):
        merge_frames(text)
    damaged = orm.SinglefileData(io.BytesIO(PICKLE.read_bytes()[:-30]), filename='frames.pckl.gzip')
    with pytest.raises(RefusedError, match='source_0000'):
        merge_frames(damaged)


def test_unknown_option():
    with pytest.raises(ValueError, match='tolerance'):
        merge_options({}, tolerance=1)
    _, node = merge.run_get_node(options=orm.Dict({'tolerance': 1}))
    assert node.exit_status == 410


def test_nothing_to_merge():
    with pytest.raises(RefusedError, match='at least one frame'):
        merge_frames()


def test_generations(mgo_images, mgo_frames):
    base, _ = merge_frames(extxyz(mgo_images[:4]))
    first, _ = merge_frames(extxyz(mgo_images[4:6]), base=base, generation=1)
    assert first.generations == {0: 4, 1: 2}
    # Frames of a dataset keep theirs unless another one is given; the selected frames of a pool join now.
    pool = PaceDatasetData(mgo_frames.select([7, 8]))
    assert merge_frames(pool, base=first)[0].generations == {0: 6, 1: 2}
    assert merge_frames(pool, base=first, generation=2)[0].generations == {0: 4, 1: 2, 2: 2}


def test_merge_of_datasets_shares_their_shards(monkeypatch, mgo_images):
    monkeypatch.setattr(dataset_module, 'SHARD_BYTES', 4096)
    left, _ = merge_frames(extxyz(mgo_images[:10]))
    right, _ = merge_frames(extxyz(mgo_images[10:30]), base=left)
    third, _ = merge_frames(extxyz(mgo_images[30:33]), base=left)
    before = objects()
    both, report = merge_frames(right, third)
    assert objects() == before
    assert both.n_frames == 33
    assert report['n_duplicates'] == 10
    assert {shard['name'] for shard in both.shards} == {
        shard['name'] for node in (right, third) for shard in node.shards
    }
    assert both.source_uuids == right.source_uuids | third.source_uuids


def test_overlapping_datasets(mgo_frames):
    """Of a shard that is known in part only the new frames are added."""
    left = PaceDatasetData(mgo_frames.select(range(10)))
    right = PaceDatasetData(mgo_frames.select(range(5, 15)))
    dataset, report = merge_frames(left, right)
    assert dataset.n_frames == 15
    assert report['n_duplicates'] == 5
    assert np.array_equal(frame_hashes(dataset.get_frames()), frame_hashes(mgo_frames.select(range(15))))


def test_position_in_a_dataset_of_several_shards(monkeypatch, mgo_frames):
    """A refused frame is named by its position in the dataset that was given."""
    monkeypatch.setattr(dataset_module, 'SHARD_BYTES', 4096)
    frames = mgo_frames.select(range(40))
    frames.positions[frames.frame_of_atom == 33] = 0.0
    node = PaceDatasetData(frames)
    assert len(node.shards) > 2
    _, report = merge_frames(node, max_failed_fraction=0.1)
    assert [(entry['frame'], entry['reason']) for entry in report['refused']] == [(33, 'atoms_too_close')]


def test_repeated_merge_comes_from_the_cache(trajectory, pace_codes_fake, reference_energies):
    """Equal content in other nodes is enough, for the merge and for a job on its dataset."""

    def fit(dataset):
        return run_get_node(
            PaceTrainCalculation,
            code=pace_codes_fake['train'],
            dataset=dataset,
            config=orm.Dict(
                {'elements': ['Mg', 'O'], 'evaluator': 'pyace', 'r_cut': 4.5, 'max_deg': 3, 'max_order': 2}
            ),
            baseline=orm.Dict(DeltaBaseline.for_elements(['Mg', 'O']).model_dump(mode='json')),
            reference_energies=orm.Dict(reference_energies),
            max_epochs=orm.Int(2),
            metadata={'options': {'resources': {'num_machines': 1}}},
        )[1]

    one, two = trajectory(), trajectory()
    first, _ = merge_frames(one)
    job = fit(first)
    assert job.is_finished_ok, job.exit_message
    with enable_caching():
        second, _ = merge_frames(two)
        again = fit(second)
    assert one.uuid != two.uuid
    assert first.uuid != second.uuid
    assert second.creator.base.caching.is_created_from_cache
    assert second.base.caching.get_hash() == first.base.caching.get_hash()
    assert again.base.caching.get_cache_source() == job.uuid


def test_other_content_does_not_come_from_the_cache(trajectory, arrays):
    first, _ = merge_frames(trajectory())
    with enable_caching():
        second, _ = merge_frames(trajectory(energy=arrays['energy'] + 0.1))
    assert not second.creator.base.caching.is_created_from_cache
    assert first.base.caching.get_hash() != second.base.caching.get_hash()


def test_many_small_sources_are_looked_up_at_once(trajectory, arrays, monkeypatch):
    """The time of a merge must not be that of one search through the base for each of its sources."""
    calls = []
    original = merging.deduplicate
    monkeypatch.setattr(merging, 'deduplicate', lambda *args: calls.append(1) or original(*args))
    steps = [trajectory(**{name: array[step : step + 1] for name, array in arrays.items()}) for step in range(6)]
    dataset, _ = merge_frames(*steps)
    assert dataset.n_frames == len(dataset.sources) == 6
    assert len(calls) == 1


@pytest.mark.fault(
    'an energy that pw.x itself calls inaccurate (`scf_must_converge = .false.`)',
    engine='fits it like any other',
    here='refused with the accuracy, or accepted with `allow_unconverged`; candidates need no labels',
    ends='`RefusedError`, 410',
)
def test_inaccurate_energies_are_refused(trajectory, arrays):
    given = with_quantum_espresso(arrays)
    n_atoms = arrays['positions'].shape[1]
    accuracy = np.full(20, 1e-8)
    accuracy[[2, 7]] = 2e-4 * n_atoms
    node = trajectory(**given, energy_accuracy=accuracy)
    with pytest.raises(RefusedError, match=r'frame 2(.|\n)*0\.0002 eV/atom(.|\n)*allow_unconverged'):
        merge_frames(node)
    dataset, report = merge_frames(node, max_failed_fraction=0.1)
    assert dataset.n_frames == 18
    assert [(entry['frame'], entry['reason']) for entry in report['refused']] == [
        (2, 'not_converged'),
        (7, 'not_converged'),
    ]
    assert merge_frames(node, allow_unconverged=True)[0].n_frames == 20
    assert merge_frames(node, labelled=False)[0].n_frames == 20
