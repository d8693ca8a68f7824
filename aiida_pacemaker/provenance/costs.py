"""What a work chain has cost: the core hours of the jobs below it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiida import orm

from aiida_pacemaker._aiida.storage import CACHED_FROM
from aiida_pacemaker.sources.registry import all_sources

from .graph import called_by, chunks

_ENDED = ('finished', 'excepted', 'killed')

#: Where our jobs say themselves how many seconds they took, by output and key. Foreign ones are asked of their classes.
_TOLD_BY = (
    ('metrics', 'training_time'),
    ('errors', 'seconds'),
    ('failures', 'seconds'),
    ('report', 'seconds'),
)


def core_hours(process: orm.ProcessNode) -> dict[str, Any]:
    """Return the core hours of all jobs below a work chain that have ended, however they ended.

    A job takes the largest of the times that are known of it: by the accounting of Slurm, by the scheduler when it was
    last asked while the job ran (on a computer without accounting that is all, and too little by up to the interval of
    asking), and by the job itself, which does not count how long its program took to start. It takes the cores that it
    has asked for: its MPI processes, times the cores that are reserved for each (`num_cores_per_mpiproc`), or where
    none are reserved, as on a computer without scheduler, its threads (`OMP_NUM_THREADS` among the environment
    variables of its options).

    :param process: a work chain, or a job itself.
    :returns: `total` in core hours; `by_process`, for each process label `n_jobs` and `core_hours`; `unknown`, for each
        process label the number of jobs of which no time is known, and which are not in the total; `n_free`, the
        number of jobs that were taken from the cache, were imported or ended before they were submitted, and cost
        nothing; `n_running`, the number of jobs that have not ended.
    """
    jobs = _jobs_of(process)
    paid = [job for job in jobs if not job.is_free]
    costs: dict[str, list[float]] = {}
    unknown: Counter[str] = Counter()
    for job in paid:
        if not job.is_terminated:
            continue
        if job.seconds is None:
            unknown[job.name] += 1
        else:
            costs.setdefault(job.name, []).append(job.seconds * job.cores / 3600)
    return {
        'total': math.fsum(cost for of_label in costs.values() for cost in of_label),
        'by_process': {
            label: {'n_jobs': len(of_label), 'core_hours': math.fsum(of_label)}
            for label, of_label in sorted(costs.items())
        },
        'unknown': dict(sorted(unknown.items())),
        'n_free': len(jobs) - len(paid),
        'n_running': sum(not job.is_terminated for job in paid),
    }


def seconds_told_by(job: orm.CalcJobNode) -> float | None:
    """Return how many seconds a job says itself that it took, None if it does not say."""
    told = [float(value) for value in _jobs_of(job)[0].told if isinstance(value, int | float)]
    return max(told, default=None)


def cores_of(job: orm.CalcJobNode) -> int:
    """Return the number of cores that a job has asked for; see :func:`core_hours`."""
    return _jobs_of(job)[0].cores


@dataclass(frozen=True)
class _Job:
    """What is known of a job, without its node: AiiDA asks the database for each single thing that one asks of a node.

    :param attributes: of its node.
    :param process_type: its plugin.
    :param cached_from: the job that it is a copy of.
    :param processes_per_machine: the default of its computer.
    :param told: how long it took by its outputs, whatever these say.
    """

    attributes: Mapping[str, Any]
    process_type: str | None
    cached_from: str | None
    processes_per_machine: int | None
    told: list[Any]

    @property
    def name(self) -> str:
        return str(self.attributes.get('process_label') or self.process_type or 'CalcJob')

    @property
    def is_terminated(self) -> bool:
        return self.attributes.get('process_state') in _ENDED

    @property
    def is_free(self) -> bool:
        never_submitted = self.is_terminated and self.attributes.get('job_id') is None
        return self.cached_from is not None or self.attributes.get('imported') is True or never_submitted

    @property
    def seconds(self) -> float | None:
        seen = (self.attributes.get('last_job_info') or {}).get('wallclock_time_seconds')
        told = [_accounted(self.attributes.get('detailed_job_info')), seen, *self.told]
        known = [
            float(value) for value in told if isinstance(value, int | float) and math.isfinite(value) and value > 0
        ]
        return max(known, default=None)

    @property
    def cores(self) -> int:
        resources = self.attributes.get('resources') or {}
        machines = resources.get('num_machines') or 1
        per_machine = resources.get('num_mpiprocs_per_machine') or self.processes_per_machine or 1
        processes = resources.get('tot_num_mpiprocs') or machines * per_machine
        if resources.get('num_cores_per_machine'):
            return max(int(processes), int(machines * resources['num_cores_per_machine']))
        if resources.get('num_cores_per_mpiproc'):
            return int(processes * resources['num_cores_per_mpiproc'])
        threads = str((self.attributes.get('environment_variables') or {}).get('OMP_NUM_THREADS', 1))
        # It may be a list, one number per level of nesting, or an expression of the shell.
        first = threads.split(',', maxsplit=1)[0].strip()
        return int(processes) * (int(first) if first.isdecimal() and int(first) > 0 else 1)


def _jobs_of(process: orm.ProcessNode) -> list[_Job]:
    """Return a process, if it is a job, and all jobs below it, in a few queries however many there are."""
    jobs: list[_Job] = []
    for pks in chunks(called_by(process)):
        told = _told_by(pks)
        query = orm.QueryBuilder()
        query.append(
            orm.CalcJobNode,
            filters={'id': {'in': pks}},
            tag='job',
            project=['id', 'attributes', 'process_type', f'extras.{CACHED_FROM}'],
        )
        query.append(orm.Computer, with_node='job', outerjoin=True, project='metadata')
        for pk, attributes, process_type, cached_from, metadata in query.all():
            default = (metadata or {}).get('default_mpiprocs_per_machine')
            jobs.append(_Job(attributes, process_type, cached_from, default, told.get(pk, [])))
    return jobs


def _told_by(pks: list[int]) -> dict[int, list[Any]]:
    """Return how long jobs took by their outputs."""
    told: dict[int, list[Any]] = {}
    foreign = dict.fromkeys(source.run_time for source in all_sources() if source.run_time is not None)
    for name, key in (*_TOLD_BY, *foreign):
        query = orm.QueryBuilder().append(orm.CalcJobNode, filters={'id': {'in': pks}}, tag='job', project='id')
        query.append(orm.Dict, with_incoming='job', edge_filters={'label': name}, project=f'attributes.{key}')
        for pk, seconds in query.all():
            told.setdefault(pk, []).append(seconds)
    return told


def _accounted(detailed: Mapping[str, Any] | None) -> float | None:
    """Return the seconds by `sacct`, whose table AiiDA keeps: names of columns, then the job, then its steps."""
    lines = str((detailed or {}).get('stdout') or '').splitlines()
    if len(lines) < 2:
        return None
    row = dict(zip(lines[0].split('|'), lines[1].split('|'), strict=False))
    elapsed = row.get('ElapsedRaw', '')
    return float(elapsed) if elapsed.isdecimal() else None
