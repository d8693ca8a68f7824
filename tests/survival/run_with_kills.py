"""Run loops and kill what runs them: ``python run_with_kills.py REQUEST.json``; the outcome is written beside it.

A request has `folder`, `real` (the engine), and `sieges`: for each loop a `seed` and the `victims`, in any order. The
seed decides the order and the delays.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import psutil

INSIDE = Path(__file__).parent / 'instance_modules'
sys.path.insert(0, str(Path(__file__).parents[1] / 'instances'))

from aiida_instance import House  # noqa: E402
from processes import kill, processes_of  # noqa: E402

#: Seconds without any change in the database after which the loop is stuck: more than a work chain waits before it
#: sends again what has never begun.
PATIENCE = 45.0

#: Seconds after which a loop is given up.
LIMIT = 600.0


class Siege:
    """One loop under fire.

    :param house: where it runs.
    :param node: the loop.
    :param seed: of the order of the victims, and of the delays.
    :param victims: what is killed: `worker` (at some time), `commit` (a worker, at some commit to its database),
        `broker`, `job` (the program, not its script), `machine` (everything, and the temporary files) or `blackout`
        (the same, at some commit).
    """

    def __init__(self, house: House, node: Any, seed: int, victims: list[str]) -> None:
        self._house = house
        self._node = node
        self._random = random.Random(seed)  # noqa: S311 (no secret)
        self._victims = victims.copy()
        self._random.shuffle(self._victims)
        self._fuse: int | None = None
        self._start = time.monotonic()
        self.log: list[str] = []
        self.kills: list[str] = []
        self.repairs: list[str] = []

    def run(self) -> float:
        """Kill until the loop has ended; return how long it took in seconds."""
        due = self._delay()
        seen, since = self._house.activity(), time.monotonic()
        measures = ['restart', 'repair']
        while not self._node.is_terminated:
            time.sleep(0.05)
            now = time.monotonic()
            if now - self._start > LIMIT:
                self._note('given up')
                break
            if self._victims and now > due and self._shoot(self._victims[0]):
                self._victims.pop(0)
                due = self._delay()
                seen, since, measures = self._house.activity(), time.monotonic(), ['restart', 'repair']
                continue
            activity = self._house.activity()
            if activity != seen:
                seen, since = activity, now
            elif now - since > PATIENCE:
                self._help(measures.pop(0) if measures else 'repair')
                seen, since = self._house.activity(), time.monotonic()
        # One that is still burning is not for the next loop.
        self._house.fuse.unlink(missing_ok=True)
        return time.monotonic() - self._start

    def _delay(self) -> float:
        return time.monotonic() + self._random.uniform(0.5, 7.0)

    def _shoot(self, victim: str) -> bool:
        """Kill a victim if it is there, and return whether it was."""
        if victim in ('commit', 'blackout') and not self._burnt():
            return False
        if victim in ('machine', 'blackout'):
            state = self._state()
            self._note(f'machine: {self._house.crash()} processes; {state}')
            self._house.start()
        elif victim != 'commit' and not self._hit(processes_of(self._house.folder)[victim]):
            return False
        self.kills.append(victim)
        return True

    def _hit(self, processes: list[psutil.Process]) -> bool:
        """Kill one of several processes, if there are any that live long enough."""
        if not processes:
            return False
        target = self._random.choice(processes)
        try:
            state = f'{" ".join(target.cmdline())[-60:]}; {self._state()}'
        except psutil.NoSuchProcess:
            return False
        if not kill([target]):
            return False
        self._note(f'{target.pid} {state}')
        return True

    def _burnt(self) -> bool:
        """Light the fuse of a worker if none is lit, and return whether it has burnt down and killed one."""
        if self._fuse is None:
            self._fuse = self._random.randint(1, 80)
            self._house.fuse.write_text(str(self._fuse))
        if self._house.fuse.exists():
            return False
        self._note(f'worker at commit {self._fuse}: {self._state()}')
        self._fuse = None
        return True

    def _help(self, measure: str) -> None:
        """Do what a user can do when nothing moves."""
        self.repairs.append(f'{measure} after {self.kills[-1] if self.kills else "nothing"}')
        self._note(f'stuck: {measure}; {self._state()}')
        self._house.stop()
        if measure == 'repair':
            self._note(self._house.repair().replace('\n', ' | '))
        self._house.start()

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
    house = House(Path(request['folder']), request.get('workers', 1), INSIDE)
    outcomes = []
    try:
        house.make_profile()
        house.start()
        # Only now is there a configuration for what imports AiiDA.
        from aiida.engine import submit
        from loops import builder_of, codes_of, datasets, outcome_of

        codes = codes_of(house.make_computer(), house.folder, real=request['real'])
        known, pool = datasets()
        for index, siege in enumerate(request['sieges']):
            book = house.folder / f'book_{index}.txt'
            house.forget_broker()
            node = submit(builder_of(codes, known, pool, book))
            print(f'loop {index}: {node.pk}, {siege}', flush=True)
            fight = Siege(house, node, **siege)
            seconds = fight.run()
            outcome = {
                **siege,
                'seconds': seconds,
                'kills': fight.kills,
                'repairs': fight.repairs,
                'log': fight.log,
                **outcome_of(node, book),
            }
            outcomes.append(outcome)
            print(f'loop {index}: {seconds:.0f} s, {outcome["exit"]}, {outcome["jobs"]}', flush=True)
    finally:
        house.clear()
        path.with_suffix('.outcome.json').write_text(json.dumps(outcomes, indent=1))


if __name__ == '__main__':
    main()
