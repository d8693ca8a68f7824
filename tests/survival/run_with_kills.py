"""Run loops and kill what runs them: ``python run_with_kills.py REQUEST.json``; the outcome is written beside it.

A request has `folder`, `real` (the engine), and `schedules`: for each loop a `seed` and the `targets`, which is what is
killed, in any order. The seed decides the order and the delays.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import psutil

MODULES = Path(__file__).parent / 'instance_modules'
sys.path.insert(0, str(Path(__file__).parents[1] / 'instances'))

from aiida_instance import AiidaInstance  # noqa: E402
from processes import kill, processes_of  # noqa: E402

#: Seconds without any change in the database after which the loop is stuck: more than a work chain waits before it
#: sends again what has never begun.
STUCK_AFTER = 45.0

#: Seconds after which a loop that has not ended is abandoned.
LIMIT = 600.0


class KillSchedule:
    """Kills what runs a loop, one target after the other.

    :param instance: where it runs.
    :param node: the loop.
    :param seed: of the order of the targets, and of the delays.
    :param targets: what is killed: `worker` (at some time), `worker_at_commit` (at some commit to its database),
        `broker`, `job` (the program, not its script), `machine` (everything, and the temporary files) or
        `machine_at_commit`.
    """

    def __init__(self, instance: AiidaInstance, node: Any, seed: int, targets: list[str]) -> None:
        self._instance = instance
        self._node = node
        self._random = random.Random(seed)  # noqa: S311 (no secret)
        self._targets = targets.copy()
        self._random.shuffle(self._targets)
        self._commit: int | None = None
        self._start = time.monotonic()
        self.log: list[str] = []
        self.kills: list[str] = []
        self.repairs: list[str] = []

    def run(self) -> float:
        """Kill until the loop has ended; return how long it took in seconds."""
        due = self._delay()
        seen, since = self._instance.activity(), time.monotonic()
        measures = ['restart', 'repair']
        while not self._node.is_terminated:
            time.sleep(0.05)
            now = time.monotonic()
            if now - self._start > LIMIT:
                self._note('abandoned')
                break
            if self._targets and now > due and self._kill(self._targets[0]):
                self._targets.pop(0)
                due = self._delay()
                seen, since, measures = self._instance.activity(), time.monotonic(), ['restart', 'repair']
                continue
            activity = self._instance.activity()
            if activity != seen:
                seen, since = activity, now
            elif now - since > STUCK_AFTER:
                self._restart_daemon(measures.pop(0) if measures else 'repair')
                seen, since = self._instance.activity(), time.monotonic()
        # What has not happened by now is not for the next loop.
        self._instance.kill_at_commit.unlink(missing_ok=True)
        return time.monotonic() - self._start

    def _delay(self) -> float:
        return time.monotonic() + self._random.uniform(0.5, 7.0)

    def _kill(self, target: str) -> bool:
        """Kill a target if it is there, and return whether it was."""
        if target.endswith('_at_commit') and not self._killed_at_commit():
            return False
        if target in ('machine', 'machine_at_commit'):
            state = self._state()
            self._note(f'machine: {self._instance.crash()} processes; {state}')
            self._instance.start()
        elif target != 'worker_at_commit' and not self._kill_one(processes_of(self._instance.folder)[target]):
            return False
        self.kills.append(target)
        return True

    def _kill_one(self, processes: list[psutil.Process]) -> bool:
        """Kill one of several processes, if there are any that live long enough."""
        if not processes:
            return False
        process = self._random.choice(processes)
        try:
            state = f'{" ".join(process.cmdline())[-60:]}; {self._state()}'
        except psutil.NoSuchProcess:
            return False
        if not kill([process]):
            return False
        self._note(f'{process.pid} {state}')
        return True

    def _killed_at_commit(self) -> bool:
        """Choose a commit if none is chosen, and return whether a worker has come to it and killed itself."""
        if self._commit is None:
            self._commit = self._random.randint(1, 80)
            self._instance.kill_at_commit.write_text(str(self._commit))
        if self._instance.kill_at_commit.exists():
            return False
        self._note(f'worker at commit {self._commit}: {self._state()}')
        self._commit = None
        return True

    def _restart_daemon(self, measure: str) -> None:
        """Do what a user can do when nothing moves."""
        self.repairs.append(f'{measure} after {self.kills[-1] if self.kills else "nothing"}')
        self._note(f'stuck: {measure}; {self._state()}')
        self._instance.stop()
        if measure == 'repair':
            self._note(self._instance.repair().replace('\n', ' | '))
        self._instance.start()

    def _state(self) -> str:
        """Return where the loop is: its processes that have not ended."""
        active = [node for node in self._node.called_descendants if not node.is_terminated]
        return ', '.join(
            f'{node.label or node.process_label}<{node.pk}> {node.process_state and node.process_state.value} '
            f'{node.process_status or ""}'
            for node in active
        )

    def _note(self, message: str) -> None:
        self.log.append(f'{time.monotonic() - self._start:6.1f} s  {message}')
        print(self.log[-1], flush=True)


def main() -> None:
    """Run all loops of a request."""
    path = Path(sys.argv[1])
    request = json.loads(path.read_text())
    instance = AiidaInstance(Path(request['folder']), request.get('workers', 1), MODULES)
    outcomes = []
    try:
        instance.make_profile()
        instance.start()
        # Only now is there a configuration for what imports AiiDA.
        from aiida.engine import submit
        from loops import builder_of, codes_of, datasets, outcome_of

        codes = codes_of(instance.make_computer(), instance.folder, real=request['real'])
        known, pool = datasets()
        for index, plan in enumerate(request['schedules']):
            label_log = instance.folder / f'labels_{index}.txt'
            instance.forget_broker()
            node = submit(builder_of(codes, known, pool, label_log))
            print(f'loop {index}: {node.pk}, {plan}', flush=True)
            schedule = KillSchedule(instance, node, **plan)
            seconds = schedule.run()
            outcome = {
                **plan,
                'seconds': seconds,
                'kills': schedule.kills,
                'repairs': schedule.repairs,
                'log': schedule.log,
                **outcome_of(node, label_log),
            }
            outcomes.append(outcome)
            print(f'loop {index}: {seconds:.0f} s, {outcome["exit"]}, {outcome["jobs"]}', flush=True)
    finally:
        instance.clear()
        path.with_suffix('.outcome.json').write_text(json.dumps(outcomes, indent=1))


if __name__ == '__main__':
    main()
