from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.calculators.lj import LennardJones
from ase.md.verlet import VelocityVerlet
from baseline_cases import frames_of, random_atoms

from aiida_pacemaker.baseline.ase_calculator import to_ase
from aiida_pacemaker.baseline.evaluation import evaluate
from aiida_pacemaker.baseline.model import DeltaBaseline, ZBLBaseline

BASELINE = DeltaBaseline(
    zbl=ZBLBaseline(inner=1, outer=2.4), lj=DeltaBaseline.for_elements(['H', 'Mg', 'O'], lj=True).lj
)


class Nothing(Calculator):
    """A calculator that adds nothing to a baseline."""

    implemented_properties = ('energy', 'forces', 'stress')

    def calculate(self, atoms=None, properties=None, system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.results = {'energy': 0.0, 'forces': np.zeros((len(atoms), 3)), 'stress': np.zeros(6)}


class Graded(LennardJones):
    """A calculator that grades its atoms, as that of ACE does: by their height."""

    def calculate(self, atoms=None, properties=None, system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.results['gamma'] = self.atoms.positions[:, 2].copy()


def test_calculator_gives_the_terms_of_the_baseline():
    atoms = random_atoms(1, 'H2Mg2O2', 4, 0.9)
    terms = evaluate(BASELINE, frames_of(atoms))
    atoms.calc = to_ase(BASELINE, Nothing())
    assert atoms.get_potential_energy() == terms.energy[0]
    assert atoms.get_potential_energy(force_consistent=True) == terms.energy[0]
    np.testing.assert_array_equal(atoms.get_forces(), terms.forces)
    np.testing.assert_array_equal(atoms.get_stress(voigt=False), terms.stress[0])
    atoms.positions[0] += 0.1
    assert atoms.get_potential_energy() == evaluate(BASELINE, frames_of(atoms)).energy[0]


def test_molecules_have_no_stress():
    molecule = Atoms('OH', [[0, 0, 0], [0, 0, 1]], calculator=to_ase(BASELINE, Nothing()))
    assert molecule.get_potential_energy() > 0
    with pytest.raises(PropertyNotImplementedError):
        molecule.get_stress()


def test_the_whole_potential_is_the_sum_with_the_grades_of_ace():
    atoms, ace, baseline = random_atoms(1, 'H2Mg2O2', 4, 0.9), Graded(), to_ase(BASELINE, Nothing())
    whole = to_ase(BASELINE, Graded())
    for _ in range(2):
        for name in ('energy', 'free_energy', 'forces', 'stress'):
            expected = ace.get_property(name, atoms) + baseline.get_property(name, atoms)
            np.testing.assert_allclose(whole.get_property(name, atoms), expected, rtol=1e-12)
        np.testing.assert_array_equal(whole.results['gamma'], atoms.positions[:, 2])
        atoms.positions += [0, 0, 0.25]
        atoms.positions[0] += 0.1


def test_grades_are_there_at_every_step_of_molecular_dynamics():
    atoms = random_atoms(6, 'Mg2O2', 5, 1.8)
    atoms.calc = to_ase(BASELINE, Graded())
    grades = []
    dynamics = VelocityVerlet(atoms, timestep=0.1)
    dynamics.attach(lambda: grades.append(np.abs(atoms.calc.results['gamma'] - atoms.positions[:, 2]).max()))
    dynamics.run(5)
    assert grades == [0] * 6


def test_calculators_without_grades_do_not_get_any():
    atoms = random_atoms(1, 'H2Mg2O2', 4, 0.9)
    atoms.calc = to_ase(BASELINE, LennardJones())
    atoms.get_forces()
    assert 'gamma' not in atoms.calc.results


def test_where_nothing_was_subtracted_ace_stands_alone():
    ace = LennardJones()
    assert to_ase(DeltaBaseline.for_elements(['O'], mode='core'), ace) is ace


def test_no_aiida_is_needed():
    code = 'import sys, aiida_pacemaker.baseline.ase_calculator as _; assert "aiida" not in sys.modules'
    assert subprocess.run([sys.executable, '-c', code], check=False, timeout=60).returncode == 0
