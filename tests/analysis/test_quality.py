"""How good a potential is, in words."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from aiida_pacemaker.analysis.quality import GAMMA_IS_NO_ERROR, GRADES, grade, judge, spreads
from aiida_pacemaker.frames.ase_io import from_atoms


def errors(energy: float, forces: float, spread_energy: float | None = 0.1, spread_forces: float = 1.0):
    return {
        'rmse_energy': energy,
        'rmse_forces': forces,
        'spread_energy': spread_energy,
        'spread_forces': spread_forces,
    }


GOOD = errors(0.005, 0.05)


def test_grades_rise_with_the_share_that_is_not_described():
    assert [grade(limit) for limit, _ in GRADES] == [word for _, word in GRADES]
    assert grade(0.0) == 'very good'
    assert grade(1.01) == 'useless'


def test_a_good_potential():
    judged = judge(GOOD, errors(0.008, 0.07))
    assert judged['on'] == 'test'
    assert (judged['energy'], judged['forces']) == (pytest.approx(0.08), pytest.approx(0.07))
    assert (judged['verdict'], judged['warnings']) == ('good', [])
    assert judged['text'][0] == 'Forces: test error 70 meV/Å, 7 % of the rms force (1000): good.'
    assert GAMMA_IS_NO_ERROR in judged['text']


@pytest.mark.fault(
    'a potential whose errors are as large as what it should describe',
    engine='exit 0',
    here='a success that says so, with what to change',
    ends='told',
)
def test_a_bad_potential_is_warned_of():
    judged = judge(errors(0.02, 0.3), errors(0.2, 2.443))
    assert judged['verdict'] == 'useless'
    forces, energies, overfitted = judged['warnings']
    assert 'forces of zero would be as good' in forces
    assert 'test error 2443 meV/Å, 244 % of the rms force (1000): useless' in judged['text'][0]
    assert 'max_deg' in forces
    assert 'one energy for each element would be as good' in energies
    assert '8.1 times' in overfitted


def test_energies_that_drown_in_the_forces():
    (warning,) = judge(errors(0.04, 0.05), errors(0.04, 0.06))['warnings']
    assert 'kappa' in warning
    # Where both are poor the weights are not to blame.
    assert 'kappa' not in ' '.join(judge(errors(0.07, 0.6), errors(0.07, 0.6))['warnings'])


def test_without_a_test_set():
    judged = judge(GOOD)
    assert judged['on'] == 'train'
    assert 'training error' in judged['text'][0]
    assert any('There is no test set' in line for line in judged['text'])


def test_what_cannot_be_judged_is_not():
    """Labels that spread by no more than their own noise say nothing of a potential."""
    judged = judge(GOOD, errors(0.0005, 0.004, 0.0005, 0.005))
    assert (judged['energy'], judged['forces'], judged['verdict'], judged['warnings']) == (None, None, None, [])
    assert 'cannot tell' in judged['text'][0]
    # A test set of few frames is held against the spread of the training set.
    assert judge(GOOD, errors(0.01, 0.05, None))['energy'] == pytest.approx(0.1)
    assert judge(errors(0.01, 0.05, None))['energy'] is None


def labelled(symbols: str, energy: float, forces: float = 1.0):
    atoms = Atoms(symbols, 3.0 * np.arange(3 * len(Atoms(symbols))).reshape(-1, 3))
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.full((len(atoms), 3), forces))
    return atoms


def test_the_spread_is_beyond_composition():
    """Energies of different elements differ by hundreds of eV: that is not what a potential is good at."""
    images = [labelled('Cu4', -400.0), labelled('Ag4', -80.0), labelled('Cu2Ag2', -240.0), labelled('CuAg3', -160.0)]
    assert spreads(from_atoms(images, 'x'))['spread_energy'] == pytest.approx(0.0, abs=1e-9)
    images[0], images[2] = labelled('Cu4', -400.0, 2.0), labelled('Cu2Ag2', -238.0)
    found = spreads(from_atoms(images, 'x'))
    assert 0.1 < found['spread_energy'] < 1.0
    assert found['spread_forces'] == pytest.approx(np.sqrt(7 / 4))
    assert spreads(from_atoms(images[:2], 'x'))['spread_energy'] is None
