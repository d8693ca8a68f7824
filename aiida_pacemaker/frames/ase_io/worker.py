"""The process that reads files with ASE: a request in each line of its input, an answer in each line of its output."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import sysconfig
from pathlib import Path
from typing import Any

from aiida_pacemaker.errors import UnreadableFileError
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.shards import write_shard

from .files import read_all

#: What no reader needs, and what a file could have it do.
_FORBIDDEN = ('subprocess.Popen', 'os.system', 'os.exec', 'os.fork', 'os.posix_spawn', 'os.kill', 'socket.', 'ftplib.')


def main() -> None:
    """Answer until the input ends."""
    # Whatever readers print goes where errors go.
    answers = os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)
    _guard(Path.cwd())
    for line in sys.stdin:
        request = json.loads(line)
        _limit(request['seconds'], request['memory'])
        answers.write(json.dumps(_answer(request)) + '\n')
        answers.flush()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    keys = request['keys']
    try:
        with Path(request['content']).open('rb') as handle:
            reading = read_all(
                handle,
                source_key=request['source_key'],
                name=request['name'],
                keys=None if keys is None else LabelKeys.model_validate(keys),
                labelled=request['labelled'],
                file_format=request['file_format'],
            )
        Path(request['result']).write_bytes(write_shard(reading.frames))
    except MemoryError:
        # There may be too little left to say so.
        with contextlib.suppress(BaseException):
            print('MemoryError', file=sys.stderr, flush=True)
        os._exit(1)
    except ValueError as error:
        return {'error': str(error), 'unreadable': isinstance(error, UnreadableFileError)}
    return {
        'warnings': reading.warnings,
        'unconverged': dict(reading.unconverged),
        'missing': dict(reading.missing),
    }


def _limit(seconds: int, memory: int) -> None:
    """Let the process take no more than this beyond what it has taken so far."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    _set_limit(resource.RLIMIT_CPU, int(spent.ru_utime + spent.ru_stime) + seconds)
    with contextlib.suppress(OSError, ValueError):
        # Only Linux tells, and only there is the limit kept.
        pages = int(Path('/proc/self/statm').read_text().split()[0])
        _set_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)


def _set_limit(kind: int, value: int) -> None:
    _, most = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if most == resource.RLIM_INFINITY else min(value, most), most))


def _guard(folder: Path) -> None:
    """Let nothing be opened but the libraries, to read, and what is in a folder; and nothing be run or reached."""
    libraries = {sysconfig.get_path(name) for name in ('stdlib', 'platstdlib', 'purelib', 'platlib')}
    libraries |= {path for path in sys.path if path not in ('', '/')}
    readable = tuple(f'{path}{os.sep}' for found in libraries for path in (found, os.path.realpath(found)))
    own = tuple(f'{path}{os.sep}' for path in (str(folder), os.path.realpath(folder)))

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(_FORBIDDEN):
            raise PermissionError(f'a reader of structures may not do this: {event}')
        if event == 'open' and isinstance(arguments[0], str | bytes):
            path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 - links would lead elsewhere
            writes = bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR))
            if path.startswith(own) or (not writes and (path.startswith(readable) or path == '/proc/self/statm')):
                return
            raise PermissionError(f'a reader of structures may not open {path}')

    sys.addaudithook(audit)
