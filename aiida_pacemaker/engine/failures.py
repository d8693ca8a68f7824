"""Why a program of the engine failed, told from what it left behind, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from aiida_pacemaker.frames.file_errors import printable


class Failure(Enum):
    """The ways in which the engine is known to fail.

    The name of a member is its label; its value says what happened and what to do next, with placeholders.
    """

    # The job's environment.
    ERROR_PROGRAM_NOT_FOUND = (
        'The program {program} was not found on the computer.',
        'Check the executable of the code and its `prepend_text`, which has to activate the environment of python-ace.',
    )
    ERROR_ENGINE_NOT_IMPORTABLE = (
        'The program {program} could not import the Python module {module}.',
        'Repair the environment of python-ace on the computer, or let the `prepend_text` of the code activate another.',
    )
    ERROR_EVALUATOR_MISSING = (
        'The evaluator `tensorpot` needs the Python module {module}, which is not installed on the computer.',
        'Install tensorpotential and TensorFlow beside python-ace, or set `backend: {{evaluator: pyace}}`.',
    )
    ERROR_MEMORY_EXHAUSTED = (
        'The program {program} ran out of memory.',
        'Ask for more memory, or lower the `batch_size` (of a fit in `backend`, else in the options).',
    )
    ERROR_DISK_FULL = (
        'The program {program} could not write: no space, or no quota, is left on the disk of the computer.',
        'Free space in the working directory of the computer, and run again.',
    )
    # What the program was given.
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
    # The active set.
    ERROR_ENVIRONMENTS_INSUFFICIENT = (
        'There are {n_atoms} atoms of {element} for {n_functions} functions; at least as many atoms are needed.',
        'Add structures with {element}, take all atoms (option `all_atoms`), or use a potential with fewer functions.',
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
    # Everything else.
    ERROR_KILLED = (
        'The program {program} was killed by signal {signal}.',
        'Look at the report of the scheduler for the reason: walltime, memory, or a cancelled job.',
    )
    ERROR_JOB_DIED = (
        'The job came to its end before the program {program} did, and nobody says why.',
        'Look at the report of the scheduler: the job was killed, or its node died. The restart chains run it again.',
    )
    ERROR_TRACEBACK_UNKNOWN = (
        'The program {program} stopped with an error that is not known: "{problem}".',
        'Look at the standard error of the job for the whole traceback.',
    )
    ERROR_NO_REASON_GIVEN = (
        'The program {program} stopped with exit status {exit_status} and gave no reason.',
        'Look at the standard output and error of the job, and at the report of the scheduler.',
    )

    @property
    def label(self) -> str:
        """The name, in the style of an exit code."""
        return self.name

    @property
    def message(self) -> str:
        """What happened and what to do next, with placeholders for ``str.format``."""
        return ' '.join(self.value)


@dataclass(frozen=True)
class Diagnosis:
    """The failure of one run.

    :param failure: which of the known failures it is.
    :param values: what fills the placeholders of its message.
    """

    failure: Failure
    values: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """What happened and what to do next."""
        return printable(self.failure.message.format(**self.values))


def diagnose(
    program: str, stdout: str = '', stderr: str = '', log: str = '', exit_status: int | None = None
) -> Diagnosis | None:
    """Tell why a program of the engine failed.

    A fit that was skipped counts as a failure although its exit status is 0. Finding nothing to select does not.
    Where the exit status is not known, ask only if the output is missing: a job can complain and succeed all the same.

    :param program: ``pacemaker``, ``pace_activeset``, ``pace_select`` or ``pace_yaml2yace``.
    :param stdout: what it wrote to its standard output.
    :param stderr: what it wrote to its standard error.
    :param log: ``log.txt``, where there is one.
    :param exit_status: its exit status; None where it is not known: the texts then decide.
    :returns: the failure and its circumstances, or None if there is no sign of one.
    """
    # Reasons stand at the end; before them an output can hold a hundred megabytes of progress.
    text = '\n'.join(part[-_TAIL:] for part in (stderr, stdout, log))
    values: dict[str, str | int] = {'program': program}
    for failure, pattern, said in _RULES:
        if exit_status == 0 and failure is not Failure.ERROR_NOTHING_FITTED:
            continue
        match = next((found for found in pattern.finditer(text) if _comes_after(said, found)), None)
        if match is not None:
            values.update({name: ' '.join(value.split()) for name, value in match.groupdict().items()})
            values.update(_elements(text, failure, values))
            return Diagnosis(failure, values)
    if exit_status == 0:
        return None
    problem = _last_line_of_traceback(text)
    if problem is not None:
        return Diagnosis(Failure.ERROR_TRACEBACK_UNKNOWN, {**values, 'problem': problem})
    if exit_status is None:
        return None
    if exit_status > 128:
        return Diagnosis(Failure.ERROR_KILLED, {**values, 'signal': exit_status - 128})
    return Diagnosis(Failure.ERROR_NO_REASON_GIVEN, {**values, 'exit_status': exit_status})


_TAIL = 2**20
_SKIPPED = re.compile(
    r'Number of finished fit cycles \((?P<done>\d{1,6})\) >= number of expected fit cycles \((?P<cycles>\d{1,6})\)'
)

# Lines can be very long, so repetitions are bounded. The more particular a pattern is, the earlier it stands. Some are
# meant only if something else was said not long before.
_PATTERNS: tuple[tuple[Failure, str] | tuple[Failure, str, str], ...] = (
    (Failure.ERROR_BATCHES_NEED_ALL_ATOMS, r'Error-based selection of atoms in batch mode is not implemented'),
    (
        Failure.ERROR_ENVIRONMENTS_INSUFFICIENT,
        r'Insufficient atomic environments .{0,80}species type (?P<species>\d{1,3}), .{0,80}'
        r'projections shape=\((?P<n_atoms>\d{1,12}), (?P<n_functions>\d{1,12})\)',
    ),
    (Failure.ERROR_PROJECTIONS_SINGULAR, r'Input matrix must not be singular|LinAlgError: Singular matrix'),
    # The engine takes quantiles of the force errors of an element without atoms.
    (Failure.ERROR_ELEMENT_ABSENT, r'^IndexError: index -1 is out of bounds', 'np.quantile('),
    (Failure.ERROR_DISTANCE_TOO_SMALL, r'Encountered very small distance'),
    (Failure.ERROR_LABELS_NOT_FINITE, r'^AssertionError: (?P<column>\w{1,80}) (?:column contains NaN|contains NaNs)'),
    (Failure.ERROR_FORCES_MISSHAPEN, r'^AssertionError: forces has wrong shape'),
    (Failure.ERROR_PERIODICITY_MIXED, r'Only fully periodic or non-periodic cell are supported'),
    (
        Failure.ERROR_COLUMN_MISSING,
        r'^(?P<problem>ValueError: Dataframe is corrupted: no[^\n]{0,200}|ValueError: Column `(?:energy|forces)`'
        r"[^\n]{0,200}|ValueError: Neither 'energy_corrected' column[^\n]{0,200}|KeyError: '(?:energy|forces)')$",
    ),
    # What an empty dataset trips over depends on its columns; an empty pool is counted, and then trips as well.
    (Failure.ERROR_DATASET_EMPTY, r"Couldn't operate with empty dataset"),
    (Failure.ERROR_DATASET_EMPTY, r'^(?:\S{0,80}_UFuncNoLoopError|ValueError): ', ' 0 structures found'),
    (Failure.ERROR_DATASET_EMPTY, r' 0 structures in candidate list'),
    (
        Failure.ERROR_ELEMENT_UNKNOWN,
        # As text or bytes, of Python or NumPy, depending on versions.
        r"^KeyError: (?:np\.\w{1,8}\()?b?'(?P<element>[A-Z][a-z]?)'\)?$",
    ),
    (Failure.ERROR_MEMORY_EXHAUSTED, r'^(?:numpy[\w.]{0,60}\.)?(?:_Array)?MemoryError\b'),
    (
        Failure.ERROR_MEMORY_EXHAUSTED,
        r'^[\w.]{0,150}ResourceExhaustedError: |^(?:.{0,200}\s)?Killed$|oom-kill|std::bad_alloc|'
        # Said of a library that is loaded, and of one thread too many of those that calculate.
        r'failed to map segment from shared object',
    ),
    (Failure.ERROR_MEMORY_EXHAUSTED, r'No further batch size reduction is possible'),
    (Failure.ERROR_DISK_FULL, r'\[Errno (?:28|122)\]|No space left on device|Disk quota exceeded'),
    (
        Failure.ERROR_PICKLE_UNREADABLE,
        r'^(?P<problem>TypeError: issubclass\(\) arg 1 must be a class|'
        r"ModuleNotFoundError: No module named '(?:numpy\._core|pandas)[^\n]{0,80}|"
        r'[\w.]{1,80}Error: [^\n]{0,200}(?:StringDtype|new_block|_unpickle_block|pandas\._libs)[^\n]{0,200})$',
    ),
    (
        Failure.ERROR_DATASET_DAMAGED,
        r'^(?P<problem>EOFError: [^\n]{0,200}|gzip\.BadGzipFile: [^\n]{0,200}|zlib\.error: [^\n]{0,200}|'
        r'_pickle\.UnpicklingError: [^\n]{0,200})$',
    ),
    (
        Failure.ERROR_EVALUATOR_MISSING,
        r"^ModuleNotFoundError: No module named '(?P<module>tensor(?:flow|potential)[^'\n]{0,100})'",
    ),
    (
        Failure.ERROR_ENGINE_NOT_IMPORTABLE,
        r"^(?:ModuleNotFoundError: No module named|ImportError: cannot import name) '(?P<module>[^'\n]{1,100})'",
    ),
    (Failure.ERROR_ARGUMENTS_NOT_RECOGNIZED, r'^pace\w{1,40}(?:\.\w{1,4})?: error: (?P<problem>[^\n]{1,400})$'),
    (Failure.ERROR_INPUT_ILLEGAL, r'^ruamel\.yaml\.\S{1,80}: (?P<problem>[^\n]{0,200}\n[^\n]{0,200})'),
    (
        Failure.ERROR_INPUT_INCOMPLETE,
        r"has no attribute 'query_data'|^ValueError: '\w{1,20}' section is not (?:given|provided)",
    ),
    (Failure.ERROR_FILE_MISSING, r"^FileNotFoundError: \[Errno 2\] [^:\n]{0,80}: '(?P<path>[^'\n]{0,400})'"),
    (
        Failure.ERROR_FILE_MISSING,
        r"^(?:RuntimeError: File|ValueError: Potential file) (?P<path>[^\n]{1,400}?) (?:not found|doesn't exists)$",
    ),
    (Failure.ERROR_POTENTIAL_UNREADABLE, r'^RuntimeError: (?P<problem>yaml-cpp: [^\n]{0,400})'),
    (
        Failure.ERROR_LADDER_RESTART,
        r"^TypeError: 'NoneType' object does not support item assignment",
        'Number of finished fit cycles (',
    ),
    (Failure.ERROR_NOTHING_FITTED, _SKIPPED.pattern),
    # Said by a shell or by the launcher of Slurm. Last, for the script of a job can miss other programs without harm.
    (
        Failure.ERROR_PROGRAM_NOT_FOUND,
        r'^(?:\S{0,200}sh: |srun: .{0,80}execve).{0,400}: (?:command not found|not found|No such file or directory)$',
    ),
)
#: How long before, in characters.
_NEAR = 8000


def _rule(failure: Failure, pattern: str, said: str = '') -> tuple[Failure, re.Pattern[str], str]:
    return failure, re.compile(pattern, re.MULTILINE), said


_RULES = tuple(_rule(*pattern) for pattern in _PATTERNS)


def _comes_after(said: str, match: re.Match[str]) -> bool:
    return said in match.string[max(0, match.start() - _NEAR) : match.start()]


def _elements(text: str, failure: Failure, values: Mapping[str, str | int]) -> dict[str, str]:
    """Name the element that a failure of an active set is about."""
    types = re.search(r'elements_to_index_map=\{([^}\n]{1,1000})\}', text)
    known = re.findall(r"'(\w{1,3})'", types[1]) if types else []
    listed = re.findall(r'Element: (\w{1,3}), # atoms', text)
    if failure is Failure.ERROR_ELEMENT_ABSENT:
        return {'element': ', '.join(sorted(set(known) - set(listed))) or '(not named)'}
    if failure is Failure.ERROR_ENVIRONMENTS_INSUFFICIENT:
        # The engine numbers its species types in alphabetical order.
        symbols = sorted(set(known) or set(listed))
        species = int(values['species'])
        return {'element': symbols[species] if species < len(symbols) else f'of species type {species}'}
    return {}


def _last_line_of_traceback(text: str) -> str | None:
    start = text.rfind('Traceback (most recent call last)')
    if start < 0:
        return None
    match = re.search(r'^(?P<line>[A-Za-z_][\w.]{0,100}(?:: [^\n]{0,500})?)$', text[start:], re.MULTILINE)
    return None if match is None else match['line']
