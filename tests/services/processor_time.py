"""How much processor time the parts of an AiiDA instance take."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
from aiida_instance import AiidaInstance
from processes import processes_of


class ProcessorTime:
    """Processor time that the parts of an instance take.

    :param instance: the instance.
    :param times: file in which its jobs write what `times` says in the shell.
    """

    def __init__(self, instance: AiidaInstance, times: Path) -> None:
        self._instance = instance
        self._times = times
        self._before = self._read()
        self._start = time.monotonic()

    def read(self) -> dict[str, float]:
        """Return the mean number of processors in use since this object was made, by who used them.

        `commands` are those that workers call to submit jobs and to ask for them, `rest` is whatever else ran on this
        machine, a server of PostgreSQL included.
        """
        seconds = time.monotonic() - self._start
        used = {name: (value - self._before[name]) / seconds for name, value in self._read().items()}
        known = sum(value for name, value in used.items() if name != 'machine')
        return {**used, 'rest': used['machine'] - known}

    def _read(self) -> dict[str, float]:
        found = processes_of(self._instance.folder)
        workers = [process.cpu_times() for process in found['worker']]
        brokers = [process.cpu_times() for process in found['broker']]
        client, machine = psutil.Process().cpu_times(), psutil.cpu_times()
        return {
            'workers': sum(spent.user + spent.system for spent in workers),
            'commands': sum(spent.children_user + spent.children_system for spent in workers),
            'broker': sum(spent.user + spent.system for spent in brokers),
            'client': client.user + client.system,
            'jobs': _seconds_in(self._times),
            'machine': sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice,
        }


def _seconds_in(path: Path) -> float:
    """Return the sum of what `times` has written, as in `0m1.234s 0m0.120s`."""
    words = path.read_text().split() if path.exists() else []
    parts = [word.rstrip('s').split('m') for word in words]
    return sum(60 * int(minutes) + float(seconds) for minutes, seconds in parts)
