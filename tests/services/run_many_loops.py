"""Many loops at once on one daemon: ``python run_many_loops.py REQUEST.json``; what happened is written beside it.

A request has `folder`, `workers`, `loops` (how many), `generations` (of each), `seconds` (that each job sleeps before
its program begins), `plain` (how many jobs without anything of ours are run before, for comparison), `storage`
(options of the profile for PostgreSQL, `null` for SQLite) and `wal` (whether SQLite keeps a write-ahead log).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / 'instances'), str(TESTS / 'survival')]

from aiida_instance import AiidaInstance  # noqa: E402
from processor_time import ProcessorTime  # noqa: E402

#: Seconds after which what has not ended is given up.
LIMIT = 1500.0

#: Each job says when it begins and ends, and what it took of the processor.
_PREPEND = 'echo "begin $PWD $EPOCHREALTIME" >> {job_log}\nsleep {seconds}'
_APPEND = 'echo "end $PWD $EPOCHREALTIME" >> {job_log}\ntimes >> {times}'


class ManyLoops:
    """Loops that run at once in an instance whose daemon has several workers.

    :param instance: the instance, which has a profile.
    :param request: see the module.
    """

    def __init__(self, instance: AiidaInstance, request: dict[str, Any]) -> None:
        from loops import codes_of

        self._instance = instance
        self._request = request
        self._job_log, self._times = instance.folder / 'job_log', instance.folder / 'times'
        instance.start()
        self._computer = instance.make_computer()
        texts = {'job_log': self._job_log, 'times': self._times, 'seconds': request['seconds']}
        self._computer.set_prepend_text(_PREPEND.format(**texts))
        self._computer.set_append_text(_APPEND.format(**texts))
        self._computer.store()
        self._codes = codes_of(self._computer, instance.folder, real=False)

    def run_plain(self) -> dict[str, Any]:
        """Run jobs that add two numbers, a second each: what AiiDA itself can do here."""
        from aiida import orm
        from aiida.engine import submit
        from aiida.plugins import CalculationFactory

        code = orm.InstalledCode(label='bash', computer=self._computer, filepath_executable='/bin/bash').store()
        # What a program of the fake engine takes.
        metadata = {'options': {'prepend_text': 'sleep 0.4', 'resources': {'num_machines': 1}}}
        add = CalculationFactory('core.arithmetic.add')
        numbers = {'x': orm.Int(1).store(), 'y': orm.Int(2).store()}
        return self._measure(
            lambda: [submit(add, code=code, **numbers, metadata=metadata).pk for _ in range(self._request['plain'])]
        )

    def run_chains(self) -> dict[str, Any]:
        """Run jobs in work chains of AiiDA, each with one job and one calculation function."""
        from aiida import orm
        from aiida.engine import submit
        from aiida.plugins import WorkflowFactory

        code = orm.load_code('bash')
        chain = WorkflowFactory('core.arithmetic.multiply_add')
        numbers = {name: orm.Int(value).store() for name, value in (('x', 1), ('y', 2), ('z', 3))}
        return self._measure(lambda: [submit(chain, code=code, **numbers).pk for _ in range(self._request['plain'])])

    def run_loops(self) -> dict[str, Any]:
        """Run loops, all at once."""
        from aiida.engine import submit
        from loops import builder_of, datasets, outcome_of

        known, pool = datasets()
        labels = [self._instance.folder / f'labels_{index}' for index in range(self._request['loops'])]
        nodes = []

        def start() -> list[int]:
            for path in labels:
                builder = builder_of(self._codes, known, pool, path)
                settings = {**builder.settings.get_dict(), 'max_generations': self._request['generations']}
                builder.settings = settings
                nodes.append(submit(builder))
            return [node.pk for node in nodes]

        found = self._measure(start)
        outcomes = [outcome_of(node, path) for node, path in zip(nodes, labels, strict=True)]
        return {**found, 'loops': outcomes}

    def locked(self) -> int:
        """Return how often the daemon or a process met a lock that was not lifted in time."""
        logs = (self._instance.folder / '.aiida').rglob('*.log*')
        return sum(path.read_text(errors='replace').count('database is locked') for path in logs)

    def _measure(self, start: Any) -> dict[str, Any]:
        """Start processes, wait until they have ended, and return the figures of that time."""
        from figures import figures, last_pk, wait_for

        last, locked = last_pk(), self.locked()
        processor_time, begin = ProcessorTime(self._instance, self._times), time.monotonic()
        pks = start()
        submitted = time.monotonic() - begin
        met = wait_for(pks, LIMIT)
        seconds = time.monotonic() - begin
        used = processor_time.read()
        return {
            'seconds': seconds,
            'submitting': submitted,
            'processors': used,
            'locked': met + self.locked() - locked,
            **figures(last, self._job_log),
        }


def main() -> None:
    """Do what a request asks for."""
    path = Path(sys.argv[1])
    request = json.loads(path.read_text())
    instance = AiidaInstance(Path(request['folder']), request['workers'], TESTS / 'survival' / 'instance_modules')
    outcome: dict[str, Any] = {}
    try:
        instance.make_profile(request['storage'])
        if request['wal']:
            instance.write_ahead()
        many = ManyLoops(instance, request)
        if request['plain']:
            outcome['plain'] = many.run_plain()
            outcome['chains'] = many.run_chains()
        outcome['loops'] = many.run_loops()
    finally:
        instance.clear()
        path.with_suffix('.outcome.json').write_text(json.dumps(outcome, indent=1))


if __name__ == '__main__':
    main()
