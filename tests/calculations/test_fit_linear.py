"""Exact linear fits as jobs: with the real engine, from dataset to potential."""

from __future__ import annotations

import getpass
import hashlib
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory, WorkflowFactory

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.baseline.reference_energies import reference_energy
from aiida_pacemaker.calculations.cache import directory_name
from aiida_pacemaker.calculations.checksums import Checksums
from aiida_pacemaker.calculations.fit_linear import PaceLinearFitCalculation, workers_of
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
    contributed = fit['contributions']
    assert {source['source'] for source in contributed['sources']} <= set(dataset.source_uuids)
    determined = sum(level['parameters'] for level in contributed['levels'])
    assert determined == pytest.approx(errors.get_array('leverage').sum())


def test_an_evaluation_with_error_bars(run_job, pace_codes, fitted, test_dataset):
    """The posterior makes error bars of the forces of frames that were not fitted, in the order of the atoms."""
    outputs = fitted.outputs
    inputs = {'potential': outputs.potential, 'datasets': {'test': test_dataset}}
    node = run_job('pacemaker.evaluate', code=pace_codes['python'], posterior=outputs.posterior, **inputs)
    assert node.is_finished_ok, node.exit_message
    arrays = node.outputs.evaluations.test
    sigma, largest = arrays.get_array('sigma_forces'), arrays.get_array('sigma_max')
    assert sigma.shape == (test_dataset.n_atoms,)
    assert np.isfinite(sigma).all()
    assert (sigma > 0).all()
    assert largest.shape == arrays.get_array('sigma_energy').shape == (test_dataset.n_frames,)
    assert largest.max() == sigma.max()
    errors = node.outputs.errors['datasets']['test']
    assert errors['sigma']['max'] == pytest.approx(largest.max())
    assert 0.5 < errors['coverage']['within_2_sigma'] <= 1
    # Of one of two sets only.
    both = {**inputs, 'datasets': {'test': test_dataset, 'plain': test_dataset}, 'error_bars': ['test']}
    chosen = run_job('pacemaker.evaluate', code=pace_codes['python'], posterior=outputs.posterior, **both)
    assert np.array_equal(chosen.outputs.evaluations.test.get_array('sigma_max'), largest)
    plain = chosen.outputs.evaluations.plain
    assert not {'sigma_energy', 'sigma_forces', 'sigma_max'} & set(plain.get_arraynames())
    assert 'coverage' not in chosen.outputs.errors['datasets']['plain']
    assert np.array_equal(plain.get_array('forces'), arrays.get_array('forces'))


@pytest.mark.parametrize(
    ('names', 'with_posterior', 'message'),
    [(['test'], False, 'give the output of the training'), (['tset'], True, 'has tset, and `datasets` has test')],
)
def test_error_bars_of_what_is_not_there_are_refused(pace_codes, fitted, test_dataset, names, with_posterior, message):
    builder = CalculationFactory('pacemaker.evaluate').get_builder()
    builder.code, builder.potential = pace_codes['python'], fitted.outputs.potential
    builder.datasets, builder.error_bars = {'test': test_dataset}, names
    if with_posterior:
        builder.posterior = fitted.outputs.posterior
    with pytest.raises(ValueError, match=message):
        run_get_node(builder)


def test_a_posterior_that_is_none_is_refused(pace_codes, fitted, test_dataset):
    inputs = {'potential': fitted.outputs.potential, 'datasets': {'test': test_dataset}, 'code': pace_codes['python']}
    wrong = {
        'has no calibration': orm.ArrayData({'root': np.eye(2), 'used': np.arange(2)}),
        'not calibrated': orm.ArrayData(
            {
                **{
                    name: fitted.outputs.posterior.get_array(name) for name in ('coefficients', 'used', 'scale', 'root')
                },
                'calibration': np.full((2, 2), np.nan),
            }
        ),
    }
    for text, posterior in wrong.items():
        with pytest.raises(ValueError, match=text):
            run_get_node(CalculationFactory('pacemaker.evaluate'), posterior=posterior, **inputs)


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


def cached_equations(computer):
    """Return the path and the checksum of each file of equations that a computer is known to have."""
    folder = Checksums(computer)._folder
    known = {path.name: path.read_text() for path in folder.glob('*.npz')}
    cache = Path(computer.get_workdir().format(username=getpass.getuser())) / directory_name(getpass.getuser())
    return {name: (cache / digest, digest) for name, digest in known.items() if (cache / digest).exists()}


@pytest.fixture
def kept(fitted):
    """Return the only file of equations that the fit has kept, by its path."""
    ((_, name),) = json.loads(request_of(fitted))['equations'].items()
    path, digest = cached_equations(fitted.computer)[name]
    return name, path, digest


def request_of(node):
    return node.base.repository.get_object_content(PaceLinearFitCalculation.REQUEST, 'r')


def staged(node):
    lines = node.base.repository.get_object_content(LIST, 'r').splitlines()[1:]
    return {line.split()[2]: line.split()[0] for line in lines}


def test_equations_that_were_damaged_in_the_cache(run_job, pace_codes, linear_inputs, fitted, kept):
    """The job does not begin; the next one computes them again."""
    name, path, _ = kept
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[: len(content) // 2])
    chain = run_get_node(
        WorkflowFactory('pacemaker.train.base'), pace={'code': pace_codes['python'], **linear_inputs()}
    ).node
    assert chain.is_finished_ok, chain.exit_message
    first, second = chain.called
    assert first.exit_status == CODES.ERROR_FILES_LOST.status
    assert f'{name} was damaged in the cache' in first.exit_message
    assert name not in staged(second)
    assert (second.outputs.fit['n_reused'], second.outputs.fit['n_frames']) == (0, 12)
    assert name in cached_equations(fitted.computer)


def equations_of_others(content):
    """Return whole equations that say that they were made of something else."""
    with np.load(io.BytesIO(content)) as arrays:
        changed = {key: arrays[key] for key in arrays.files}
    changed['signature'] = np.array(b'another', dtype=changed['signature'].dtype)
    stream = io.BytesIO()
    np.savez(stream, **changed)
    return stream.getvalue()


@pytest.mark.parametrize(
    ('made', 'reason'),
    [
        (lambda content: content[: len(content) // 2], 'has no equations that can be used'),
        (lambda content: pickle.dumps({'not': 'an archive'}), 'computed again'),
        (equations_of_others, 'they were made of other data, functions or weights'),
    ],
    ids=['cut', 'a pickle', 'of others'],
)
def test_equations_that_were_kept_damaged(run_job, pace_codes, linear_inputs, fitted, kept, made, reason):
    """The checksum is right and the content is not: it is looked at, and computed again."""
    name, path, _ = kept
    content = made(path.read_bytes())
    digest = hashlib.sha256(content).hexdigest()
    path.with_name(digest).write_bytes(content)
    path.with_name(digest).chmod(0o400)
    Checksums(fitted.computer).note({name: digest})
    node = run_job(LINEAR, code=pace_codes['python'], **linear_inputs())
    assert node.is_finished_ok, node.exit_message
    assert staged(node)[name] == 'held'
    assert node.outputs.fit['n_reused'] == 0
    assert reason in node.outputs.retrieved.base.repository.get_object_content('stdout.txt')
    assert Checksums(fitted.computer).get(name) != digest, 'the right ones are kept in their place'
    again = run_job(LINEAR, code=pace_codes['python'], **linear_inputs())
    assert again.outputs.fit['n_reused'] == 12


def test_names_of_equations_follow_from_all_that_they_do(prepare, pace_codes_fake, linear_inputs, dataset, lj_baseline):
    def name(**changes):
        prepared = prepare(LINEAR, {'code': pace_codes_fake['python'], **linear_inputs(**changes)})
        (found,) = json.loads(prepared.files['fit_linear.json'])['equations'].values()
        return found

    first = name()
    assert name() == first
    # How much the kinds of equations count, and how they are solved, is no part of them.
    assert name(config={'linear': {'energy_ratio': 3.0, 'prior': 'order', 'virial_ratio': 0.1}}) == first
    others = [
        name(config={'max_deg': 5}),
        name(config={'r_cut': 4.6}),
        name(config={'linear': {'virial_ratio': 0.0}}),
        name(config={'linear': {'energy_scale': 2.0}}),
        name(config={'linear': {'energy_reference': -3.0}}),
        name(config={'linear': {'prior': 'pacemaker'}}),
        name(baseline=lj_baseline.model_dump(mode='json')),
        name(reference_energies={'Mg': -27.0, 'O': -426.0}),
        name(mode='both'),
    ]
    assert len({first, *others}) == len(others) + 1
    # With equal weights the lowest energy does not matter.
    equal = [name(config={'linear': {'energy_scale': 'equal', 'energy_reference': value}}) for value in (-3.0, -2.0)]
    assert len(set(equal)) == 1


@pytest.mark.parametrize(
    ('mode', 'repulsion', 'r_in'), [('delta', None, False), ('core', 0.6, False), ('both', None, True)]
)
def test_who_repels_at_short_range(prepare, pace_codes_fake, linear_inputs, mode, repulsion, r_in):
    prepared = prepare(LINEAR, {'code': pace_codes_fake['python'], **linear_inputs(mode=mode)})
    request = json.loads(prepared.files['fit_linear.json'])
    assert request['repulsion'] == repulsion
    assert any('r_in' in bond for bond in request['potential']['bonds'].values()) == r_in


@pytest.mark.slow
@pytest.mark.parametrize('mode', ['core', 'both'])
def test_a_fit_that_repels_itself(run_job, pace_codes, linear_inputs, mode):
    node = run_job(LINEAR, code=pace_codes['python'], **linear_inputs(mode=mode))
    assert node.is_finished_ok, node.exit_message
    fit = node.outputs.fit.get_dict()
    for pair, radius in fit['repulsion'].items():
        assert radius <= 0.6 * fit['shortest_distances'][pair] * (1 + 1e-9)
    assert set(fit['repulsion']) == ({'Mg-Mg', 'Mg-O', 'O-O'} if mode == 'core' else set())
    if mode == 'core':
        # The cores are taken back, and set anew.
        again = run_job(
            LINEAR,
            code=pace_codes['python'],
            **linear_inputs(mode=mode, potential=node.outputs.potential, config={'max_deg': 6}),
        )
        assert again.is_finished_ok, again.exit_message
        assert again.outputs.potential.n_functions == node.outputs.potential.n_functions
        first, second = (one.outputs.posterior.get_array('coefficients') for one in (node, again))
        assert np.allclose(first, second, rtol=0, atol=1e-8 * np.abs(first).max())


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'config': {'evaluator': 'pyace'}}, 'the evaluator of the config is `pyace`'),
        ({'config': {'linear': {'repulsion': 0.8}}}, 'by which the fit adds ZBL'),
        ({'mode': 'core', 'config': {'linear': {'repulsion': 0.0}}}, 'leaves the repulsion to the fit'),
        ({'monitors': {'loss': orm.Dict}}, 'which an exact fit does not have'),
        ({'max_epochs': 3}, 'max_epochs'),
        ({'yace_code': True}, 'yace_code'),
    ],
)
def test_what_is_refused(pace_codes_fake, linear_inputs, changes, reason):
    if 'monitors' in changes:
        changes = {'monitors': {'loss': orm.Dict({'entry_point': 'pacemaker.loss'})}}
    if 'yace_code' in changes:
        changes = {'yace_code': pace_codes_fake['yace']}
    with pytest.raises(ValueError, match=reason):
        run_get_node(CalculationFactory(LINEAR), code=pace_codes_fake['python'], **linear_inputs(**changes))


def test_codes_that_were_swapped(pace_codes_fake, linear_inputs, train_inputs):
    linear, pyace = linear_inputs(), train_inputs(config={'evaluator': 'pyace'})
    job, pacemaker = CalculationFactory(LINEAR), CalculationFactory('pacemaker.train')
    with pytest.raises(ValueError, match='a linear fit is run by the Python of the engine'):
        run_get_node(job, code=pace_codes_fake['train'], **linear)
    with pytest.raises(ValueError, match='the evaluator of the config is one of `pacemaker`'):
        run_get_node(pacemaker, code=pace_codes_fake['python'], **pyace)
    with pytest.raises(ValueError, match=r'have `pacemaker.train.base` choose the job'):
        run_get_node(pacemaker, code=pace_codes_fake['train'], **linear)


def test_functions_of_other_elements(aiida_profile, pace_codes_fake, linear_inputs, recorded_potential, dataset):
    copper = linear_inputs(config={'elements': ['Cu']}, dataset=None, baseline=None, reference_energies=None)
    problem = PaceLinearFitCalculation.validate_evaluator(
        {'config': orm.Dict(copper['config']), 'potential': recorded_potential}, None
    )
    assert problem is not None
    assert 'the functions of `potential` are of Mg, O and the config is for Cu' in problem


@pytest.mark.parametrize(
    ('resources', 'backend', 'workers'),
    [
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 1}, {}, 1),
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 1, 'num_cores_per_mpiproc': 8}, {}, 8),
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 4}, {}, 4),
        ({'num_machines': 1, 'num_cores_per_machine': 6}, {}, 6),
        ({'parallel_env': 'smp', 'tot_num_mpiprocs': 3}, {}, 3),
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 1, 'num_cores_per_mpiproc': 8}, {'n_workers': 2}, 2),
    ],
)
def test_a_fit_has_the_cores_of_its_job(aiida_profile, resources, backend, workers):
    inputs = {
        'config': orm.Dict({**CONFIG, 'backend': backend} if backend else CONFIG),
        'metadata': {'options': {'resources': resources}},
    }
    assert workers_of(inputs) == workers


def test_each_basis_to_choose_from_has_the_inner_cutoffs_of_the_baseline(prepare, pace_codes_fake, linear_inputs):
    """In the mode `both` ACE ends where the ZBL of the baseline does, whichever basis is chosen."""
    inputs = linear_inputs(mode='both', config={'max_deg': None, 'r_cut': None, 'linear': {'basis': 'auto'}})
    prepared = prepare(LINEAR, {'code': pace_codes_fake['python'], **inputs})
    request = json.loads(prepared.files['fit_linear.json'])
    assert len(request['candidates']) == 6
    for one in request['candidates']:
        inner = {key: bond['r_in'] for key, bond in one['potential']['bonds'].items() if 'r_in' in bond}
        assert inner == {key: bond['r_in'] for key, bond in request['potential']['bonds'].items() if 'r_in' in bond}
        assert inner
