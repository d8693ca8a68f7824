"""`kill -9` of workers, the broker, jobs and the whole machine: loops end with the same dataset as if left alone.

Seeds decide what is killed when. What it is doing then depends on how fast the machine is, so that a repetition is not
exact: the log that a failure prints says what was killed in which state. The one thing that is done for the loops is to
start the daemon after the machine went down and, if nothing has moved for a while, to start it anew, as the
documentation tells users to. A job that was killed is to need nothing.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from processes import kill_all

pytestmark = pytest.mark.slow

SCHEDULES = [
    {
        'seed': 1,
        'targets': ['worker', 'worker_at_commit', 'job', 'worker_at_commit', 'job', 'worker', 'worker_at_commit'],
    },
    {
        'seed': 2,
        'targets': [
            'job',
            'machine_at_commit',
            'worker_at_commit',
            'machine',
            'job',
            'worker_at_commit',
            'worker_at_commit',
        ],
    },
    {
        'seed': 3,
        'targets': ['broker', 'job', 'worker_at_commit', 'job', 'worker_at_commit', 'worker', 'worker_at_commit'],
    },
]
SCHEDULES_REAL = [{'seed': 4, 'targets': ['worker', 'job', 'worker_at_commit', 'machine']}]


@pytest.fixture(scope='module')
def start():
    """Return a function that runs loops in an instance of their own, and one that waits for their outcomes."""
    with contextlib.ExitStack() as stack:

        def run(schedules, *, real):
            # A path of a socket has at most 107 characters, so the folder is not one of pytest.
            folder = Path(tempfile.mkdtemp(prefix='kills_'))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            request = folder / 'request.json'
            request.write_text(json.dumps({'folder': str(folder / 'aiida'), 'real': real, 'schedules': schedules}))
            with (folder / 'log').open('w') as log:
                script = subprocess.Popen(
                    [sys.executable, Path(__file__).parent / 'run_with_kills.py', request],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            stack.callback(kill_all, folder / 'aiida')
            stack.callback(script.kill)

            def wait():
                script.wait(timeout=2000)
                text = (folder / 'log').read_text()
                print(text)
                assert script.returncode == 0, text
                return json.loads((folder / 'request.outcome.json').read_text())

            return wait

        yield run


def check(outcome, expected):
    """Compare a loop of which parts were killed with one that was left alone."""
    log = '\n'.join(outcome['log'])
    assert outcome['exit'] == [0, None], log
    assert outcome['dataset'] == expected['dataset'], log
    assert outcome['generations'] == expected['generations'], log
    assert outcome['labels'] == expected['labels'], log
    assert outcome['stop_reason'] == expected['stop_reason'], log
    # Every label is that of one job.
    assert outcome['delivered'] == expected['delivered'], log
    assert set(expected['delivered'].values()) == {1}
    # Only what was running when its job died is calculated again.
    died = sum(target in ('job', 'machine', 'machine_at_commit') for target in outcome['kills'])
    assert outcome['begun'] <= expected['begun'] + died, log
    # The broker of AiiDA may need a new start of the daemon; no process has to be repaired.
    assert all(measure.startswith('restart') for measure in outcome['repairs']), log
    assert not any(measure.endswith('after job') for measure in outcome['repairs']), log


def run_with_kills(start, schedules, *, real):
    reference, killed = start([{'seed': 0, 'targets': []}], real=real), start(schedules, real=real)
    outcomes, (expected,) = killed(), reference()
    assert expected['exit'] == [0, None]
    assert len(expected['generations']) == 3
    for outcome in outcomes:
        check(outcome, expected)
    return outcomes


@pytest.mark.fault(
    'kill -9 of a daemon worker, the broker, a job or the machine, at any point of the loop',
    engine='AiiDA may submit jobs twice, wait for messages that are lost, or fail for outputs that it has',
    here='the loop ends with the same dataset, no frame lost and none labelled twice, after `verdi daemon start`',
    ends='success',
)
def test_kills(start):
    outcomes = run_with_kills(start, SCHEDULES, real=False)
    kills = [target for outcome in outcomes for target in outcome['kills']]
    assert len(kills) >= 20
    assert set(kills) == {'worker', 'worker_at_commit', 'broker', 'job', 'machine', 'machine_at_commit'}


@pytest.mark.engine
def test_kills_with_the_engine(start):
    if shutil.which('pacemaker', path=str(Path(sys.executable).parent)) is None:
        pytest.skip('python-ace is not installed: `pip install python-ace==0.4.0rc1`')
    outcomes = run_with_kills(start, SCHEDULES_REAL, real=True)
    assert len(outcomes[0]['kills']) >= 3
