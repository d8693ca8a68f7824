"""The restart chain of the active set, against the fake engine that fails on demand."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_pacemaker.calculations.train import PaceTrainCalculation
from aiida_pacemaker.workflows.base.activeset import PaceActiveSetBaseWorkChain


@pytest.fixture
def build(pace_codes_fake, training_inputs):
    """Return a function that runs the chain on the folder of a training, with a fault."""
    _, training = run_get_node(PaceTrainCalculation, code=pace_codes_fake['train'], **training_inputs)
    assert training.is_finished_ok

    def run(fault: str = '', **inputs):
        environment = {'PACE_FAKE_FAULT': fault} if fault else {}
        pace = {
            'code': pace_codes_fake['activeset'],
            'potential': training.outputs.potential,
            'parent_folder': training.outputs.remote_folder,
            'metadata': {'options': {'resources': {'num_machines': 1}, 'environment_variables': environment}},
            **inputs,
        }
        return run_get_node(PaceActiveSetBaseWorkChain, pace=pace)

    return run


@pytest.mark.parametrize('fault', ['batch_needs_all_atoms', 'insufficient_environments'])
def test_takes_all_atoms_where_it_must(build, fault):
    outputs, node = build(fault)
    assert node.is_finished_ok, node.exit_message
    assert len([job for job in node.called if isinstance(job, orm.CalcJobNode)]) == 2
    assert outputs['active_set'].creator.inputs.options['all_atoms'] is True
    assert outputs['active_set'].creator.inputs.options.creator.process_label == 'with_all_atoms'


def test_gives_up_with_the_reason(build):
    _, node = build('disk_full')
    assert node.exit_status == PaceActiveSetBaseWorkChain.exit_codes.ERROR_UNRECOVERABLE.status
    assert 'no space' in node.exit_message
    assert len([job for job in node.called if isinstance(job, orm.CalcJobNode)]) == 1
