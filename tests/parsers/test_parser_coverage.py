"""No recorded run is without a test, no exit code without a run, and no damage an exception."""

import json
import zlib

import numpy as np
import pytest
from aiida import orm
from recorded_cases import FIXTURES, NOT_RECORDED, RECORDED, recorded

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


def damages(content):
    """Return what can become of a file."""
    half = len(content) // 2
    flipped = bytearray(content)
    for position in np.random.default_rng(zlib.crc32(content)).integers(0, len(content) or 1, 20 if content else 0):
        flipped[position] ^= 0xFF
    return {
        'empty': b'',
        'cut': content[:half],
        'end only': content[half:],
        'flipped': bytes(flipped),
        'binary': bytes(range(256)) * 8,
    }


def check(parsed, *allowed):
    """Check how a job has ended; that all outputs can be stored was seen by the fixture."""
    assert parsed.label in allowed
    assert parsed.code.message is None or '{{' not in parsed.code.message
    for node in parsed.outputs.values():
        if hasattr(node, 'get_dict'):
            json.dumps(node.get_dict(), allow_nan=False)


KINDS = ['empty', 'cut', 'end only', 'flipped', 'binary']
#: What becomes of a fit one of whose files is damaged. Half a table of metrics is a table.
FIT = {
    'log.txt': {'OK'},
    'metrics.txt': {'ERROR_METRICS_INVALID', 'ERROR_NOTHING_FITTED', 'OK'},
    'test_metrics.txt': {'OK'},
    'output_potential.yaml': {'ERROR_POTENTIAL_INVALID'},
    'output_potential.yace': {'OK'},
    'train_pred.pckl.gzip': {'ERROR_PREDICTIONS_MISSING'},
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', FIT)
def test_damaged_files_of_a_fit(parse_train, small_dataset, name, kind):
    files = recorded('train', 'default')
    inputs = {}
    if name == 'train_pred.pckl.gzip':
        files[name] = (FIXTURES / 'pickles' / 'engine-pandas-3.1.1-test_pred.pckl.gzip').read_bytes()
        inputs = {'predict': orm.Bool(True), 'dataset': small_dataset}
    check(parse_train({**files, name: damages(files[name])[kind]}, **inputs), *FIT[name])


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', ['log.txt', 'stderr.txt', 'stdout.txt', 'interim_potential_0.yaml'])
def test_damaged_files_of_a_fit_that_was_killed(parse_train, name, kind):
    files = recorded('train', 'killed_interim')
    parsed = parse_train({**files, name: damages(files[name])[kind]})
    check(parsed, 'ERROR_FIT_INTERRUPTED')
    assert 'potential' not in parsed.outputs


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', ['potential.asi', 'stderr.txt'])
def test_damaged_files_of_an_active_set(parse_active_set, name, kind):
    files = recorded('activeset', 'linear')
    parsed = parse_active_set({**files, name: damages(files[name])[kind]})
    check(parsed, 'ERROR_ACTIVE_SET_INVALID' if name == 'potential.asi' else 'OK')


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', ['selected.pkl.gz', 'stderr.txt'])
def test_damaged_files_of_a_selection(parse_selection, name, kind):
    files = recorded('select', 'default')
    parsed = parse_selection({**files, name: damages(files[name])[kind]})
    check(parsed, 'ERROR_SELECTION_INVALID' if name == 'selected.pkl.gz' else 'OK')
