"""Files of the driver of explorations: a line of JSON and an archive of arrays for each run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from aiida_pacemaker.drivers.journals import entries
from aiida_pacemaker.errors import ExplorationFileError, printable
from aiida_pacemaker.exploration.options import ExploreOptions, Reason
from aiida_pacemaker.exploration.results import TRACES, Run
from aiida_pacemaker.frames.archives import read_arrays

#: Bytes of the lines of one run, at most.
_LINES = 8192
#: Numbers of a run that need not be finite.
MAY_BE_INFINITE = ('gamma', 'gamma_max', 'min_distance')


@dataclass(frozen=True)
class Ending:
    """How a run ended, from its line.

    :param reason: why.
    :param steps: after how many steps.
    :param message: of a failure, else empty.
    :param n_checks: number of checks in its archive.
    :param n_kept: number of frames in its archive.
    """

    reason: Reason
    steps: int
    message: str
    n_checks: int
    n_kept: int


def read_endings(handle: IO[bytes], n_runs: int, options: ExploreOptions) -> dict[int, Ending]:
    """Read which runs came to their end, and how, in the order of their numbers.

    The driver may have been stopped at any byte, and may have run twice: a line that makes no sense is passed over, and
    of two lines for one run the first counts.

    :param handle: `runs.jsonl`. No more of it is read than all runs could need twice over.
    :param n_runs: number of runs that there were to be.
    :param options: what they were asked for.
    """
    endings: dict[int, Ending] = {}
    for entry in entries(handle, 2 * _LINES * n_runs):
        number = _count(entry, 'run', n_runs - 1)
        ending = _ending(entry, options)
        if number is not None and ending is not None:
            endings.setdefault(number, ending)
    return dict(sorted(endings.items()))


def read_run(path: Path, number: int, ending: Ending, n_atoms: int, options: ExploreOptions) -> Run:
    """Read what a run has seen and kept.

    :param path: its `.npz` file.
    :param number: position of its starting structure.
    :param ending: the content of its line.
    :param n_atoms: number of its atoms n.
    :param options: what it was asked for.
    :raises ExplorationFileError: if the file is damaged, if an array is missing or of another type or shape, if a
        number is not finite, or if steps or gamma are not within what was asked for.
    """
    checks, kept = ending.n_checks, ending.n_kept
    expected: dict[str, tuple[type[Any], tuple[int, ...]]] = {
        'step': (np.int64, (checks,)),
        **dict.fromkeys(TRACES, (np.float64, (checks,))),
        'kept_step': (np.int64, (kept,)),
        'positions': (np.float64, (kept * n_atoms, 3)),
        'cells': (np.float64, (kept, 3, 3)),
        'energies': (np.float64, (kept,)),
        'forces': (np.float64, (kept * n_atoms, 3)),
        'gamma': (np.float64, (kept * n_atoms,)),
    }
    arrays = read_arrays(path, expected, ExplorationFileError)
    for name, array in arrays.items():
        # A distance that is too long to be looked for is infinite, and so is gamma of what the data never had.
        good = ~np.isnan(array) if name in MAY_BE_INFINITE else np.isfinite(array)
        if not good.all():
            raise ExplorationFileError(f'{path.name}: {np.count_nonzero(~good)} values of `{name}` are not finite')
    for name in ('step', 'kept_step'):
        steps = arrays[name]
        if (np.diff(steps) <= 0).any() or (len(steps) and not 0 <= steps[0] <= steps[-1] <= ending.steps):
            raise ExplorationFileError(f'{path.name}: `{name}` does not rise from 0 to at most {ending.steps}')
    grades = arrays['gamma'].reshape(kept, n_atoms).max(axis=1, initial=0.0)
    if ((grades < options.gamma_low) | ((grades > options.gamma_high) & ~np.isinf(grades))).any():
        raise ExplorationFileError(
            f'{path.name}: frames were kept whose gamma is not from {options.gamma_low:g} to {options.gamma_high:g}'
        )
    return Run(
        number=number,
        reason=ending.reason,
        steps=ending.steps,
        message=ending.message,
        traces={name: arrays.pop(name) for name in TRACES},
        **arrays,
    )


def _ending(entry: dict[str, Any], options: ExploreOptions) -> Ending | None:
    """Return the end of a run from its line, None if the line has none or an impossible one."""
    try:
        reason = Reason(entry.get('reason'))
    except ValueError:
        return None
    steps = _count(entry, 'steps', options.n_steps)
    n_checks = _count(entry, 'n_checks', options.n_steps // options.check_every + 2)
    n_kept = _count(entry, 'n_kept', options.max_frames_per_run)
    if steps is None or n_checks is None or n_kept is None:
        return None
    return Ending(reason, steps, printable(str(entry.get('message', ''))[:500]), n_checks, n_kept)


def _count(entry: dict[str, Any], key: str, largest: int) -> int | None:
    value = entry.get(key)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest
    return value if is_count else None
