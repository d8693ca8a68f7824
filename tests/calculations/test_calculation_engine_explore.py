"""Explorations by the real engine."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from exploring import rocksalt

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import to_atoms
from aiida_pacemaker.provenance.evaluations import replaces_evaluation

pytestmark = pytest.mark.engine


@pytest.fixture
def explored(once, run_job, pace_codes, recorded_potential, recorded_active_set):
    """Return an exploration at constant energy, whose baseline reaches far, with frames kept at all checks."""
    options = {
        **{'ensemble': 'nve', 'temperature': 600, 'timestep': 0.5, 'n_steps': 60, 'check_every': 5, 'spacing': 5},
        **{
            'gamma_low': 0.0,
            'gamma_high': 50.0,
            'max_frames_per_run': 20,
            'copies': 2,
            'perturbation': {'rattle': 0.03},
        },
    }
    inputs = {
        'potential': recorded_potential,
        'active_set': recorded_active_set,
        'initial_structures': rocksalt(),
        'random_seed': 7,
        'options': options,
    }
    return once('explored', lambda: run_job('pacemaker.explore', code=pace_codes['python'], **inputs))


def test_the_energy_is_conserved(explored):
    assert explored.is_finished_ok, explored.exit_message
    traces = explored.outputs.traces
    assert len(traces.get_array('step')) == 26
    for run in range(2):
        rows = traces.get_array('run') == run
        energy = traces.get_array('energy')[rows]
        total = energy + 1.5 * units.kB * traces.get_array('temperature')[rows]
        assert np.ptp(energy) > 20 * np.ptp(total)
        assert np.ptp(total) < 2e-3


def test_energies_and_gamma_are_those_of_the_calculator_of_the_potential(
    explored, recorded_potential, recorded_active_set
):
    """The job has its baseline and its gamma by another way than the calculator."""
    calculator = recorded_potential.to_ase(recorded_active_set)
    traces, grades = explored.outputs.traces, explored.outputs.grades
    seen = {
        (run, step): energy
        for run, step, energy in zip(*(traces.get_array(name) for name in ('run', 'step', 'energy')), strict=True)
    }
    candidates: PaceDatasetData = explored.outputs.candidates
    gamma = np.split(grades.get_array('gamma'), candidates.get_frames().offsets[1:-1])
    for frame, atoms in enumerate(to_atoms(candidates.get_frames())):
        atoms.calc = calculator
        key = (grades.get_array('run')[frame], grades.get_array('step')[frame])
        assert atoms.get_potential_energy() / len(atoms) == pytest.approx(seen[key], abs=1e-10)
        assert np.allclose(calculator.results['gamma'], gamma[frame], rtol=1e-8)
    assert candidates.n_frames == 26


def test_an_evaluation_of_the_candidates_says_the_same(
    explored, run_job, pace_codes, recorded_potential, recorded_active_set
):
    """So that a loop does without it. The reference energies are not zero, and the baseline reaches far."""
    candidates, grades = explored.outputs.candidates, explored.outputs.grades
    evaluated = run_job(
        'pacemaker.evaluate',
        code=pace_codes['python'],
        potential=recorded_potential,
        active_set=recorded_active_set,
        datasets={'pool': candidates},
    )
    assert evaluated.is_finished_ok, evaluated.exit_message
    assert all(recorded_potential.reference_energies.values())
    assert replaces_evaluation(grades, candidates)
    evaluation = evaluated.outputs.evaluations.pool
    for name in ('energy', 'forces', 'gamma_max', 'gamma'):
        assert np.abs(grades.get_array(name) - evaluation.get_array(name)).max() < 1e-9, name
