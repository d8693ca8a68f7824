"""What happened to the processes of an AiiDA instance: how many ended when, and whether anything was done twice."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common.links import LinkType
from sqlalchemy.exc import OperationalError

_ENDED = ['finished', 'excepted', 'killed']


def last_pk() -> int:
    """Return the number of the newest process."""
    found = orm.QueryBuilder().append(orm.ProcessNode, project='id').order_by({orm.ProcessNode: {'id': 'desc'}})
    return found.first(flat=True) or 0


def wait_for(pks: list[int], limit: float) -> int:
    """Wait until processes have ended, at most so many seconds; return how often the database was locked."""
    deadline, locked = time.monotonic() + limit, 0
    filters = {'id': {'in': pks}, 'attributes.process_state': {'in': _ENDED}}
    while time.monotonic() < deadline:
        try:
            if orm.QueryBuilder().append(orm.ProcessNode, filters=filters).count() == len(pks):
                break
        except OperationalError as exception:
            locked += 'database is locked' in str(exception)
        time.sleep(1)
    return locked


def figures(since: int, job_log: Path) -> dict[str, Any]:
    """Return what is to be said of all processes that were made after one.

    :param since: the last one before.
    :param job_log: file in which each job has written when it began and ended.
    """
    nodes = orm.QueryBuilder().append(orm.ProcessNode, filters={'id': {'>': since}}).all(flat=True)
    jobs = [node for node in nodes if isinstance(node, orm.CalcJobNode)]
    return {
        'counts': dict(Counter(node.process_label for node in nodes)),
        'jobs': {'count': len(jobs), **_rates(jobs)},
        'processes': {'count': len(nodes), **_rates(nodes)},
        'failed': [_fate(node) for node in nodes if node.is_terminated and not node.is_finished_ok],
        'unfinished': [_fate(node) for node in nodes if not node.is_terminated],
        **_done_twice(nodes, jobs),
        **_runs(jobs, job_log),
    }


def _rates(nodes: list[Any]) -> dict[str, float]:
    """Return how many processes ended per minute, between the first and the last, and in the best minute."""
    ends = sorted(node.mtime.timestamp() for node in nodes if node.is_terminated)
    seconds = ends[-1] - ends[0] if len(ends) > 1 else 0.0
    peak = max((sum(end <= other < end + 60 for other in ends) for end in ends), default=0)
    return {'per_minute': 60 * (len(ends) - 1) / seconds if seconds else 0.0, 'peak': float(peak)}


def _fate(node: Any) -> str:
    return f'{node.process_label}<{node.pk}> {node.process_state} [{node.exit_status}] {node.exit_message}'


def _done_twice(nodes: list[Any], jobs: list[Any]) -> dict[str, list[str]]:
    """Return the calls that have the same label as another one of their caller, and the numbers of several jobs."""
    calls = [node.base.links.get_incoming(link_type=(LinkType.CALL_CALC, LinkType.CALL_WORK)).first() for node in nodes]
    # `CALL` is what has no label.
    places = Counter((call.node.pk, call.link_label) for call in calls if call and call.link_label != 'CALL')
    numbers = Counter(job.get_job_id() for job in jobs)
    return {
        'called_twice': [f'{label} by {caller}' for (caller, label), count in places.items() if count > 1],
        'submitted_twice': [f'job {number}' for number, count in numbers.items() if count > 1],
    }


def _runs(jobs: list[Any], job_log: Path) -> dict[str, Any]:
    """Return what jobs have said themselves: the folders in which none or several ran, and how long they took."""
    lines = [line.split() for line in job_log.read_text().splitlines()] if job_log.exists() else []
    begun = Counter(folder for event, folder, _ in lines if event == 'begin')
    moments = {(event, folder): float(moment) for event, folder, moment in lines}
    folders = {job.get_remote_workdir() for job in jobs}
    everybody = set(orm.QueryBuilder().append(orm.CalcJobNode, project='attributes.remote_workdir').all(flat=True))
    took = sorted(moments['end', name] - moments['begin', name] for name in folders if ('end', name) in moments)
    return {
        'job_seconds': took[len(took) // 2] if took else None,
        'run_twice': sorted(folder for folder in folders if begun[folder] > 1),
        'never_run': sorted(folder for folder in folders if not begun[folder]),
        'run_for_nobody': sorted(set(begun) - everybody),
    }
