"""Every fault shows, and the readers of the engine's output recognise it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_cases import Outcome, run, write_input, write_train

from aiida_pacemaker.errors import ActiveSetFileError, PotentialFileError
from aiida_pacemaker.pace.output.active_sets import read_active_set
from aiida_pacemaker.pace.output.failures import Failure, diagnose
from aiida_pacemaker.pace.output.logs import read_log
from aiida_pacemaker.pace.output.metrics import read_metrics
from aiida_pacemaker.pace.output.potentials import newest_interim, read_potential
from aiida_pacemaker.testing import faults

DIAGNOSED = {
    'small_distance': ('pacemaker', Failure.ERROR_DISTANCE_TOO_SMALL),
    'no_evaluator': ('pacemaker', Failure.ERROR_EVALUATOR_MISSING),
    'kill_at_iteration': ('pacemaker', Failure.ERROR_KILLED),
    'term': ('pacemaker', Failure.ERROR_KILLED),
    'batch_needs_all_atoms': ('pace_activeset', Failure.ERROR_BATCHES_NEED_ALL_ATOMS),
    'insufficient_environments': ('pace_activeset', Failure.ERROR_ENVIRONMENTS_INSUFFICIENT),
}
ANYWHERE = {
    'out_of_memory': Failure.ERROR_MEMORY_EXHAUSTED,
    'disk_full': Failure.ERROR_DISK_FULL,
    'exit_status': Failure.ERROR_NO_REASON_GIVEN,
}
SHOWN_IN_FILES = {'sleep', 'nan_loss', 'early_stopping', 'truncated_potential', 'truncated_asi', 'no_output'}
ARGUMENTS = {
    'pacemaker': ['input.yaml', '--no-predict'],
    'pace_activeset': ['-d', 'train.pckl.gzip', 'output_potential.yaml'],
    'pace_select': ['-p', 'output_potential.yaml', 'train.pckl.gzip'],
    'pace_yaml2yace': ['output_potential.yaml'],
}


@pytest.fixture
def start(fake, rattled, fitted, tmp_path):
    def start(program: str, fault: str, *arguments: str, **variables: str) -> Outcome:
        write_train(tmp_path, rattled)
        write_input(tmp_path, fit={'maxiter': 6})
        if program != 'pacemaker':
            shutil.copy(fitted.folder / 'output_potential.yaml', tmp_path)
        return run(fake[program], tmp_path, *ARGUMENTS[program], *arguments, PACE_FAKE_FAULT=fault, **variables)

    return start


def diagnosis_of(program: str, outcome: Outcome) -> Failure | None:
    diagnosis = diagnose(program, outcome.stdout, outcome.stderr, outcome.log, outcome.status)
    return None if diagnosis is None else diagnosis.failure


def test_each_fault_is_tested_and_told_of():
    assert {*DIAGNOSED, *ANYWHERE, *SHOWN_IN_FILES} == set(faults.FAULTS)
    assert set(re.findall(r'^(\w+) {2,}(?:fit|active set|all) ', faults.__doc__, re.MULTILINE)) == set(faults.FAULTS)


@pytest.mark.parametrize(('fault', 'program', 'failure'), [(key, *value) for key, value in DIAGNOSED.items()])
def test_the_reason_is_recognised(start, fault, program, failure):
    outcome = start(program, fault)
    assert outcome.status != 0
    assert diagnosis_of(program, outcome) is failure


@pytest.mark.parametrize('program', ARGUMENTS)
@pytest.mark.parametrize('fault', ANYWHERE)
def test_the_computer_can_fail_every_program(start, fault, program):
    outcome = start(program, fault)
    assert outcome.status == (3 if fault == 'exit_status' else 1)
    assert diagnosis_of(program, outcome) is ANYWHERE[fault]


@pytest.mark.parametrize(('fault', 'status'), [('kill_at_iteration', 137), ('term', 143)])
def test_a_killed_fit_leaves_what_it_had(start, fault, status):
    outcome = start('pacemaker', f'{fault}:n=2')
    assert outcome.status == status
    assert read_metrics(outcome.text('metrics.txt')).iterations == 2
    assert newest_interim(outcome.files) == 'interim_potential_0.yaml'
    assert read_potential(outcome.text('interim_potential_0.yaml')).n_functions == 24
    assert 'output_potential.yaml' not in outcome.files
    assert not read_log(outcome.log).finished


def test_a_sleeping_fit_takes_its_time(start):
    outcome = start('pacemaker', 'sleep:seconds=0.2')
    assert outcome.status == 0
    assert read_log(outcome.log).wall_time > 6 * 0.2


def test_a_loss_of_nan_ends_the_fit(start):
    outcome = start('pacemaker', 'nan_loss:n=4')
    table = read_metrics(outcome.text('metrics.txt'))
    assert outcome.status == 0
    assert table.diverged
    assert table.iterations == 4


def test_a_loss_of_nan_need_not_end_the_fit(start):
    outcome = start('pacemaker', 'nan_loss:n=2,seconds=0.01')
    table = read_metrics(outcome.text('metrics.txt'))
    assert np.isfinite(table['loss']).tolist() == [True] * 2 + [False] * 5
    assert table.iterations == 6


@pytest.mark.parametrize('fault', ['out_of_memory', 'disk_full'])
def test_a_fit_can_run_out_on_its_way(start, fault):
    outcome = start('pacemaker', f'{fault}:n=3')
    assert outcome.status == 1
    assert diagnosis_of('pacemaker', outcome) is ANYWHERE[fault]
    assert read_metrics(outcome.text('metrics.txt')).iterations == 3
    assert 'interim_potential_0.yaml' in outcome.files


def test_one_fault_comes_after_the_other(start, tmp_path):
    state = str(tmp_path / 'state')
    fault = 'exit_status:status=7,times=1;exit_status:status=8,program=pace_yaml2yace;term:times=1'
    statuses = [start('pacemaker', fault, PACE_FAKE_STATE=state).status for _ in range(3)]
    assert statuses == [7, 143, 0]


def test_early_stopping(start):
    outcome = start('pacemaker', 'early_stopping:n=4')
    assert outcome.status == 0
    assert read_log(outcome.log).early_stopping is not None
    assert read_metrics(outcome.text('metrics.txt')).iterations == 4
    assert 'output_potential.yaml' in outcome.files


def test_truncated_files(start):
    outcome = start('pacemaker', 'truncated_potential')
    assert outcome.status == 0
    with pytest.raises(PotentialFileError):
        read_potential(outcome.text('output_potential.yaml'))
    outcome = start('pace_activeset', 'truncated_asi')
    assert outcome.status == 0
    with pytest.raises(ActiveSetFileError):
        read_active_set((outcome.folder / 'output_potential.asi').read_bytes())


def test_no_output(start):
    outcome = start('pacemaker', 'no_output')
    assert outcome.status == 0
    assert outcome.files == {'input.yaml', 'train.pckl.gzip', 'log.txt'}


def test_all_atoms_avoid_what_the_force_errors_cause(start):
    for fault in ('batch_needs_all_atoms', 'insufficient_environments'):
        outcome = start('pace_activeset', fault, '--all-atoms')
        assert outcome.status == 0
        assert 'output_potential.asi' in outcome.files


def test_a_fault_passes_after_some_runs(start, tmp_path):
    state = str(tmp_path / 'state')
    statuses = [
        start(program, 'exit_status:status=7,times=2', PACE_FAKE_STATE=state).status
        for program in ('pacemaker', 'pacemaker', 'pace_yaml2yace', 'pacemaker')
    ]
    assert statuses == [7, 7, 7, 0]


def test_a_fault_keeps_to_its_program(start):
    assert start('pace_yaml2yace', 'exit_status:program=pacemaker').status == 0
    assert start('pace_yaml2yace', 'early_stopping').status == 0


@pytest.mark.parametrize(
    ('fault', 'told'), [('nonsense', 'kill_at_iteration'), ('term:m=1', 'times'), ('term:times=1', 'PACE_FAKE_STATE')]
)
def test_a_fault_that_is_not_there_is_not_passed_over(start, fault, told):
    outcome = start('pacemaker', fault)
    assert outcome.status == 1
    assert told in outcome.error


def test_state_is_one_byte_for_each_run(start, tmp_path):
    start('pacemaker', 'exit_status:times=1', PACE_FAKE_STATE=str(tmp_path))
    assert Path(tmp_path, 'exit_status.pacemaker').read_bytes() == b'.'
