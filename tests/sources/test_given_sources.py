"""What people give to `merge_frames` and its like: paths, structures, lists, PKs."""

import io

import ase.io
import numpy as np
import pytest
from aiida import orm
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_pacemaker.calculations.functions.datasets import exclude_frames, filter_frames, pick_frames, split_frames
from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.data.trajectories import trajectories_from_atoms
from aiida_pacemaker.errors import RefusedError
from aiida_pacemaker.provenance import contributing_trajectories, frame_origin

pytestmark = pytest.mark.usefixtures('aiida_profile')


@pytest.fixture
def images():
    def labelled(seed):
        atoms = bulk('Cu', cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_stress()
        return atoms

    return [labelled(seed) for seed in range(4)]


@pytest.fixture
def file(images, tmp_path):
    path = tmp_path / 'copper.extxyz'
    ase.io.write(path, images)
    return path


def test_a_path_becomes_a_file_of_that_name(file, monkeypatch):
    for given in (str(file), file):
        dataset, _ = merge_frames(given)
        origin = frame_origin(dataset, 0)
        assert isinstance(origin.source, orm.SinglefileData)
        assert origin.source.filename == 'copper.extxyz'
    monkeypatch.chdir(file.parent)
    assert merge_frames('copper.extxyz')[0].n_frames == 4


def test_names_of_labels_in_structures_are_listed_where_labels_are_missing():
    atoms = bulk('Cu', cubic=True)
    atoms.info['REF_energy'] = -1.0
    atoms.arrays['REF_forces'] = np.zeros((4, 3))
    for given in (atoms, trajectories_from_atoms([atoms])[0]):
        with pytest.raises(RefusedError, match=r"found REF_forces, REF_energy.*keys=.*'energy': 'REF_energy'"):
            merge_frames(given, require_stress=False)
    named = trajectories_from_atoms([atoms], keys={'energy': 'REF_energy', 'forces': 'REF_forces'})
    assert merge_frames(*named, require_stress=False)[0].get_energies().tolist() == [-1.0]


def test_structures_of_ase_become_trajectories(images):
    listed, _ = merge_frames(images)
    assert len(contributing_trajectories(listed)) == 1
    single, _ = merge_frames(images[0])
    several, _ = merge_frames(*images)
    assert listed.n_frames == several.n_frames == 4
    assert single.get_energies().tolist() == [images[0].get_potential_energy()]
    pool, _ = merge_frames((image for image in images), labelled=False)
    assert not pool.labelled
    for image in images:
        image.info['REF_energy'] = 1.0
    named, _ = merge_frames(images, keys={'energy': 'REF_energy'})
    assert named.get_energies().tolist() == [1.0] * 4


def test_lists_and_mappings_of_nodes(images, file):
    nodes = trajectories_from_atoms(images[:2])
    dataset, report = merge_frames(nodes, {'labelled_0000': trajectories_from_atoms(images[2:])[0]}, [file])
    assert (dataset.n_frames, report['n_given']) == (8 - report['n_duplicates'], 8)


def test_a_number_or_uuid_stands_for_its_node(images):
    (node,) = trajectories_from_atoms(images)
    node.store()
    for identifier in (node.pk, np.int64(node.pk), node.uuid):
        assert merge_frames(identifier)[0].n_frames == 4
    dataset, _ = merge_frames(node)
    train, test = split_frames(dataset.pk, test_fraction=0.5, seed=1)
    assert exclude_frames(dataset.uuid, test.pk).n_frames == train.n_frames == 2
    assert filter_frames(dataset.pk, max_force=(None, 1e3))[0].n_frames == 4
    assert merge_frames(images[:1], base=dataset.pk)[0].n_frames == 4


def test_what_cannot_be_meant_is_said(images, tmp_path):
    (node,) = trajectories_from_atoms(images)
    node.store()
    for given, message in (
        ('nothing.extxyz', 'there is no file `nothing.extxyz`'),
        (tmp_path, 'is a directory'),
        (10**8, 'there is no node 100000000'),
        (None, r'None \(of type `NoneType`\) is no source of frames; accepted are'),
        (3.5, 'of type `float`'),
        (orm.CalcJobNode(), r'CalcJobNode is no source of frames: give its output'),
    ):
        with pytest.raises(RefusedError, match=message):
            merge_frames(given)
    for function in (lambda given: split_frames(given, test_fraction=0.5, seed=1), filter_frames, exclude_frames):
        with pytest.raises(
            RefusedError, match=f'`dataset` is TrajectoryData<{node.pk}>, a `PaceDatasetData` is needed'
        ):
            function(node)
    with pytest.raises(RefusedError, match='`base` is'):
        merge_frames(node, base=node)


def test_trajectories_from_atoms_takes_a_single_structure_and_names_what_it_cannot_take(images):
    (node,) = trajectories_from_atoms(images[0])
    assert node.numsteps == 1
    assert trajectories_from_atoms(iter(images))[0].numsteps == 4
    for given, message in (
        ('train.extxyz', r"is the path of a file: `merge_frames\('train\.extxyz'\)`"),
        ([images[0], orm.StructureData(ase=images[1])], r'entry 1 is of type StructureData: `structure.get_ase\(\)`'),
        (5, 'int was given'),
    ):
        with pytest.raises(ValueError, match=message):
            trajectories_from_atoms(given)


def test_a_file_that_is_given_as_a_node_keeps_its_name(file):
    node = orm.SinglefileData(io.BytesIO(file.read_bytes()), filename='other.extxyz')
    assert merge_frames(node)[0].n_frames == 4


LEVEL = {'code': 'ase:emt', 'functional': 'EMT'}


@pytest.mark.fault(
    'frames of a file are chosen by the names that it gives them',
    engine='no names, no file',
    here='file, position, name and level of theory of each frame',
    ends='`frame_origin` of whatever is made of them',
)
def test_frames_of_a_file_keep_their_names_and_level(images, tmp_path):
    for number, image in enumerate(images):
        image.info |= {'label': f'rattled-{number}', 'group': number % 2}
    ase.io.write(tmp_path / 'named.extxyz', images)
    dataset, _ = merge_frames(tmp_path / 'named.extxyz', levels={'source_0000': LEVEL})
    picked = pick_frames(dataset, [3, 0, 2])
    assert picked.get_energies().tolist() == [images[index].get_potential_energy() for index in (3, 0, 2)]
    train, test = split_frames(picked, test_fraction=0.4, seed=1)
    again, _ = merge_frames(train, test)
    for part in (picked, train, test, again):
        for index in range(part.n_frames):
            origin = frame_origin(part, index)
            assert origin.source.filename == 'named.extxyz'
            assert origin.level.functional == 'EMT'
            assert origin.info == {'label': f'rattled-{origin.step}', 'group': origin.step % 2}
            assert part.get_energies()[index] == images[origin.step].get_potential_energy()
    text = str(frame_origin(picked, 0))
    assert text.startswith('step 3 of named.extxyz (SinglefileData<')
    assert 'label rattled-3; group 1; generation 0; ase:emt, EMT' in text
    assert pick_frames(dataset, [1, 2]).shards[0]['n_frames'] == 2


def test_origin_of_what_has_no_names(images, tmp_path):
    dataset, _ = merge_frames(images)
    assert frame_origin(dataset, 0).info == {}
    assert 'level of theory not known' in str(frame_origin(dataset, 0))
    dataset.write_pickle(tmp_path / 'frames.pckl.gzip')
    pickled, _ = merge_frames(tmp_path / 'frames.pckl.gzip')
    assert frame_origin(pickled, 1).info == {}


@pytest.mark.parametrize(
    ('indices', 'said'),
    [([], 'no positions'), ([1, 1], 'frame 1 is picked twice'), ([4], 'frames 0 to 3, not 4'), ([-1], 'not -1'),
     (['a'], 'whole numbers'), ([0.5], 'whole numbers')],
)  # fmt: skip
def test_frames_that_cannot_be_picked(images, indices, said):
    dataset, _ = merge_frames(images)
    with pytest.raises(RefusedError, match=said):
        pick_frames(dataset, indices)
