"""The processes of one AiiDA instance, told by a variable in the environment of each, and killed by their pid."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

#: Environment variable that all processes of an instance inherit: its folder.
MARK = 'INSTANCE_FOLDER'

#: What the command lines of the daemon have in common.
_DAEMON = {'circus': 'daemon start-circus', 'broker': 'daemon broker', 'worker': 'daemon worker'}


def processes_of(folder: Path) -> dict[str, list[psutil.Process]]:
    """Return the processes of the instance in a folder by what they are.

    `circus`, `broker`, `worker` are the daemon; `script` is what the scheduler started, and `job` what that runs now;
    `other` is the rest, such as a `verdi` that someone called.
    """
    found: dict[str, list[psutil.Process]] = {kind: [] for kind in (*_DAEMON, 'script', 'job', 'other')}
    for process in _marked(folder):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            found[_kind(process, folder)].append(process)
    return found


def kill(processes: list[psutil.Process]) -> list[int]:
    """Kill processes with SIGKILL, and return the pids of those that were there to be killed."""
    killed = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
            killed.append(process.pid)
    deadline = time.monotonic() + 5
    while any(_is_alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.01)
    return killed


def kill_all(folder: Path) -> int:
    """Kill whatever runs for the instance, circus first, which would start the others again."""
    count = 0
    for _ in range(5):
        found = processes_of(folder)
        if not any(found.values()):
            break
        for processes in found.values():
            count += len(kill(processes))
    return count


def _marked(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            marked = process.pid != os.getpid() and process.environ().get(MARK) == str(folder)
            if marked and _is_alive(process):
                yield process


def _is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs; one that nobody has waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _kind(process: psutil.Process, folder: Path) -> str:
    command = process.cmdline()
    if str(process.cwd()).startswith(str(folder / 'scratch')):
        if any('_aiidasubmit.sh' in word for word in command):
            return 'script'
        return 'other' if process.children() else 'job'
    line = ' '.join(command)
    return next((kind for kind, words in _DAEMON.items() if words in line), 'other')
