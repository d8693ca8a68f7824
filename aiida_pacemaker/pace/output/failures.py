"""Why a program failed, told from what it left behind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ase.data import chemical_symbols

from aiida_pacemaker.errors import printable
from aiida_pacemaker.pace.output.failure_kinds import PROGRAMS, Failure

__all__ = ['Diagnosis', 'Failure', 'diagnose']


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
    """Tell why a program failed, of the ways in which it can.

    A fit that was skipped counts as a failure although its exit status is 0. Finding nothing to select does not.
    Where the exit status is not known, ask only if the output is missing: a job can write errors and succeed.

    :param program: a name in :data:`~aiida_pacemaker.pace.output.failure_kinds.PROGRAMS`.
    :param stdout: what it wrote to its standard output.
    :param stderr: what it wrote to its standard error.
    :param log: ``log.txt``, where there is one.
    :param exit_status: its exit status; None where it is not known: the texts then decide.
    :returns: the failure and its circumstances, or None if there is no sign of one.
    """
    # Reasons stand at the end; before them an output can hold a hundred megabytes of progress.
    text = '\n'.join(part[-_TAIL:] for part in (stderr, stdout, log))
    values: dict[str, str | int] = {'program': program}
    possible = PROGRAMS[program]
    for failure, pattern, said in _RULES:
        if failure not in possible or (exit_status == 0 and failure is not Failure.ERROR_NOTHING_FITTED):
            continue
        match = next((found for found in pattern.finditer(text) if _comes_after(said, found)), None)
        if match is not None and match.groupdict().get('element', 'X') in chemical_symbols:
            values.update({name: ' '.join(value.split()) for name, value in match.groupdict().items()})
            values.update(_elements(text, failure, values))
            return Diagnosis(failure, values)
    if exit_status == 0:
        return None
    problem = _last_line_of_traceback(text) if Failure.ERROR_TRACEBACK_UNKNOWN in possible else None
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

_INSUFFICIENT = (
    r'Insufficient atomic environments .{0,80}species type (?P<species>\d{1,3}), .{0,80}'
    r'projections shape=\((?P<n_atoms>\d{1,12}), (?P<n_functions>\d{1,12})\)'
)
# As text or bytes, of Python or NumPy, depending on versions.
_KEY_OF_ELEMENT = r"^KeyError: (?:np\.\w{1,8}\()?b?'(?P<element>[A-Z][a-z]?)'\)?$"

# What launches programs names the one that is missing, which need not be that of the code: `apptainer`, `mpirun`, the
# interpreter of a script.
_NOT_FOUND = (
    # Shells, which may give a line number and the script that was to be interpreted.
    r'^(?:\S{0,200}: (?:line )?\d{1,6}: |\S{0,200}sh: )(?:\S{1,200}: )??(?P<missing>[^:\n]{1,400}): '
    r'(?:command not found|not found|No such file or directory|cannot execute: required file not found|'
    r'bad interpreter: No such file or directory)$',
    r'^\S{0,200}: command not found: (?P<missing>\S{1,400})$',
    r'^(?P<missing>[^\s:]{1,400}): Command not found\.$',
    r"^\S{0,100}env: ['\u2018]?(?P<missing>[^'\u2018\u2019:\n]{1,400})['\u2019]?: No such file or directory$",
    # Slurm, Open MPI and MPICH.
    r'execve(?:\(\))?: (?P<missing>[^:\n]{1,400}): No such file or directory$',
    r'executable(?: file)?[^:]{0,200}:\s{0,20}(?:Node: {1,20}\S{1,200}\s{1,20})?'
    r'Executable: {1,4}(?P<missing>\S{1,400})$',
    r'execvp error on file (?P<missing>[^(\n]{1,400}?) \(No such file',
    # Containers: what was to run in them, and their images.
    r'"(?P<missing>[^"\n]{1,400})": (?:executable file not found|stat [^:\n]{1,400}: no such file)',
    r'^FATAL: {1,4}could not open image (?P<missing>[^:\n]{1,400}): ',
    r'pull access denied for (?P<missing>[^,\n]{1,200}),',
)

# Lines can be very long, so repetitions are bounded. The more particular a pattern is, the earlier it stands. Some are
# meant only if something else was said not long before.
_PATTERNS: tuple[tuple[Failure, str] | tuple[Failure, str, str], ...] = (
    (Failure.ERROR_BATCHES_NEED_ALL_ATOMS, r'Error-based selection of atoms in batch mode is not implemented'),
    (Failure.ERROR_ENVIRONMENTS_INSUFFICIENT, _INSUFFICIENT),
    (Failure.ERROR_CANDIDATES_INSUFFICIENT, _INSUFFICIENT),
    (Failure.ERROR_PROJECTIONS_SINGULAR, r'Input matrix must not be singular|LinAlgError: Singular matrix'),
    # The engine takes quantiles of the force errors of an element without atoms.
    (Failure.ERROR_ELEMENT_ABSENT, r'^IndexError: index -1 is out of bounds', 'np.quantile('),
    (Failure.ERROR_DISTANCE_TOO_SMALL, r'Encountered very small distance'),
    (
        Failure.ERROR_POTENTIAL_NOT_LINEAR,
        r'^(?:fit_linear|ValueError): (?P<problem>(?:the potential is|the embedding of \w{1,3} is) not linear'
        r'[^\n]{0,600})$',
    ),
    (Failure.ERROR_FUNCTIONS_ZERO, r'^(?:ValueError|fit_linear): no function differs from zero on the data'),
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
        _KEY_OF_ELEMENT,
    ),
    (Failure.ERROR_MEMORY_EXHAUSTED, r'^(?:numpy[\w.]{0,60}\.)?(?:_Array)?MemoryError\b'),
    (
        Failure.ERROR_MEMORY_EXHAUSTED,
        r'^[\w.]{0,150}(?:ResourceExhaustedError|OutOfMemoryError): |^(?:.{0,200}\s)?Killed$|oom-kill|std::bad_alloc|'
        # Said of a library that is loaded, and of one thread too many of those that calculate.
        r'failed to map segment from shared object|OpenBLAS error: Memory allocation',
    ),
    (Failure.ERROR_MEMORY_EXHAUSTED, r'No further batch size reduction is possible'),
    # By the kernel, as a rule, which says nothing to the others.
    (Failure.ERROR_MEMORY_EXHAUSTED, r'^RuntimeError: a process that computes equations has died'),
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
    # The same words mean something else where a calculator says them.
    (
        Failure.ERROR_CALCULATOR_NOT_IMPORTABLE,
        r"^ModuleNotFoundError: No module named '(?P<module>[^'\n]{1,100})'",
    ),
    (
        Failure.ERROR_CALCULATOR_MISSING,
        r'^(?P<problem>ImportError: [^\n]{1,400}|'
        r"AttributeError: module '[^'\n]{1,100}' has no attribute [^\n]{1,200})$",
    ),
    (Failure.ERROR_CALCULATOR_ELEMENT_MISSING, _KEY_OF_ELEMENT),
    (
        Failure.ERROR_CALCULATOR_FILE_MISSING,
        r"^FileNotFoundError: (?:\[Errno 2\] [^:\n]{0,80}: )?(?P<quote>['\"]?)(?P<path>[^'\"\n]{1,400})(?P=quote)$",
    ),
    # Last, for the script of a job can miss other programs without harm.
    *((Failure.ERROR_PROGRAM_NOT_FOUND, pattern) for pattern in _NOT_FOUND),
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
    if failure in {Failure.ERROR_ENVIRONMENTS_INSUFFICIENT, Failure.ERROR_CANDIDATES_INSUFFICIENT}:
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
