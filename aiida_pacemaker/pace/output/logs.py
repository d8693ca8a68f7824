"""What the engine says on its way: ``log.txt`` and the standard output of its programs."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from aiida_pacemaker.errors import LogError

# One record of the log. Two formats are in use, with or without the name of the logger, each with dates in either
# style. Records are found wherever they stand, for progress lines that end in carriage returns (or in nothing at all)
# come before them on the same line: a standard output can be one line of a hundred megabytes. The constant beginning
# lets the search skip such lines at memory speed, and bounded repetitions keep it linear.
_RECORD = re.compile(
    r'(?P<stamp>20\d\d[-/]\d\d[-/]\d\d \d\d:\d\d:\d\d(?:,\d{1,6})?) '
    r'(?:- [\w.]{1,200} - [A-Z]{1,10}|[A-Z]) - (?P<text>[^\r\n]{0,4000})'
)
_EXTREME = re.compile(
    r'Some values of corrected energy \(min=(\S{1,40}) eV/atom, max=(\S{1,40}) eV/atom\) are too extreme'
)


@contextmanager
def _nonsense_reported() -> Iterator[None]:
    """Report what cannot be a log as one kind of error: a number that is none, an impossible date, a missing head."""
    try:
        yield
    except (ValueError, KeyError) as exception:
        raise LogError(f'this is no log of the engine: {exception}') from exception


@dataclass(frozen=True)
class OptimizerResult:
    """How the optimiser of the last fit cycle ended.

    Its own verdict, ``success``, is left out: reaching the maximum number of iterations, stopping early and running out
    of floating-point precision all count as no success.

    :param status: status of ``scipy.optimize.minimize``; 1 is the maximum number of iterations, 2 loss of precision.
    :param message: the optimiser's own words.
    """

    status: int
    message: str


@dataclass(frozen=True)
class EnergyRange:
    """Corrected energies outside the range of -20 to 250 eV/atom that the engine takes for sensible.

    :param minimum: lowest corrected energy, eV/atom.
    :param maximum: highest corrected energy, eV/atom.
    """

    minimum: float
    maximum: float


@dataclass(frozen=True)
class LogSummary:
    """What the log of a fit tells. Everything that the log does not say is None.

    :param engine_version: version of python-ace.
    :param cutoff: cutoff of the neighbour lists in angstrom.
    :param n_train_loaded: frames read for training; includes those split off for testing.
    :param n_test_loaded: frames read from separate test files.
    :param n_train_fitted: frames that were fitted; fewer than loaded if some have no neighbours inside the cutoff or
        were left out by a weighting policy.
    :param n_test_fitted: frames of the test set that were kept.
    :param n_functions: basis functions at the last fit cycle.
    :param n_parameters: parameters of the potential at the last fit cycle.
    :param n_trainable: parameters that were free in the last fit cycle.
    :param ladder: whether the basis was grown step by step.
    :param energy_range: the energies that the engine took for extreme.
    :param early_stopping: the engine's message where it stopped the last fit cycle early.
    :param stop_request: why the last fit cycle was stopped on request.
    :param nothing_fitted: whether the engine skipped the fit because the potential it started from says, by
        ``_fit_cycles`` in its metadata, that it is done.
    :param optimizer: how the last optimisation ended.
    :param finished: whether the final potential was saved.
    :param wall_time: seconds between the first and the last line.
    """

    engine_version: str | None = None
    cutoff: float | None = None
    n_train_loaded: int | None = None
    n_test_loaded: int | None = None
    n_train_fitted: int | None = None
    n_test_fitted: int | None = None
    n_functions: int | None = None
    n_parameters: int | None = None
    n_trainable: int | None = None
    ladder: bool = False
    energy_range: EnergyRange | None = None
    early_stopping: str | None = None
    stop_request: str | None = None
    nothing_fitted: bool = False
    optimizer: OptimizerResult | None = None
    finished: bool = False
    wall_time: float | None = None

    @property
    def n_dropped(self) -> int | None:
        """Frames that were loaded and neither fitted nor kept for testing; None if the fit did not come that far."""
        if self.n_train_loaded is None or self.n_train_fitted is None:
            return None
        return self.n_train_loaded + (self.n_test_loaded or 0) - self.n_train_fitted - (self.n_test_fitted or 0)


@_nonsense_reported()
def read_log(text: str) -> LogSummary:
    """Summarise the log of a fit.

    Where the log holds several runs, as after a second run in the same folder, the last one counts.

    :param text: ``log.txt``, or the standard error or output of ``pacemaker``.
    :raises LogError: if its records do not make sense.
    """
    text = text[_begin_of_last_run(text) :]
    said: dict[str, re.Match[str]] = {}
    # Frames read, once for the training files and once for the test files.
    loaded: list[int] = []
    for record in _records(text):
        if record.startswith('Search for dataset file(s)'):
            loaded.append(0)
        matches = _match_first(_TRAINING, record)
        if 'size' in matches:
            # Another fit cycle begins: how the one before has ended says nothing of this one.
            said = {name: match for name, match in said.items() if name not in _ENDS_OF_A_CYCLE}
        said.update(matches)
        if 'loaded' in matches and loaded:
            loaded[-1] += _whole(matches['loaded'][1])
    optimizer = said.get('optimizer')
    return LogSummary(
        engine_version=_text(said, 'engine'),
        cutoff=float(said['cutoff'][1]) if 'cutoff' in said else None,
        n_train_loaded=loaded[0] if 'loaded' in said and loaded else None,
        n_test_loaded=loaded[1] if len(loaded) > 1 else None,
        n_train_fitted=_count(said, 'train'),
        n_test_fitted=_count(said, 'test'),
        n_functions=_count(said, 'size'),
        n_parameters=_count(said, 'size', 2),
        n_trainable=_count(said, 'trainable'),
        ladder='ladder' in said,
        energy_range=_energy_range(text),
        early_stopping=_text(said, 'early_stopping', 0),
        stop_request=_text(said, 'stop_request'),
        nothing_fitted='nothing_fitted' in said,
        optimizer=None if optimizer is None else OptimizerResult(_whole(optimizer[1]), optimizer[2]),
        finished='finished' in said,
        wall_time=_wall_time(text),
    )


_TRAINING = {
    'engine': re.compile(r'pacemaker/pyace version: (\S+)'),
    'cutoff': re.compile(r'Cutoff for neighbour lists construction is .*: ([\d.]+) A\b'),
    'loaded': re.compile(r'\s*(\d+) structures found'),
    'train': re.compile(r'Fitting dataset size: (\d+) structures'),
    'test': re.compile(r'Test dataset size: (\d+) structures'),
    'size': re.compile(r'Total number of functions: (\d+) / number of parameters: (\d+)'),
    'trainable': re.compile(r'Number of trainable parameters: (\d+)'),
    'ladder': re.compile(r"'Ladder-scheme' fitting"),
    'early_stopping': re.compile(r'EARLY STOPPING.*'),
    'stop_request': re.compile(r'Stopped on request: (.*)'),
    'nothing_fitted': re.compile(r'Number of finished fit cycles \('),
    'optimizer': re.compile(r'Optimization result\(success=\w+, status=(-?\d+), message=(.*), nfev=\d+, njev=\S+\)'),
    'finished': re.compile(r'Final potential is saved'),
}
_ENDS_OF_A_CYCLE = ('early_stopping', 'stop_request', 'optimizer')


@dataclass(frozen=True)
class ActiveSetElement:
    """What ``pace_activeset`` says of one element. Everything that it does not say is None.

    :param n_atoms: atoms of this element in the dataset.
    :param n_functions: basis functions of this element.
    :param n_projections: columns of the projection matrix; functions times densities for the full matrix.
    :param force_error_bound: atoms with a larger force error were left out, eV/angstrom per Cartesian component.
    :param n_selected: atoms left after that.
    :param gamma_max: largest extrapolation grade of the dataset itself.
    """

    n_atoms: int
    n_functions: int
    n_projections: int
    force_error_bound: float | None = None
    n_selected: int | None = None
    gamma_max: float | None = None


@dataclass(frozen=True)
class ActiveSetLog:
    """What ``pace_activeset`` says.

    :param elements: chemical symbol to its figures, in the order of the engine's species types.
    :param full: whether the full (non-linear) matrix was used; None if the program did not come that far.
    :param n_structures: frames of the dataset.
    :param batch_size: frames per batch, None where all were treated at once.
    :param n_batches: batches, None where all were treated at once.
    :param finished: whether the active set was saved.
    :param wall_time: seconds between the first and the last line.
    """

    elements: dict[str, ActiveSetElement] = field(default_factory=dict)
    full: bool | None = None
    n_structures: int | None = None
    batch_size: int | None = None
    n_batches: int | None = None
    finished: bool = False
    wall_time: float | None = None


@_nonsense_reported()
def read_active_set_log(text: str) -> ActiveSetLog:
    """Summarise what ``pace_activeset`` wrote to its standard error and standard output.

    :raises LogError: if its records do not make sense.
    """
    said: dict[str, re.Match[str]] = {}
    elements: dict[str, ActiveSetElement] = {}
    filtered = ''
    for record in _records(text):
        match = _ACTIVE_SET_ELEMENT.match(record)
        if match is not None:
            elements[match[1]] = ActiveSetElement(*map(_whole, match.groups()[1:]))
        elif match := _ACTIVE_SET_FILTERED.match(record):
            filtered = match[1]
        elif match := _ACTIVE_SET_BOUND.match(record):
            elements[filtered] = replace(elements[filtered], force_error_bound=float(match[1]) / 1000)
        elif match := _ACTIVE_SET_SELECTED.match(record):
            elements[filtered] = replace(elements[filtered], n_selected=_whole(match[1]))
        elif match := _ACTIVE_SET_GAMMA.match(record):
            elements[match[1]] = replace(elements[match[1]], gamma_max=float(match[2]))
        else:
            said.update(_match_first(_ACTIVE_SET, record))
    return ActiveSetLog(
        elements=elements,
        full=said['matrix'][1] == 'FULL' if 'matrix' in said else None,
        n_structures=_count(said, 'structures'),
        batch_size=_count(said, 'batch_size'),
        n_batches=_count(said, 'n_batches'),
        finished='finished' in said,
        wall_time=_wall_time(text),
    )


_ACTIVE_SET_ELEMENT = re.compile(r'\s*Element: ([A-Z][a-z]?), # atoms: (\d+), # B-func: (\d+), # projections: (\d+)')
_ACTIVE_SET_FILTERED = re.compile(r'\s*Element: ([A-Z][a-z]?), specie type: \d+')
_ACTIVE_SET_BOUND = re.compile(r'\s*Force error upper bound: (\S+) meV/A')
_ACTIVE_SET_SELECTED = re.compile(r'\s*Number/fraction of selected atoms: (\d+)')
_ACTIVE_SET_GAMMA = re.compile(r'\s*Element: ([A-Z][a-z]?), Active set inv\. shape: .*, gamma_max: (\S+)')
_ACTIVE_SET = {
    'structures': re.compile(r'Total number of structures(?: after query)?: (\d+)'),
    'matrix': re.compile(r'(FULL|LINEAR)\b.* matrix will be used'),
    'batch_size': re.compile(r'Batch size: (\d+)'),
    'n_batches': re.compile(r'Number of batches: (\d+)'),
    'finished': re.compile(r'Saving {2}done to'),
}


@dataclass(frozen=True)
class SelectionLog:
    """What ``pace_select`` says. Everything that it does not say is None.

    :param n_candidates: frames of all pools together.
    :param n_selected: frames that D-optimality chose; no more than the requested maximum of these is written.
    :param with_active_set: whether an active set was taken into account.
    :param batched: whether the pool was treated in batches.
    :param finished: whether the selection was saved.
    :param wall_time: seconds between the first and the last line.
    """

    n_candidates: int | None = None
    n_selected: int | None = None
    with_active_set: bool | None = None
    batched: bool | None = None
    finished: bool = False
    wall_time: float | None = None


@_nonsense_reported()
def read_selection_log(text: str) -> SelectionLog:
    """Summarise what ``pace_select`` wrote to its standard error and standard output.

    :raises LogError: if its records do not make sense.
    """
    said: dict[str, re.Match[str]] = {}
    for record in _records(text):
        said.update(_match_first(_SELECTION, record))
    return SelectionLog(
        n_candidates=_count(said, 'candidates'),
        n_selected=_count(said, 'selected'),
        with_active_set=said['active_set'][1] == 'Loading' if 'active_set' in said else None,
        batched=said['mode'][1] == 'Batch' if 'mode' in said else None,
        finished='saving' in said and 'finished' in said,
        wall_time=_wall_time(text),
    )


_SELECTION = {
    'candidates': re.compile(r'(\d+) structures in candidate list'),
    'selected': re.compile(r'Overall (\d+) structures selected'),
    'active_set': re.compile(r'(Loading|No) Active Set Inverted'),
    'mode': re.compile(r'(Single-shot|Batch) mode'),
    'saving': re.compile(r'Saving selected structures to'),
    'finished': re.compile(r'Done$'),
}


def _records(text: str) -> Iterator[str]:
    for match in _RECORD.finditer(text):
        yield match['text']


def _match_first(patterns: dict[str, re.Pattern[str]], record: str) -> dict[str, re.Match[str]]:
    for name, pattern in patterns.items():
        if match := pattern.match(record):
            return {name: match}
    return {}


def _begin_of_last_run(text: str) -> int:
    start = text.rfind(' - Start pacemaker')
    # The time stamp and the name of the logger stand before these words, on the same line.
    return 0 if start < 0 else max(text.rfind('\n', 0, start), text.rfind('\r', 0, start)) + 1


def _wall_time(text: str) -> float | None:
    first = _RECORD.search(text)
    if first is None:
        return None
    (last,) = deque(_RECORD.finditer(text), maxlen=1)
    return (_moment(last['stamp']) - _moment(first['stamp'])).total_seconds()


def _moment(stamp: str) -> datetime:
    seconds, _, milliseconds = stamp.replace('/', '-').partition(',')
    return datetime.fromisoformat(f'{seconds}.{milliseconds or 0:0<6}')


def _text(said: dict[str, re.Match[str]], name: str, group: int = 1) -> str | None:
    return said[name][group] if name in said else None


def _whole(digits: str) -> int:
    # Longer ones fit no column of a database, and Python does not write them at all.
    if len(digits) > 18:
        raise ValueError(f'it counts {digits}')
    return int(digits)


def _count(said: dict[str, re.Match[str]], name: str, group: int = 1) -> int | None:
    return _whole(said[name][group]) if name in said else None


def _energy_range(text: str) -> EnergyRange | None:
    match = _EXTREME.search(text)
    if match is None:
        return None
    return EnergyRange(float(match[1]), float(match[2]))
