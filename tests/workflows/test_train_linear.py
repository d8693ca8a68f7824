"""Linear fits within the restart chain of training, the loop and the trainer."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.fit_linear import PaceLinearFitCalculation
from aiida_pacemaker.workflows.base.train import PaceTrainBaseWorkChain

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
    code = python_that(pace_codes, tmp_path / 'killed', 'kill -9 $PPID $$')
    _, node = run_get_node(PaceTrainBaseWorkChain, pace={'code': code, **inputs()})
    assert node.is_finished_ok, node.exit_message
    first, _ = node.called
    assert first.exit_status == LINEAR.ERROR_JOB_DIED.status
    assert 'potential' not in first.outputs
