"""Units, signs and coordinates of the arrays of other programs."""

import numpy as np
import pytest

from aiida_pacemaker.frames.trajectory import from_arrays
from aiida_pacemaker.sources.cp2k import CP2K
from aiida_pacemaker.sources.registry import conventions, source_called
from aiida_pacemaker.sources.vasp import VASP


def vasp():
    return {
        'positions': np.array([[[0, 0, 0], [0.5, 0.5, 0.5]]]),
        'cells': np.array([np.eye(3) * 4.12]),
        'forces': np.array([[[0.1, 0, 0], [-0.1, 0, 0]]]),
        'stress': np.array([np.diag([12.5, -3.0, 0.0])]),
        'energy_extrapolated': np.array([-6.8]),
    }


def test_vasp_has_fractional_positions_and_kbar_of_compression():
    frames = from_arrays(vasp(), ['Cs', 'Cl'], None, source_key='key', convention=VASP)
    np.testing.assert_allclose(frames.positions, [[0, 0, 0], [2.06, 2.06, 2.06]])
    np.testing.assert_allclose(frames.stress, [np.diag([-0.0078019, 0.0018725, 0])], atol=1e-7)
    assert frames.energy.tolist() == [-6.8]
    assert frames.forces[0, 0] == 0.1


def test_the_energy_that_forces_belong_to_comes_first():
    given = vasp() | {'energy_no_entropy': np.array([-6.7]), 'energy_free': np.array([-6.9])}
    frames = from_arrays(given, ['Cs', 'Cl'], None, source_key='key', convention=VASP)
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
    frames = from_arrays(given, ['H', 'H'], None, source_key='key', convention=CP2K)
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
    known = conventions()
    assert {'eV-ASE', 'quantumespresso', 'vasp', 'cp2k'} <= set(known)
    for name, convention in known.items():
        assert convention.name == name
        assert 'positions' in convention.about


def test_an_unknown_convention_is_refused():
    with pytest.raises(ValueError, match=r"the convention is 'vsap', one of \[.* did you mean 'vasp'"):
        source_called('vsap')
