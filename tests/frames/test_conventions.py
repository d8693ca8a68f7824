"""Units, signs and coordinates of the arrays of other programs, and positions that are not in angstrom."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_pacemaker.frames.conventions import CONVENTIONS, VASP
from aiida_pacemaker.frames.fractional import look_fractional
from aiida_pacemaker.frames.trajectory import from_arrays


def vasp():
    return {
        'positions': np.array([[[0, 0, 0], [0.5, 0.5, 0.5]]]),
        'cells': np.array([np.eye(3) * 4.12]),
        'forces': np.array([[[0.1, 0, 0], [-0.1, 0, 0]]]),
        'stress': np.array([np.diag([12.5, -3.0, 0.0])]),
        'energy_extrapolated': np.array([-6.8]),
    }


def test_vasp_has_fractional_positions_and_kbar_of_compression():
    frames = from_arrays(vasp(), ['Cs', 'Cl'], None, source_key='key', convention='vasp')
    np.testing.assert_allclose(frames.positions, [[0, 0, 0], [2.06, 2.06, 2.06]])
    np.testing.assert_allclose(frames.stress, [np.diag([-0.0078019, 0.0018725, 0])], atol=1e-7)
    assert frames.energy.tolist() == [-6.8]
    assert frames.forces[0, 0] == 0.1


def test_the_energy_that_forces_belong_to_comes_first():
    given = vasp() | {'energy_no_entropy': np.array([-6.7]), 'energy_free': np.array([-6.9])}
    frames = from_arrays(given, ['Cs', 'Cl'], None, source_key='key', convention='vasp')
    assert frames.energy.tolist() == [-6.9]


def test_a_triclinic_cell_has_its_vectors_as_rows():
    cell = np.array([[3.0, 0, 0], [1.0, 2.0, 0], [0.5, 0.2, 4.0]])
    positions = VASP.standard({'positions': np.array([[[0.5, 0.25, 0.75]]]), 'cells': cell[None]})['positions']
    np.testing.assert_allclose(positions[0, 0], 0.5 * cell[0] + 0.25 * cell[1] + 0.75 * cell[2])


def test_cp2k_has_atomic_units_and_positions_in_angstrom():
    given = {
        'positions': np.array([[[0, 0, 0], [0, 0, 0.75]]]),
        'cells': np.array([np.eye(3) * 10]),
        'energies': np.array([-0.25]),
        'forces': np.array([[[0, 0, 0.01], [0, 0, -0.01]]]),
    }
    frames = from_arrays(given, ['H', 'H'], None, source_key='key', convention='cp2k')
    np.testing.assert_allclose(frames.energy, [-6.80284656], rtol=1e-8)
    np.testing.assert_allclose(frames.forces[:, 2], [0.51422067, -0.51422067], rtol=1e-7)
    assert frames.positions[1, 2] == 0.75
    assert np.isnan(frames.stress).all()


def test_fractional_positions_need_cells():
    given = vasp()
    with pytest.raises(ValueError, match='are fractional, an array `cells` is needed'):
        VASP.standard({'positions': given['positions']})
    with pytest.raises(ValueError, match=r'`positions` of the trajectory has shape \(2, 3\)'):
        VASP.standard({'positions': given['positions'][0], 'cells': given['cells']})


def test_each_convention_says_its_units():
    for name, convention in CONVENTIONS.items():
        assert convention.name == name
        assert 'positions' in convention.about


@pytest.mark.parametrize(
    ('atoms', 'a'), [(bulk('CsCl', 'cesiumchloride', a=4.12), 4.12), (bulk('Si'), None), (bulk('Cu', cubic=True), None)]
)
def test_positions_of_a_crystal_in_units_of_its_cell_are_noticed(atoms, a):
    scaled = atoms.get_scaled_positions()[None]
    symbols = atoms.get_chemical_symbols()
    assert look_fractional(scaled, atoms.cell[:][None], symbols)
    assert not look_fractional(atoms.positions[None], atoms.cell[:][None], symbols)


def test_a_molecule_in_a_box_is_none():
    """All of its positions are small; a compressed dimer, too, is in angstrom."""
    for distance in (0.75, 0.4):
        positions = np.array([[[0, 0, 0], [0, 0, distance]]])
        assert not look_fractional(positions, np.array([np.eye(3) * 10]), ['H', 'H'])
    assert not look_fractional(np.array([[[0, 0, 0]]]), np.array([np.eye(3) * 3]), ['Cu'])
    assert not look_fractional(np.array([[[0, 0, 0], [0, 0, 0.9]]]), np.array([np.eye(3) * 12]), ['Cu', 'Cu'])
