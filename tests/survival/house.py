"""An AiiDA instance that is there to be shot at: a profile of its own, a daemon, the codes, and a loop to run."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from processes import MARK, kill_all, processes_of

VERDI = [sys.executable, '-m', 'aiida']
PROFILE = 'survival'

#: Modules for the processes of the instance.
INSIDE = Path(__file__).parent / 'inside'


class House:
    """A profile of SQLite and ZeroMQ in a folder, and its daemon.

    It has to be made before AiiDA is imported, since it sets the environment that AiiDA finds its configuration by.

    :param folder: an empty folder; everything is in there, also temporary files.
    :param workers: number of daemon workers.
    """

    def __init__(self, folder: Path, workers: int = 1) -> None:
        self.folder = folder
        self._workers = workers
        self._temporary = folder / 'tmp'
        self._temporary.mkdir(parents=True)
        (folder / '.aiida').mkdir()
        os.environ.update(
            {
                'AIIDA_PATH': str(folder / '.aiida'),
                'TMPDIR': str(self._temporary),
                MARK: str(folder),
                # For `sitecustomize.py`, which lets workers die where they are told to.
                'PYTHONPATH': os.pathsep.join([str(INSIDE), *filter(None, [os.environ.get('PYTHONPATH')])]),
                # `verdi` looks for itself.
                'PATH': os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']]),
            }
        )

    def make_profile(self) -> None:
        """Make and load the profile; no poll is longer than half a second."""
        from aiida import load_profile
        from aiida.manage.configuration import get_config

        self._verdi('presto', '--non-interactive', '--use-zeromq', '--profile-name', PROFILE)
        for option in ('warnings.development_version', 'caching.default_enabled'):
            self._verdi('config', 'set', option, 'False')
        self._verdi('config', 'set', 'runner.poll.interval', '1')
        self._verdi('config', 'set', 'transport.task_retry_initial_interval', '1')
        get_config(create=False)
        load_profile(PROFILE)

    def make_computer(self) -> Any:
        """Return this computer."""
        from aiida import orm

        computer = orm.Computer(
            label='here',
            hostname='localhost',
            transport_type='core.local',
            scheduler_type='core.direct',
            workdir=str(self.folder / 'scratch'),
        ).store()
        computer.set_minimum_job_poll_interval(0.1)
        computer.set_default_mpiprocs_per_machine(1)
        computer.configure(safe_interval=0, use_login_shell=False)
        return computer

    def start(self) -> None:
        """Start the daemon, as a user does after the machine came up."""
        self._verdi('-p', PROFILE, 'daemon', 'start', str(self._workers))

    def stop(self) -> None:
        """Stop the daemon in good order."""
        self._verdi('-p', PROFILE, 'daemon', 'stop', check=False)

    def repair(self) -> str:
        """Let AiiDA look for processes that nobody works on; the daemon has to be stopped."""
        return self._verdi('-p', PROFILE, 'process', 'repair', '--force')

    def crash(self) -> int:
        """End everything at once, and forget the temporary files, as when the machine goes down."""
        count = kill_all(self.folder)
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir()
        return count

    @property
    def fuse(self) -> Path:
        """Return the file that says how many commits a worker has to live; it is gone when that is over."""
        return self.folder / 'fuse'

    def forget_broker(self) -> None:
        """Drop the connection of this process: the next broker listens elsewhere."""
        from aiida.manage import get_manager

        get_manager().reset_runner()
        get_manager().reset_broker()

    def activity(self) -> tuple[Any, ...]:
        """Return something that changes whenever anything happens in the database."""
        with sqlite3.connect(self._database, timeout=30) as connection:
            row = connection.execute('SELECT count(*), max(mtime) FROM db_dbnode').fetchone()
        connection.close()
        return tuple(row)

    def clear(self) -> None:
        """Leave nothing running."""
        kill_all(self.folder)
        left = [process for processes in processes_of(self.folder).values() for process in processes]
        if left:
            raise RuntimeError(f'still running: {left}')

    @property
    def _database(self) -> Path:
        from aiida.manage import get_manager

        return Path(get_manager().get_profile().storage_config['filepath']) / 'database.sqlite'

    def _verdi(self, *arguments: str, check: bool = True) -> str:
        for attempt in range(3):
            # Not from where the tests are run: the daemon inherits the path that modules are found by.
            done = subprocess.run(
                [*VERDI, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=90, check=False
            )
            if done.returncode == 0 or not check:
                break
            print(f'`verdi {" ".join(arguments)}` failed ({attempt}): {(done.stdout + done.stderr)[-300:]}', flush=True)
            time.sleep(1)
        else:
            raise RuntimeError(
                f'`verdi {" ".join(arguments)}` failed three times: {(done.stdout + done.stderr)[-900:]}'
            )
        return done.stdout + done.stderr
