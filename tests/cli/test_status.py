"""What the command `aiida-pacemaker status` says."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState
from command_line import call

from aiida_pacemaker.calculations.monitors import PROGRESS
from aiida_pacemaker.cli.status import status_of


@pytest.fixture
def training(aiida_profile):
    """Return a training chain with a job that is running."""
    chain = orm.WorkChainNode()
    chain.set_process_label('PaceTrainBaseWorkChain')
    chain.set_process_state(ProcessState.WAITING)
    chain.store()
    job = orm.CalcJobNode()
    job.set_process_label('PaceTrainCalculation')
    job.set_process_state(ProcessState.WAITING)
    job.set_process_status('Monitoring scheduler: job state RUNNING')
    job.base.links.add_incoming(chain, LinkType.CALL_CALC, 'iteration_01')
    job.store()
    return chain, job


def test_what_is_running(training):
    chain, job = training
    said = status_of(chain)
    assert said.splitlines()[0] == f'PaceTrainBaseWorkChain<{chain.pk}>: waiting'
    assert f'PaceTrainCalculation<{job.pk}> Monitoring scheduler: job state RUNNING' in said
    assert 'loss' not in said

    row = {'iter_num': 7, 'loss': 0.123456, 'rmse_epa': 0.01, 'rmse_f_comp': None, 'time': '2026-11-23T12:00:00'}
    job.base.extras.set(PROGRESS, row)
    assert 'iter_num 7, loss 0.1235, rmse_epa 0.01, rmse_f_comp None (seen 2026-11-23T12:00:00)' in status_of(chain)


def test_what_has_ended(training):
    chain, job = training
    job.set_process_state(ProcessState.FINISHED)
    metrics = orm.Dict({'warnings': ['Look at this.']})
    metrics.base.links.add_incoming(job, LinkType.CREATE, 'metrics')
    metrics.store()
    chain.set_process_state(ProcessState.FINISHED)
    chain.set_exit_status(310)
    chain.set_exit_message('No more memory.')
    said = status_of(chain)
    assert said.splitlines()[0] == f'PaceTrainBaseWorkChain<{chain.pk}>: finished [310] No more memory.'
    assert 'running' not in said
    assert said.endswith('warnings:\n  Look at this.')


def test_the_command(training):
    chain, _ = training
    ended = call('status', chain.pk)
    assert ended.exit_code == 0, ended.output
    assert 'PaceTrainBaseWorkChain' in ended.output
    for wrong, said in (('0', 'see `verdi process list -a`'), (str(orm.Int(1).store().pk), 'is no process')):
        ended = call('status', wrong)
        assert ended.exit_code == 1
        assert said in ended.output
