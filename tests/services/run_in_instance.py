"""Run a task in an AiiDA instance on given services: ``python run_in_instance.py REQUEST.json``.

The outcome is written beside the request, which has

- `folder` and `environment` of the instance, and `programs`, a folder that comes first in its `PATH`, if at all,
- `storage` and `broker`: options of the profile, `null` for SQLite and ZeroMQ,
- `transport`, `scheduler` and `authentication` of the computer,
- `engine`: the folder of the programs,
- `task`: the name of a function of `tasks.py`, and `options`, its arguments.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / 'instances'))

from aiida_instance import AiidaInstance

#: The codes by the names of their programs.
PROGRAMS = ('pacemaker', 'pace_activeset', 'pace_select', 'pace_yaml2yace', 'python')


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run the task of a request, and return its outcome."""
    if 'programs' in request:
        os.environ['PATH'] = os.pathsep.join([request['programs'], os.environ['PATH']])
    instance = AiidaInstance(Path(request['folder']), environment=request['environment'])
    try:
        instance.make_profile(request['storage'], request['broker'])
        instance.start()
        # Only now is there a configuration for what imports AiiDA.
        import tasks
        from aiida import orm

        computer = instance.make_computer(request['transport'], request['scheduler'], request['authentication'])
        codes = {
            name: orm.InstalledCode(
                label=name, computer=computer, filepath_executable=str(Path(request['engine']) / name)
            ).store()
            for name in PROGRAMS
        }
        start = time.monotonic()
        outcome: dict[str, Any] = getattr(tasks, request['task'])(codes, **request['options'])
        return {**outcome, 'seconds': round(time.monotonic() - start, 1)}
    finally:
        instance.stop()
        instance.clear()


def main() -> None:
    """Run the request of the command line."""
    path = Path(sys.argv[1])
    outcome = run(json.loads(path.read_text()))
    path.with_suffix('.outcome.json').write_text(json.dumps(outcome, indent=1))


if __name__ == '__main__':
    main()
