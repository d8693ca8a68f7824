"""How many jobs a minute ten loops get from one daemon, and what the limit is made of.

``python benchmarks/load.py`` makes throw-away profiles, with SQLite and then with PostgreSQL, starts a daemon of four
workers, and has it run ten loops at once on the fake engine, with jobs of about a second. Before them it runs as many
jobs without anything of this package: additions, alone and in work chains. These say what AiiDA itself can do on this
machine. It prints, beside each other: jobs and processes per minute, who used the processors, what a job costs the
workers, and whatever was locked, lost, or done twice. It fails if anything was. It takes four minutes for each storage
on two cores that have nothing else to do; other work on the machine makes the figures worse.

``--storage sqlite wal psql`` has SQLite with its write-ahead log too. PostgreSQL has to be installed; it is started on
loopback, and does not wait for the disk (`fsync=off`).
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

TESTS = Path(__file__).parents[1] / 'tests'
sys.path[:0] = [str(TESTS / 'services'), str(TESTS / 'instances')]

from many_loops import WRONG, complaints, run  # noqa: E402 (found there)

STORAGES = ('sqlite', 'wal', 'psql')
PHASES = {'plain': 'additions', 'chains': 'additions in work chains', 'loops': 'loops'}


def rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Iterate over what is printed of one phase: its name and its value."""
    jobs, processes, used = found['jobs'], found['processes'], found['processors']
    yield 'jobs', f'{jobs["count"]}'
    yield 'seconds, from the first submission to the last end', f'{found["seconds"]:.0f}'
    yield 'jobs per minute', f'{jobs["per_minute"]:.0f}'
    yield 'jobs in the best minute', f'{jobs["peak"]:.0f}'
    yield 'processes per minute', f'{processes["per_minute"]:.0f}'
    yield 'processes per job', f'{processes["count"] / jobs["count"]:.1f}'
    yield 'seconds that a job runs, median', f'{found["job_seconds"] or 0:.1f}'
    spent = used['workers'] * found['seconds']
    yield 'seconds of a processor that a job costs the workers', f'{spent / jobs["count"]:.2f}'
    yield 'seconds of a processor that a process costs them', f'{spent / processes["count"]:.2f}'
    for name in ('workers', 'commands', 'broker', 'client', 'jobs', 'rest', 'machine'):
        yield f'processors in use: {name}', f'{used[name]:.2f}'
    for name in WRONG:
        yield name.replace('_', ' '), str(found[name] if name == 'locked' else len(found[name]))


def show(outcomes: dict[str, dict[str, Any]]) -> None:
    """Print the figures of all storages beside each other, and how the loops compare with what AiiDA can do."""
    for phase, title in PHASES.items():
        tables = {storage: dict(rows(outcome[phase])) for storage, outcome in outcomes.items() if phase in outcome}
        if not tables:
            continue
        print(f'\n{title:60}' + ''.join(f'{storage:>10}' for storage in tables))
        for name in next(iter(tables.values())):
            print(f'{name:60}' + ''.join(f'{table[name]:>10}' for table in tables.values()))
    for phase in ('plain', 'chains'):
        ratios = {
            storage: outcome['loops']['jobs']['per_minute'] / outcome[phase]['jobs']['per_minute']
            for storage, outcome in outcomes.items()
            if phase in outcome
        }
        if ratios:
            name = f'jobs per minute, loops / {PHASES[phase]}'
            print(f'{name:60}' + ''.join(f'{ratio:>10.2f}' for ratio in ratios.values()))


def main() -> None:
    """Print the figures, and fail if anything was locked, lost, or done twice."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--storage', choices=STORAGES, nargs='+', default=['sqlite', 'psql'])
    parser.add_argument('--workers', type=int, default=4)
    parser.add_argument('--loops', type=int, default=10)
    parser.add_argument('--generations', type=int, default=2)
    parser.add_argument('--plain', type=int, default=40, help='jobs of each comparison, 0 for none')
    parser.add_argument('--seconds', type=float, default=0.6, help='that a job sleeps before its program begins')
    arguments = vars(parser.parse_args())
    storages = arguments.pop('storage')
    load = psutil.getloadavg()[0]
    print(
        f'aiida-core {version("aiida-core")}, Python {platform.python_version()}, {psutil.cpu_count()} processors, '
        f'load before: {load:.1f}; {arguments["loops"]} loops, {arguments["workers"]} workers',
        flush=True,
    )
    outcomes = {storage: run(storage, arguments) for storage in storages}
    show(outcomes)
    wrong = [f'{storage}: {text}' for storage, outcome in outcomes.items() for text in complaints(outcome)]
    print('\n' + ('\n'.join(wrong) if wrong else 'nothing was locked, lost, or done twice'))
    sys.exit(1 if wrong else 0)


if __name__ == '__main__':
    main()
