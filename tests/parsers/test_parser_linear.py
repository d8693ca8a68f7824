"""What the parser makes of linear fits: recorded ones, damaged ones, and those that have no end."""

import json
import re

import numpy as np
import pytest
from aiida import orm
from aiida.engine import CalcJob
from damages import KINDS, Ending, check, damage, remembered
from recorded_cases import LINEAR, recorded

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.drivers.linear_files import FrameErrors, Summary
from aiida_pacemaker.parsers.fit_linear import dip_warnings, validation_warnings

OUTPUTS = {'potential', 'metrics', 'stop_reason', 'learning_curves', 'fit', 'posterior', 'frame_errors'}


@pytest.fixture
def parse_fit(parse_linear):
    """Return a function that parses the recorded fit with predictions, some of whose files are others."""

    def run(files=None, **inputs):
        content = {**recorded('fit_linear', 'default'), **(files or {})}
        content = {name: one for name, one in content.items() if one is not None}
        return parse_linear(content, predict=orm.Bool(True), **inputs)

    return run


def of_case(case, fitted_frames):
    """Return the inputs of a recorded fit that are others than those of most."""
    core = DeltaBaseline.for_elements(['Mg', 'O'], mode='core').model_dump(mode='json')
    few = PaceDatasetData(fitted_frames['dataset'].get_frames().select([0]))
    return {'core': {'baseline': orm.Dict(core)}, 'few_frames': {'dataset': few}}.get(case, {})


@pytest.mark.parametrize('case', LINEAR)
def test_recorded_linear_fits(parse, train_inputs, fitted_frames, case):
    label, named = LINEAR[case]
    inputs = {**fitted_frames, **of_case(case, fitted_frames)}
    parsed = parse(
        'pacemaker.train.linear', recorded('fit_linear', case), train_inputs({'evaluator': 'linear'}, **inputs)
    )
    assert parsed.label == label, parsed.code.message
    assert named in (parsed.code.message or '')
    assert '{{' not in (parsed.code.message or '')
    # What comes back before the end of a fit is no result.
    assert set(parsed.outputs) == (OUTPUTS if label == 'OK' else set())


def test_a_finished_linear_fit(parse_fit, baseline):
    parsed = parse_fit()
    assert parsed.label == 'OK', parsed.code.message
    outputs = parsed.outputs
    summary = json.loads(recorded('fit_linear', 'default')['linear_fit.json'])
    assert outputs['potential'].baseline == baseline
    assert outputs['potential'].has_c_tilde
    metrics = outputs['metrics'].get_dict()
    assert metrics['rmse_energy'] == pytest.approx(summary['rmse']['energy'], rel=1e-12)
    assert metrics['rmse_forces'] == pytest.approx(summary['rmse']['forces'], rel=1e-12)
    assert metrics['validation_rmse_forces'] > metrics['rmse_forces']
    assert metrics['mae_forces'] is None
    assert metrics['training_time'] == pytest.approx(summary['seconds'])
    assert metrics['engine_version'] == summary['versions']['pyace']
    assert metrics['fitted_labels'] == 'energies, forces and stress'
    assert metrics['energy_reference'] == pytest.approx(summary['energy_reference'], rel=1e-12)
    assert metrics['cross_validation']['rmse_forces'] == pytest.approx(summary['cross_validation']['rmse_forces'])
    fit = outputs['fit'].get_dict()
    worst, contributed = fit.pop('worst_frames'), fit.pop('contributions')
    (source,), (level,) = contributed['sources'], contributed['levels']
    assert source['n_frames'] == level['n_frames'] == summary['cross_validation']['n_frames']
    assert (contributed['n_sources'], level['level']) == (1, 'unknown')
    assert source['parameters'] == pytest.approx(level['parameters'])
    assert 0 < source['parameters'] <= 1.01 * summary['effective_parameters']
    assert fit['coefficients_sha256'] == summary['coefficients_sha256']
    errors = outputs['frame_errors'].get_array('forces')
    assert [one['forces'] for one in worst] == pytest.approx(sorted(errors, reverse=True)[:10])
    assert sorted(outputs['predictions'].get_arraynames()) == [
        *('test_energy', 'test_forces', 'train_energy', 'train_forces')
    ]


def test_a_fit_of_one_frame_is_warned_of(parse, train_inputs, fitted_frames):
    inputs = train_inputs({'evaluator': 'linear'}, **of_case('few_frames', fitted_frames))
    parsed = parse('pacemaker.train.linear', recorded('fit_linear', 'few_frames'), inputs)
    warnings = ' '.join(parsed.outputs['metrics']['warnings'])
    assert 'There are no error bars' in warnings
    assert 'no active set (gamma) can be built' in warnings


def summary_with(**changes):
    content = json.loads(recorded('fit_linear', 'default')['linear_fit.json'])
    for name, value in changes.items():
        content[name] = {**content.get(name, {}), **value} if isinstance(value, dict) else value
    return content


def test_warnings_about_frames_that_were_left_out():
    def said(**changes):
        return ' '.join(validation_warnings(Summary.model_validate(summary_with(**changes))))

    assert said() == ''
    rmse = summary_with()['rmse']['forces']
    assert 'it is overfitted' in said(cross_validation={'rmse_forces': 2.1 * rmse})
    assert 'forces:' not in said(cross_validation={'rmse_forces': 1.9 * rmse})
    assert 'a sample of 12 of 900 frames' in said(cross_validation={'of': 900})
    assert 'There are no error bars' in said(calibration={'forces': None})


def test_more_functions_than_equations(parse_fit):
    """The functions are those of the potential, the equations those of all labels that were fitted."""
    content = summary_with(n_equations={'energy': 2, 'forces': 6, 'virial': 0})
    parsed = parse_fit({'linear_fit.json': json.dumps(content)})
    (warning,) = [text for text in parsed.outputs['metrics']['warnings'] if 'underdetermined' in text]
    assert '24 parameters for 8 components of energies, forces and stresses' in warning
    assert parsed.outputs['metrics']['fitted_labels'] == 'energies and forces'


@pytest.mark.parametrize(
    ('verdict', 'label'),
    [
        (CalcJob.exit_codes.ERROR_SCHEDULER_OUT_OF_WALLTIME, 'ERROR_SCHEDULER_OUT_OF_WALLTIME'),
        (CalcJob.exit_codes.ERROR_SCHEDULER_OUT_OF_MEMORY, 'ERROR_SCHEDULER_OUT_OF_MEMORY'),
        (None, 'ERROR_JOB_DIED'),
    ],
)
def test_a_fit_that_was_stopped(parse_linear, verdict, label):
    files = {**recorded('fit_linear', 'killed'), 'exit_status': ''}
    assert parse_linear(files, verdict=verdict).label == label


def test_silence_of_a_linear_fit(parse_linear):
    assert parse_linear({'exit_status': '3\n', 'stdout.txt': '24 functions\n'}).label == 'ERROR_NO_REASON_GIVEN'


@pytest.mark.parametrize(
    ('change', 'label', 'named'),
    [
        ({'output_potential.yaml': None}, 'ERROR_POTENTIAL_INVALID', 'output_potential.yaml is not there'),
        ({'output_potential.yace': None}, 'ERROR_CTILDE_MISSING', 'output_potential.yace is not there'),
        ({'metrics.txt': None}, 'ERROR_METRICS_INVALID', 'metrics.txt: it is not there'),
        ({'posterior.npz': None}, 'ERROR_ERROR_BARS_MISSING', 'posterior.npz is not there'),
        ({'frame_errors.npz': None}, 'ERROR_ERROR_BARS_MISSING', 'frame_errors.npz is not there'),
        ({'test_predictions.npz': None}, 'ERROR_PREDICTIONS_MISSING', 'test_predictions.npz is not there'),
        ({'linear_fit.json': '{}'}, 'ERROR_FIT_INVALID', 'n_functions: Field required'),
        (
            {'linear_fit.json': json.dumps(summary_with(n_functions={'Mg': 13}))},
            'ERROR_POTENTIAL_INVALID',
            '25 functions were fitted but the file has 24',
        ),
    ],
)
def test_files_that_are_missing_or_others(parse_fit, change, label, named):
    parsed = parse_fit(change)
    assert parsed.label == label
    assert named in parsed.code.message


def test_coefficients_that_are_not_numbers(parse_fit):
    content = recorded('fit_linear', 'default')['output_potential.yaml'].decode()
    parsed = parse_fit({'output_potential.yaml': re.sub(r' c: \[[^]]*\]', ' c: [nan]', content, count=1)})
    assert parsed.label == 'ERROR_POTENTIAL_INVALID'
    assert 'potential' not in parsed.outputs


def test_frames_of_another_dataset(parse_fit, small_dataset):
    parsed = parse_fit(dataset=small_dataset)
    assert parsed.label == 'ERROR_ERROR_BARS_MISSING'
    assert 'none of the frames that are left' in parsed.code.message


def test_the_worst_frames_come_first():
    values = np.array([0.1, np.nan, 0.3])
    errors = FrameErrors(np.array([2, 5, 7]), values, values, values)
    assert [one['frame'] for one in errors.worst(3)] == [7, 2, 5]


WHOLE = recorded('fit_linear', 'default')
#: What becomes of a linear fit one of whose files is damaged.
DAMAGED = {
    'linear_fit.json': Ending(
        'ERROR_FIT_INVALID',
        says='linear_fit.json',
        warns='linear_fit.json is left out',
        without=['fit', 'posterior', 'frame_errors'],
        other=['metrics'],
    ),
    'metrics.txt': Ending(
        'ERROR_METRICS_INVALID', says='metrics.txt', without=['metrics', 'learning_curves', 'stop_reason']
    ),
    'output_potential.yaml': Ending(
        'ERROR_POTENTIAL_INVALID',
        says='The potential that came back cannot be used',
        without=['potential'],
        other=['metrics'],
    ),
    'output_potential.yace': Ending('ERROR_CTILDE_MISSING', says='output_potential.yace', other=['potential']),
    'posterior.npz': Ending('ERROR_ERROR_BARS_MISSING', says='posterior.npz', without=['posterior']),
    'frame_errors.npz': Ending(
        'ERROR_ERROR_BARS_MISSING', says='frame_errors.npz', without=['frame_errors'], other=['fit']
    ),
    'train_predictions.npz': Ending('ERROR_PREDICTIONS_MISSING', says='train_predictions.npz', other=['predictions']),
}


@pytest.fixture(scope='module')
def whole():
    return {}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', DAMAGED)
def test_damaged_files_of_a_linear_fit(parse_fit, whole, name, kind):
    expected = remembered(whole, 'fit', parse_fit)
    check(parse_fit({name: damage(WHOLE[name], kind)}), expected, DAMAGED[name])


@pytest.mark.parametrize('kind', KINDS)
def test_no_other_file_of_a_linear_fit_matters(parse_fit, whole, kind):
    others = {name: damage(content, kind) for name, content in WHOLE.items() if name in ('stdout.txt', 'stderr.txt')}
    check(parse_fit(others), remembered(whole, 'fit', parse_fit), Ending('OK'))


def test_atoms_that_attract_each_other_below_the_data_are_named():
    def said(**depths):
        dips = {pair: {'depth': depth, 'distance': 1.05} for pair, depth in depths.items()}
        return dip_warnings(Summary.model_validate(summary_with(dips=dips)))

    assert said() == said(A=0.05) == []
    (warning,) = said(A=0.05, B=11.66)
    assert 'Two atoms B alone gain 11.7 eV while they approach to 1.05 Å' in warning
    # As the driver writes them.
    recorded_dips = json.loads(recorded('fit_linear', 'core')['linear_fit.json'])['dips']
    assert set(recorded_dips) == {'Mg-Mg', 'Mg-O', 'O-O'}
    assert Summary.model_validate(summary_with(dips=recorded_dips)).dips['O-O'].depth == recorded_dips['O-O']['depth']
