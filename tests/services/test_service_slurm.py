"""What happens to jobs on a cluster, done by a real Slurm that is reached by SSH."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from combinations import Combination

# All on one worker of pytest-xdist, since the trainings are run once.
pytestmark = [pytest.mark.services, pytest.mark.engine, pytest.mark.slow, pytest.mark.xdist_group('slurm')]

#: As most users have it.
CLUSTER = Combination('core.sqlite_dos', 'core.zeromq', 'core.ssh_async (asyncssh)', 'core.slurm', 'other')

#: What three workers of the engine take, but not six, in MB: 150 each, and 200 for the process that they belong to.
MEMORY = 800


@pytest.fixture(scope='module')
def interrupted_trainings(run_on):
    """Return what became of three trainings that were run side by side."""
    return run_on(CLUSTER, 'interrupted_trainings', memory=MEMORY)


@pytest.fixture
def outcome_of(interrupted_trainings, record_property):
    """Return a function that returns what became of one of them."""
    record_property('versions', interrupted_trainings['versions'])
    return interrupted_trainings.__getitem__


def check_curve(outcome):
    """Check that the legs make up one curve, in which no iteration is there twice."""
    assert outcome['exit'] == [0, None], outcome['report']
    legs = [leg for leg in outcome['legs'] if leg['losses']]
    done = sum(leg['iterations'] for leg in legs)
    assert outcome['iterations'] == list(range(done + 1)), outcome['report']
    # A leg that is stopped after its last iteration, but before it has written its potential, is followed by one more.
    assert done - outcome['wanted'] in (0, 1)
    # A leg begins with the loss that the one before it ended with.
    for leg, following in itertools.pairwise(legs):
        assert following['losses'][0] == pytest.approx(leg['losses'][-1], rel=1e-4)
    assert np.all(np.diff(outcome['losses']) <= 0)


@pytest.mark.fault(
    'a job of Slurm runs out of walltime in the middle of its fit',
    engine='ends it; there is an interim potential, and a curve of some iterations',
    here='goes on from it in another job for the iterations that are left, as often as needed',
    ends='success',
)
def test_out_of_walltime(outcome_of):
    outcome = outcome_of('late')
    check_curve(outcome)
    *interrupted, last = outcome['legs']
    assert interrupted, 'the fit was done within its walltime: this machine is faster than was thought'
    assert {leg['scheduler'] for leg in interrupted} == {'TIMEOUT'}
    assert last['scheduler'] == 'COMPLETED'


@pytest.mark.fault(
    'somebody cancels a job of Slurm (`scancel`) in the middle of its fit',
    engine='ends it; there is an interim potential, and a curve of some iterations',
    here='goes on from it in another job; to end the training, kill its work chain (`verdi process kill`)',
    ends='success',
)
def test_cancelled(outcome_of):
    outcome = outcome_of('cancelled')
    check_curve(outcome)
    first, last = outcome['legs']
    assert first['scheduler'].startswith('CANCELLED')
    assert last['scheduler'] == 'COMPLETED'


@pytest.mark.fault(
    'a job of Slurm needs more memory than it asked for',
    engine='is killed, and says nothing',
    here='tries again with half the workers, or half the batch, until it fits',
    ends='success',
)
def test_out_of_memory(outcome_of):
    outcome = outcome_of('large')
    check_curve(outcome)
    *killed, last = outcome['legs']
    assert killed
    assert {leg['exit'] for leg in killed} == {'ERROR_SCHEDULER_OUT_OF_MEMORY'}
    assert last['workers'] < killed[0]['workers'] == 6
