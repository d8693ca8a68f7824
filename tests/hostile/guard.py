"""Watching over a reader: what it runs and opens, how long it takes, and how much memory.

Works on Linux, where the memory of a process can be measured for each case.
"""

from __future__ import annotations

import gc
import resource
import signal
import sys
import sysconfig
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import aiida_pacemaker

#: Longest time of a case in seconds of the processor, and most memory in bytes.
TIME_LIMIT, MEMORY_LIMIT = 5.0, 512 * 1024**2
#: A message is for people: one that quotes a whole file is not.
LONGEST_MESSAGE = 2000

#: What no reader may do, whatever the file says: run, load or reach anything, or change a file.
_FORBIDDEN = (
    *('os.', 'subprocess.', 'socket.', 'ctypes.', 'shutil.', 'tempfile.', 'sqlite3.', 'urllib.', 'http.', 'ftplib.'),
    *('pickle.find_class', 'marshal.load', 'code.__new__', 'exec', 'compile', 'open', 'import', 'webbrowser.', 'pty.'),
)
#: What a parser may not do: it has a database and files of its own, but starts and unpickles nothing.
EXECUTION = ('os.system', 'os.exec', 'os.posix_spawn', 'os.fork', 'subprocess.', 'pickle.find_class', 'socket.connect')
_INSTALLED = [Path(sysconfig.get_path(name)) for name in ('stdlib', 'platstdlib', 'purelib', 'platlib')]
_LIBRARIES = tuple(
    str(folder) for path in [*_INSTALLED, Path(aiida_pacemaker.__file__).parent] for folder in (path, path.resolve())
)


class RunawayError(BaseException):
    """Raised within a reader that does what it must not; no reader can catch it by mistake."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    :param verdict: `accepted`, `refused`, or what is wrong with the reader.
    :param detail: the message, or what it did.
    :param seconds: time of the processor that it took.
    :param memory: bytes of memory that it took at most.
    """

    verdict: str
    detail: str
    seconds: float
    memory: int

    @property
    def failed(self) -> bool:
        """Whether the reader let something through."""
        return self.verdict not in ('accepted', 'refused')


class _Hook:
    """The audit hook; Python has no way to remove one, so there is one, armed only within a case."""

    def __init__(self) -> None:
        self.armed = False
        self.allowed: frozenset[str] = frozenset()
        self.forbidden = _FORBIDDEN
        self.seen: list[str] = []
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed or not event.startswith(self.forbidden) or self._is_harmless(event, arguments):
            return
        self.seen.append(f'{event} {str(arguments)[:300]}')
        raise RunawayError(self.seen[-1])

    def _is_harmless(self, event: str, arguments: tuple[Any, ...]) -> bool:
        match event:
            case 'compile':
                # `ast.parse`, with which NumPy reads literals: it runs nothing.
                return arguments[1] in ('<unknown>', b'<unknown>')
            case 'exec':
                # A module that is imported only now, as by an error path, and the named tuples that it makes.
                code = arguments[0]
                return code.co_filename.startswith(_LIBRARIES) or code.co_filename.startswith('<frozen')
            case 'open':
                path, mode, flags = arguments
                reads = not (isinstance(mode, str) and set(mode) & set('wax+')) and not flags & 3
                inside = isinstance(path, str | bytes) and str(path).startswith(_LIBRARIES)
                return reads and (inside or str(path) in self.allowed)
            case 'import' | 'marshal.loads' | 'os.listdir' | 'os.scandir':
                # How Python finds a module; what it then runs is `exec`.
                return event != 'os.listdir' or str(arguments[0]).startswith((*_LIBRARIES, *filter(None, sys.path)))
        return False


_hooks: list[_Hook] = []


@contextmanager
def watched(allowed: frozenset[str] = frozenset(), forbidden: tuple[str, ...] = _FORBIDDEN) -> Iterator[list[str]]:
    """Stop what runs, loads or opens anything but the allowed paths; what was stopped is in the list."""
    if not _hooks:
        _hooks.append(_Hook())
    (hook,) = _hooks
    hook.seen, hook.allowed, hook.forbidden, hook.armed = [], allowed, forbidden, True
    try:
        yield hook.seen
    finally:
        hook.armed = False


def _out_of_time(signum: int, frame: FrameType | None) -> None:
    raise RunawayError('out of time')


def _status(name: str) -> int:
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise OSError(f'the system does not say {name}')


def limit_memory(extra: int) -> None:
    """Let this process take no more than so many bytes of addresses beyond those it has, for good."""
    most = _status('VmSize') + extra
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def examine(
    run: Callable[[], Any],
    refusals: type[Exception] | tuple[type[Exception], ...],
    allowed: frozenset[str] = frozenset(),
    forbidden: tuple[str, ...] = _FORBIDDEN,
) -> Outcome:
    """Run a reader on a file and judge what it does.

    :param run: reads the file; for what it accepts, it also does what is done with it later.
    :param refusals: the errors that the reader is documented to raise.
    :param allowed: paths that it may open for reading.
    :param forbidden: audit events that it may not cause.
    """
    Path('/proc/self/clear_refs').write_text('5')
    before = _status('VmRSS')
    # Time of the processor, which does not depend on what else the machine does.
    signal.signal(signal.SIGPROF, _out_of_time)
    signal.setitimer(signal.ITIMER_PROF, TIME_LIMIT)
    # What is collected within a case cleans up after others, which would be seen as done by the reader.
    gc.disable()
    start = time.process_time()
    verdict, detail = 'accepted', ''
    with watched(allowed, forbidden) as seen, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            run()
        except refusals as error:
            verdict, detail = _refusal(error)
        except RunawayError as error:
            verdict, detail = 'ran away', str(error)
        except Exception as error:
            verdict, detail = 'other error', f'{type(error).__name__}: {str(error)[:300]}'
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            gc.enable()
    seconds = time.process_time() - start
    memory = max(0, _status('VmHWM') - before)
    if seen:
        verdict, detail = 'ran away', seen[0]
    elif verdict in ('accepted', 'refused') and seconds > TIME_LIMIT:
        verdict, detail = 'ran away', 'out of time'
    elif verdict in ('accepted', 'refused') and memory > MEMORY_LIMIT:
        verdict, detail = 'ran away', f'{memory / 1e6:.0f} MB'
    return Outcome(verdict, detail, seconds, memory)


def _refusal(error: Exception) -> tuple[str, str]:
    """Judge a message: it has to say something, in little, and must not steer a terminal."""
    message = str(error)
    if not message.strip():
        return 'message', 'the error says nothing'
    if len(message) > LONGEST_MESSAGE:
        return 'message', f'the message has {len(message)} characters: {message[:200]!r}'
    if not all(character.isprintable() or character == '\n' for character in message):
        return 'message', f'the message is not printable: {message[:300]!r}'
    return 'refused', message
