import re
import time
from pathlib import Path
from string import Formatter

import pytest

from aiida_pacemaker.pace.output.failure_kinds import PROGRAMS as PROGRAMS_OF_JOBS
from aiida_pacemaker.pace.output.failures import Failure, diagnose

FIXTURES = Path(__file__).parents[1] / 'fixtures'
PROGRAMS = {
    'train': 'pacemaker',
    'activeset': 'pace_activeset',
    'select': 'pace_select',
    'fit_linear': 'fit_linear.py',
    'yaml2yace': 'pace_yaml2yace',
}

#: What each recorded run that failed is found to be, and what its message must name.
RECORDED = {
    'train/bad_option': (Failure.ERROR_TRACEBACK_UNKNOWN, 'Unknown radial basis function name: Nonsense'),
    'train/damaged_dataset': (Failure.ERROR_DATASET_DAMAGED, 'EOFError'),
    'train/damaged_potential': (Failure.ERROR_POTENTIAL_UNREADABLE, 'line 105'),
    'train/disk_full': (Failure.ERROR_DISK_FULL, 'pacemaker'),
    'train/empty_dataset': (Failure.ERROR_DATASET_EMPTY, 'no structures'),
    'train/empty_dataset_named': (Failure.ERROR_DATASET_EMPTY, 'no structures'),
    'train/energy_range': (Failure.ERROR_COLUMN_MISSING, "'energy'"),
    'train/illegal_yaml': (Failure.ERROR_INPUT_ILLEGAL, 'line 2, column 12'),
    'train/killed_cycle': (Failure.ERROR_KILLED, 'signal 15'),
    'train/killed_early': (Failure.ERROR_KILLED, 'signal 15'),
    'train/killed_interim': (Failure.ERROR_KILLED, 'signal 15'),
    'train/killed_node': (Failure.ERROR_KILLED, 'signal 9'),
    'train/ladder_killed': (Failure.ERROR_KILLED, 'signal 15'),
    'train/ladder_restart_best_cycle': (Failure.ERROR_LADDER_RESTART, '-ip'),
    'train/missing_file': (Failure.ERROR_FILE_MISSING, 'train.pckl.gzip'),
    'train/missing_potential': (Failure.ERROR_FILE_MISSING, 'initial_potential.yaml'),
    'train/mixed_periodicity': (Failure.ERROR_PERIODICITY_MIXED, 'periodic'),
    'train/nan_energy': (Failure.ERROR_LABELS_NOT_FINITE, '`energy_corrected`'),
    'train/nan_forces': (Failure.ERROR_LABELS_NOT_FINITE, '`forces`'),
    'train/no_energy': (Failure.ERROR_COLUMN_MISSING, '`energy`'),
    'train/no_forces': (Failure.ERROR_COLUMN_MISSING, '`forces`'),
    'train/no_potential': (Failure.ERROR_INPUT_INCOMPLETE, '`potential`'),
    'train/no_reference_energy': (Failure.ERROR_COLUMN_MISSING, 'reference_energy'),
    'train/no_tensorflow': (Failure.ERROR_EVALUATOR_MISSING, 'tensorflow'),
    'train/noop_fit_cycles': (Failure.ERROR_NOTHING_FITTED, '1 of 1'),
    'train/not_found': (Failure.ERROR_PROGRAM_NOT_FOUND, 'pacemaker'),
    'train/not_gzip': (Failure.ERROR_DATASET_DAMAGED, 'Not a gzipped file'),
    'train/not_installed': (Failure.ERROR_ENGINE_NOT_IMPORTABLE, 'module pyace'),
    'train/out_of_memory': (Failure.ERROR_MEMORY_EXHAUSTED, 'pacemaker'),
    'train/out_of_memory_early': (Failure.ERROR_MEMORY_EXHAUSTED, 'pacemaker'),
    'train/pickle_version': (Failure.ERROR_PICKLE_UNREADABLE, 'TypeError'),
    'train/small_distance': (Failure.ERROR_DISTANCE_TOO_SMALL, 'same place'),
    'train/unknown_element': (Failure.ERROR_ELEMENT_UNKNOWN, 'element Al'),
    'train/unknown_element_potential': (Failure.ERROR_ELEMENT_UNKNOWN, 'element Al'),
    'train/unrecognized_arguments': (Failure.ERROR_ARGUMENTS_NOT_RECOGNIZED, '--select'),
    'train/wrong_force_shape': (Failure.ERROR_FORCES_MISSHAPEN, 'one vector for each atom'),
    'activeset/batch_needs_all_atoms': (Failure.ERROR_BATCHES_NEED_ALL_ATOMS, '--all-atoms'),
    'activeset/element_absent': (Failure.ERROR_ELEMENT_ABSENT, 'element O'),
    'activeset/insufficient': (Failure.ERROR_ENVIRONMENTS_INSUFFICIENT, '4 atoms of Mg for 12 functions'),
    'activeset/missing_file': (Failure.ERROR_FILE_MISSING, 'fitting_data_info.pckl.gzip'),
    'activeset/missing_potential': (Failure.ERROR_FILE_MISSING, 'output_potential.yaml'),
    'activeset/out_of_memory': (Failure.ERROR_MEMORY_EXHAUSTED, 'pace_activeset'),
    'activeset/singular': (Failure.ERROR_PROJECTIONS_SINGULAR, 'singular'),
    'activeset/unknown_element': (Failure.ERROR_ELEMENT_UNKNOWN, 'element Al'),
    'fit_linear/core_in_the_data': (Failure.ERROR_POTENTIAL_NOT_LINEAR, 'Mg-O come as close as 1.997 angstrom'),
    'fit_linear/damaged_dataset': (Failure.ERROR_DATASET_DAMAGED, 'EOFError'),
    'fit_linear/damaged_potential': (Failure.ERROR_POTENTIAL_UNREADABLE, 'end of map flow'),
    'fit_linear/dead_worker': (Failure.ERROR_MEMORY_EXHAUSTED, 'fit_linear.py'),
    'fit_linear/disk_full': (Failure.ERROR_DISK_FULL, 'fit_linear.py'),
    'fit_linear/killed': (Failure.ERROR_KILLED, 'signal 9'),
    'fit_linear/missing_file': (Failure.ERROR_FILE_MISSING, 'train.pckl.gzip'),
    'fit_linear/mixed_periodicity': (Failure.ERROR_PERIODICITY_MIXED, 'periodic'),
    'fit_linear/no_neighbours': (Failure.ERROR_FUNCTIONS_ZERO, 'nothing to fit'),
    'fit_linear/not_found': (Failure.ERROR_PROGRAM_NOT_FOUND, 'pythonX'),
    'fit_linear/not_installed': (Failure.ERROR_ENGINE_NOT_IMPORTABLE, 'module ase'),
    'fit_linear/out_of_memory': (Failure.ERROR_MEMORY_EXHAUSTED, 'fit_linear.py'),
    'fit_linear/small_distance': (Failure.ERROR_DISTANCE_TOO_SMALL, 'same place'),
    'fit_linear/two_densities': (Failure.ERROR_POTENTIAL_NOT_LINEAR, 'the embedding of Mg is not linear'),
    'fit_linear/unknown_element': (Failure.ERROR_ELEMENT_UNKNOWN, 'element Al'),
    'select/empty_pool': (Failure.ERROR_DATASET_EMPTY, 'no structures'),
    'select/missing_file': (Failure.ERROR_FILE_MISSING, 'pool.pckl.gzip'),
    'select/unknown_element': (Failure.ERROR_ELEMENT_UNKNOWN, 'element Al'),
    'yaml2yace/damaged': (Failure.ERROR_POTENTIAL_UNREADABLE, 'end of map flow'),
    'yaml2yace/missing_file': (Failure.ERROR_FILE_MISSING, 'output_potential.yaml'),
}
CASES = sorted(
    f'{program}/{path.parent.name}' for program in PROGRAMS for path in (FIXTURES / program).glob('*/exit_status')
)

#: Failures that were not recorded: what versions and computers other than ours say.
SPOKEN = [
    ("ModuleNotFoundError: No module named 'numpy._core'", Failure.ERROR_PICKLE_UNREADABLE, 'numpy._core'),
    ("ModuleNotFoundError: No module named 'numpy._core.numeric'", Failure.ERROR_PICKLE_UNREADABLE, 'numpy._core'),
    ("AttributeError: Can't get attribute '_unpickle_block'", Failure.ERROR_PICKLE_UNREADABLE, '_unpickle_block'),
    ("KeyError: np.str_('Al')", Failure.ERROR_ELEMENT_UNKNOWN, 'Al'),
    ("KeyError: b'Al'", Failure.ERROR_ELEMENT_UNKNOWN, 'Al'),
    (
        'numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB for an array',
        Failure.ERROR_MEMORY_EXHAUSTED,
        'memory',
    ),
    ('numpy.core._exceptions.MemoryError: Unable to allocate', Failure.ERROR_MEMORY_EXHAUSTED, 'memory'),
    ('/var/spool/job: line 9: 4711 Killed', Failure.ERROR_MEMORY_EXHAUSTED, 'memory'),
    ('slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.0', Failure.ERROR_MEMORY_EXHAUSTED, 'memory'),
    (
        'tensorflow.python.framework.errors_impl.ResourceExhaustedError: {{function_node',
        Failure.ERROR_MEMORY_EXHAUSTED,
        'memory',
    ),
    ("terminate called after throwing an instance of 'std::bad_alloc'", Failure.ERROR_MEMORY_EXHAUSTED, 'memory'),
    ('OSError: [Errno 122] Disk quota exceeded', Failure.ERROR_DISK_FULL, 'quota'),
    ("ModuleNotFoundError: No module named 'tensorpotential'", Failure.ERROR_EVALUATOR_MISSING, 'tensorpotential'),
    ('_aiidasubmit.sh: line 8: /opt/pacemaker: No such file or directory', Failure.ERROR_PROGRAM_NOT_FOUND, ''),
    ('srun: error: node1: execve(): pacemaker: No such file or directory', Failure.ERROR_PROGRAM_NOT_FOUND, ''),
]


#: What launches programs says of one that is missing, and its name.
NOT_FOUND = [
    ('/bin/bash: line 1: pacemaker: command not found', 'pacemaker'),
    ('/scratch/ab/_aiidasubmit.sh: line 8: apptainer: command not found', 'apptainer'),
    ('/bin/sh: 8: singularity: not found', 'singularity'),
    ('/home/me/run_pace: line 3: docker: command not found', 'docker'),
    ('zsh:1: command not found: srun', 'srun'),
    ('mpirun: Command not found.', 'mpirun'),
    (
        '/bin/bash: line 4: /env/bin/pacemaker: /old/bin/python: bad interpreter: No such file or directory',
        '/old/bin/python',
    ),
    ('/bin/bash: line 1: /env/bin/pacemaker: cannot execute: required file not found', '/env/bin/pacemaker'),
    ('/usr/bin/env: \u2018python\u2019: No such file or directory', 'python'),
    ('slurmstepd: error: execve(): pacemaker: No such file or directory', 'pacemaker'),
    (
        'mpirun was unable to find the specified executable file, and therefore\ndid not launch the job.  This error '
        'was first reported for process\nrank 0; it may have occurred for others:\n\nNode:       node1\n'
        'Executable: pacemaker\n',
        'pacemaker',
    ),
    ('[proxy:0:0@node1] create_process: execvp error on file pacemaker (No such file or directory)', 'pacemaker'),
    ('FATAL:   "pacemaker": executable file not found in $PATH', 'pacemaker'),
    ('FATAL:   could not open image /home/me/pace.sif: failed to retrieve path', '/home/me/pace.sif'),
    ('docker: Error response from daemon: pull access denied for pace, repository does not exist', 'pace'),
]

#: What a calculator of ASE stops with, and what has to be told of it.
CALCULATORS = [
    ("ModuleNotFoundError: No module named 'mace'", Failure.ERROR_CALCULATOR_NOT_IMPORTABLE, 'Install mace'),
    (
        "ModuleNotFoundError: No module named 'tensorflow'",
        Failure.ERROR_CALCULATOR_NOT_IMPORTABLE,
        'Install tensorflow',
    ),
    ("ImportError: cannot import name 'MACE' from 'mace'", Failure.ERROR_CALCULATOR_MISSING, "'MACE' from 'mace'"),
    ('ImportError: libcudart.so.12: cannot open shared object file', Failure.ERROR_CALCULATOR_MISSING, 'libcudart'),
    ("AttributeError: module 'ase.calculators.emt' has no attribute 'E'", Failure.ERROR_CALCULATOR_MISSING, "'E'"),
    ("KeyError: 'Cu'", Failure.ERROR_CALCULATOR_ELEMENT_MISSING, 'nothing for the element Cu'),
    ("KeyError: 'Zz'", Failure.ERROR_TRACEBACK_UNKNOWN, "KeyError: 'Zz'"),
    ('FileNotFoundError: pw.x', Failure.ERROR_CALCULATOR_FILE_MISSING, 'program or file pw.x'),
    (
        "FileNotFoundError: [Errno 2] No such file or directory: 'pw.x'",
        Failure.ERROR_CALCULATOR_FILE_MISSING,
        'program or file pw.x',
    ),
    ('sh: 1: pw.x: not found', Failure.ERROR_PROGRAM_NOT_FOUND, 'Not found on the computer: pw.x'),
    ('torch.OutOfMemoryError: CUDA out of memory.', Failure.ERROR_MEMORY_EXHAUSTED, 'more memory'),
]


def run_of(case):
    folder = FIXTURES / case
    texts = {
        'stdout': folder / 'stdout.txt',
        'stderr': folder / 'stderr.txt',
        'log': folder / 'log.txt',
    }
    spoken = {name: path.read_bytes().decode() for name, path in texts.items() if path.exists()}
    return PROGRAMS[folder.parent.name], spoken, int((folder / 'exit_status').read_text())


@pytest.mark.parametrize('case', CASES)
def test_every_recorded_run_is_told_for_what_it_is(case):
    program, spoken, exit_status = run_of(case)
    diagnosis = diagnose(program, **spoken, exit_status=exit_status)
    if case not in RECORDED:
        assert exit_status == 0
        assert diagnosis is None
        return
    failure, named = RECORDED[case]
    assert diagnosis is not None
    assert diagnosis.failure is failure
    assert named in diagnosis.message


@pytest.mark.parametrize('case', CASES)
def test_the_exit_status_is_needed_only_to_tell_a_kill(case):
    program, spoken, exit_status = run_of(case)
    known, unknown = diagnose(program, **spoken, exit_status=exit_status), diagnose(program, **spoken)
    if known is not None and known.failure is Failure.ERROR_KILLED:
        assert unknown is None
    else:
        assert unknown == known


@pytest.mark.parametrize(('line', 'failure', 'named'), SPOKEN)
def test_what_other_versions_and_computers_say(line, failure, named):
    diagnosis = diagnose('pacemaker', stderr=f'Traceback (most recent call last):\n  File "x.py"\n{line}\n')
    assert diagnosis is not None
    assert diagnosis.failure is failure
    assert named in diagnosis.message


@pytest.mark.parametrize(('line', 'missing'), NOT_FOUND, ids=[missing for _, missing in NOT_FOUND])
@pytest.mark.parametrize('program', PROGRAMS_OF_JOBS)
def test_a_program_that_is_not_found_is_named(program, line, missing):
    diagnosis = diagnose(program, stderr=f'{line}\n', exit_status=127)
    assert diagnosis is not None
    assert diagnosis.failure is Failure.ERROR_PROGRAM_NOT_FOUND
    assert diagnosis.message.startswith(f'Not found on the computer: {missing}. ')


@pytest.mark.parametrize(('line', 'failure', 'named'), CALCULATORS)
def test_what_calculators_say(line, failure, named):
    diagnosis = diagnose('python', stderr=f'Traceback (most recent call last):\n  File "x.py"\n{line}\n')
    assert diagnosis is not None
    assert diagnosis.failure is failure
    assert named in diagnosis.message
    assert 'python-ace' not in diagnosis.message


@pytest.mark.parametrize('case', RECORDED)
def test_a_program_can_fail_in_all_ways_that_were_recorded(case):
    assert RECORDED[case][0] in PROGRAMS_OF_JOBS[PROGRAMS[case.partition('/')[0]]]


def test_too_few_candidates():
    _, spoken, exit_status = run_of('activeset/insufficient')
    diagnosis = diagnose('pace_select', **spoken, exit_status=exit_status)
    assert diagnosis.failure is Failure.ERROR_CANDIDATES_INSUFFICIENT
    assert '4 atoms of Mg' in diagnosis.message
    assert 'all_atoms' not in diagnosis.message


def test_every_failure_has_a_run_that_shows_it():
    shown = {failure for failure, _ in RECORDED.values()} | {failure for _, failure, _ in [*SPOKEN, *CALCULATORS]}
    shown |= {Failure.ERROR_CANDIDATES_INSUFFICIENT}
    # These two are told from the absence of any word.
    assert set(Failure) - shown == {Failure.ERROR_NO_REASON_GIVEN, Failure.ERROR_JOB_DIED}
    assert set(RECORDED) <= set(CASES)


def test_code_shown_in_a_traceback_is_not_taken_for_the_reason():
    traceback = (
        'Traceback (most recent call last):\n'
        '    from tensorflow.python.framework.errors_impl import ResourceExhaustedError, InternalError\n'
        '    raise ValueError("Dataframe is corrupted: no column") from MemoryError\n'
        'ZeroDivisionError: division by zero\n'
    )
    diagnosis = diagnose('pacemaker', stderr=traceback, exit_status=1)
    assert diagnosis is not None
    assert diagnosis.failure is Failure.ERROR_TRACEBACK_UNKNOWN
    assert diagnosis.values['problem'] == 'ZeroDivisionError: division by zero'


def test_silence():
    diagnosis = diagnose('pacemaker', exit_status=3)
    assert diagnosis is not None
    assert diagnosis.failure is Failure.ERROR_NO_REASON_GIVEN
    assert 'exit status 3' in diagnosis.message
    assert diagnose('pacemaker', exit_status=0) is None
    assert diagnose('pacemaker') is None


@pytest.mark.parametrize('failure', list(Failure))
def test_messages_are_sentences_that_say_what_to_do(failure):
    fields = {name for _, name, _, _ in Formatter().parse(failure.message) if name}
    message = failure.message.format(**dict.fromkeys(fields, 'X'))
    assert message.endswith('.')
    assert '{{' not in message
    assert len(re.findall(r'\.(?: |$)', message)) >= 2
    assert re.fullmatch(r'ERROR(_[A-Z]+)+', failure.label)


def test_a_huge_output_is_searched_in_no_time():
    progress = '             Eval 3152: loss=0.003511497927392642\r' * 1_000_000
    started = time.perf_counter()
    diagnosis = diagnose('pacemaker', stdout=progress, stderr='x' * 10_000_000 + '\nMemoryError\n')
    assert time.perf_counter() - started < 3
    assert diagnosis is not None
    assert diagnosis.failure is Failure.ERROR_MEMORY_EXHAUSTED
