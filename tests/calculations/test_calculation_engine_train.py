"""Fits by the real engine."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
import yaml
from aiida import orm

from aiida_pacemaker.baseline.evaluation import subtract
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.baseline.reference_energies import reference_energy
from aiida_pacemaker.data.dataset import PaceDatasetData

pytestmark = pytest.mark.engine


@pytest.mark.slow
def test_a_fit_with_all_that_can_be_asked_of_it(trained, lj_baseline):
    assert trained.is_finished_ok, trained.exit_message
    outputs = trained.outputs
    assert outputs.potential.has_c_tilde
    assert outputs.potential.baseline.lj is not None
    assert outputs.potential.elements == ['Mg', 'O']
    metrics = outputs.metrics.get_dict()
    assert metrics['stop_reason'] == 'maxiter'
    assert metrics['iterations'] == 3
    assert metrics['warnings'] == []
    curve = outputs.learning_curves.get_array('train_loss')
    assert curve[-1] < curve[0]
    assert metrics['loss'] == pytest.approx(curve[-1], rel=1e-13)
    names = {name for _, _, files in outputs.report.base.repository.walk() for name in files}
    assert any(name.endswith('.png') for name in names)


def test_nothing_large_or_pickled_is_kept(trained):
    kept = trained.base.repository.list_object_names() + trained.outputs.retrieved.base.repository.list_object_names()
    assert 'input.yaml' in kept
    assert not [name for name in kept if name.endswith(('.gzip', '.gz'))]


def test_the_engine_fits_the_labels_less_the_baseline(trained, rattled, lj_baseline, reference_energies):
    """Its own predictions and errors say what it was given."""
    predictions = trained.outputs.predictions
    target = subtract(lj_baseline, rattled)
    energy = target.energy - reference_energy(rattled, reference_energies)
    difference = (predictions.get_array('train_energy') - energy) / rattled.n_atoms
    metrics = trained.outputs.metrics
    assert np.sqrt(np.mean(difference**2)) == pytest.approx(metrics['rmse_energy'], rel=1e-6)
    force_error = predictions.get_array('train_forces') - target.forces
    assert np.sqrt(np.mean(force_error**2)) == pytest.approx(metrics['rmse_forces'], rel=1e-6)


@pytest.mark.slow
def test_predictions_are_those_of_the_frames(run_job, pace_codes, train_inputs, dataset, rattled, reference_energies):
    """With a core repulsion, and a weighting by which the engine shuffles the frames and leaves half of them out."""
    corrected = (rattled.energy - reference_energy(rattled, reference_energies)) / rattled.n_atoms
    above = corrected - corrected.min()
    bound = float(np.sort(above)[5:7].mean())
    weighting = {'type': 'EnergyBasedWeightingPolicy', 'energy': 'cohesive', 'DEup': bound, 'DElow': bound / 2}
    core = DeltaBaseline.for_elements(['Mg', 'O']).model_copy(update={'mode': 'core'}).model_dump(mode='json')
    inputs = train_inputs(baseline=core, predict=True, config={'fit': {'weighting': weighting}})
    node = run_job('pacemaker.train', code=pace_codes['train'], **inputs)
    assert node.is_finished_ok, node.exit_message
    predictions = node.outputs.predictions
    energy, forces = predictions.get_array('train_energy'), predictions.get_array('train_forces')
    left_out = np.flatnonzero(above >= bound)
    assert predictions.get_array('train_left_out').tolist() == left_out.tolist()
    assert np.isnan(energy[left_out]).all()
    named = ', '.join(map(str, left_out.tolist()))
    assert any(f'frames {named}, counted from 0' in text for text in node.outputs.metrics['warnings'])
    calculator = node.outputs.potential.to_ase()
    for frame, (image, rows) in enumerate(zip(dataset.to_ase(), rattled.slices(), strict=True)):
        if frame in left_out:
            continue
        image.calc = calculator
        assert image.get_potential_energy() == pytest.approx(energy[frame], abs=1e-8)
        np.testing.assert_allclose(image.get_forces(), forces[rows], rtol=0, atol=1e-8)


@pytest.mark.parametrize('mode', ['continue', 'reset', 'extend'])
def test_fits_that_start_from_a_potential(run_job, pace_codes, train_inputs, trained, mode):
    inputs = train_inputs(
        potential=trained.outputs.potential,
        potential_mode=mode,
        max_epochs=1,
        config={'max_deg': 4} if mode == 'extend' else {},
    )
    node = run_job('pacemaker.train', code=pace_codes['train'], **inputs)
    assert node.is_finished_ok, node.exit_message
    before, after = trained.outputs.potential, node.outputs.potential
    first = node.outputs.learning_curves.get_array('train_loss')[0]
    last = trained.outputs.learning_curves.get_array('train_loss')[-1]
    if mode == 'continue':
        assert first == pytest.approx(last, rel=1e-6)
    if mode == 'reset':
        assert first > 1.5 * last
    if mode == 'extend':
        assert after.n_functions > before.n_functions
    else:
        assert after.n_functions == before.n_functions


def test_extending_by_nothing_is_not_taken_for_a_fit(run_job, pace_codes, train_inputs, trained):
    inputs = train_inputs(potential=trained.outputs.potential, potential_mode='extend')
    node = run_job('pacemaker.train', code=pace_codes['train'], **inputs)
    assert node.exit_status == node.process_class.exit_codes.ERROR_NOTHING_FITTED.status
    assert 'fitted nothing' in node.exit_message
    assert 'metrics' not in node.outputs


def test_a_program_that_is_not_there(run_job, pace_codes, train_inputs, aiida_profile):
    code = orm.InstalledCode(computer=pace_codes['train'].computer, filepath_executable='/nowhere/pacemaker').store()
    node = run_job('pacemaker.train', code=code, **train_inputs())
    assert node.exit_status == node.process_class.exit_codes.ERROR_PROGRAM_NOT_FOUND.status
    assert 'prepend_text' in node.exit_message


def test_a_conversion_that_is_not_there_does_not_cost_the_fit(run_job, pace_codes_fake, train_inputs):
    yace = orm.InstalledCode(computer=pace_codes_fake['yace'].computer, filepath_executable='/nowhere/yace').store()
    node = run_job('pacemaker.train', code=pace_codes_fake['train'], yace_code=yace, **train_inputs())
    assert node.exit_status == node.process_class.exit_codes.ERROR_CTILDE_MISSING.status
    assert not node.outputs.potential.has_c_tilde


def test_the_files_for_the_engine_are_whole_pickles(prepare, pace_codes, train_inputs):
    prepared = prepare('pacemaker.train', {'code': pace_codes['train'], **train_inputs()})
    (name,) = yaml.safe_load(prepared.files['input.yaml'])['data']['filename']
    assert gzip.decompress(prepared.files[name]).startswith(b'\x80\x04')


@pytest.mark.slow
def test_left_handed_cells(run_job, pace_codes, train_inputs, rattled, trained, linear_set):
    """The engine would stop at a single one of them."""
    cells = rattled.cells.copy()
    cells[3] = cells[3][[1, 0, 2]]
    dataset = PaceDatasetData(replace(rattled, cells=cells)).store()
    training = run_job('pacemaker.train', code=pace_codes['train'], **train_inputs(dataset=dataset))
    assert training.is_finished_ok, training.exit_message
    given = {'potential': trained.outputs.potential, 'active_set': linear_set.outputs.active_set}
    sets = {'turned': dataset, 'same': PaceDatasetData(rattled).store()}
    evaluation = run_job('pacemaker.evaluate', code=pace_codes['python'], **given, datasets=sets)
    assert evaluation.is_finished_ok, evaluation.exit_message
    turned, same = (evaluation.outputs.evaluations[label] for label in ('turned', 'same'))
    for name in same.get_arraynames():
        assert np.allclose(turned.get_array(name), same.get_array(name), rtol=0, atol=1e-9, equal_nan=True), name
    selection = run_job('pacemaker.select', code=pace_codes['select'], **given, candidates={'pool': dataset})
    assert selection.is_finished_ok, selection.exit_message
    # And the calculator of the potential, twice in a row.
    potential, image = trained.outputs.potential, dataset.to_ase()[3]
    image.calc = potential.to_ase()
    isolated = reference_energy(rattled.select([3]), potential.reference_energies)[0]
    energy = same.get_array('energy')[3] - isolated
    assert [image.get_potential_energy() for _ in range(2)] == pytest.approx([energy, energy], abs=1e-8)
    assert np.allclose(image.get_forces(), same.get_array('forces')[3 * 8 : 4 * 8], rtol=0, atol=1e-8)
