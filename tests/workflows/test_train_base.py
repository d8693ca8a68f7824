"""The restart chain of training, against the fake engine that fails on demand."""

from __future__ import annotations

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_pacemaker.workflows.train_base import PaceTrainBaseWorkChain


@pytest.fixture
def train(pace_codes_fake, training_inputs, tmp_path):
    """Return a function that runs the chain with a fault."""

    def run(fault: str = '', **inputs):
        environment = {'PACE_FAKE_FAULT': fault, 'PACE_FAKE_STATE': str(tmp_path)} if fault else {}
        metadata = {'options': {'resources': {'num_machines': 1}, 'environment_variables': environment}}
        pace = {**training_inputs, 'code': pace_codes_fake['train'], 'metadata': metadata, **inputs}
        return run_get_node(PaceTrainBaseWorkChain, pace=pace)

    return run


def jobs(node):
    return sorted((called for called in node.called if isinstance(called, orm.CalcJobNode)), key=lambda job: job.pk)


def test_undisturbed(train):
    outputs, node = train()
    assert node.is_finished_ok, node.exit_message
    assert len(jobs(node)) == 1
    assert outputs['metrics']['iterations'] == 6
    assert outputs['metrics']['stop_reason'] == 'maxiter'


@pytest.mark.parametrize('fault', ['kill_at_iteration:n=4,times=1', 'term:n=4,times=1'])
def test_killed_fit_goes_on(train, fault):
    """What was done before the kill is not done again, and the curve is that of one fit."""
    outputs, node = train(fault)
    assert node.is_finished_ok, node.exit_message
    first, second = jobs(node)
    assert first.exit_status == first.process_class.exit_codes.ERROR_FIT_INTERRUPTED.status
    assert second.inputs.potential.uuid == first.outputs.interim_potential.uuid
    done = first.outputs.learning_curves.get_array('train_iter_num')[-1]
    assert 0 < done < 6
    assert second.inputs.max_epochs.value == 6 - done

    iterations = outputs['learning_curves'].get_array('train_iter_num')
    assert np.array_equal(iterations, np.arange(7))
    losses = outputs['learning_curves'].get_array('train_loss')
    assert np.all(np.diff(losses) < 0)
    assert node.outputs.learning_curves.creator.process_label == 'stitch_curves'
    assert outputs['metrics']['iterations'] == 6


def test_killed_before_the_first_iteration(train):
    """Without an interim potential the fit begins again."""
    _, node = train('kill_at_iteration:n=0,times=1')
    assert node.is_finished_ok, node.exit_message
    first, second = jobs(node)
    assert 'interim_potential' not in first.outputs
    assert 'potential' not in second.inputs
    assert second.inputs.max_epochs.value == 6


def test_gives_up_where_another_try_is_useless(train):
    """The message of the job is that of the chain, and what there is gets attached."""
    _, node = train('small_distance')
    assert len(jobs(node)) == 1
    assert node.exit_status == PaceTrainBaseWorkChain.exit_codes.ERROR_UNRECOVERABLE.status
    assert 'at the same place' in node.exit_message


def test_out_of_memory(train, training_inputs):
    """The next leg takes half the batch; where there is nothing left to halve, the chain says so."""
    config = {**training_inputs['config'].get_dict(), 'evaluator': 'tensorpot', 'backend': {'batch_size': 100}}
    _, node = train('out_of_memory:times=1', config=orm.Dict(config))
    assert node.is_finished_ok, node.exit_message
    assert jobs(node)[1].inputs.config['backend']['batch_size'] == 50

    _, node = train('out_of_memory')
    assert node.exit_status == PaceTrainBaseWorkChain.exit_codes.ERROR_MEMORY_EXHAUSTED.status


def test_killed_for_ever(train):
    """The chain ends, and the newest interim potential is not lost."""
    _, node = train('kill_at_iteration:n=1', max_epochs=orm.Int(50))
    assert node.exit_status == PaceTrainBaseWorkChain.exit_codes.ERROR_MAXIMUM_ITERATIONS_EXCEEDED.status
    assert 'interim_potential' in node.outputs
