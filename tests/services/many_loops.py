"""Starts `run_many_loops.py` with a storage, and lists what must not happen there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from processes import kill_all
from servers.postgres import Postgres

#: What is to be empty, or zero, in the figures of a time.
WRONG = (
    'locked',
    'failed',
    'unfinished',
    'called_twice',
    'submitted_twice',
    'run_twice',
    'never_run',
    'run_for_nobody',
)


def run(storage: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Run many loops in an instance of their own, and return what happened.

    :param storage: `sqlite`, `wal` (SQLite with a write-ahead log) or `psql`.
    :param request: the rest of what `run_many_loops.py` is told.
    :raises ServiceMissing: if PostgreSQL is needed and not there.
    """
    # A path of a socket has at most 107 characters, so the folder is not one of pytest.
    folder = Path(tempfile.mkdtemp(prefix='loops_'))
    path = folder / 'request.json'
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        login = None
        if storage == 'psql':
            login = stack.enter_context(Postgres(folder / 'postgres')).create_database('aiida')
        stack.callback(kill_all, folder / 'aiida')
        path.write_text(
            json.dumps({**request, 'folder': str(folder / 'aiida'), 'storage': login, 'wal': storage == 'wal'})
        )
        subprocess.run([sys.executable, Path(__file__).parent / 'run_many_loops.py', path], check=True)
        return dict(json.loads(path.with_suffix('.outcome.json').read_text()))


def complaints(outcome: Mapping[str, Any]) -> Iterator[str]:
    """Iterate over what went wrong."""
    for phase, found in outcome.items():
        yield from (f'{phase}: {name}: {found[name]}' for name in WRONG if found[name])
    for loop in outcome['loops']['loops']:
        if loop['exit'] != [0, None]:
            yield f'loop {loop["pk"]} ended with {loop["exit"]}'
        if set(loop['delivered'].values()) - {1}:
            yield f'loop {loop["pk"]} has frames that were labelled twice: {loop["delivered"]}'
