"""What a work chain has cost: the core hours of the jobs below it."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from aiida import orm

#: Where jobs say themselves how many seconds they took, by output and key: ours, and `pw.x` of aiida-quantumespresso.
_TOLD_BY = (
    ('metrics', 'training_time'),
    ('errors', 'seconds'),
    ('failures', 'seconds'),
    ('report', 'seconds'),
    ('output_parameters', 'wall_time_seconds'),
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
    jobs = [node for node in [process, *_descendants(process)] if isinstance(node, orm.CalcJobNode)]
    paid = [job for job in jobs if not _is_free(job)]
    costs: dict[str, list[float]] = {}
    unknown: Counter[str] = Counter()
    for job in paid:
        if not job.is_terminated:
            continue
        seconds = seconds_of(job)
        if seconds is None:
            unknown[_name(job)] += 1
        else:
            costs.setdefault(_name(job), []).append(seconds * cores_of(job) / 3600)
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


def seconds_of(job: orm.CalcJobNode) -> float | None:
    """Return how long a job ran, None if nothing tells.

    What a scheduler says of a job that it saw only in its first second, 0, tells nothing.
    """
    told = [_accounted(job), (job.base.attributes.get('last_job_info', None) or {}).get('wallclock_time_seconds')]
    for name, key in _TOLD_BY:
        if name in job.outputs and isinstance(job.outputs[name], orm.Dict):
            told.append(job.outputs[name].get_dict().get(key))
    known = [float(value) for value in told if isinstance(value, int | float) and math.isfinite(value) and value > 0]
    return max(known, default=None)


def cores_of(job: orm.CalcJobNode) -> int:
    """Return the number of cores that a job has asked for; see :func:`core_hours`."""
    resources = job.get_option('resources') or {}
    machines = resources.get('num_machines') or 1
    default = job.computer.get_default_mpiprocs_per_machine() if job.computer is not None else None
    per_machine = resources.get('num_mpiprocs_per_machine') or default or 1
    processes = resources.get('tot_num_mpiprocs') or machines * per_machine
    if resources.get('num_cores_per_machine'):
        return max(int(processes), int(machines * resources['num_cores_per_machine']))
    if resources.get('num_cores_per_mpiproc'):
        return int(processes * resources['num_cores_per_mpiproc'])
    threads = str((job.get_option('environment_variables') or {}).get('OMP_NUM_THREADS', 1))
    # It may be a list, one number per level of nesting, or an expression of the shell.
    first = threads.split(',', maxsplit=1)[0].strip()
    return int(processes) * (int(first) if first.isdecimal() and int(first) > 0 else 1)


def _descendants(process: orm.ProcessNode) -> list[orm.ProcessNode]:
    return process.called_descendants if isinstance(process, orm.WorkflowNode) else []


def _is_free(job: orm.CalcJobNode) -> bool:
    never_submitted = job.is_terminated and job.get_job_id() is None
    return job.base.caching.is_created_from_cache or job.is_imported or never_submitted


def _name(job: orm.CalcJobNode) -> str:
    return str(job.process_label or job.process_type or 'CalcJob')


def _accounted(job: orm.CalcJobNode) -> float | None:
    """Return the seconds by `sacct`, whose table AiiDA keeps: names of columns, then the job, then its steps."""
    lines = str((job.get_detailed_job_info() or {}).get('stdout') or '').splitlines()
    if len(lines) < 2:
        return None
    row = dict(zip(lines[0].split('|'), lines[1].split('|'), strict=False))
    elapsed = row.get('ElapsedRaw', '')
    return float(elapsed) if elapsed.isdecimal() else None
