"""Who runs a work chain, and how it goes on if nobody does."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest
from aiida import orm
from aiida.engine import ProcessState

from aiida_pacemaker.cli.status import status_of
from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain
from aiida_pacemaker.workflows.runners import EXTRA, Runner, is_abandoned, record_runner, runner_of


@pytest.fixture
def gone() -> Runner:
    """Return a process that has ended."""
    process = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)
    runner = replace(Runner.this(), pid=process.pid, started=psutil.Process(process.pid).create_time())
    assert not runner.is_gone
    process.communicate(b'\n')
    return runner


@pytest.fixture
def loop(aiida_profile):
    """Return the node of a loop that waits for something."""
    node = orm.WorkChainNode()
    node.set_process_label('PaceActiveLearningWorkChain')
    node.store()
    node.set_process_state(ProcessState.WAITING)
    return node


def test_this_process_is_there_and_has_a_name():
    here = Runner.this()
    assert here.pid == os.getpid()
    assert not here.is_gone


def test_a_number_that_was_given_again_is_another_process():
    assert replace(Runner.this(), started=1.0).is_gone


def test_nothing_is_known_of_other_machines(gone):
    assert gone.is_gone
    assert not replace(gone, host='elsewhere').is_gone


@pytest.mark.fault(
    'the terminal of `verdi run` is closed, or the script killed, in the middle of a loop',
    engine='(not the engine: the process stays `Waiting`, and nothing tells it from one that runs)',
    here='`aiida-pacemaker status` and `get_builder_from_run` say that nobody runs it, and how a daemon takes it up',
    ends='-',
)
def test_a_run_that_nobody_runs_is_told_from_one_that_runs(loop, gone):
    record_runner(loop)
    assert not is_abandoned(loop)
    assert 'NOT RUNNING' not in status_of(loop)
    with pytest.raises(ValueError, match='has not ended: wait'):
        PaceActiveLearningWorkChain.get_builder_from_run(loop)
    loop.base.extras.set(EXTRA, vars(gone))
    assert is_abandoned(loop)
    assert runner_of(loop) == gone
    assert '`verdi daemon stop`, `verdi process repair`, `verdi daemon start`' in status_of(loop)
    with pytest.raises(ValueError, match=r'nobody runs it now.*verdi process repair'):
        PaceActiveLearningWorkChain.get_builder_from_run(loop)


@pytest.mark.parametrize('state', [ProcessState.CREATED, ProcessState.FINISHED])
def test_what_waits_for_a_daemon_or_has_ended_is_not_abandoned(loop, gone, state):
    loop.base.extras.set(EXTRA, vars(gone))
    loop.set_process_state(state)
    assert not is_abandoned(loop)
