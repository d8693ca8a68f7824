"""The restart chain of training, against the fake engine that fails on demand."""

from __future__ import annotations

import numpy as np
import pytest
from aiida import orm
from aiida.cmdline.utils.common import get_workchain_report
from aiida.engine import run_get_node
from small_fits import COARSE

from aiida_pacemaker.calculations.monitors import progress_of
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.workflows.base.functions import remaining_cycles, remaining_epochs
from aiida_pacemaker.workflows.base.train import PaceTrainBaseWorkChain
from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain

CONFIG = {'evaluator': 'pyace', 'r_cut': 4.5, 'max_deg': 3, 'max_order': 2, 'potential': COARSE}
CODES = PaceTrainBaseWorkChain.exit_codes
#: Three fits in a row.
NOISE = {'fit_cycles': 3, 'noise_relative_sigma': 0.1}


@pytest.fixture
def train(pace_codes_fake, training_inputs, tmp_path):
    """Return a function that runs the chain with faults; `chain` are inputs of the chain, all others of the job."""

    def run(fault: str = '', chain=None, config=None, **inputs):
        environment = {'PACE_FAKE_FAULT': fault, 'PACE_FAKE_STATE': str(tmp_path)} if fault else {}
        metadata = {'options': {'resources': {'num_machines': 1}, 'environment_variables': environment}}
        pace = {**training_inputs, 'code': pace_codes_fake['train'], 'metadata': metadata, **inputs}
        if config is not None:
            pace['config'] = orm.Dict({**training_inputs['config'].get_dict(), **config})
        pace = {name: value for name, value in pace.items() if value is not None}
        return run_get_node(PaceTrainBaseWorkChain, pace=pace, **(chain or {}))

    return run


def jobs(node):
    return sorted((called for called in node.called if isinstance(called, orm.CalcJobNode)), key=lambda job: job.pk)


def done(job):
    """Return how many iterations a job has done."""
    return int(job.outputs.metrics['iterations']) if 'metrics' in job.outputs else 0


def test_undisturbed(train):
    outputs, node = train()
    assert node.is_finished_ok, node.exit_message
    assert len(jobs(node)) == 1
    assert outputs['metrics']['iterations'] == 6
    assert outputs['stop_reason'].value == outputs['metrics']['stop_reason'] == 'maxiter'


@pytest.mark.fault(
    'a fit is killed, or out of walltime',
    engine='an interim potential is left, and nobody says so',
    here='goes on from it for the iterations that are left; the curves of all legs are one, the seed stays',
    ends='success',
)
@pytest.mark.parametrize('fault', ['kill_at_iteration:n=4,times=1', 'term:n=4,times=1'])
def test_killed_fit_goes_on(train, fault):
    """What was done before the kill is not done again, and the curve is that of one fit."""
    outputs, node = train(fault)
    assert node.is_finished_ok, node.exit_message
    first, second = jobs(node)
    assert first.exit_status == first.process_class.exit_codes.ERROR_FIT_INTERRUPTED.status
    assert first.outputs.stop_reason.value == 'interrupted'
    assert second.inputs.potential.uuid == first.outputs.interim_potential.uuid
    before = first.outputs.learning_curves.get_array('train_iter_num')[-1]
    assert 0 < before < 6
    assert second.inputs.max_epochs.value == 6 - before

    iterations = outputs['learning_curves'].get_array('train_iter_num')
    assert np.array_equal(iterations, np.arange(7))
    losses = outputs['learning_curves'].get_array('train_loss')
    assert np.all(np.diff(losses) < 0)
    assert node.outputs.learning_curves.creator.process_label == 'stitch_curves'
    assert outputs['metrics']['iterations'] == 6
    assert outputs['stop_reason'].value == 'maxiter'


def test_over_many_legs_no_iteration_is_repeated_and_the_seed_stays(train):
    faults = 'kill_at_iteration:n=3,times=1;out_of_memory:n=2,times=1;term:n=2,times=1;no_output:times=1'
    config = {'evaluator': 'tensorpot', 'backend': {'batch_size': 100}, 'seed': 7, 'max_epochs': 12}
    outputs, node = train(faults, config=config, max_epochs=None)
    assert node.is_finished_ok, node.exit_message
    legs = jobs(node)
    assert [done(leg) for leg in legs] == [3, 2, 2, 0, 5]
    left = 12
    for leg in legs:
        parsed = parse_config(leg.inputs.config.get_dict())
        assert parsed.sections()['seed'] == 7
        assert (leg.inputs.max_epochs.value if 'max_epochs' in leg.inputs else parsed.maxiter) == left
        left -= done(leg)
    assert left == 0
    assert np.array_equal(outputs['learning_curves'].get_array('train_iter_num'), np.arange(13))
    assert np.all(np.diff(outputs['learning_curves'].get_array('train_loss')) < 0)
    assert outputs['metrics']['iterations'] == 12


@pytest.mark.fault(
    'a fit is killed before it has left anything',
    engine='nothing is left',
    here='begins again',
    ends='success',
)
def test_killed_before_the_first_iteration(train):
    """Without an interim potential the fit begins again."""
    _, node = train('kill_at_iteration:n=0,times=1')
    assert node.is_finished_ok, node.exit_message
    first, second = jobs(node)
    assert 'interim_potential' not in first.outputs
    assert 'potential' not in second.inputs
    assert second.inputs.max_epochs.value == 6


@pytest.mark.fault(
    'a fit with several cycles is killed',
    engine='begins with the first cycle again',
    here='goes on with the cycles that are left',
    ends='success',
)
def test_finished_cycles_are_not_repeated(train):
    outputs, node = train('kill_at_iteration:n=2,cycle=1,times=1', config={'fit': NOISE}, max_epochs=orm.Int(4))
    assert node.is_finished_ok, node.exit_message
    first, second = jobs(node)
    assert first.outputs.learning_curves.get_array('train_cycle_step')[-1] == 1
    assert second.inputs.config['fit']['fit_cycles'] == 2
    assert second.inputs.potential.uuid == first.outputs.interim_potential.uuid
    # One cycle is whole, one was stopped after two iterations, and two were left.
    assert outputs['metrics']['iterations'] == 4 + 2 + 4 + 4


def test_the_last_cycle_gets_the_iterations_that_it_had_left(train):
    outputs, node = train('kill_at_iteration:n=2,cycle=2,times=1', config={'fit': NOISE}, max_epochs=orm.Int(4))
    assert node.is_finished_ok, node.exit_message
    last = jobs(node)[-1]
    assert (last.inputs.config['fit']['fit_cycles'], last.inputs.max_epochs.value) == (1, 2)
    assert outputs['metrics']['iterations'] == 3 * 4


@pytest.mark.parametrize(('cycle', 'left'), [(0, 3), (1, 2), (2, 1)])
def test_cycles_that_are_left(train, training_inputs, cycle, left):
    curves = orm.ArrayData()
    curves.set_array('train_cycle_step', np.array([0, 0, cycle, cycle]))
    curves.set_array('train_iter_num', np.array([0, 4, 0, 1]))
    config = orm.Dict({**training_inputs['config'].get_dict(), 'fit': NOISE, 'max_epochs': 4, 'seed': 5})
    remaining = remaining_cycles(config, curves)
    parsed = parse_config(remaining.get_dict())
    assert parsed.seed == 5
    assert parsed.fit.fit_cycles == left
    assert ('noise_relative_sigma' in remaining['fit']) == (left > 1)
    assert parsed.maxiter == 4
    assert remaining_epochs(config, curves).value == 3


@pytest.mark.fault(
    'a ladder fit is killed',
    engine='begins from nothing, or crashes',
    here='the interim potential of its last step is extended',
    ends='success',
)
def test_a_ladder_is_extended(train):
    """Here from its first step on, which was not finished."""
    _, node = train('term:n=1,times=1', config={'fit': {'ladder_step': 4}})
    assert node.is_finished_ok, node.exit_message
    _, second = jobs(node)
    assert second.inputs.potential_mode.value == 'extend'


def test_what_was_fitted_before_a_walltime_in_the_conversion_is_not_fitted_again(train, pace_codes_fake):
    chain = train()[1]
    (job,) = jobs(chain)
    process = PaceTrainBaseWorkChain(inputs={'pace': chain.inputs.pace})
    process.setup()
    assert 'for 1 iterations' in process.go_on_from(job)
    assert process.ctx.inputs['potential'].uuid == job.outputs.potential.uuid


@pytest.mark.parametrize(
    ('fault', 'named'),
    [
        ('small_distance', 'at the same place'),
        ('disk_full', 'Free space'),
        ('no_evaluator', 'Install tensorpotential'),
    ],
)
def test_gives_up_where_another_try_is_useless(train, fault, named):
    """The message of the job is that of the chain."""
    _, node = train(fault)
    assert len(jobs(node)) == 1
    assert node.exit_status == CODES.ERROR_UNRECOVERABLE.status
    assert named in node.exit_message


@pytest.mark.fault(
    'the disk is full in mid fit',
    engine='`OSError`, exit 1',
    here='gives up at once with the interim potential and says to free space',
    ends='PaceTrainBaseWorkChain.ERROR_UNRECOVERABLE',
)
def test_a_disk_that_is_full_costs_no_iteration(train):
    """What the job has left is an output of the chain, to continue from when there is space."""
    _, node = train('disk_full:n=3')
    assert len(jobs(node)) == 1
    assert node.exit_status == CODES.ERROR_UNRECOVERABLE.status
    assert {'interim_potential', 'metrics', 'learning_curves', 'stop_reason'} <= set(node.outputs)
    assert node.outputs.metrics['iterations'] == 3


@pytest.mark.fault(
    'the engine is not installed',
    engine='`command not found` in a file',
    here='gives up at once and says what to check',
    ends='PaceTrainBaseWorkChain.ERROR_UNRECOVERABLE',
)
def test_an_engine_that_is_not_there(train, pace_codes_fake):
    computer = pace_codes_fake['train'].computer
    code = orm.InstalledCode(computer=computer, filepath_executable='/nowhere/pacemaker').store()
    _, node = train(code=code)
    assert len(jobs(node)) == 1
    assert node.exit_status == CODES.ERROR_UNRECOVERABLE.status
    assert 'prepend_text' in node.exit_message


@pytest.mark.fault(
    'a fit runs out of memory',
    engine='`MemoryError`, exit 1',
    here='half the batch, half the workers; gives up when there is nothing left to halve',
    ends=('success', 'PaceTrainBaseWorkChain.ERROR_MEMORY_EXHAUSTED'),
)
def test_out_of_memory(train):
    """The next leg takes half the batch; where there is nothing left to halve, the chain says so."""
    config = {'evaluator': 'tensorpot', 'backend': {'batch_size': 100}}
    _, node = train('out_of_memory:times=1', config=config)
    assert node.is_finished_ok, node.exit_message
    assert jobs(node)[1].inputs.config['backend']['batch_size'] == 50

    _, node = train('out_of_memory:n=2')
    assert node.exit_status == CODES.ERROR_MEMORY_EXHAUSTED.status
    assert 'evaluator pyace' in node.exit_message
    assert 'interim_potential' in node.outputs


def test_workers_are_fewer_also_where_their_number_was_left_open(train):
    _, node = train('out_of_memory:times=1', config={'backend': {'parallel_mode': 'process'}})
    assert node.is_finished_ok, node.exit_message
    assert jobs(node)[1].inputs.config['backend']['n_workers'] == 1


@pytest.mark.fault(
    'a fit runs out of memory after some iterations',
    engine='what it had done is lost',
    here='goes on from its interim potential with half the batch',
    ends='success',
)
def test_out_of_memory_in_mid_fit(train):
    """The iterations before it are not repeated."""
    config = {'evaluator': 'tensorpot', 'backend': {'batch_size': 100}}
    outputs, node = train('out_of_memory:n=4,times=1', config=config)
    assert node.is_finished_ok, node.exit_message
    first, second = jobs(node)
    assert second.inputs.potential.uuid == first.outputs.interim_potential.uuid
    assert second.inputs.max_epochs.value == 2
    assert second.inputs.config['backend']['batch_size'] == 50
    assert np.array_equal(outputs['learning_curves'].get_array('train_iter_num'), np.arange(7))


def test_a_fit_that_diverges_begins_again_with_a_stronger_regularisation(train):
    outputs, node = train('nan_loss:n=2,times=2')
    assert node.is_finished_ok, node.exit_message
    legs = jobs(node)
    strengths = [parse_config(leg.inputs.config.get_dict()).fit for leg in legs]
    assert strengths[0] is None
    assert [fit.loss.L2_coeffs for fit in strengths[1:]] == pytest.approx([1e-6, 1e-4])
    assert all('potential' not in leg.inputs and leg.inputs.max_epochs.value == 6 for leg in legs)
    assert legs[1].inputs.config.creator.process_label == 'strengthen_regularisation'
    # What was given up is no part of the curve.
    assert np.isfinite(outputs['learning_curves'].get_array('train_loss')).all()
    assert outputs['metrics']['iterations'] == 6
    assert outputs['stop_reason'].value == 'maxiter'


@pytest.mark.fault(
    'the loss becomes NaN or explodes',
    engine='a potential of NaN or of infinite loss, exit 0',
    here='back to the last good potential, with a stronger regularisation',
    ends='success',
)
def test_a_fit_that_diverges_goes_back_to_the_last_good_potential(train):
    outputs, node = train('kill_at_iteration:n=3,times=1;nan_loss:n=1,times=1')
    assert node.is_finished_ok, node.exit_message
    first, second, third = jobs(node)
    assert 'interim_potential' not in second.outputs
    assert third.inputs.potential.uuid == first.outputs.interim_potential.uuid
    assert third.inputs.max_epochs.value == 3
    # The state between the legs is there twice: with another regularisation it has another loss.
    assert outputs['learning_curves'].get_array('train_iter_num').tolist() == [0, 1, 2, 3, 3, 4, 5, 6]


@pytest.mark.fault(
    'the loss becomes NaN whatever is done',
    engine='a potential of no use, exit 0',
    here='gives up; the last good potential is `interim_potential`, and there is no `potential`',
    ends='PaceTrainBaseWorkChain.ERROR_FIT_DIVERGED',
)
def test_a_fit_that_diverges_again_and_again_is_given_up(train):
    """The last good potential and the curve that led to it stay outputs of the chain."""
    _, node = train('kill_at_iteration:n=3,times=1;nan_loss:n=1')
    assert node.exit_status == CODES.ERROR_FIT_DIVERGED.status
    assert '`fit.loss.L2_coeffs` of 1e-06 and 0.0001' in node.exit_message
    assert 'Look for extreme energies' in node.exit_message
    first, *others = jobs(node)
    assert len(others) == 3
    assert node.outputs.interim_potential.uuid == first.outputs.interim_potential.uuid
    assert node.outputs.stop_reason.value == 'diverged'
    assert 'Action taken: none, give up' in get_workchain_report(node, 'REPORT')


def test_a_fit_that_is_infinite_before_it_begins_is_given_up_at_once(train):
    _, node = train('nan_loss:n=0')
    assert len(jobs(node)) == 1
    assert node.exit_status == CODES.ERROR_FIT_DIVERGED.status
    assert 'before its first iteration' in node.exit_message


@pytest.mark.fault(
    'a fit stops early',
    engine='exit 0, and a line in its log',
    here='a success with `stop_reason` `early_stop`',
    ends='success',
)
def test_early_stopping_is_a_success_where_convergence_is_required(train):
    outputs, node = train('early_stopping', chain={'require_convergence': True})
    assert node.is_finished_ok, node.exit_message
    assert outputs['stop_reason'].value == 'early_stop'


@pytest.mark.fault(
    'a fit uses up its iterations',
    engine='exit 0, `success=False` in its log',
    here='a success with `stop_reason` `maxiter`, or not converged if `require_convergence` is set',
    ends=('success', 'PaceTrainBaseWorkChain.ERROR_NOT_CONVERGED'),
)
def test_all_iterations_done_is_a_failure_where_convergence_is_required(train):
    _, node = train('kill_at_iteration:n=4,times=1', chain={'require_convergence': True})
    assert node.exit_status == CODES.ERROR_NOT_CONVERGED.status
    assert 'used up what it was allowed, in 6 iterations' in node.exit_message
    assert {'potential', 'metrics', 'learning_curves', 'stop_reason'} <= set(node.outputs)


def test_monitors_are_given_through_the_loop(pace_codes_fake, narrow, reference_energies):
    inputs = PaceActiveLearningWorkChain.get_builder_from_protocol(
        pacemaker=pace_codes_fake['train'],
        pace_activeset=pace_codes_fake['activeset'],
        pace_select=pace_codes_fake['select'],
        python=pace_codes_fake['python'],
        protocol='fast',
        overrides={'config': CONFIG, 'settings': {'first_iterations': 8}},
        reference_energies=reference_energies,
        dataset=narrow,
        pool=narrow,
    )
    inputs.train.pace.monitors = {'progress': orm.Dict({'entry_point': 'pacemaker.progress'})}
    # A job is not looked at after its end: this one takes long enough to be seen.
    inputs.train.pace.metadata.options.environment_variables = {'PACE_FAKE_FAULT': 'sleep:seconds=0.5'}
    _, node = run_get_node(inputs)
    assert node.is_finished_ok, node.exit_message
    (training,) = [called for called in node.called if called.process_label == 'PaceTrainBaseWorkChain']
    assert 0 <= progress_of(jobs(training)[0])['iter_num'] <= 8

    with pytest.raises(ValueError, match='window: found 0'):
        inputs.train.pace.monitors = {'loss': orm.Dict({'entry_point': 'pacemaker.loss', 'kwargs': {'window': 0}})}


@pytest.mark.fault(
    'a fit is killed whenever it is tried',
    engine='no potential',
    here='gives up after `max_iterations` with the newest interim potential',
    ends='PaceTrainBaseWorkChain.ERROR_MAXIMUM_ITERATIONS_EXCEEDED',
)
def test_killed_for_ever(train):
    """The chain ends, and the newest interim potential is not lost."""
    _, node = train('kill_at_iteration:n=1', max_epochs=orm.Int(50))
    assert node.exit_status == CODES.ERROR_MAXIMUM_ITERATIONS_EXCEEDED.status
    assert 'interim_potential' in node.outputs


def test_a_last_leg_that_leaves_nothing_does_not_cost_the_ones_before(train):
    _, node = train('kill_at_iteration:n=3,times=1;small_distance')
    assert node.exit_status == CODES.ERROR_UNRECOVERABLE.status
    first, _ = jobs(node)
    assert node.outputs.interim_potential.uuid == first.outputs.interim_potential.uuid
    assert node.outputs.metrics['iterations'] == 3
    assert node.outputs.stop_reason.value == 'interrupted'
