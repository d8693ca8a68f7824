import json
import re

import numpy as np
import pytest
from aiida import orm
from aiida.engine import ExitCode
from recorded_cases import CONVERSION, FIXTURES, TRAIN, predicted, recorded

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.pickles.reading import read_table
from aiida_pacemaker.pace.output.metrics import read_metrics
from aiida_pacemaker.pace.output.predictions import read_predictions


def text(case, name):
    return (FIXTURES / 'train' / case / name).read_text()


def fitted(**changes):
    """Return the files of the recorded fit, with changes; None takes a file out."""
    files = {**recorded('train', 'default'), **{name.replace('__', '.'): value for name, value in changes.items()}}
    return {name: content for name, content in files.items() if content is not None}


@pytest.mark.parametrize('case', TRAIN)
def test_recorded_fits(parse_train, case):
    label, named = TRAIN[case]
    # The potential that was fitted with a core of the engine has no other repulsion.
    core = DeltaBaseline.for_elements(['Mg', 'O'], mode='core').model_dump(mode='json')
    parsed = parse_train(recorded('train', case), **({'baseline': orm.Dict(core)} if case == 'repulsion' else {}))
    assert parsed.label == label
    assert named in (parsed.code.message or '')
    assert '{{' not in (parsed.code.message or '')
    if label == 'OK':
        assert {'potential', 'metrics', 'learning_curves'} <= set(parsed.outputs)
        assert 'interim_potential' not in parsed.outputs
        assert parsed.outputs['stop_reason'].value in ('converged', 'maxiter', 'early_stop', 'plateau')
    # The reason is there where the metrics are, and the same as in them.
    assert ('stop_reason' in parsed.outputs) == ('metrics' in parsed.outputs)
    if 'metrics' in parsed.outputs:
        assert parsed.outputs['stop_reason'].value == parsed.outputs['metrics']['stop_reason']
        assert parsed.outputs['metrics']['engine_version'] == '0.4.0rc1'


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


REASONS = {
    'early_stopping': 'early_stop',
    'continued': 'maxiter',
    'plateau': 'plateau',
    'plateau_tensorpot': 'plateau',
    # Only the first of its two cycles was asked to stop.
    'plateau_cycle': 'maxiter',
    'killed_interim': 'interrupted',
    'out_of_memory': 'interrupted',
    'overflow_cycle': 'diverged',
    'infinite_energy_lbfgs': 'diverged',
}


@pytest.mark.parametrize(('case', 'reason'), REASONS.items())
def test_stop_reasons(parse_train, case, reason):
    assert parse_train(recorded('train', case)).outputs['stop_reason'].value == reason


def test_an_optimiser_that_found_its_minimum_has_converged(parse_train):
    log = text('default', 'log.txt').replace(
        'status=1, message=Maximum number of iterations has been exceeded.', 'status=0'
    )
    log = re.sub(r'(Optimization result\(success=)False, status=0', r'\1True, status=0, message=ok', log)
    assert parse_train(fitted(log__txt=log)).outputs['stop_reason'].value == 'converged'


#: The end of a fit by Nelder-Mead, which has no gradients to count.
UNSAID = re.sub(
    r'I - Optimization result.*', 'E - Optimization result: not available: njev', text('default', 'log.txt')
)


@pytest.mark.fault(
    'Nelder-Mead has used up its iterations',
    engine='exit 0, and not a word of how it has ended; SciPy does one iteration less than `maxiter`',
    here='told by the iterations (or evaluations, with `maxfev`): `stop_reason` is `maxiter`, which is a failure with '
    '`require_convergence`',
    ends='PaceTrainBaseWorkChain.ERROR_NOT_CONVERGED',
)
@pytest.mark.parametrize(('allowed', 'reason'), [(8, 'maxiter'), (9, 'maxiter'), (10, 'converged')])
def test_where_the_engine_cannot_say_how_it_ended_the_iterations_do(parse_train, allowed, reason):
    parsed = parse_train(fitted(log__txt=UNSAID), max_epochs=orm.Int(allowed))
    assert parsed.outputs['stop_reason'].value == reason


@pytest.mark.parametrize(('allowed', 'reason'), [(11, 'maxiter'), (12, 'converged')])
def test_the_evaluations_of_the_loss_are_counted_too(parse_train, train_inputs, allowed, reason):
    said = ''.join(f'             Eval {count}: loss=4.66\r' for count in range(1, 12))
    config = train_inputs()['config'].get_dict()
    config['fit'] = {'optimizer': 'Nelder-Mead', 'maxiter': 100, 'options': {'maxfev': allowed}}
    files = fitted(log__txt=UNSAID, stdout__txt=said)
    assert parse_train(files, config=orm.Dict(config)).outputs['stop_reason'].value == reason


@pytest.mark.fault(
    'the walltime is over',
    engine='an interim potential is left, and nobody says so',
    here='the verdict of the scheduler comes first; `stop_reason` is `walltime`; the restart chain goes on',
    ends='120 `ERROR_SCHEDULER_OUT_OF_WALLTIME`',
)
def test_the_walltime_is_a_reason_of_its_own(parse_train):
    walltime = ExitCode(120, 'The job ran out of walltime.')
    assert parse_train(recorded('train', 'killed_interim'), verdict=walltime).outputs['stop_reason'].value == 'walltime'
    # It can come after the fit, in the predictions.
    assert parse_train(recorded('train', 'default'), verdict=walltime).outputs['stop_reason'].value == 'maxiter'


@pytest.mark.fault(
    'an engine of a version that was not tested',
    engine='a line in its log',
    here='a warning with the version in `metrics`, in the report of the job and in the report of the loop',
    ends='success',
)
def test_an_engine_of_an_untested_version_is_a_warning(parse_train):
    log = text('default', 'log.txt').replace('pacemaker/pyace version: 0.4.0rc1', 'pacemaker/pyace version: 0.2.7')
    parsed = parse_train(fitted(log__txt=log))
    assert parsed.label == 'OK'
    assert parsed.outputs['metrics']['engine_version'] == '0.2.7'
    (warning,) = parsed.outputs['metrics']['warnings']
    assert 'python-ace 0.2.7; tested: 0.4.0rc1' in warning
    assert warning in parsed.log


def test_what_was_passed_on_unchecked_is_reported(parse_train):
    extra = {'extra': {'fit': {'new_option': 3}, 'backend': {'other': 'x'}}}
    parsed = parse_train(recorded('train', 'default'), config=extra)
    (warning,) = parsed.outputs['metrics']['warnings']
    assert "backend.other: 'x'; fit.new_option: 3" in warning
    assert warning in parsed.log


@pytest.mark.parametrize('case', ['energy_range_kept', 'energy_range_recomputed'])
def test_energies_that_the_engine_takes_for_extreme_are_a_warning(parse_train, case):
    (warning,) = parse_train(recorded('train', case)).outputs['metrics']['warnings']
    assert 'check the reference energies' in warning


@pytest.mark.parametrize(
    ('case', 'interim'),
    [
        ('killed_interim', 'interim_potential_0.yaml'),
        ('killed_node', 'interim_potential_0.yaml'),
        ('killed_cycle', 'interim_potential_1.yaml'),
        ('out_of_memory', 'interim_potential_0.yaml'),
        ('ladder_killed', 'interim_potential_ladder_step_0.yaml'),
    ],
)
def test_a_stopped_fit_leaves_what_to_continue_from(parse_train, case, interim):
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


def test_a_final_potential_that_was_being_written_when_the_job_was_stopped(parse_train):
    """A restart chain goes on from the interim one."""
    parsed = parse_train(fitted(output_potential__yaml=b'species: [{spec', exit_status=b''))
    assert parsed.label == 'ERROR_FIT_INTERRUPTED'
    assert 'interim_potential' in parsed.outputs


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


@pytest.mark.parametrize('case', ['infinite_energy', 'infinite_energy_lbfgs', 'overflow_tensorpot'])
def test_a_fit_that_diverged_at_once_leaves_no_potential(parse_train, case):
    """Not even an interim one: that of tensorpot has finite coefficients, but was written at an infinite loss."""
    parsed = parse_train(recorded('train', case))
    assert parsed.label == 'ERROR_FIT_DIVERGED'
    assert not {'potential', 'interim_potential'} & set(parsed.outputs)


def test_a_fit_that_diverged_in_a_later_cycle_leaves_the_one_before(parse_train):
    parsed = parse_train(recorded('train', 'overflow_cycle'))
    assert 'potential' not in parsed.outputs
    attached = parsed.outputs['interim_potential'].get_b_basis().decode()
    assert attached == text('overflow_cycle', 'interim_potential_0.yaml')


def test_a_fit_that_was_killed_for_its_loss_has_diverged(parse_train):
    """The monitor kills it, so there is neither a final potential nor a word of the reason."""
    header, *rows = text('killed_interim', 'metrics.txt').splitlines()
    row = rows[-1].split()
    row[header.split().index('loss')] = 'nan'
    parsed = parse_train(
        {**recorded('train', 'killed_interim'), 'metrics.txt': '\n'.join([header, *rows[:-1], ' '.join(row), ''])}
    )
    assert parsed.label == 'ERROR_FIT_DIVERGED'
    assert parsed.outputs['stop_reason'].value == 'diverged'
    assert 'interim_potential' not in parsed.outputs


@pytest.mark.parametrize('name', ['output_potential.yaml', 'interim_potential_0.yaml'])
def test_coefficients_that_are_not_finite_are_never_attached(parse_train, name):
    files = recorded('train', 'default' if name == 'output_potential.yaml' else 'killed_interim')
    files[name], count = re.subn(rb'(c: \[)[^\]]*\]', rb'\1.nan]', files[name], count=1)
    assert count == 1
    parsed = parse_train(files)
    assert 'potential' not in parsed.outputs
    if name == 'output_potential.yaml':
        assert parsed.label == 'ERROR_FIT_DIVERGED'
        assert 'coefficients of the potential' in parsed.code.message
        assert parsed.outputs['stop_reason'].value == 'diverged'
        assert 'interim_potential' in parsed.outputs
    else:
        assert parsed.label == 'ERROR_FIT_INTERRUPTED'
        assert 'interim_potential' not in parsed.outputs


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


def test_a_job_that_was_stopped_before_the_conversion_is_gone_on_with(parse_train, pace_codes_fake):
    files = fitted(output_potential__yace=None, exit_status=b'')
    parsed = parse_train(files, yace_code=pace_codes_fake['yace'])
    assert parsed.label == 'ERROR_FIT_INTERRUPTED'
    assert parsed.outputs['potential'].n_functions == 24


@pytest.mark.parametrize('content', [b'', b'elements: [Mg', b'\x00\xff\x80'])
def test_a_damaged_conversion_does_not_cost_the_potential(parse_train, pace_codes_fake, content):
    parsed = parse_train(fitted(output_potential__yace=content), yace_code=pace_codes_fake['yace'])
    assert parsed.label == 'ERROR_CTILDE_MISSING'
    assert 'damaged' in parsed.code.message
    assert not parsed.outputs['potential'].has_c_tilde


@pytest.mark.fault(
    'predictions of frames that the engine has shuffled and left out',
    engine='writes them in its own order, without those that it left out',
    here='put in the order of the dataset by the content of each frame',
    ends='frames without a prediction are named',
)
def test_predictions_are_in_the_order_of_the_dataset(parse_train, mgo_frames):
    plots = {'report/train_E-dE-dist.png': b'\x89PNG plot', 'report/notes.svg': b'<svg/>', 'ef-distributions.png': b'x'}
    frames = mgo_frames.select([4, 7, 1, 9, 3])
    files = fitted(**{'train_pred__pckl.gzip': predicted(frames, [3, 0, 4, 1])}) | plots
    parsed = parse_train(files, predict=orm.Bool(True), dataset=PaceDatasetData(frames))
    assert parsed.label == 'OK'
    predictions = parsed.outputs['predictions']
    expected = np.where(np.arange(5) == 2, np.nan, frames.energy)
    np.testing.assert_array_equal(predictions.get_array('train_energy'), expected)
    np.testing.assert_array_equal(
        predictions.get_array('train_forces'),
        np.where((frames.frame_of_atom == 2)[:, None], np.nan, frames.forces),
    )
    assert predictions.get_array('train_left_out').tolist() == [2]
    (warning,) = [text for text in parsed.outputs['metrics']['warnings'] if 'left out' in text]
    assert '1 of 5 frames of the train set: frames 2, counted from 0' in warning
    outputs = parsed.outputs
    assert {str(root / name) for root, _, names in outputs['report'].base.repository.walk() for name in names} == {
        *plots
    }
    assert 'predictions' not in parse_train(files, dataset=PaceDatasetData(frames)).outputs


@pytest.mark.fault(
    'predictions that are not there, or cannot be read',
    engine='ends with exit 0',
    here='511 ERROR_PREDICTIONS_MISSING, with the potential attached',
    ends='511',
)
@pytest.mark.parametrize('content', [None, b'', b'\x1f\x8b\x08', b'cos\nsystem\n.'])
def test_predictions_that_are_missing_are_no_success(parse_train, mgo_frames, content):
    dataset = PaceDatasetData(mgo_frames.select([0, 1]))
    files = fitted(**({} if content is None else {'train_pred__pckl.gzip': content}))
    parsed = parse_train(files, predict=orm.Bool(True), dataset=dataset)
    assert parsed.label == 'ERROR_PREDICTIONS_MISSING'
    assert 'train_pred.pckl.gzip' in parsed.code.message
    assert 'potential' in parsed.outputs
    assert 'predictions' not in parsed.outputs


@pytest.mark.parametrize(
    ('names', 'columns', 'message'),
    [
        (['a', 'b'], {}, "row 0 is called 'a', which is none of the frames"),
        (None, {'energy_pred': ['low', 'high']}, 'could not convert'),
        (None, {'forces_pred': [1, 2]}, r'row 0 has forces of shape \(\)'),
    ],
)
def test_predictions_of_something_else_are_refused(parse_train, mgo_frames, names, columns, message):
    frames = mgo_frames.select([0, 1])
    files = fitted(**{'train_pred__pckl.gzip': predicted(frames, [0, 1], names, **columns)})
    parsed = parse_train(files, predict=orm.Bool(True), dataset=PaceDatasetData(frames))
    assert parsed.label == 'ERROR_PREDICTIONS_MISSING'
    assert re.search(message, parsed.code.message), parsed.code.message


def test_predictions_with_a_core_repulsion_are_read():
    """A recorded table of a fit with `repulsion: auto`, which holds dictionaries with tuples for keys."""
    path = FIXTURES / 'pickles' / 'engine-pandas-3.1.1-core-train_pred.pckl.gzip'
    assert read_table(path).columns['min_distance_per_bond'][0].keys() == {(0, 0)}
    names = [f'frame-{number}' for number in range(14)]
    found = read_predictions(path, names, np.full(14, 4), max_size=10**6)
    # Two structures are above the upper bound of the weighting policy.
    assert found.left_out.tolist() == [5, 13]
    assert np.isnan(found.energy[[5, 13]]).all()
    assert np.isfinite(found.forces.reshape(14, 12)[[0, 1, 12]]).all()


def test_silence(parse_train):
    parsed = parse_train({})
    assert parsed.label == 'ERROR_NO_REASON_GIVEN'
    assert 'report of the scheduler' in parsed.code.message
    assert not parsed.outputs
