"""What all servers have in common: a folder, a free port, waiting until one answers, and ending it by its pid."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

LOOPBACK = '127.0.0.1'


class StartError(RuntimeError):
    """A server is installed, but did not start; the message has the end of its log."""


def free_port() -> int:
    """Return a port of loopback on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], seconds: float, what: str, log: Path | None = None) -> None:
    """Return when a server is ready.

    :param what: the server, for the message.
    :param log: where it says what is wrong.
    :raises StartError: if it is not ready after so many seconds.
    """
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            said = log.read_text(errors='replace')[-1500:] if log is not None and log.exists() else '(no log)'
            raise StartError(f'{what} was not ready after {seconds:g} s. It said: {said}')
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Return whether somebody answers on a port of loopback."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


def call(*command: str | Path, environment: dict[str, str] | None = None, seconds: float = 60) -> str:
    """Run a command that has to succeed, and return what it prints.

    :raises StartError: if it fails.
    """
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environment,
        cwd='/',
        check=False,
    )
    if done.returncode:
        raise StartError(f'`{" ".join(map(str, command))}` ended with {done.returncode}: {done.stdout}{done.stderr}')
    return done.stdout


def pid_in(path: Path) -> int | None:
    """Return the pid that a server has written in a file, if it has."""
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def end(pids: Iterable[int | None], seconds: float = 10) -> None:
    """End processes and their children: asked first, killed after so many seconds."""
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if pid is not None:
                process = psutil.Process(pid)
                processes += [*process.children(recursive=True), process]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=seconds)
