"""Weights on their way to the engine: the columns that it reads, and what it could not use."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import yaml
from aiida import orm
from small_fits import SMALL

from aiida_pacemaker.baseline.evaluation import subtract
from aiida_pacemaker.baseline.reference_energies import reference_energy
from aiida_pacemaker.calculations.checks.training import check_training
from aiida_pacemaker.calculations.staging import training_files
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.pickles.reading import read_dataset

POLICY = {'fit': {'weighting': {'type': 'EnergyBasedWeightingPolicy'}}}
IGNORED = {'data': {'ignore_weights': True}}


@pytest.fixture
def weighted(aiida_profile, rattled):
    """Return the frames with weights that differ by orders of magnitude."""
    rng = np.random.default_rng(3)
    return rattled.with_weights(10 ** rng.uniform(-2, 2, len(rattled)), 10 ** rng.uniform(-2, 2, len(rattled.numbers)))


def written(prepared, key: str):
    """Return what the engine reads of the files under a key of its input."""
    names = yaml.safe_load(prepared.files['input.yaml'])['data'][key]
    (name,) = [names] if isinstance(names, str) else names
    return read_dataset(gzip.decompress(prepared.files[name]), 'x')[0]


def test_both_columns_are_in_the_files_of_both_sets(prepare, pace_codes_fake, train_inputs, test_dataset, weighted):
    dataset = PaceDatasetData(weighted).store()
    inputs = {'code': pace_codes_fake['train'], **train_inputs(dataset=dataset, test_dataset=test_dataset)}
    prepared = prepare('pacemaker.train', inputs)
    frames = written(prepared, 'filename')
    assert frames.w_energy.tolist() == weighted.w_energy.tolist()
    assert frames.w_forces.tolist() == weighted.w_forces.tolist()
    # The engine has both sets in one table, in which nothing may be missing.
    assert set(written(prepared, 'test_filename').w_energy) == {1.0}


def test_no_column_is_written_where_weights_are_ignored(prepare, pace_codes_fake, train_inputs, dataset, weighted):
    given = PaceDatasetData(weighted).store()
    for inputs in (train_inputs(dataset=given, config=IGNORED), train_inputs(dataset=dataset, test_dataset=None)):
        prepared = prepare('pacemaker.train', {'code': pace_codes_fake['train'], **inputs})
        assert not written(prepared, 'filename').weighted


def test_names_of_files_say_whether_weights_are_in_them(dataset, lj_baseline):
    (plain,) = training_files(dataset, lj_baseline).values()
    (ones,) = training_files(dataset, lj_baseline, weights=True).values()
    assert plain != ones


@pytest.mark.fault(
    'weights of frames beside a weighting policy',
    engine='leaves the policy out without a word',
    here='a training with both is refused until one is chosen',
    ends='refused',
)
def test_weights_and_a_policy_are_not_mixed(aiida_profile, rattled, weighted):
    def as_nodes(config):
        return orm.Dict({**SMALL, **config})

    def said(frames, config):
        return check_training({'dataset': PaceDatasetData(frames), 'config': as_nodes(config)})

    assert 'the engine would leave that out' in said(weighted, POLICY)
    assert said(weighted, {**POLICY, **IGNORED}) is None
    assert said(rattled, POLICY) is None
    assert said(weighted, {}) is None
    useless = weighted.with_weights(weighted.w_energy, 0.0)
    assert 'the weights of all forces of the dataset are 0' in said(useless, {})
    assert said(useless, IGNORED) is None


@pytest.mark.engine
@pytest.mark.slow
def test_the_loss_of_the_engine_is_that_of_the_weights(
    run_job, pace_codes, train_inputs, trained, weighted, rattled, lj_baseline, reference_energies
):
    """Its first loss is the closed form with these weights, normalised, and far from that with equal ones."""
    inputs = train_inputs(
        dataset=PaceDatasetData(weighted).store(),
        potential=trained.outputs.potential,
        potential_mode='continue',
        max_epochs=1,
    )
    node = run_job('pacemaker.train', code=pace_codes['train'], **inputs)
    assert node.is_finished_ok, node.exit_message
    first = node.outputs.learning_curves.get_array('train_loss')[0]

    predictions = trained.outputs.predictions
    target = subtract(lj_baseline, rattled)
    energy = target.energy - reference_energy(rattled, reference_energies)
    energy_error = (predictions.get_array('train_energy') - energy) / rattled.n_atoms
    force_error = np.square(predictions.get_array('train_forces') - target.forces).sum(axis=1)
    document = yaml.safe_load(node.base.repository.get_object_content('input.yaml'))
    loss = document['fit']['loss']
    coefficients = potential_coefficients(trained.outputs.potential)
    penalty = (
        loss.get('L1_coeffs', 0) * np.abs(coefficients).sum() + loss.get('L2_coeffs', 0) * coefficients @ coefficients
    )

    def closed_form(w_energy, w_forces):
        errors = (1 - loss['kappa']) * w_energy @ energy_error**2 / w_energy.sum()
        return errors + loss['kappa'] * w_forces @ force_error / w_forces.sum() + penalty

    assert first == pytest.approx(closed_form(weighted.w_energy, weighted.w_forces), rel=1e-9)
    equal = closed_form(np.ones(len(rattled)), np.ones(len(rattled.numbers)))
    assert abs(equal / first - 1) > 0.05


def potential_coefficients(potential) -> np.ndarray:
    """Return the coefficients of all functions of a potential."""
    document = yaml.safe_load(potential.get_b_basis())
    return np.array([c for block in document['species'] for function in block['nbody'] for c in function['c']])
