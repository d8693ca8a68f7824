import json

import numpy as np
import pytest
from aiida import orm
from aiida.engine import ExitCode
from recorded_cases import CONVERSION, FIXTURES, TRAIN, recorded

from aiida_pacemaker.engine.metrics import read_metrics


def text(case, name):
    return (FIXTURES / 'train' / case / name).read_text()


def fitted(**changes):
    """Return the files of the recorded fit, with changes; None takes a file out."""
    files = {**recorded('train', 'default'), **{name.replace('__', '.'): value for name, value in changes.items()}}
    return {name: content for name, content in files.items() if content is not None}


@pytest.mark.parametrize('case', TRAIN)
def test_recorded_fits(parse_train, case):
    label, named = TRAIN[case]
    parsed = parse_train(recorded('train', case))
    assert parsed.label == label
    assert named in (parsed.code.message or '')
    assert '{{' not in (parsed.code.message or '')
    if label == 'OK':
        assert {'potential', 'metrics', 'learning_curves'} <= set(parsed.outputs)
        assert 'interim_potential' not in parsed.outputs
        assert parsed.outputs['metrics']['stop_reason'] in ('converged', 'maxiter', 'early_stop')


def test_a_finished_fit(parse_train, baseline, reference_energies):
    outputs = parse_train(recorded('train', 'default')).outputs
    potential = outputs['potential']
    assert potential.get_b_basis().decode() == text('default', 'output_potential.yaml')
    assert potential.get_c_tilde().decode() == text('default', 'output_potential.yace')
    assert potential.baseline == baseline
    assert potential.reference_energies == pytest.approx(reference_energies, rel=1e-13)
    assert potential.versions['pacemaker_version'] == '0.4.0rc1'

    # The last row of the table, read without the package.
    header, *rows = [line.split() for line in text('default', 'metrics.txt').splitlines()]
    last = dict(zip(header, rows[-1], strict=True))
    metrics = outputs['metrics'].get_dict()
    for name, column in (('rmse_energy', 'rmse_epa'), ('rmse_forces', 'rmse_f_comp'), ('loss', 'loss')):
        assert metrics[name] == pytest.approx(float(last[column]), rel=1e-13)
    assert metrics['iterations'] == 8
    assert metrics['stop_reason'] == 'maxiter'
    assert metrics['warnings'] == []
    curves = outputs['learning_curves']
    assert np.array_equal(curves.get_array('train_loss'), [float(row[header.index('loss')]) for row in rows])


def test_test_errors_are_attached_where_the_engine_has_them(parse_train):
    outputs = parse_train(recorded('train', 'tensorpot')).outputs
    table = read_metrics(text('tensorpot', 'test_metrics.txt'))
    assert outputs['metrics']['validation_rmse_energy'] == pytest.approx(table['rmse_epa'][-1], rel=1e-13)
    assert np.array_equal(outputs['learning_curves'].get_array('test_loss'), table['loss'])


@pytest.mark.parametrize('case', ['early_stopping', 'continued'])
def test_stop_reasons(parse_train, case):
    reason = parse_train(recorded('train', case)).outputs['metrics']['stop_reason']
    assert reason == {'early_stopping': 'early_stop', 'continued': 'maxiter'}[case]


@pytest.mark.parametrize('case', ['energy_range_kept', 'energy_range_recomputed'])
def test_energies_that_the_engine_takes_for_extreme_are_a_warning(parse_train, case):
    (warning,) = parse_train(recorded('train', case)).outputs['metrics']['warnings']
    assert 'check the reference energies' in warning


@pytest.mark.parametrize(
    ('case', 'interim'),
    [('killed_interim', 'interim_potential_0.yaml'), ('ladder_killed', 'interim_potential_ladder_step_0.yaml')],
)
def test_a_killed_fit_leaves_what_to_continue_from(parse_train, case, interim):
    outputs = parse_train(recorded('train', case)).outputs
    attached = outputs['interim_potential'].get_b_basis().decode()
    original = text(case, interim)
    assert '_fit_cycles' not in attached
    assert attached.partition('species:')[2] == original.partition('species:')[2]
    assert outputs['metrics']['stop_reason'] == 'interrupted'
    assert len(outputs['learning_curves'].get_array('train_loss')) == len(read_metrics(text(case, 'metrics.txt')))


@pytest.mark.parametrize(
    ('newest', 'expected'),
    [('', 'interim_potential_0.yaml'), ('species: [{spec', 'interim_potential_0.yaml')],
)
def test_an_interim_potential_that_was_cut_gives_way_to_the_one_before(parse_train, newest, expected):
    files = recorded('train', 'killed_interim')
    parsed = parse_train({**files, 'interim_potential_1.yaml': newest})
    assert parsed.label == 'ERROR_FIT_INTERRUPTED'
    assert parsed.outputs['interim_potential'].get_b_basis() == files[expected]
    assert 'interim_potential_1.yaml is left out' in parsed.log


def test_without_any_usable_interim_potential_none_is_attached(parse_train):
    parsed = parse_train({**recorded('train', 'killed_interim'), 'interim_potential_0.yaml': 'species: [{spec'})
    assert parsed.label == 'ERROR_FIT_INTERRUPTED'
    assert 'start again where there is none' in parsed.code.message
    assert 'interim_potential' not in parsed.outputs


@pytest.mark.parametrize(
    'verdict',
    [
        ExitCode(110, 'The job ran out of memory.'),
        ExitCode(120, 'The job ran out of walltime.'),
        ExitCode(140, 'The node running the job failed.'),
    ],
)
@pytest.mark.parametrize('case', ['killed_interim', 'small_distance', 'default'])
def test_the_verdict_of_the_scheduler_stands(parse_train, case, verdict):
    parsed = parse_train(recorded('train', case), verdict=verdict)
    assert (parsed.code.status, parsed.code.message) == (verdict.status, verdict.message)
    wanted = {'killed_interim': 'interim_potential', 'default': 'potential'}
    if case in wanted:
        assert {wanted[case], 'metrics', 'learning_curves'} <= set(parsed.outputs)


def test_out_of_memory_is_said_by_the_shell_or_the_scheduler(parse_train):
    files = recorded('train', 'killed_interim')
    said = 'slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.0. Some of your processes may have been killed'
    parsed = parse_train({**files, '_scheduler-stderr.txt': said})
    assert parsed.label == 'ERROR_MEMORY_EXHAUSTED'
    assert 'interim_potential' in parsed.outputs
    # The script of a job can miss other programs without harm.
    parsed = parse_train({**files, '_scheduler-stderr.txt': '_aiidasubmit.sh: line 4: module: command not found\n'})
    assert parsed.label == 'ERROR_FIT_INTERRUPTED'


def test_a_potential_without_an_iteration_is_no_fit(parse_train):
    extended = text('noop_fit_cycles', 'log.txt').partition('Cycle fitting loop')[0]
    extended += (
        'Cycle fitting loop\n2026-11-23 18:52:41,455 I - No new function added after basis extension. Stopping\n'
    )
    parsed = parse_train({**recorded('train', 'noop_fit_cycles'), 'log.txt': extended})
    assert parsed.label == 'ERROR_NOTHING_FITTED'
    assert 'a config with more functions' in parsed.code.message
    assert 'metrics' not in parsed.outputs


def test_frames_that_a_weighting_policy_leaves_out_are_a_warning(parse_train):
    config = {'fit': {'weighting': {'type': 'EnergyBasedWeightingPolicy', 'nfit': 12}}}
    parsed = parse_train(recorded('train', 'frames_dropped'), config=config)
    assert parsed.label == 'OK'
    (warning,) = parsed.outputs['metrics']['warnings']
    assert warning.startswith('1 frames were not fitted')


def test_frames_that_the_engine_drops_by_itself_are_an_error_but_the_potential_is_there(parse_train):
    parsed = parse_train(recorded('train', 'frames_dropped'))
    assert parsed.label == 'ERROR_FRAMES_DROPPED'
    assert 'potential' in parsed.outputs
    assert parsed.code.invalidates_cache


@pytest.mark.parametrize('kept', [0, 1, 2000])
def test_a_final_potential_that_was_cut_is_no_potential(parse_train, kept):
    cut = text('default', 'output_potential.yaml').encode()[:kept]
    parsed = parse_train(fitted(output_potential__yaml=cut))
    assert parsed.label == 'ERROR_POTENTIAL_INVALID'
    assert 'potential' not in parsed.outputs
    assert 'interim_potential' in parsed.outputs
    assert parsed.outputs['metrics']['stop_reason'] == 'interrupted'


def test_a_potential_that_was_cut_between_two_functions_is_told_by_their_number(parse_train):
    """It is legal YAML and a legal potential, only not the one that was fitted."""
    lines = text('default', 'output_potential.yaml').splitlines(keepends=True)
    last = max(row for row, line in enumerate(lines) if line.startswith('      - {type:'))
    parsed = parse_train(fitted(output_potential__yaml=''.join(lines[:last])))
    assert parsed.label == 'ERROR_POTENTIAL_INVALID'
    assert 'it is cut' in parsed.code.message
    assert 'potential' not in parsed.outputs


def test_the_reason_for_a_final_potential_that_was_cut_comes_first(parse_train):
    full = 'Traceback (most recent call last):\nOSError: [Errno 28] No space left on device\n'
    parsed = parse_train(fitted(output_potential__yaml=b'', stderr__txt=full))
    assert parsed.label == 'ERROR_DISK_FULL'


@pytest.mark.parametrize(
    ('content', 'label'),
    [
        (None, 'ERROR_METRICS_INVALID'),
        ('', 'ERROR_NOTHING_FITTED'),
        ('loss\n1.0\n', 'ERROR_METRICS_INVALID'),
        ('loss /etc/passwd\n1.0 2.0\n', 'ERROR_METRICS_INVALID'),
        ('iter_num loss\n99999999999999999999 1\n', 'ERROR_METRICS_INVALID'),
    ],
)
def test_metrics_that_are_none(parse_train, content, label):
    parsed = parse_train(fitted(metrics__txt=content))
    assert parsed.label == label
    assert 'potential' in parsed.outputs
    assert 'metrics' not in parsed.outputs


def test_test_metrics_that_are_damaged_are_left_out_with_a_warning(parse_train):
    parsed = parse_train(fitted(test_metrics__txt='loss\n1.0\n'))
    assert parsed.label == 'OK'
    assert 'test_metrics.txt is left out' in parsed.log
    assert parsed.outputs['metrics']['validation_loss'] is None


@pytest.mark.parametrize('bad', ['nan', 'inf'])
@pytest.mark.parametrize('column', ['loss', 'rmse_epa', 'rmse_f_comp'])
def test_numbers_that_are_not_finite(parse_train, bad, column):
    header, *rows = text('default', 'metrics.txt').splitlines()
    position = header.split().index(column)
    fields = rows[3].split()
    fields[position] = bad
    rows[3] = ' '.join(fields)
    parsed = parse_train(fitted(metrics__txt='\n'.join([header, *rows, ''])))
    assert parsed.label == 'ERROR_FIT_DIVERGED'
    assert f'`{column}` is {bad} at iteration 3' in parsed.code.message
    assert parsed.outputs['metrics']['stop_reason'] == 'diverged'
    # What is not a number cannot be in the database.
    assert json.dumps(parsed.outputs['metrics'].get_dict(), allow_nan=False)


@pytest.mark.parametrize('case', CONVERSION)
def test_recorded_conversions(parse_train, pace_codes_fake, case):
    label, named = CONVERSION[case]
    conversion = recorded('yaml2yace', case)
    files = fitted(
        output_potential__yace=conversion.get('output_potential.yace'), yaml2yace_stderr__txt=conversion['stderr.txt']
    )
    parsed = parse_train(files, yace_code=pace_codes_fake['yace'])
    assert parsed.label == label
    assert named in (parsed.code.message or '')
    assert parsed.outputs['potential'].has_c_tilde == (label == 'OK')


@pytest.mark.parametrize('content', [b'', b'elements: [Mg', b'\x00\xff\x80'])
def test_a_damaged_conversion_does_not_cost_the_potential(parse_train, pace_codes_fake, content):
    parsed = parse_train(fitted(output_potential__yace=content), yace_code=pace_codes_fake['yace'])
    assert parsed.label == 'ERROR_CTILDE_MISSING'
    assert 'damaged' in parsed.code.message
    assert not parsed.outputs['potential'].has_c_tilde


def test_predictions_and_plots(parse_train, mgo_frames):
    path = FIXTURES / 'pickles' / 'engine-pandas-3.1.1-test_pred.pckl.gzip'
    plots = {'report/train_E-dE-dist.png': b'\x89PNG plot', 'report/notes.svg': b'<svg/>', 'ef-distributions.png': b'x'}
    files = fitted(**{'test_pred__pckl.gzip': path.read_bytes()}) | plots
    outputs = parse_train(files, predict=orm.Bool(True)).outputs
    predictions = outputs['predictions']
    assert set(predictions.get_arraynames()) == {'test_energy', 'test_forces'}
    assert np.isfinite(predictions.get_array('test_forces')).all()
    assert predictions.get_array('test_forces').shape[1:] == (3,)
    assert {str(root / name) for root, _, names in outputs['report'].base.repository.walk() for name in names} == {
        *plots
    }
    assert 'predictions' not in parse_train(files).outputs


@pytest.mark.parametrize('content', [b'', b'\x1f\x8b\x08', b'cos\nsystem\n.'])
def test_predictions_that_cannot_be_read_are_left_out_with_a_warning(parse_train, content):
    parsed = parse_train(fitted(**{'train_pred__pckl.gzip': content}), predict=orm.Bool(True))
    assert parsed.label == 'OK'
    assert 'train_pred.pckl.gzip is left out' in parsed.log
    assert 'predictions' not in parsed.outputs


def test_silence(parse_train):
    parsed = parse_train({})
    assert parsed.label == 'ERROR_NO_REASON_GIVEN'
    assert 'report of the scheduler' in parsed.code.message
    assert not parsed.outputs
