"""Faults that the fake engine is told to have by the environment variable ``PACE_FAKE_FAULT``.

Its value is the name of a fault with options, as in ``kill_at_iteration:n=4,times=1``:

=========================== ================= =================================================================
name                        programs          what happens
=========================== ================= =================================================================
kill_at_iteration           fit               SIGKILL after iteration ``n`` (3) of fit cycle ``cycle`` (0); from
                                              iteration 1 on there is an interim potential
term                        fit               SIGTERM after iteration ``n`` (3)
sleep                       fit               ``seconds`` (1) of sleep in each iteration, to meet a walltime
nan_loss                    fit               the loss is NaN from iteration ``n`` (2) on, which ends the fit, exit 0;
                                              with ``seconds`` (0) it goes on, so long for each iteration
early_stopping              fit               the fit stops early at iteration ``n`` (3), exit 0
truncated_potential         fit               the final potential is cut in the middle, exit 0
small_distance              fit               ``ValueError``: two atoms at the same place
no_evaluator                fit               ``ModuleNotFoundError``: the evaluator is not installed
batch_needs_all_atoms       active set        the memory forces batches: fails unless ``--all-atoms`` is given
insufficient_environments   active set        ``ValueError``: too few atoms pass the force-error filter; not with ``-a``
truncated_asi               active set        the active set is cut in the middle, exit 0
out_of_memory               all               ``MemoryError``; of a fit, after iteration ``n`` if given
disk_full                   all               ``OSError``: no space left on the device; of a fit, likewise
no_output                   all               nothing is written, exit 0
exit_status                 all               exit status ``status`` (3) without a word
=========================== ================= =================================================================

The first three, a cut potential and those of all programs also happen to linear fits (the program ``fit_linear``), at
their only step. Two options work with every fault: ``program`` restricts it to one program (``pacemaker``,
``fit_linear``, ``pace_activeset``, ``pace_select``, ``select_posterior``, ``pace_yaml2yace``), and ``times`` to the
first so many runs, which are counted by files in the folder ``PACE_FAKE_STATE``. Of several faults, with semicolons
between them, a run has the first that is not used up.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

FAULT, STATE = 'PACE_FAKE_FAULT', 'PACE_FAKE_STATE'

_FIT = ('pacemaker',)
#: Iterations are those of `pacemaker`. A linear fit has one step, at which what is to happen at any of them does.
_FITS = ('pacemaker', 'fit_linear')
_ACTIVE_SET = ('pace_activeset',)
_ALL = ('pacemaker', 'fit_linear', 'pace_activeset', 'pace_select', 'select_posterior', 'pace_yaml2yace')

#: In place of an iteration: before the program has done anything.
BEGIN = -1

#: The faults, the programs that can have them, and their options with defaults.
FAULTS: dict[str, tuple[tuple[str, ...], dict[str, float]]] = {
    'kill_at_iteration': (_FITS, {'n': 3, 'cycle': 0}),
    'term': (_FITS, {'n': 3}),
    'sleep': (_FITS, {'seconds': 1}),
    'nan_loss': (_FIT, {'n': 2, 'seconds': 0}),
    'early_stopping': (_FIT, {'n': 3}),
    'truncated_potential': (_FITS, {}),
    'small_distance': (_FIT, {}),
    'no_evaluator': (_FIT, {}),
    'batch_needs_all_atoms': (_ACTIVE_SET, {}),
    'insufficient_environments': (_ACTIVE_SET, {}),
    'truncated_asi': (_ACTIVE_SET, {}),
    'out_of_memory': (_ALL, {'n': BEGIN}),
    'disk_full': (_ALL, {'n': BEGIN}),
    'no_output': (_ALL, {}),
    'exit_status': (_ALL, {'status': 3}),
}


@dataclass(frozen=True)
class Fault:
    """The fault of one run.

    :param name: which one it is; empty where there is none.
    :param options: its numbers.
    """

    name: str = ''
    options: dict[str, float] = field(default_factory=dict)

    def begin(self) -> None:
        """Do what happens before the program has done anything.

        :raises MemoryError, OSError, ModuleNotFoundError, SystemExit: as the fault says.
        """
        self._run_out(BEGIN)
        match self.name:
            case 'no_evaluator':
                raise ModuleNotFoundError("No module named 'tensorpotential'", name='tensorpotential')
            case 'no_output':
                raise SystemExit(0)
            case 'exit_status':
                raise SystemExit(int(self.options['status']))

    def iterate(self, iteration: int, cycle: int) -> None:
        """Do what happens at the end of an iteration of a fit cycle, when its files are written.

        :raises MemoryError, OSError: as the fault says.
        """
        self._run_out(iteration)
        match self.name:
            case 'kill_at_iteration' if iteration >= self.options['n'] and cycle >= self.options['cycle']:
                os.kill(os.getpid(), signal.SIGKILL)
            case 'term' if iteration >= self.options['n']:
                os.kill(os.getpid(), signal.SIGTERM)
            case 'sleep' | 'nan_loss':
                time.sleep(self.options['seconds'])

    def _run_out(self, iteration: int) -> None:
        if self.options.get('n') != iteration:
            return
        match self.name:
            case 'out_of_memory':
                raise MemoryError('Unable to allocate 1.00 TiB for an array with shape (137438953472,)')
            case 'disk_full':
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def reached(self, name: str, iteration: int) -> bool:
        """Tell whether this is the named fault and its iteration has come."""
        return self.name == name and iteration >= self.options['n']

    def truncate(self, name: str, path: Path) -> None:
        """Cut a file in the middle, if this is the named fault."""
        if self.name == name:
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])


def current(program: str) -> Fault:
    """Return the fault that this run of a program has to have.

    :raises SystemExit: if the environment asks for something that is not in the table above.
    """
    requests = os.environ.get(FAULT, '').split(';')
    faults = (_fault(request, program) for request in requests if request)
    return next((fault for fault in faults if fault.name), Fault())


def _fault(request: str, program: str) -> Fault:
    name, _, text = request.partition(':')
    if name not in FAULTS:
        raise SystemExit(f'{FAULT}={request}: found the fault {name!r}, needed: one of {", ".join(FAULTS)}')
    programs, defaults = FAULTS[name]
    given = dict(item.partition('=')[::2] for item in text.split(',') if item)
    only, times = given.pop('program', program), given.pop('times', None)
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        known = ', '.join((*defaults, 'program', 'times'))
        raise SystemExit(f'{FAULT}={request}: found the options {unknown}, needed: some of {known}')
    if program not in programs or program != only or (times is not None and _runs(name, program) >= int(times)):
        return Fault()
    return Fault(name, defaults | {key: float(value) for key, value in given.items()})


def _runs(name: str, program: str) -> int:
    """Count this run, and return how many there were before."""
    if STATE not in os.environ:
        raise SystemExit(f'{FAULT}: the option `times` needs a folder to count in: set {STATE}')
    # One byte for each run: appending is atomic, so programs that run at once are counted rightly.
    path = Path(os.environ[STATE], f'{name}.{program}')
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('ab') as handle:
        handle.write(b'.')
        return handle.tell() - 1
