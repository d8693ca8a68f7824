"""How a process goes, in a few lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiida import orm

from aiida_pacemaker.calculations.monitors import progress_of
from aiida_pacemaker.workflows.loop.history import LOOP
from aiida_pacemaker.workflows.loop.table import format_table, loop_table
from aiida_pacemaker.workflows.runners import how_to_take_up, is_abandoned


def status_of(process: orm.ProcessNode) -> str:
    """Return the state of a process, its generations if it is a loop, what is running below it, and warnings.

    :param process: a loop, a training or a job.
    """
    family = [process, *process.called_descendants]
    lines = [_state(process)]
    if is_abandoned(process):
        lines.append(f'NOT RUNNING: {how_to_take_up(process)}')
    if process.process_label == LOOP and isinstance(process, orm.WorkChainNode):
        lines += ['', _generations(process)]
    active = [node for node in family if isinstance(node, orm.CalcJobNode) and not node.is_terminated]
    lines += ['', 'running:', *map(_running, active)] if active else []
    warnings = list(dict.fromkeys(warning for node in family for warning in _warnings(node)))
    lines += ['', 'warnings:', *(f'  {warning}' for warning in warnings)] if warnings else []
    return '\n'.join(lines)


def _generations(loop: orm.WorkChainNode) -> str:
    try:
        rows = loop_table(loop)
    except ValueError:  # it has not begun its report
        rows = []
    return format_table(rows) if rows else 'no generation has been evaluated yet'


def _state(node: orm.ProcessNode) -> str:
    state = 'not begun' if node.process_state is None else node.process_state.value
    line = f'{node.process_label}<{node.pk}>: {state}'
    if 'stop_reason' in node.outputs:
        line += f', {node.outputs.stop_reason.value}'
    if node.is_failed:
        line += f' [{node.exit_status}] {node.exit_message}'
    return line


def _running(job: orm.CalcJobNode) -> str:
    line = f'  {job.process_label}<{job.pk}> {job.process_status or ""}'.rstrip()
    progress = progress_of(job)
    if progress is None:
        return line
    figures = ', '.join(f'{name} {_figure(progress[name])}' for name in FIGURES if name in progress)
    return f'{line}\n    {figures} (seen {progress["time"]})'


#: Columns of the metrics that are shown.
FIGURES = ('ladder_step', 'cycle_step', 'iter_num', 'loss', 'rmse_epa', 'rmse_f_comp')


def _figure(value: Any) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def _warnings(node: orm.ProcessNode) -> Iterator[str]:
    for name in ('metrics', 'output_parameters') if isinstance(node, orm.CalcJobNode) else ():
        if name in node.outputs:
            yield from node.outputs[name].get_dict().get('warnings', [])
