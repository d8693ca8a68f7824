"""Exact linear fits as jobs: with the real engine, from dataset to potential."""

from __future__ import annotations

import getpass
import json

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory, WorkflowFactory

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.baseline.reference_energies import reference_energy
from aiida_pacemaker.calculations.cache import directory_name
from aiida_pacemaker.calculations.checksums import Checksums
from aiida_pacemaker.calculations.fit_linear import PaceLinearFitCalculation
from aiida_pacemaker.calculations.staging import LIST
from aiida_pacemaker.data.calculator import build_calculator
from aiida_pacemaker.data.dataset import PaceDatasetData

CONFIG = {'elements': ['Mg', 'O'], 'r_cut': 4.5, 'max_deg': 4, 'max_order': 2, 'evaluator': 'linear'}
LINEAR = 'pacemaker.train.linear'
CODES = PaceLinearFitCalculation.exit_codes


@pytest.fixture
def linear_inputs(dataset, reference_energies):
    """Return a function that makes the inputs of a small linear fit, with changes; None takes an input out."""

    def make(**changes):
        mode = changes.pop('mode', 'delta')
        inputs = {
            'dataset': dataset,
            'config': CONFIG | changes.pop('config', {}),
            'baseline': DeltaBaseline.for_elements(['Mg', 'O'], mode=mode).model_dump(mode='json'),
            'reference_energies': reference_energies,
        }
        return {name: value for name, value in {**inputs, **changes}.items() if value is not None}

    return make


@pytest.fixture
def fitted(once, run_job, pace_codes, linear_inputs, test_dataset):
    """Return a fit with everything that can be asked of it."""
    inputs = linear_inputs(test_dataset=test_dataset, predict=True)
    return once('fitted linearly', lambda: run_job(LINEAR, code=pace_codes['python'], **inputs))


def test_a_fit(fitted, dataset, rattled, others, reference_energies):
    assert fitted.is_finished_ok, fitted.exit_message
    outputs = fitted.outputs
    assert outputs.potential.has_c_tilde
    fit, metrics = outputs.fit.get_dict(), outputs.metrics.get_dict()
    assert outputs.stop_reason.value == metrics['stop_reason'] == 'converged'
    assert (metrics['evaluator'], metrics['iterations']) == ('linear', 0)
    assert metrics['mae_forces'] is None
    assert metrics['n_fitted'] == fit['n_frames'] == dataset.n_frames
    assert metrics['n_functions'] == sum(fit['n_functions'].values()) == outputs.potential.n_functions
    assert metrics['fitted_labels'] == 'energies, forces and stress'
    assert metrics['cross_validation']['n_frames'] == dataset.n_frames
    assert fit['largest_difference'] < 1e-10
    assert fit['n_equations'] == {'energy': 12, 'forces': 12 * 24, 'virial': 12 * 6}
    corrected = (rattled.energy - reference_energy(rattled, reference_energies)) / rattled.n_atoms
    assert metrics['energy_reference'] == pytest.approx(corrected.min(), abs=0.1)
    curves = outputs.learning_curves
    assert curves.get_array('train_loss').shape == curves.get_array('test_loss').shape == (1,)


def test_predictions_are_those_of_the_potential(fitted, dataset, rattled):
    predictions = fitted.outputs.predictions
    energy, forces = predictions.get_array('train_energy'), predictions.get_array('train_forces')
    calculator = build_calculator(fitted.outputs.potential.get_b_basis(), DeltaBaseline(mode='none'))
    for frame, (image, rows) in enumerate(zip(dataset.to_ase(), rattled.slices(), strict=True)):
        image.calc = calculator
        assert image.get_potential_energy() == pytest.approx(energy[frame], abs=1e-8)
        assert np.allclose(image.get_forces(), forces[rows], rtol=0, atol=1e-8)
    assert predictions.get_array('test_energy').shape == (3,)


def test_error_bars(fitted, dataset):
    """The covariance is that of the coefficients, and each frame of the dataset has an error."""
    posterior = {name: fitted.outputs.posterior.get_array(name) for name in ('coefficients', 'used', 'scale', 'root')}
    n_functions = fitted.outputs.potential.n_functions
    assert posterior['coefficients'].shape == (n_functions,)
    assert posterior['root'].shape == (len(posterior['used']), len(posterior['used']))
    errors = fitted.outputs.frame_errors
    assert errors.get_array('frame').tolist() == list(range(dataset.n_frames))
    fit = fitted.outputs.fit.get_dict()
    assert 0 < errors.get_array('leverage').sum() <= fit['effective_parameters'] * 1.01
    worst = fit['worst_frames'][0]
    assert worst['forces'] == pytest.approx(errors.get_array('forces').max())
    assert errors.get_array('forces')[worst['frame']] == pytest.approx(worst['forces'])
    assert fit['calibration']['forces']['factor'] > 0


def test_a_larger_dataset_takes_up_the_equations(run_job, pace_codes, linear_inputs, fitted, dataset, others):
    larger = PaceDatasetData(others.select([0, 1]), parents=[dataset]).store()
    assert fitted.outputs.fit['n_reused'] == 0
    node = run_job(LINEAR, code=pace_codes['python'], **linear_inputs(dataset=larger))
    assert node.is_finished_ok, node.exit_message
    lowest = {one.outputs.metrics['energy_reference'] for one in (node, fitted)}
    assert len(lowest) == 1, 'with another reference all weights would be others'
    assert (node.outputs.fit['n_reused'], node.outputs.fit['n_frames']) == (12, 14)
    # The result is that of a fit without the cache.
    alone = run_job(
        LINEAR, code=pace_codes['python'], **linear_inputs(dataset=PaceDatasetData(larger.get_frames()).store())
    )
    assert alone.outputs.fit['n_reused'] == 0
    first, second = (one.outputs.posterior.get_array('coefficients') for one in (node, alone))
    assert np.allclose(first, second, rtol=1e-6, atol=1e-8 * np.abs(first).max())
