"""No recorded run is without a test, no exit code without a run, and no damage without a reason in the exit code."""

import pytest
from aiida import orm
from damages import KINDS, Ending, check, damage, remembered
from recorded_cases import FIXTURES, NOT_RECORDED, RECORDED, predicted, recorded

from aiida_pacemaker.calculations.base import STATUS
from aiida_pacemaker.pace.output.failures import Failure


def test_every_recorded_run_has_a_test():
    folders = {
        program: {path.parent.name for path in (FIXTURES / program).glob('*/exit_status')} for program in RECORDED
    }
    assert folders == {program: set(cases) for program, cases in RECORDED.items()}


def test_every_failure_of_the_engine_ends_in_an_exit_code_that_a_run_shows():
    assert set(STATUS) == set(Failure)
    assert len(set(STATUS.values())) == len(STATUS)
    shown = {label for cases in RECORDED.values() for label, _ in cases.values()}
    assert {failure.label for failure in STATUS} - shown == set(NOT_RECORDED)


@pytest.fixture(scope='module')
def whole():
    """Return where is kept what the parsers make of files without damage."""
    return {}


#: What a fit comes to of which nothing but the potential can be read.
UNJUDGED = ('metrics', 'learning_curves', 'stop_reason')
#: What becomes of a fit one of whose files is damaged, for all damages or for each.
FIT = {
    # What the engine says of the fit, such as its versions and times, is lost, and no more.
    'log.txt': Ending('OK', other=['metrics', 'stop_reason']),
    'metrics.txt': {
        'empty': Ending('ERROR_NOTHING_FITTED', says='fitted nothing', without=UNJUDGED),
        # Half a table of metrics is a table: see test_half_a_table_is_the_beginning_of_the_curve.
        'cut': Ending('OK', other=UNJUDGED),
        **dict.fromkeys(
            ('end only', 'flipped', 'binary'), Ending('ERROR_METRICS_INVALID', says='metrics.txt', without=UNJUDGED)
        ),
    },
    # It has a header and no rows, since there was no test set.
    'test_metrics.txt': {
        **dict.fromkeys(('empty', 'cut'), Ending('OK')),
        **dict.fromkeys(('end only', 'flipped', 'binary'), Ending('OK', warns='test_metrics.txt is left out')),
    },
    'output_potential.yaml': Ending(
        'ERROR_POTENTIAL_INVALID',
        says='The potential that came back cannot be used',
        without=['potential'],
        other=['interim_potential', 'metrics', 'stop_reason'],
    ),
    'output_potential.yace': Ending('OK', warns='output_potential.yace is left out', other=['potential']),
    'train_pred.pckl.gzip': Ending(
        'ERROR_PREDICTIONS_MISSING', says='train_pred.pckl.gzip', warns='train_pred.pckl.gzip', without=['predictions']
    ),
}


@pytest.fixture
def parse_fit(parse_train, small_dataset):
    """Return a function that parses a fit with predictions, some of whose files are others than those recorded."""
    prediction = predicted(small_dataset.get_frames(), [2, 0, 1])

    def run(files=None, **inputs):
        recording = {**recorded('train', 'default'), 'train_pred.pckl.gzip': prediction, **(files or {})}
        return parse_train(recording, predict=orm.Bool(True), dataset=small_dataset, **inputs)

    return run


def of(endings, kind):
    """Return how a job ends after one kind of damage."""
    return endings[kind] if isinstance(endings, dict) else endings


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', FIT)
def test_damaged_files_of_a_fit(parse_fit, small_dataset, whole, name, kind):
    content = recorded('train', 'default').get(name) or predicted(small_dataset.get_frames(), [2, 0, 1])
    expected = remembered(whole, 'fit', parse_fit)
    assert expected.label == 'OK'
    check(parse_fit({name: damage(content, kind)}), expected, of(FIT[name], kind))


@pytest.mark.parametrize('kind', KINDS)
def test_no_other_file_of_a_fit_matters(parse_fit, whole, kind):
    """All files that come back but those above, damaged at once."""
    others = {name: damage(content, kind) for name, content in recorded('train', 'default').items() if name not in FIT}
    assert {'stdout.txt', 'stderr.txt', 'interim_potential_0.yaml'} < set(others)
    check(parse_fit(others), remembered(whole, 'fit', parse_fit), Ending('OK'))


def test_half_a_table_is_the_beginning_of_the_curve(parse_fit, whole):
    """The last row, in which it was cut, is none."""
    content = recorded('train', 'default')['metrics.txt']
    parsed = parse_fit({'metrics.txt': damage(content, 'cut')})
    curve = parsed.outputs['learning_curves'].get_array('train_loss').tolist()
    full = remembered(whole, 'fit', parse_fit).outputs['learning_curves'].get_array('train_loss').tolist()
    assert 0 < len(curve) < len(full)
    assert curve == full[: len(curve)]


@pytest.mark.parametrize('kind', KINDS)
def test_a_damaged_conversion_that_was_asked_for(parse_fit, pace_codes_fake, whole, kind):
    code = pace_codes_fake['yace']
    expected = remembered(whole, 'conversion', lambda: parse_fit(yace_code=code))
    assert expected.outputs['potential'].has_c_tilde
    parsed = parse_fit(
        {'output_potential.yace': damage(recorded('train', 'default')['output_potential.yace'], kind)}, yace_code=code
    )
    says = 'output_potential.yace is damaged'
    check(
        parsed, expected, Ending('ERROR_CTILDE_MISSING', says=says, warns='output_potential.yace', other=['potential'])
    )
    assert not parsed.outputs['potential'].has_c_tilde


KILLED = {
    'log.txt': Ending('ERROR_FIT_INTERRUPTED', says='after 4 iterations', other=['metrics']),
    'stderr.txt': Ending('ERROR_FIT_INTERRUPTED', says='after 4 iterations'),
    'stdout.txt': Ending('ERROR_FIT_INTERRUPTED', says='after 4 iterations'),
    'interim_potential_0.yaml': Ending(
        'ERROR_FIT_INTERRUPTED',
        says='after 4 iterations',
        warns='interim_potential_0.yaml is left out',
        without=['interim_potential'],
    ),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', KILLED)
def test_damaged_files_of_a_fit_that_was_killed(parse_train, whole, name, kind):
    files = recorded('train', 'killed_interim')
    expected = remembered(whole, 'killed', lambda: parse_train(files))
    assert 'potential' not in expected.outputs
    check(parse_train({**files, name: damage(files[name], kind)}), expected, KILLED[name])


ACTIVE_SET = {
    'potential.asi': Ending(
        'ERROR_ACTIVE_SET_INVALID',
        says='The active set cannot be used',
        without=['active_set'],
        other=['output_parameters'],
    ),
    # What the program says of the environments of each element is lost, and no more.
    'stderr.txt': Ending('OK', other=['output_parameters']),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', ACTIVE_SET)
def test_damaged_files_of_an_active_set(parse_active_set, whole, name, kind):
    files = recorded('activeset', 'linear')
    expected = remembered(whole, 'active set', lambda: parse_active_set(files))
    assert expected.label == 'OK'
    check(parse_active_set({**files, name: damage(files[name], kind)}), expected, ACTIVE_SET[name])


SELECTION = {
    'selected.pkl.gz': Ending(
        'ERROR_SELECTION_INVALID',
        says='The selection cannot be used',
        without=['selected', 'indices', 'output_parameters'],
    ),
    'stderr.txt': Ending('OK', other=['output_parameters']),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', SELECTION)
def test_damaged_files_of_a_selection(parse_selection, whole, name, kind):
    files = recorded('select', 'default')
    expected = remembered(whole, 'selection', lambda: parse_selection(files))
    assert expected.label == 'OK'
    check(parse_selection({**files, name: damage(files[name], kind)}), expected, SELECTION[name])
