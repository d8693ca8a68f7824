"""The ways in which programs are known to fail: what happened, what to do next, and which program can fail so.

They are of three kinds: failures of the environment, which any program has; of the engine; and of calculators of ASE.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Failure(Enum):
    """The ways to fail.

    The name of a member is its label; its value says what happened and what to do next, with placeholders.
    """

    # Of the environment: what any program can meet on a computer.
    ERROR_PROGRAM_NOT_FOUND = (
        'Not found on the computer: {missing}.',
        'Check the executable of the code, what it is called with (such as a container), and its `prepend_text`, which '
        'has to make {missing} available.',
    )
    ERROR_MEMORY_EXHAUSTED = (
        'The program {program} ran out of memory.',
        'Ask for more memory; programs of the engine can also be given a smaller `batch_size` (of a fit in `backend`, '
        'else in the options).',
    )
    ERROR_DISK_FULL = (
        'The program {program} could not write: no space, or no quota, is left on the disk of the computer.',
        'Free space in the working directory of the computer, and run again.',
    )
    ERROR_KILLED = (
        'The program {program} was killed by signal {signal}.',
        'Look at the report of the scheduler for the reason: walltime, memory, or a cancelled job.',
    )
    ERROR_JOB_DIED = (
        'The job came to its end before the program {program} did, and no reason was reported.',
        'Look at the report of the scheduler: the job was killed, or its node died. The restart chains run it again.',
    )
    ERROR_NO_REASON_GIVEN = (
        'The program {program} stopped with exit status {exit_status} and gave no reason.',
        'Look at the standard output and error of the job, and at the report of the scheduler.',
    )
    # Of any program in Python.
    ERROR_TRACEBACK_UNKNOWN = (
        'The program {program} stopped with an error that is not known: "{problem}".',
        'Look at the standard error of the job for the whole traceback.',
    )
    # Of the engine: its installation.
    ERROR_ENGINE_NOT_IMPORTABLE = (
        'The program {program} could not import the Python module {module}.',
        'Repair the environment of python-ace on the computer, or let the `prepend_text` of the code activate another.',
    )
    ERROR_EVALUATOR_MISSING = (
        'The evaluator `tensorpot` needs the Python module {module}, which is not installed on the computer.',
        'Install tensorpotential and TensorFlow beside python-ace, or set `backend: {{evaluator: pyace}}`.',
    )
    # What the engine was given.
    ERROR_ARGUMENTS_NOT_RECOGNIZED = (
        'The program {program} does not accept its command line: "{problem}".',
        'Check that the code runs {program} of python-ace 0.3 or later, and not a program of another package.',
    )
    ERROR_INPUT_ILLEGAL = (
        'The input file is not YAML that the engine can read: "{problem}".',
        'Check the values that were passed on as they are, such as file names and metadata.',
    )
    ERROR_INPUT_INCOMPLETE = (
        'The input file lacks one of the sections `data`, `potential` and `backend`.',
        'Give the section that is missing.',
    )
    ERROR_FILE_MISSING = (
        'The file {path} was not found on the computer.',
        'If it came from an earlier job, check that its working directory still exists, or upload the file again.',
    )
    ERROR_POTENTIAL_UNREADABLE = (
        'The engine could not read a potential: "{problem}".',
        'Use a B-basis potential (.yaml) that was written completely.',
    )
    ERROR_PICKLE_UNREADABLE = (
        'A dataset was written with other versions of pandas or NumPy than the engine has: "{problem}".',
        'Write it with this package, whose datasets all versions can read, or with the versions that the engine has.',
    )
    ERROR_DATASET_DAMAGED = (
        'A dataset could not be read, it is not a whole gzip-compressed pickle: "{problem}".',
        'Transfer the dataset again, and check the space on the disk of the computer.',
    )
    # The structures and their labels.
    ERROR_DATASET_EMPTY = (
        'A dataset holds no structures.',
        'Check what was left of the dataset after filters, and after its test set was split off.',
    )
    ERROR_COLUMN_MISSING = (
        'A dataset lacks what the engine needs: "{problem}".',
        'Label the structures, or give `data: {{reference_energy}}`.',
    )
    ERROR_ELEMENT_UNKNOWN = (
        'The element {element} occurs in the structures but is not known to the potential or the reference energies.',
        'Take the structures with {element} out, or train a potential and give reference energies that include it.',
    )
    ERROR_DISTANCE_TOO_SMALL = (
        'Two atoms of a structure are (almost) at the same place.',
        'Find the structure by its shortest distance and take it out of the dataset.',
    )
    ERROR_LABELS_NOT_FINITE = (
        'The column `{column}` of a dataset holds NaN.',
        'Find the structures whose labels are not finite and take them out, or label them again.',
    )
    ERROR_FORCES_MISSHAPEN = (
        'The forces of a structure do not have one vector for each atom.',
        'Find the structure whose forces have the wrong shape and label it again.',
    )
    ERROR_PERIODICITY_MIXED = (
        'A structure is periodic along some directions but not along others.',
        'Make it periodic along all three with vacuum, or along none.',
    )
    # The fit.
    ERROR_LADDER_RESTART = (
        'A ladder fit was given its best potential as the target (`-p`), took it for finished and fitted nothing.',
        'Continue from `interim_potential_ladder_step_N.yaml` with `potential_mode` `extend` (`-ip` instead of `-p`).',
    )
    ERROR_NOTHING_FITTED = (
        'The engine skipped the fit: its initial potential says that {done} of {cycles} fit cycles are done.',
        'Remove `_fit_cycles` from the metadata of the potential, or continue from another interim potential.',
    )
    ERROR_POTENTIAL_NOT_LINEAR = (
        'The potential is not linear in its coefficients, so that they cannot be solved for: "{problem}".',
        'Take what is named there out of `potential.embeddings` and `potential.bonds`, or frames in which atoms almost '
        'touch out of the dataset; or fit with another evaluator, `pyace` or `tensorpot`.',
    )
    ERROR_FUNCTIONS_ZERO = (
        'No function of the potential differs from zero on the dataset, so that there is nothing to fit.',
        'Use a larger cutoff, or inner cutoffs below the shortest distances of the data.',
    )
    # The active set.
    ERROR_ENVIRONMENTS_INSUFFICIENT = (
        'There are {n_atoms} atoms of {element} for {n_functions} functions; at least as many atoms are needed.',
        'Add structures with {element}, take all atoms (option `all_atoms`), or use a potential with fewer functions.',
    )
    ERROR_CANDIDATES_INSUFFICIENT = (
        'There are {n_atoms} atoms of {element} among the candidates for {n_functions} functions; without an active '
        'set at least as many atoms are needed.',
        'Add candidates with {element}, give an active set, or use a potential with fewer functions.',
    )
    ERROR_ELEMENT_ABSENT = (
        'The element {element} of the potential does not occur in the structures.',
        'Add structures with {element}.',
    )
    ERROR_BATCHES_NEED_ALL_ATOMS = (
        'The active set was to be made in batches, where atoms cannot be left out by their force error.',
        'Take all atoms (option `all_atoms`, `--all-atoms`), or ask for enough memory to need no batches.',
    )
    ERROR_PROJECTIONS_SINGULAR = (
        'The structures do not tell the basis functions apart: the matrix of projections is singular.',
        'Add structures that differ more, or use a potential with fewer functions.',
    )
    # Of calculators of ASE.
    ERROR_CALCULATOR_NOT_IMPORTABLE = (
        'The Python of the code cannot import the module {module}, which the calculator needs.',
        'Install {module} in the environment of that Python, let the `prepend_text` of the code activate the '
        'environment that has it, or correct `calculator`.',
    )
    ERROR_CALCULATOR_MISSING = (
        'The calculator is not where it was to be imported from: "{problem}".',
        'Check the module and the name in `calculator`, and the version of the package that it is from.',
    )
    ERROR_CALCULATOR_FILE_MISSING = (
        'The calculator did not find the program or file {path}.',
        'A program has to be made available by the `prepend_text` of the code, or its path given in the `arguments` of '
        'the calculator; a file has to be on the computer.',
    )
    ERROR_CALCULATOR_ELEMENT_MISSING = (
        'The calculator was given nothing for the element {element}.',
        'Give what it needs for {element} in its `arguments`, such as parameters or a pseudopotential, or take the '
        'frames with {element} out.',
    )

    @property
    def label(self) -> str:
        """The name, in the style of an exit code."""
        return self.name

    @property
    def message(self) -> str:
        """What happened and what to do next, with placeholders for ``str.format``."""
        return ' '.join(self.value)


#: What can become of any program on a computer.
ENVIRONMENT = frozenset(
    {
        Failure.ERROR_PROGRAM_NOT_FOUND,
        Failure.ERROR_MEMORY_EXHAUSTED,
        Failure.ERROR_DISK_FULL,
        Failure.ERROR_KILLED,
        Failure.ERROR_JOB_DIED,
        Failure.ERROR_NO_REASON_GIVEN,
    }
)
_PYTHON = ENVIRONMENT | {Failure.ERROR_TRACEBACK_UNKNOWN}
#: What can become of anything that reads a potential and structures with the engine.
_ENGINE = _PYTHON | {
    Failure.ERROR_ENGINE_NOT_IMPORTABLE,
    Failure.ERROR_FILE_MISSING,
    Failure.ERROR_POTENTIAL_UNREADABLE,
    Failure.ERROR_ELEMENT_UNKNOWN,
    Failure.ERROR_DISTANCE_TOO_SMALL,
    Failure.ERROR_PERIODICITY_MIXED,
}
_TABLES = {Failure.ERROR_PICKLE_UNREADABLE, Failure.ERROR_DATASET_DAMAGED}
_LABELS = {Failure.ERROR_COLUMN_MISSING, Failure.ERROR_LABELS_NOT_FINITE, Failure.ERROR_FORCES_MISSHAPEN}
_CALLED = {Failure.ERROR_ARGUMENTS_NOT_RECOGNIZED, Failure.ERROR_DATASET_EMPTY}

#: The ways in which each program can fail. `python` is that of a calculator of ASE; the drivers that use the engine go
#: by their names.
PROGRAMS: Mapping[str, frozenset[Failure]] = {
    'pacemaker': _ENGINE
    | _CALLED
    | _TABLES
    | _LABELS
    | {
        Failure.ERROR_EVALUATOR_MISSING,
        Failure.ERROR_INPUT_ILLEGAL,
        Failure.ERROR_INPUT_INCOMPLETE,
        Failure.ERROR_LADDER_RESTART,
        Failure.ERROR_NOTHING_FITTED,
    },
    'pace_activeset': _ENGINE
    | _CALLED
    | _TABLES
    | _LABELS
    | {
        Failure.ERROR_ENVIRONMENTS_INSUFFICIENT,
        Failure.ERROR_PROJECTIONS_SINGULAR,
        Failure.ERROR_ELEMENT_ABSENT,
        Failure.ERROR_BATCHES_NEED_ALL_ATOMS,
    },
    'pace_select': _ENGINE
    | _CALLED
    | _TABLES
    | {Failure.ERROR_CANDIDATES_INSUFFICIENT, Failure.ERROR_PROJECTIONS_SINGULAR},
    'pace_yaml2yace': _PYTHON
    | {
        Failure.ERROR_ENGINE_NOT_IMPORTABLE,
        Failure.ERROR_ARGUMENTS_NOT_RECOGNIZED,
        Failure.ERROR_FILE_MISSING,
        Failure.ERROR_POTENTIAL_UNREADABLE,
    },
    'fit_linear.py': _ENGINE | _TABLES | {Failure.ERROR_POTENTIAL_NOT_LINEAR, Failure.ERROR_FUNCTIONS_ZERO},
    'evaluate.py': _ENGINE | _TABLES,
    'select_posterior.py': _ENGINE | _TABLES,
    'explore.py': _ENGINE,
    'lmp': ENVIRONMENT,
    'python': _PYTHON
    | {
        Failure.ERROR_CALCULATOR_NOT_IMPORTABLE,
        Failure.ERROR_CALCULATOR_MISSING,
        Failure.ERROR_CALCULATOR_FILE_MISSING,
        Failure.ERROR_CALCULATOR_ELEMENT_MISSING,
    },
}
