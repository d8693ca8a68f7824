"""Which process of the operating system runs a work chain, and whether it is still there.

A work chain that was run from a script ends with the script, whether or not it was done: its node stays `Waiting`, and
AiiDA does not tell it from one that a daemon runs.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

import psutil
from aiida import orm
from aiida.engine import ProcessState

#: Extra of a work chain: who runs it.
EXTRA = 'pacemaker_runner'
#: How a work chain that nobody runs goes on: a daemon takes it up from its last step.
TAKE_UP = '`verdi daemon stop`, `verdi process repair`, `verdi daemon start`'


@dataclass(frozen=True)
class Runner:
    """A process of the operating system that runs work chains.

    :param host: name of its machine.
    :param pid: its number there.
    :param started: when it was started, in seconds since 1970; a number is given again after its process has ended.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def this(cls) -> Runner:
        """Return the process that calls this."""
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, on this machine."""
        return self.host == socket.gethostname()

    @property
    def is_gone(self) -> bool:
        """Whether it has ended; of one on another machine that is not known."""
        if not self.is_here:
            return False
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started) > 1.0
        except psutil.NoSuchProcess:
            return True


def record_runner(node: orm.ProcessNode) -> None:
    """Keep with a work chain that this process runs it."""
    node.base.extras.set(EXTRA, vars(Runner.this()))


def runner_of(node: orm.ProcessNode) -> Runner | None:
    """Return the recorded process of the operating system that runs a node or its caller; None without a record."""
    seen: Any = node
    while seen is not None:
        kept = seen.base.extras.get(EXTRA, None)
        if kept is not None:
            return Runner(**kept)
        seen = seen.caller
    return None


def is_abandoned(node: orm.ProcessNode) -> bool:
    """Return whether a node has not ended although the process of the operating system that ran it has.

    One that was submitted and has not begun waits for a daemon.
    """
    waits = node.is_terminated or node.process_state is ProcessState.CREATED
    runner = None if waits else runner_of(node)
    return runner is not None and runner.is_gone


def how_to_take_up(node: orm.ProcessNode) -> str:
    """Return what to do with a process that nobody runs."""
    runner = runner_of(node)
    where = '' if runner is None else f' (process {runner.pid} on {runner.host})'
    return (
        f'what ran it has ended{where}, and nobody runs it now. {TAKE_UP} have a daemon go on with it from its last '
        f'step; `verdi process kill {node.pk}` ends it once the daemon is up'
    )
