"""What goes wrong on the computer, from the program through the scheduler to the exit code."""

import pytest

from aiida_pacemaker.pace.output.metrics import read_metrics


@pytest.fixture
def run_with_fault(run_job, pace_codes_fake, train_inputs, recorded_potential, dataset):
    inputs = {
        'train': train_inputs(config={'max_epochs': 6}),
        'activeset': {'potential': recorded_potential, 'dataset': dataset},
        'select': {'potential': recorded_potential, 'candidates': {'some': dataset}},
    }

    def run(job, fault):
        metadata = {'options': {'prepend_text': f'export PACE_FAKE_FAULT={fault}'}}
        return run_job(f'pacemaker.{job}', code=pace_codes_fake[job], metadata=metadata, **inputs[job])

    return run


@pytest.mark.parametrize(
    ('job', 'fault', 'label'),
    [
        ('train', 'out_of_memory', 'ERROR_MEMORY_EXHAUSTED'),
        ('train', 'disk_full', 'ERROR_DISK_FULL'),
        # Not told from a kill before the first iteration, so it is tried again.
        ('train', 'no_output', 'ERROR_FIT_INTERRUPTED'),
        ('train', 'small_distance', 'ERROR_DISTANCE_TOO_SMALL'),
        ('train', 'nan_loss', 'ERROR_FIT_DIVERGED'),
        ('train', 'truncated_potential', 'ERROR_POTENTIAL_INVALID'),
        ('activeset', 'truncated_asi', 'ERROR_ACTIVE_SET_INVALID'),
        ('activeset', 'batch_needs_all_atoms', 'ERROR_BATCHES_NEED_ALL_ATOMS'),
        ('activeset', 'insufficient_environments', 'ERROR_ENVIRONMENTS_INSUFFICIENT'),
        ('select', 'exit_status', 'ERROR_NO_REASON_GIVEN'),
    ],
)
def test_faults(run_with_fault, job, fault, label):
    node = run_with_fault(job, fault)
    assert node.exit_status == node.process_class.exit_codes[label].status, node.exit_message


@pytest.mark.parametrize('fault', ['kill_at_iteration:n=2', 'term:n=2'])
def test_a_fit_that_is_killed_leaves_what_to_continue_from(run_with_fault, fault):
    node = run_with_fault('train', fault)
    assert node.exit_status == node.process_class.exit_codes.ERROR_FIT_INTERRUPTED.status
    assert 'after 2 iterations' in node.exit_message
    table = read_metrics(node.outputs.retrieved.base.repository.get_object_content('metrics.txt'))
    assert len(node.outputs.learning_curves.get_array('train_loss')) == len(table)
    assert node.outputs.metrics['stop_reason'] == 'interrupted'
    assert node.outputs.interim_potential.elements == ['Mg', 'O']


def test_a_fit_that_stops_early_is_a_success(run_with_fault):
    node = run_with_fault('train', 'early_stopping')
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.metrics['stop_reason'] == 'early_stop'
