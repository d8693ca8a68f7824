"""Monitors: what looks at a fit while it runs. Entry points `pacemaker.loss` and `pacemaker.progress`.

They are given to a training job by the input `monitors`, and to the chains around it by theirs::

    builder.pace.monitors = {
        'loss': orm.Dict({'entry_point': 'pacemaker.loss', 'kwargs': {'window': 50, 'tolerance': 1e-3}}),
        'progress': orm.Dict({'entry_point': 'pacemaker.progress', 'minimum_poll_interval': 60}),
    }
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common import timezone
from aiida.engine.processes.calcjobs.monitors import CalcJobMonitorAction, CalcJobMonitorResult
from aiida.transports import Transport

from aiida_pacemaker.pace.output.metrics import MetricsTable, read_metrics

LOSS, WATCHER = 'pacemaker.loss', 'pacemaker.progress'
#: Extra of a training job with its newest row of metrics.
PROGRESS = 'pacemaker_progress'
METRICS = 'metrics.txt'
#: File that asks the driver `stop_request.py` to end a fit cycle.
STOP = 'STOP'
#: Tables larger than this are not looked at: a hundred thousand iterations take less.
MAX_BYTES = 50 * 1024**2


@dataclass(frozen=True)
class Plateau:
    """When a loss has stopped falling.

    :param window: over so many iterations of the same fit cycle, at least 1
    :param tolerance: it has fallen by less than this, relative to where it was before them, between 0 and 1
    :raises ValueError: if a number is none of these.
    """

    window: int = 50
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if type(self.window) is not int or self.window < 1:
            raise ValueError(f'window: found {self.window!r}, needed: a number of iterations, 1 or more')
        if type(self.tolerance) not in (int, float) or not 0 < self.tolerance < 1:
            raise ValueError(
                f'tolerance: found {self.tolerance!r}, needed: a number between 0 and 1, such as 0.001 for a loss that '
                f'falls by less than 0.1 % in {self.window} iterations'
            )

    def reached(self, table: MetricsTable) -> str | None:
        """Return in words how little the loss of the last fit cycle has fallen; None if it falls, or has just begun."""
        last = table.last
        cycle = table.select(ladder_step=int(last['ladder_step']), cycle_step=int(last['cycle_step']))
        if len(cycle) <= self.window:
            return None
        before, now = cycle['loss'][-1 - self.window], cycle['loss'][-1]
        if before - now >= self.tolerance * before:
            return None
        fall = (before - now) / before if before else 0.0
        return f'plateau, the loss fell by {fall:.2g} of {before:.4g} in the last {self.window} iterations'


def validate_monitors(monitors: Any, _: Any) -> str | None:
    """Check what the monitors of a job are told."""
    known = {field.name for field in fields(Plateau)}
    for key, monitor in (monitors or {}).items():
        content = monitor.get_dict()
        given = content.get('kwargs', {})
        if content.get('entry_point') != LOSS or not isinstance(given, Mapping) or not set(given) <= known:
            # What is wrong with these is said by AiiDA.
            continue
        try:
            Plateau(**given)
        except ValueError as exception:
            return f'`monitors.{key}`: {exception}'
    return None


def watched(monitors: Mapping[str, orm.Dict]) -> bool:
    """Tell whether one of the monitors may ask the fit to stop."""
    return any(monitor.get_dict().get('entry_point') == LOSS for monitor in monitors.values())


def of_iterations(monitors: Mapping[str, orm.Dict]) -> list[str]:
    """Return the keys of the monitors that look at the iterations of a fit."""
    return [key for key, monitor in monitors.items() if monitor.get_dict().get('entry_point') in (LOSS, WATCHER)]


def watch_loss(
    node: orm.CalcJobNode,
    transport: Transport,
    window: int = Plateau.window,
    tolerance: float = Plateau.tolerance,
) -> CalcJobMonitorResult | None:
    """Stop a fit whose loss is not a number or explodes, and end a fit cycle whose loss has stopped falling.

    The first is killed at once, to save computing time; the parser says `ERROR_FIT_DIVERGED`, which
    `PaceTrainBaseWorkChain` deals with. The second is asked to end: it keeps the potential, goes on with the next fit
    cycle or ladder step if there is one, and is a success with the stop reason `plateau`. For this a file is put beside
    the fit, which a callback reads: the engine has to see the environment variable PYTHONPATH of the job (a container
    may need to be told so).

    :param node: the running job.
    :param transport: an open connection to its computer.
    :param window: iterations of a fit cycle over which the loss is compared.
    :param tolerance: the least relative fall of the loss over these iterations.
    :raises ValueError: if `window` or `tolerance` are no such numbers.
    """
    plateau = Plateau(window, tolerance)
    table = _table(node, transport)
    if table is None:
        return None
    if table.divergence is not None:
        message = f'killed, for the fit has diverged: {table.divergence}'
        node.logger.report(message)
        return CalcJobMonitorResult(
            message=message, action=CalcJobMonitorAction.KILL, retrieve=True, parse=True, override_exit_code=False
        )
    reason = plateau.reached(table)
    if reason is not None:
        _ask_to_stop(node, transport, table, reason)
    return None


def watch_progress(node: orm.CalcJobNode, transport: Transport) -> None:
    """Keep the newest row of the metrics as extra `pacemaker_progress` of the job, with the time it was seen.

    A job is looked at as long as it runs, and not once more at its end: its last rows may be missing here.

    :param node: the running job; `verdi node extras` shows it, and :func:`progress_of` returns it.
    :param transport: an open connection to its computer.
    """
    table = _table(node, transport)
    if table is None:
        return
    row = {name: value if math.isfinite(value) else None for name, value in table.last.items()}
    seen = progress_of(node) or {}
    if any(row[name] != seen.get(name) for name in ('ladder_step', 'cycle_step', 'iter_num')):
        node.base.extras.set(PROGRESS, {**row, 'time': timezone.now().isoformat()})


def progress_of(node: orm.ProcessNode) -> dict[str, Any] | None:
    """Return the newest row of the metrics of a training job that is or was watched by `pacemaker.progress`.

    :param node: a training job.
    :returns: the columns of `metrics.txt` (what is not finite is None) and `time` in ISO format, when the row was
        first seen; None if nothing was seen.
    """
    progress: dict[str, Any] | None = node.base.extras.get(PROGRESS, None)
    return progress


def _table(node: orm.CalcJobNode, transport: Transport) -> MetricsTable | None:
    """Return the metrics so far; None where there are none that can be read, as while they are being written."""
    content = _read(node, transport, METRICS)
    if content is None:
        return None
    try:
        table = read_metrics(content.decode('utf-8', errors='replace'))
    except (ValueError, OverflowError):
        return None
    needed = {'ladder_step', 'cycle_step', 'iter_num', 'loss'}
    return table if len(table) and needed <= set(table.columns) else None


def _ask_to_stop(node: orm.CalcJobNode, transport: Transport, table: MetricsTable, reason: str) -> None:
    counts = {name: table.last[name] for name in ('ladder_step', 'cycle_step')}
    try:
        asked = json.loads(_read(node, transport, STOP) or b'{}')
    except ValueError:
        asked = {}
    if isinstance(asked, dict) and counts.items() <= asked.items():
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, STOP)
        path.write_text(json.dumps({**counts, 'reason': reason}))
        transport.putfile(str(path), _remote(node, STOP))
    node.logger.report(
        f'asked to stop fit cycle {counts["cycle_step"]} of ladder step {counts["ladder_step"]}: {reason}'
    )


def _read(node: orm.CalcJobNode, transport: Transport, name: str) -> bytes | None:
    """Return the content of a file beside the fit; None if it is not there or far too large."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        try:
            transport.getfile(_remote(node, name), str(path))
        except OSError:
            return None
        return path.read_bytes() if path.is_file() and path.stat().st_size <= MAX_BYTES else None


def _remote(node: orm.CalcJobNode, name: str) -> str:
    return f'{node.get_remote_workdir()}/{name}'
