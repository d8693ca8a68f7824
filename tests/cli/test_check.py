"""The small fit that shows that a computer is ready, and what is said where it is not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from aiida import orm
from aiida.manage import get_config_option

from aiida_pacemaker.cli.setup.check import check_options
from aiida_pacemaker.errors import SetupError

TENSORPOT = os.environ.get('PACEMAKER_TENSORPOT')


@pytest.fixture(autouse=True)
def quiet(home):
    """Have login shells say nothing: the schedulers of AiiDA take a greeting for jobs."""
    (home / '.bash_profile').write_text('PATH=/usr/bin:/bin\n')


def test_every_program_is_run(cluster, make_engine, fake_engine, setup):
    """By the fake engine here, which cannot evaluate; what it cannot do is told by the job."""
    for program in ('pacemaker', 'pace_yaml2yace', 'pace_activeset', 'pace_select'):
        orm.InstalledCode(label=program, computer=cluster, filepath_executable=str(fake_engine / program)).store()
    python = make_engine() / 'bin' / 'python'
    orm.InstalledCode(label='pace_python', computer=cluster, filepath_executable=str(python)).store()
    result = setup(cluster.label)
    assert result.exit_code == 1
    steps = [line for line in result.stdout.splitlines() if line.startswith('check: ')]
    assert [step.rpartition(',')[0] for step in steps[1:]] == [
        'check: fit with the evaluator pyace',
        'check: active set',
        'check: selection',
    ]
    assert 'Error: evaluation: the job PaceEvaluateCalculation<' in result.output
    assert 'verdi calcjob outputcat' in result.output


def test_program_that_fails(cluster, make_engine, setup):
    """With the message of its job, and what it said last."""
    folder = make_engine()
    (folder / 'bin' / 'pacemaker').write_text(
        '#!/bin/sh\necho "libfoo.so.1: cannot open shared object file" >&2\nexit 127\n'
    )
    result = setup(cluster.label, '--path', folder)
    assert result.exit_code == 1
    assert 'fit with the evaluator pyace: the job PaceTrainCalculation<' in result.output
    assert 'stderr.txt: libfoo.so.1: cannot open shared object file' in result.output


def test_scheduler_that_refuses(cluster, make_engine, setup, monkeypatch):
    """AiiDA would try again for minutes, and then wait for a person: here one is told at once."""
    from aiida.schedulers.plugins.direct import DirectScheduler
    from aiida.schedulers.scheduler import SchedulerError

    def refuse(*_):
        raise SchedulerError('invalid partition specified: nope')

    monkeypatch.setattr(DirectScheduler, 'submit_job', refuse)
    before = get_config_option('transport.task_maximum_attempts')
    result = setup(cluster.label, '--path', make_engine(), '--queue', 'nope')
    assert result.exit_code == 1
    assert 'AiiDA gave up' in result.output
    assert 'invalid partition specified: nope' in result.output
    assert get_config_option('transport.task_maximum_attempts') == before


def test_options_of_the_scheduler():
    options = check_options(
        'short', 'me', 60, ['qos=debug', 'resources={"parallel_env": "mpi", "tot_num_mpiprocs": 1}']
    )
    assert options == {
        'max_wallclock_seconds': 60,
        'queue_name': 'short',
        'account': 'me',
        'qos': 'debug',
        'resources': {'parallel_env': 'mpi', 'tot_num_mpiprocs': 1},
    }
    for wrong in ('qos', '=debug', 'qos={'):
        with pytest.raises(SetupError, match='--option'):
            check_options(None, None, 60, [wrong])


def test_option_that_aiida_does_not_know(cluster, make_engine, setup):
    result = setup(cluster.label, '--path', make_engine(), '--option', 'quality=debug')
    assert result.exit_code == 1
    assert 'refused before it is submitted' in result.output
    assert 'quality' in result.output


@pytest.mark.engine
@pytest.mark.slow
def test_a_real_engine(cluster, setup):
    pytest.importorskip('pyace', reason='python-ace is not installed: `pip install python-ace==0.4.0rc1`')
    result = setup(cluster.label, '--path', Path(sys.executable).parent)
    assert result.exit_code == 0, result.output
    assert 'check: passed' in result.stdout


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.skipif(
    TENSORPOT is None,
    reason='THE EVALUATOR TENSORPOT IS NOT TESTED: set PACEMAKER_TENSORPOT to a folder that '
    '`aiida-pacemaker engine install --tensorpot --path FOLDER` has made (2 GB)',
)
def test_a_real_tensorpot(cluster, setup):
    result = setup(cluster.label, '--path', TENSORPOT)
    assert result.exit_code == 0, result.output
    assert 'check: fit with the evaluator tensorpot' in result.stdout
    assert 'check: passed' in result.stdout
