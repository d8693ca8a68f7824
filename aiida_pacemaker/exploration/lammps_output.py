"""What LAMMPS leaves behind of a run of an exploration: a trace of checks, dumps of frames, and its log."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from aiida_pacemaker.errors import ExplorationFileError, printable
from aiida_pacemaker.exploration.lammps_script import UNSEEN, VOLUME_EXCEEDED, VOLUME_FACTOR
from aiida_pacemaker.exploration.options import ExploreOptions, Reason
from aiida_pacemaker.exploration.results import TRACES
from aiida_pacemaker.frames.table import BoolArray, FloatArray, IntArray

#: Bytes of a line of the trace, of a row of a dump and of what stands before the rows: more than enough.
_LINE, _ROW, _HEADER = 512, 200, 2048
#: Of a log only the end is of interest.
_LOG_TAIL = 1 << 16
#: What LAMMPS says of a distance that it has not found: more than this, in angstrom.
_FAR = 1e10

_NUMBER = r'[+-]?(?:\d{1,30}\.?\d{0,30}(?:[eE][+-]?\d{1,4})?|inf|nan)'
_VERSION = re.compile(r'lammps (\d{8})')
_CHECK = re.compile(rf'check (\d{{1,18}}) {" ".join([f"({_NUMBER})"] * 4)}')
_UNSEEN = re.compile(rf'{UNSEEN} \d{{1,18}}')
_END = re.compile(r'end (\w{1,40}) (\d{1,18})')
_ERROR = re.compile(r'^ERROR(?: on proc \d+)?: (.{1,500})$', re.MULTILINE)
_WALL_TIME = re.compile(r'^Total wall time: (\d{1,9}):(\d\d):(\d\d)$', re.MULTILINE)
_BOUNDS = re.compile(r'ITEM: BOX BOUNDS xy xz yz [pm]{2} [pm]{2} [pm]{2}')
_COLUMNS = 'ITEM: ATOMS id type xu yu zu f_grade'


@dataclass(frozen=True, eq=False)
class Trace:
    """What a run has said of its checks.

    :param version: date of the version of LAMMPS, empty if it was not told.
    :param step: steps at which it was checked, shape (C,).
    :param traces: for each of `TRACES` what was found, shape (C,).
    :param reason: why it ended, None if it was stopped, or failed, before it could say so.
    :param steps: after how many steps; the last that was checked if it did not say so.
    :param message: what there is to say of a failure.
    :param unseen: at which checks atoms had interactions that the data never had, shape (C,); `gamma_max` in the traces
        is that of the active set all the same.
    """

    version: str
    step: IntArray
    traces: dict[str, FloatArray]
    reason: Reason | None
    steps: int
    message: str
    unseen: BoolArray


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One frame of a dump, in the box of LAMMPS.

    :param step: number of the time step.
    :param vectors: those of the box as rows, a lower triangle, in angstrom, shape (3, 3).
    :param low: where the box begins, in angstrom, shape (3,).
    :param numbers: atomic numbers, shape (n,).
    :param positions: not put back into the box, in angstrom, shape (n, 3).
    :param gamma: extrapolation grade of each atom, shape (n,).
    """

    step: int
    vectors: FloatArray
    low: FloatArray
    numbers: IntArray
    positions: FloatArray
    gamma: FloatArray


def read_trace(path: Path, options: ExploreOptions) -> Trace:
    """Read what a run has said of its checks. A last line that was cut is passed over.

    :param path: the file, of which no more is read than a run can need.
    :param options: what was asked for.
    :raises ExplorationFileError: if a line makes no sense, a number is not finite, or the steps do not rise.
    """
    most = options.n_steps // options.check_every + 2
    text = _read(path, _LINE * (most + 2))
    version, reason, steps, message = '', None, None, ''
    checks: list[tuple[float, ...]] = []
    unseen: set[int] = set()
    lines = text.split('\n')
    for number, line in enumerate(lines[:-1]):
        if match := _CHECK.fullmatch(line):
            checks.append(tuple(map(float, match.groups())))
        elif _UNSEEN.fullmatch(line) and checks and len(checks) not in unseen:
            unseen.add(len(checks))
        elif (match := _VERSION.fullmatch(line)) and number == 0:
            version = match[1]
        elif (match := _END.fullmatch(line)) and number == len(lines) - 2:
            reason, message = _reason(match[1], path)
            steps = int(match[2])
        else:
            raise ExplorationFileError(f'{path.name}: line {number + 1} makes no sense: "{line[:80]}"')
    table = np.array(checks, dtype=np.float64).reshape(-1, 1 + len(TRACES))
    step = table[:, 0].astype(np.int64)
    traces = {name: table[:, column + 1] for column, name in enumerate(TRACES)}
    traces['min_distance'] = np.where(traces['min_distance'] > _FAR, np.inf, traces['min_distance'])
    for name, values in traces.items():
        if not (np.isfinite(values) | (np.isposinf(values) & (name == 'min_distance'))).all():
            raise ExplorationFileError(f'{path.name}: a value of `{name}` is not finite')
    last = int(step[-1]) if len(step) else 0
    if (np.diff(step) <= 0).any() or len(step) > most or last > (options.n_steps if steps is None else steps):
        raise ExplorationFileError(f'{path.name}: the steps of the checks do not rise to at most {options.n_steps}')
    marked = np.isin(np.arange(1, len(step) + 1), list(unseen))
    return Trace(version, step, traces, reason, last if steps is None else steps, message, marked)


def read_dump(path: Path, elements: Sequence[str], n_atoms: int, most: int) -> list[Snapshot]:
    """Read all frames of a dump.

    :param path: the file, of which no more is read than so many frames can need.
    :param elements: chemical symbol of each atom type, in order.
    :param n_atoms: number of atoms n of each frame.
    :param most: largest number of frames.
    :raises ExplorationFileError: if it is not a dump as the script has it written, or if a number is not finite.
    """
    lines = _read(path, most * (_HEADER + _ROW * n_atoms)).splitlines()
    size = 9 + n_atoms
    if len(lines) % size:
        raise ExplorationFileError(f'{path.name} has {len(lines)} lines, not {size} for each frame')
    try:
        return [_snapshot(lines[begin : begin + size], elements) for begin in range(0, len(lines), size)]
    except (ValueError, OverflowError) as exception:
        raise ExplorationFileError(f'{path.name} is no dump of {n_atoms} atoms: {exception}') from exception


def read_log(path: Path) -> tuple[str | None, int | None]:
    """Return with what error LAMMPS has stopped, and how many seconds it took in all; None where it does not say."""
    with path.open('rb') as handle:
        handle.seek(max(0, path.stat().st_size - _LOG_TAIL))
        text = handle.read(_LOG_TAIL).decode('utf-8', errors='replace')
    error = _ERROR.search(text)
    time = _WALL_TIME.search(text)
    seconds = None if time is None else 3600 * int(time[1]) + 60 * int(time[2]) + int(time[3])
    return None if error is None else printable(error[1]), seconds


def _read(path: Path, size: int) -> str:
    found = path.stat().st_size
    if found > size:
        raise ExplorationFileError(f'{path.name} has {found} bytes, a run needs at most {size}')
    try:
        return path.read_bytes().decode('ascii')
    except UnicodeDecodeError as exception:
        raise ExplorationFileError(f'{path.name} is no text') from exception


def _reason(said: str, path: Path) -> tuple[Reason, str]:
    if said == VOLUME_EXCEEDED:
        return Reason.FAILED, f'the volume of the cell has changed by more than a factor of {VOLUME_FACTOR:g}'
    try:
        return Reason(said), ''
    except ValueError as exception:
        raise ExplorationFileError(f'{path.name}: a run cannot end by "{said}"') from exception


def _snapshot(lines: Sequence[str], elements: Sequence[str]) -> Snapshot:
    """Read one frame.

    :raises ValueError: if its lines are not what they should be.
    """
    count = len(lines) - 9
    _expect(lines[0] == 'ITEM: TIMESTEP' and lines[1].isdecimal(), 'there is no time step')
    _expect(lines[2] == 'ITEM: NUMBER OF ATOMS' and lines[3] == str(count), 'the number of atoms is another one')
    _expect(_BOUNDS.fullmatch(lines[4]) is not None and lines[8] == _COLUMNS, 'it has other columns')
    bounds = np.array([line.split() for line in lines[5:8]], dtype=np.float64)
    rows = np.array([line.split() for line in lines[9:]], dtype=np.float64)
    _expect(bounds.shape == (3, 3) and rows.shape == (count, 6), 'a number is missing')
    _expect(bool(np.isfinite(bounds).all() and np.isfinite(rows).all()), 'a number is not finite')
    _expect(np.array_equal(rows[:, 0], np.arange(1, count + 1)), 'the atoms are not in order')
    types = rows[:, 1]
    _expect(bool(np.isin(types, np.arange(1, len(elements) + 1)).all()), 'there is an atom of an unknown type')
    numbers = np.array([atomic_numbers[symbol] for symbol in elements], dtype=np.int64)[types.astype(np.int64) - 1]
    vectors, low = _box(bounds)
    step = int(lines[1])
    _expect(step < 2**62, 'the time step is too large')
    return Snapshot(step, vectors, low, numbers, rows[:, 2:5], rows[:, 5])


def _box(bounds: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return vectors and beginning of a box, of which a dump has the bounds in x, y and z and the tilts."""
    xy, xz, yz = bounds[:, 2]
    low = bounds[:, 0] - [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
    high = bounds[:, 1] - [max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0]
    lengths = high - low
    _expect(bool((lengths > 0).all()) and math.isfinite(float(lengths.prod())), 'its box is flat')
    return np.array([[lengths[0], 0, 0], [xy, lengths[1], 0], [xz, yz, lengths[2]]]), low


def _expect(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)
