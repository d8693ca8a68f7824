"""Frames from and to ASE and its files."""

import io
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.stress import full_3x3_to_voigt_6_stress
from frame_cases import MGO, assert_equal, random_frames
from hypothesis import given
from hypothesis import strategies as st

from aiida_pacemaker.errors import UnreadableFileError
from aiida_pacemaker.frames.ase_io import from_atoms, read, to_atoms, write_extxyz
from aiida_pacemaker.frames.checks import check
from aiida_pacemaker.frames.hashing import frame_hashes

STRESS = np.array([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]])


def test_real_data_has_the_labels_that_ase_gives(mgo_images):
    frames = read(MGO, source_key='mgo')
    assert len(frames) == 100
    np.testing.assert_array_equal(frames.energy, [atoms.get_potential_energy() for atoms in mgo_images])
    np.testing.assert_array_equal(frames.forces, np.concatenate([atoms.get_forces() for atoms in mgo_images]))
    np.testing.assert_array_equal(frames.stress, [atoms.get_stress(voigt=False) for atoms in mgo_images])
    np.testing.assert_array_equal(frames.cells, [atoms.cell[:] for atoms in mgo_images])
    assert frames.elements == ('Mg', 'O')
    assert frames.step.tolist() == list(range(100))


@given(seed=st.integers(0, 10**6), labelled=st.booleans())
def test_ase_and_back(seed, labelled):
    frames = random_frames(seed, 5, labelled=labelled, n_sources=1)
    images = to_atoms(frames)
    assert_equal(from_atoms(images, 'source-0'), frames)
    assert [image.info for image in images] == [{'source': 'source-0', 'step': i, 'generation': 0} for i in range(5)]


@given(seed=st.integers(0, 10**6), labelled=st.booleans())
def test_extended_xyz_and_back_loses_no_digit(seed, labelled):
    frames = random_frames(seed, 4, labelled=labelled, n_sources=1)
    text = io.StringIO()
    write_extxyz(frames, text)
    back = read(io.BytesIO(text.getvalue().encode()), source_key='source-0')
    assert_equal(back, frames)
    assert frame_hashes(back).tolist() == frame_hashes(frames).tolist()


def test_real_data_written_to_a_file_has_the_same_hashes_and_origin(tmp_path):
    frames = read(MGO, source_key='a "quoted" key')
    write_extxyz(frames.with_generation(3), tmp_path / 'out.extxyz')
    assert_equal(read(tmp_path / 'out.extxyz', source_key='a "quoted" key').with_generation(0), frames)
    info = ase.io.read(tmp_path / 'out.extxyz', 7).info
    assert (info['source'], info['step'], info['generation']) == ('a "quoted" key', 7, 3)


def test_missing_labels_stay_missing_and_are_refused_by_the_checks():
    frames = random_frames(1, 3, n_sources=1)
    forces = frames.forces.copy()
    forces[int(frames.offsets[1])] = np.nan
    broken = replace(
        frames,
        energy=np.array([np.nan, 1.0, 2.0]),
        forces=forces,
        stress=np.full((3, 3, 3), np.nan),
        pbc=frames.pbc * 0 > 0,
    )
    text = io.StringIO()
    write_extxyz(broken, text)
    assert 'nan' not in text.getvalue().lower()
    back = read(io.BytesIO(text.getvalue().encode()), source_key='source-0')
    assert [refusal.frame for refusal in check(back)] == [refusal.frame for refusal in check(broken)] == [0, 1]


@pytest.mark.parametrize('stress', [STRESS, STRESS.reshape(9), full_3x3_to_voigt_6_stress(STRESS)])
@pytest.mark.parametrize('where', ['calculator', 'info'])
def test_labels_are_found_in_the_calculator_or_beside_it(stress, where):
    atoms = Atoms('MgO', [[0, 0, 0], [2.1, 0, 0]], cell=[4.2] * 3, pbc=True)
    if where == 'calculator':
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
        atoms.calc.results |= {'forces': np.ones((2, 3)), 'stress': stress}
    else:
        atoms.info |= {'energy': -1.0, 'stress': stress}
        atoms.arrays['forces'] = np.ones((2, 3))
    frames = from_atoms([atoms], 'here')
    assert frames.energy.tolist() == [-1.0]
    assert (frames.forces == 1.0).all()
    np.testing.assert_array_equal(frames.stress[0], STRESS)


def test_constraints_do_not_change_forces():
    atoms = Atoms('MgO', [[0, 0, 0], [2.1, 0, 0]], constraint=FixAtoms([0]))
    atoms.calc = SinglePointCalculator(atoms, forces=np.ones((2, 3)))
    assert (from_atoms([atoms], 'here').forces == 1.0).all()


def test_structures_without_labels_are_unlabelled_unless_asked():
    bare = [Atoms('H'), Atoms('O')]
    assert not from_atoms(bare, 'here').labelled
    assert np.isnan(from_atoms(bare, 'here', labelled=True).energy).all()
    bare[1].info['energy'] = 1.0
    frames = from_atoms(bare, 'here')
    np.testing.assert_array_equal(frames.energy, [np.nan, 1.0])
    assert not from_atoms(bare, 'here', labelled=False).labelled
    assert len(from_atoms([], 'here')) == 0


@pytest.mark.parametrize(
    ('info', 'message'),
    [
        ({'energy': [1.0, 2.0]}, r'the energy of structure 1 has shape \(2,\), \(\) is needed'),
        ({'stress': [1.0, 2.0]}, r'the stress of structure 1 has shape \(2,\), \(3, 3\) or \(6,\) or \(9,\) is needed'),
    ],
)
def test_a_label_of_the_wrong_shape_is_named(info, message):
    with pytest.raises(ValueError, match=message):
        from_atoms([Atoms('H'), Atoms('H', info=info)], 'here')


def test_formats_are_told_by_name(mgo_images, tmp_path):
    ase.io.write(tmp_path / 'some.traj', mgo_images[:3])
    expected = from_atoms(mgo_images[:3], 'mgo')
    assert_equal(read(tmp_path / 'some.traj', source_key='mgo'), expected)
    with (tmp_path / 'some.traj').open('rb') as handle:
        assert_equal(read(handle, source_key='mgo', name='some.traj'), expected)
    assert len(read(MGO, source_key='mgo', index='10:12')) == 2


@pytest.mark.parametrize(
    ('content', 'name', 'message'),
    [
        (b'garbage', 'x.extxyz', 'ASE cannot read x.extxyz'),
        (b'', 'x.extxyz', 'x.extxyz holds no structures'),
        (b'\xff\xfe', 'x.extxyz', 'ASE cannot read x.extxyz: UnicodeDecodeError'),
        (b'', 'x.nonsense', 'ASE does not know the format of x.nonsense'),
        (b'', 'x.db', 'x.db is of the format db, which is more than a file'),
    ],
)
def test_what_ase_cannot_read_is_said(content, name, message):
    with pytest.raises(UnreadableFileError, match=message):
        read(io.BytesIO(content), source_key='key', name=name)
