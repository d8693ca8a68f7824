"""Linear fits within the restart chain of training, the loop and the trainer."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.fit_linear import PaceLinearFitCalculation
from aiida_pacemaker.errors import TrainerError
from aiida_pacemaker.pace.config.linear import functions_of
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.trainer import PacemakerTrainer
from aiida_pacemaker.workflows.base.functions import reduce_memory
from aiida_pacemaker.workflows.base.train import PaceTrainBaseWorkChain
from aiida_pacemaker.workflows.engines import engine_called
from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain

CONFIG = {'elements': ['Mg', 'O'], 'r_cut': 4.5, 'max_deg': 4, 'max_order': 2, 'evaluator': 'linear'}
LINEAR = PaceLinearFitCalculation.exit_codes
CODES = PaceTrainBaseWorkChain.exit_codes


@pytest.fixture
def inputs(narrow, reference_energies):
    """Return a function that makes the inputs of the job of a linear fit, all but its code; None takes one out."""

    def make(**changes):
        known = {
            'dataset': narrow,
            'config': orm.Dict(CONFIG | changes.pop('config', {})),
            'baseline': orm.Dict(DeltaBaseline.for_elements(['Mg', 'O']).model_dump(mode='json')),
            'reference_energies': orm.Dict(reference_energies),
        }
        return {name: value for name, value in {**known, **changes}.items() if value is not None}

    return make


def python_that(pace_codes, mark, command):
    """Return the Python of the engine that does something else the first time that it is called."""
    program = mark.with_name('python')
    python = pace_codes['python'].filepath_executable
    program.write_text(f'#!/bin/sh\n[ -e {mark} ] || {{ touch {mark}; {command}; }}\nexec {python} "$@"\n')
    program.chmod(0o755)
    computer = pace_codes['python'].computer
    return orm.InstalledCode(label='unlucky', computer=computer, filepath_executable=str(program)).store()


def test_a_linear_fit(pace_codes, inputs):
    outputs, node = run_get_node(PaceTrainBaseWorkChain, pace={'code': pace_codes['python'], **inputs()})
    assert node.is_finished_ok, node.exit_message
    (job,) = node.called
    assert job.process_class is PaceLinearFitCalculation
    assert set(outputs) >= {
        'potential',
        'metrics',
        'stop_reason',
        'learning_curves',
        'fit',
        'posterior',
        'frame_errors',
    }
    assert outputs['stop_reason'].value == 'converged'
    assert outputs['potential'].has_c_tilde


@pytest.mark.fault(
    'a linear fit is killed, or out of walltime',
    engine='there is none',
    here='begins again, with the equations of the shards that it has kept',
    ends='success',
)
def test_a_killed_linear_fit_begins_again(pace_codes, inputs, tmp_path):
    """The first job is killed as soon as it has kept its equations."""
    python = pace_codes['python'].filepath_executable
    until_kept = 'while [ ! -e stage.kept ]; do sleep 0.02; done'
    code = python_that(pace_codes, tmp_path / 'killed', f'{python} "$@" & {until_kept}; kill -9 $! $PPID $$')
    _, node = run_get_node(PaceTrainBaseWorkChain, pace={'code': code, **inputs()})
    assert node.is_finished_ok, node.exit_message
    first, second = node.called
    assert first.exit_status == LINEAR.ERROR_JOB_DIED.status
    assert 'potential' not in first.outputs
    assert second.outputs.fit['n_reused'] == second.outputs.fit['n_frames']


@pytest.mark.fault(
    'a linear fit runs out of memory',
    engine='there is none',
    here='one process in place of several; with one, the message says what to do',
    ends=('success', 'PaceTrainBaseWorkChain.ERROR_MEMORY_EXHAUSTED'),
)
def test_a_linear_fit_that_runs_out_of_memory(pace_codes, inputs, tmp_path):
    code = python_that(pace_codes, tmp_path / 'mark', 'echo MemoryError >&2; exit 1')
    two = {'backend': {'n_workers': 2}}
    _, node = run_get_node(PaceTrainBaseWorkChain, pace={'code': code, **inputs(config=two)})
    assert node.is_finished_ok, node.exit_message
    first, reduced, second = node.called
    assert first.exit_status == LINEAR.ERROR_MEMORY_EXHAUSTED.status
    assert reduced.process_label == 'reduce_memory'
    assert second.inputs.config['backend']['n_workers'] == 1
    code = python_that(pace_codes, tmp_path / 'again', 'echo MemoryError >&2; exit 1')
    _, node = run_get_node(PaceTrainBaseWorkChain, pace={'code': code, **inputs()})
    assert node.exit_status == CODES.ERROR_MEMORY_EXHAUSTED.status
    assert 'n_workers 1. Ask for more memory' in node.exit_message
    assert len(node.called) == 1


def test_memory_of_linear_fits(aiida_profile):
    smaller = reduce_memory(orm.Dict({**CONFIG, 'backend': {'n_workers': 8}})).get_dict()
    assert smaller['backend']['n_workers'] == 1
    assert reduce_memory(orm.Dict(smaller)).get_dict() == smaller


@pytest.mark.parametrize(
    ('given', 'reason'),
    [
        ({'max_epochs': 3}, '`max_epochs` is for fits by `pacemaker`, and the evaluator is linear: it has no'),
        ({'potential_mode': 'extend'}, '`potential_mode` is `extend`, and the evaluator is linear'),
        ({'monitors': 'pacemaker.loss'}, 'which an exact fit does not have'),
    ],
)
def test_what_a_linear_fit_cannot_use(pace_codes_fake, inputs, given, reason):
    if 'monitors' in given:
        given = {'monitors': {'loss': orm.Dict({'entry_point': given['monitors']})}}
    with pytest.raises(ValueError, match=reason):
        run_get_node(PaceTrainBaseWorkChain, pace={'code': pace_codes_fake['python'], **inputs(), **given})


def test_codes_and_potentials_that_a_linear_fit_cannot_use(pace_codes_fake, inputs):
    given = {'code': pace_codes_fake['python'], **inputs()}
    with pytest.raises(ValueError, match=r'`yace_code` .* it makes the `.yace` itself'):
        run_get_node(PaceTrainBaseWorkChain, pace={**given, 'yace_code': pace_codes_fake['yace']})
    with pytest.raises(ValueError, match='a linear fit is run by the Python of the engine: give its code'):
        run_get_node(PaceTrainBaseWorkChain, pace={**given, 'code': pace_codes_fake['train']})
    pyace = inputs(config={'evaluator': 'pyace'})
    with pytest.raises(ValueError, match='the evaluator of the config is one of `pacemaker`: give its code'):
        run_get_node(PaceTrainBaseWorkChain, pace={'code': pace_codes_fake['python'], **pyace})


def test_the_trainer_fits_linearly(pace_codes, narrow):
    codes = {name: pace_codes[key] for name, key in (('python', 'python'), ('pace_activeset', 'activeset'))}
    trainer = PacemakerTrainer(CONFIG, codes)
    potential, metrics = trainer.train(narrow)
    assert metrics['evaluator'] == 'linear'
    active_set = trainer.active_set(potential)
    assert 'dataset' in active_set.creator.inputs
    # The tables that the fit has left in the cache are read.
    lines = active_set.creator.base.repository.get_object_content('stage.list', 'r').splitlines()[1:]
    assert {line.split()[0] for line in lines if line.endswith('.pckl.gzip')} == {'held'}
    again, _ = trainer.train(narrow, initial_potential=potential)
    assert 'potential' not in again.creator.inputs
    assert again.get_b_basis() == potential.get_b_basis()


def test_the_trainer_needs_the_python_of_the_engine(pace_codes_fake, narrow):
    trainer = PacemakerTrainer(CONFIG, {'pacemaker': pace_codes_fake['train']})
    with pytest.raises(TrainerError, match='run by the Python of the engine: give its code as `python`'):
        trainer.train(narrow)


def test_an_active_set_from_the_folder_of_a_linear_fit_is_refused(pace_codes, inputs):
    node = run_get_node(CalculationFactory('pacemaker.train.linear'), code=pace_codes['python'], **inputs()).node
    given = {'potential': node.outputs.potential, 'parent_folder': node.outputs.remote_folder}
    with pytest.raises(ValueError, match='which leaves no data there: give the `dataset` instead'):
        run_get_node(CalculationFactory('pacemaker.activeset'), code=pace_codes['activeset'], **given)


def test_a_loop_that_fits_linearly(pace_codes, narrow, pool):
    """Each generation is solved for anew, and the active set is built from the tables of the dataset."""
    engine = engine_called('pacemaker')
    codes = {
        'pacemaker': pace_codes['train'],
        'python': pace_codes['python'],
        'pace_activeset': pace_codes['activeset'],
        'pace_select': pace_codes['select'],
        'pace_yaml2yace': pace_codes['yace'],
    }
    sections = {
        'config': {name: value for name, value in CONFIG.items() if name != 'elements'},
        'activeset': {},
        'select': {},
    }
    given = engine.builder_inputs(codes, sections, ['Mg', 'O'], {'resources': {'num_machines': 1}})
    assert given['train']['pace']['code'].uuid == pace_codes['python'].uuid
    assert 'yace_code' not in given['train']['pace']
    settings = orm.Dict({'max_generations': 2, 'gamma_threshold': 1.0})
    _, node = run_get_node(PaceActiveLearningWorkChain, dataset=narrow, pool=pool, settings=settings, **given)
    assert node.is_finished_ok, node.exit_message
    trainings = [one for one in node.called if one.process_label == 'PaceTrainBaseWorkChain']
    assert len(trainings) == 2
    for training in trainings:
        assert not {'potential', 'max_epochs'} & set(training.inputs.pace)
        assert 'fit' in training.outputs
    assert trainings[1].outputs.fit['n_frames'] > trainings[0].outputs.fit['n_frames']
    evaluations = [one for one in node.called if one.process_label == 'PaceEvaluateBaseWorkChain']
    for evaluation in evaluations:
        with_error_bars = [name for name, found in evaluation.outputs.errors['datasets'].items() if 'sigma' in found]
        assert with_error_bars == ['pool']
    # The energy that weights are relative to is that of the first dataset, so that its equations are used again.
    (lowest,) = {training.outputs.metrics['energy_reference'] for training in trainings}
    config = trainings[0].inputs.pace.config
    assert trainings[1].inputs.pace.config.uuid == config.uuid
    assert config['linear']['energy_reference'] == lowest
    assert config.creator.process_label == 'pin_energy_reference'
    assert trainings[1].outputs.fit['n_reused'] == trainings[0].outputs.fit['n_frames']
    # A run that goes on keeps it, unless it is relative to something else then.
    going_on = PaceActiveLearningWorkChain.get_builder_from_run(node)
    assert going_on.train.pace.config.uuid == config.uuid
    energies = orm.Dict({'Mg': -1.0, 'O': -2.0})
    other = PaceActiveLearningWorkChain.get_builder_from_run(node, reference_energies=energies)
    assert 'linear' not in other.train.pace.config.get_dict()


@pytest.mark.parametrize('fault', ['', 'kill_at_iteration:times=1', 'out_of_memory:times=1'])
def test_the_fake_engine_fits_linearly(pace_codes_fake, inputs, frozen_test, tmp_path, fault):
    variables = {'PACE_FAKE_FAULT': fault, 'PACE_FAKE_STATE': str(tmp_path)} if fault else {}
    options = {'resources': {'num_machines': 1, 'num_cores_per_mpiproc': 2}, 'environment_variables': variables}
    given = inputs(test_dataset=frozen_test, predict=orm.Bool(True), metadata={'options': options})
    outputs, node = run_get_node(PaceTrainBaseWorkChain, pace={'code': pace_codes_fake['python'], **given})
    assert node.is_finished_ok, node.exit_message
    jobs = [one for one in node.called if isinstance(one, orm.CalcJobNode)]
    assert len(jobs) == 1 + bool(fault)
    assert {'potential', 'fit', 'posterior', 'frame_errors', 'predictions'} <= set(outputs)
    assert outputs['potential'].has_c_tilde
    # It has the functions of the real engine up to the second order.
    assert outputs['potential'].n_functions == sum(functions_of(parse_config(CONFIG)).values())
