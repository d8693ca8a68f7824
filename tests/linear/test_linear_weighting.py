"""Weights: in physical words, and as of Pacemaker with its convex hull."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aiida_pacemaker.linear.hull import hull_energies
from aiida_pacemaker.linear.weighting import Pacemaker, Physical, formula_of, loss_of

FORCES = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 2.0]])


def test_physical_weights():
    weighting = Physical(scale=1.0, reference=-3.0)
    assert weighting.of_frame(-3.0, FORCES)[0] == 1.0
    # Below the reference, which is that of an earlier generation, a frame counts as much as there.
    assert weighting.of_frame(-3.5, FORCES)[0] == 1.0
    weight, of_atoms = weighting.of_frame(-2.0, FORCES)
    assert weight == 0.25
    assert of_atoms.tolist() == [0.25, 0.25]
    weight, of_atoms = weighting.of_frame(-2.0, FORCES, 'Cu', (2.0, np.array([0.0, 3.0])))
    assert (weight, of_atoms.tolist()) == (0.5, [0.0, 0.75])
    assert Physical(scale=None).of_frame(7.0, FORCES)[0] == 1.0
    assert not weighting.leaves_out(1e6, 'Cu')


def test_scales_of_physical_weights_do_not_depend_on_the_size_of_weights():
    weighting = Physical(ratio=10.0, virial=0.5)
    one = weighting.scales({'energy': 2.0}, {'energy': 8})
    assert one == {'energy': 20.0, 'forces': 2.0, 'virial': 1.0}
    assert weighting.scales({'energy': 0.0}, {'energy': 8})['forces'] == 1.0
    assert weighting.scales({'energy': 0.0}, {'energy': 0})['forces'] == 1.0


@pytest.mark.parametrize('signs', [1, -1])
def test_weights_of_pacemaker(signs):
    weighting = Pacemaker(0.2, (signs * 0.5, signs * 2.0), -3.0, upper=1.5)
    weight, of_atoms = weighting.of_frame(-2.0, FORCES)
    assert weight == pytest.approx(1 / 1.5**2)
    np.testing.assert_allclose(of_atoms, weight / np.array([3.0, 10.0]))
    assert not weighting.leaves_out(-1.51, 'Cu')
    assert weighting.leaves_out(-1.5, 'Cu')
    assert not Pacemaker(0.2, None, upper=1.0).leaves_out(100.0, 'Cu')
    # Weights of the data replace the policy.
    weight, of_atoms = weighting.of_frame(-2.0, FORCES, 'Cu', (2.0, np.array([0.0, 3.0])))
    assert (weight, of_atoms.tolist()) == (2.0, [0.0, 3.0])
    by_formula = Pacemaker(0.2, (0.5, 2.0), {'Cu': -3.0, 'AlCu': -4.0}, upper=1.5)
    assert by_formula.of_frame(-2.0, FORCES, 'Cu')[0] == pytest.approx(1 / 1.5**2)
    assert by_formula.of_frame(-3.0, FORCES, 'AlCu')[0] == pytest.approx(1 / 1.5**2)
    assert by_formula.leaves_out(-2.5, 'AlCu')


def test_scales_of_pacemaker_make_sums_of_weights_one():
    # Of 4 frames of 5 atoms.
    scales = Pacemaker(0.3).scales({'energy': 4.0, 'forces': 60.0}, {'energy': 4, 'forces': 60})
    assert scales['energy'] ** 2 == pytest.approx(0.7 / 4)
    assert scales['forces'] ** 2 == pytest.approx(0.3 / 20)
    assert scales['virial'] == 0
    assert Pacemaker(0.3).scales({'energy': 0.0, 'forces': 0.0}, {})['forces'] == 0


def test_reduced_formulas():
    atoms = bulk('MgO', 'rocksalt', 4.2, cubic=True)
    assert formula_of(atoms) == formula_of(atoms[::-1]) == 'MgO'
    assert formula_of(Atoms('Cu6Al2')) == formula_of(Atoms('CuAlCu2')) == 'AlCu3'
    assert formula_of(Atoms('H')) == 'H'


def test_hulls():
    assert hull_energies({'MgO': -1.0}) == {'MgO': -1.0}
    # Whatever the energies of the elements are.
    for shift in (0.0, -5.0):
        lowest = {'Mg': 0.0, 'O': 1.0 + shift, 'MgO': (shift + 1) / 2 - 1, 'MgO2': (shift + 1) * 2 / 3 - 0.3}
        found = hull_energies(lowest)
        assert found['Mg'] == pytest.approx(0.0, abs=1e-12)
        assert found['MgO'] == pytest.approx(lowest['MgO'])
        # Two thirds of the way from O to MgO.
        assert found['MgO2'] == pytest.approx(lowest['O'] / 3 + lowest['MgO'] * 2 / 3)
    # Three elements, and compositions of three elements along one line only.
    ternary = {'Al': 0.0, 'Cu': 0.0, 'Ni': 0.0, 'AlCu': -1.0, 'AlCuNi': -0.3}
    assert hull_energies(ternary)['AlCuNi'] == pytest.approx(-2 / 3)
    line = hull_energies({'AlCuNi': 0.0, 'Al4CuNi': 0.5, 'Al2CuNi': 0.4})
    assert line['Al2CuNi'] == pytest.approx(0.25)
    assert hull_energies({'Al': 0.0, 'Cu': 2.0}) == pytest.approx({'Al': 0.0, 'Cu': 2.0})


def test_the_loss_is_that_of_the_rows():
    rows = np.random.default_rng(0).normal(size=(30, 6))
    coefficients = np.random.default_rng(1).normal(size=5)
    expected = np.sum((rows[:, :5] @ coefficients - rows[:, 5]) ** 2)
    assert loss_of(np.linalg.qr(rows, mode='r'), coefficients) == pytest.approx(expected, rel=1e-12)
