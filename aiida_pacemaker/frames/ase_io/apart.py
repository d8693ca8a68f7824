"""Reading files with ASE in a process of its own, with limits.

The readers of ASE believe what a file says of itself: some fill the memory, or take a time that grows with the square
of its size. Here they may take what follows from the size of the file, whatever it holds, and only open that file.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from types import TracebackType
from typing import IO, Any

from aiida_pacemaker.errors import ShardError, UnreadableFileError
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.reading import Reading
from aiida_pacemaker.frames.shards import read_shard

#: What a file may cost: seconds of the processor and bytes of memory, and what is added for each of its bytes. ASE
#: reads a megabyte in a second or less, and takes some thirty bytes for each byte.
SECONDS, SECONDS_PER_BYTE = 30, 10 / 1e6
MEMORY, MEMORY_PER_BYTE = 1 << 30, 100
#: How much longer than the time of the processor a file may take, on a machine that is busy with other things.
PATIENCE = 10
#: How much of what a process has said before it died is repeated.
_SAID = 300
# The process finds its modules where this one does, and nowhere else: not in the folder that it works in.
_PROGRAM = (
    'import json, sys; sys.path[:] = json.loads(sys.argv[1]); '
    'from aiida_pacemaker.frames.ase_io.worker import main; main()'
)


class FileReader:
    """Reads files one after the other in one process, which is started with the first and again if it dies.

    To be used in a `with` block, at the end of which the process ends.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: TemporaryDirectory[str] | None = None
        self._said: IO[bytes] | None = None

    def __enter__(self) -> FileReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and remove its folder."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        if self._said is not None:
            self._said.close()
            self._said = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def read(
        self,
        handle: IO[bytes],
        *,
        source_key: str,
        name: str,
        keys: LabelKeys | None = None,
        labelled: bool | None = None,
        file_format: str | None = None,
    ) -> Reading:
        """Return the structures of a file and what is to be said of them, as :func:`.files.read_all`.

        :param handle: the file, open for reading bytes.
        :raises UnreadableFileError: as there, or if reading the file takes more time or memory than its size explains.
        :raises ValueError: as there.
        """
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix='pacemaker-')
        content, result = Path(self._folder.name, 'content'), Path(self._folder.name, 'frames')
        with content.open('wb') as copy:
            shutil.copyfileobj(handle, copy)
        size = content.stat().st_size
        seconds = SECONDS + int(SECONDS_PER_BYTE * size)
        request = {
            'content': str(content),
            'result': str(result),
            'source_key': source_key,
            'name': name,
            'keys': None if keys is None else keys.model_dump(),
            'labelled': labelled,
            'file_format': file_format,
            'seconds': seconds,
            'memory': MEMORY + MEMORY_PER_BYTE * size,
        }
        try:
            answer = self._ask(request, seconds * PATIENCE)
            if 'error' in answer:
                raise (UnreadableFileError if answer['unreadable'] else ValueError)(answer['error'])
            with result.open('rb') as shard:
                frames = read_shard(shard)
        except (ShardError, OSError, KeyError, TypeError) as error:
            self.close()
            raise UnreadableFileError(f'{name} cannot be read: {error}') from error
        finally:
            content.unlink(missing_ok=True)
            result.unlink(missing_ok=True)
        return Reading(
            frames,
            warnings=tuple(answer['warnings']),
            unconverged={int(frame): reason for frame, reason in answer['unconverged'].items()},
            missing={int(frame): found for frame, found in answer['missing'].items()},
        )

    def _ask(self, request: dict[str, Any], patience: float) -> dict[str, Any]:
        """Have the process do something, and return its answer.

        :raises UnreadableFileError: if there is none.
        """
        process = self._process or self._start()
        assert process.stdin is not None  # noqa: S101 - it was asked for
        assert process.stdout is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request).encode() + b'\n')
            process.stdin.flush()
        line, end = b'', time.monotonic() + patience
        while not line.endswith(b'\n'):
            if not _readable(process.stdout, max(0.0, end - time.monotonic())):
                self.close()
                raise UnreadableFileError(
                    f'{request["name"]} was not read within {patience:.0f} s: convert it to extxyz'
                )
            part = os.read(process.stdout.fileno(), 1 << 20)
            if not part:
                raise UnreadableFileError(self._why_it_died(request))
            line += part
        answer = json.loads(line)
        return answer if isinstance(answer, dict) else {}

    def _start(self) -> subprocess.Popen[bytes]:
        assert self._folder is not None  # noqa: S101 - made before
        self._said = TemporaryFile()  # noqa: SIM115 - it is closed with the process
        paths = json.dumps([os.path.abspath(path) for path in sys.path])  # noqa: PTH100 - links stay as they are
        self._process = subprocess.Popen(  # noqa: S603 - nothing of it is from a file
            [sys.executable, '-I', '-c', _PROGRAM, paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            cwd=self._folder.name,
            # The memory of threads that are never used would count.
            env={**os.environ, 'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1', 'TMPDIR': self._folder.name},
        )
        return self._process

    def _why_it_died(self, request: dict[str, Any]) -> str:
        process, said = self._process, self._said
        assert process is not None  # noqa: S101 - it has just died
        assert said is not None  # noqa: S101
        status = process.wait()
        said.seek(0)
        words = said.read()[-_SAID:].decode(errors='replace').strip()
        self.close()
        if status == -signal.SIGXCPU:
            why = f'its reader took more than {request["seconds"]} s of the processor, far more than its size explains'
        elif b'MemoryError' in words.encode() or status == -signal.SIGKILL:
            why = f'its reader took more memory than {request["memory"]:,} bytes, far more than its size explains'
        else:
            why = f'its reader ended with status {status}: {words}'
        return f'{request["name"]} cannot be read: {why}. Look at what it claims, or convert it to extxyz'


def _readable(stream: IO[bytes], timeout: float) -> bool:
    """Return whether there is something to read, or the end, within so many seconds."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(timeout))
