"""An AiiDA instance of a test's own, in a process of its own: a profile, a daemon and computers.

Tests that need another storage, broker or environment than all others, or kill the daemon, run a script that makes such
an instance.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from processes import MARK, kill_all, processes_of

VERDI = [sys.executable, '-m', 'aiida']
PROFILE = 'tests'


class AiidaInstance:
    """A profile in a folder, and its daemon; without more words, of SQLite and ZeroMQ.

    It has to be made before AiiDA is imported, since it sets the environment that AiiDA finds its configuration by.

    :param folder: an empty folder; everything is in there, also temporary files. Its path has to be short.
    :param workers: number of daemon workers.
    :param modules: a folder of modules that all processes of the instance can import.
    :param environment: variables for all processes of the instance.
    """

    def __init__(
        self,
        folder: Path,
        workers: int = 1,
        modules: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
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
                'PYTHONPATH': _joined(modules, os.environ.get('PYTHONPATH')),
                # `verdi` looks for itself.
                'PATH': _joined(Path(sys.executable).parent, os.environ['PATH']),
                **(environment or {}),
            }
        )

    def make_profile(self, storage: Mapping[str, Any] | None = None, broker: Mapping[str, Any] | None = None) -> None:
        """Make and load the profile; no poll is longer than a second.

        :param storage: options of `verdi profile setup core.psql_dos`, for PostgreSQL.
        :param broker: options of `verdi profile configure-broker core.rabbitmq`, for RabbitMQ.
        """
        from aiida import load_profile
        from aiida.manage.configuration import get_config

        name = ('--profile-name', PROFILE)
        if storage is None and broker is None:
            self._verdi('presto', '--non-interactive', '--use-zeromq', *name)
        else:
            backend = 'core.sqlite_dos' if storage is None else 'core.psql_dos'
            with_broker = ('--broker', 'core.zeromq' if broker is None else 'core.rabbitmq')
            email = ('--email', 'test@localhost')
            repository = () if storage is None else ('--repository-uri', f'file://{self.folder / "repository"}')
            self._verdi(
                *('profile', 'setup', backend, '--non-interactive', *name, *email, *with_broker),
                *repository,
                *_options(storage or {}),
            )
        if broker is not None:
            # The version of RabbitMQ in Debian works with the `consumer_timeout` that the tests give it.
            self._verdi('config', 'set', 'warnings.rabbitmq_version', 'False')
            self._verdi(
                *('profile', 'configure-broker', 'core.rabbitmq', PROFILE, '--force', '--non-interactive'),
                *_options(broker),
            )
        for option in ('warnings.development_version', 'caching.default_enabled'):
            self._verdi('config', 'set', option, 'False')
        self._verdi('config', 'set', 'runner.poll.interval', '1')
        self._verdi('config', 'set', 'transport.task_retry_initial_interval', '1')
        get_config(create=False)
        load_profile(PROFILE)

    def write_ahead(self) -> None:
        """Let SQLite keep a write-ahead log, with which those that read do not wait for one that writes."""
        with contextlib.closing(sqlite3.connect(self._database)) as connection:
            connection.execute('PRAGMA journal_mode=WAL')

    def make_computer(
        self,
        transport: str = 'core.local',
        scheduler: str = 'core.direct',
        authentication: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return this computer, as what it is called by a transport and a scheduler.

        :param authentication: options of the transport.
        """
        from aiida import orm

        computer = orm.Computer(
            label='here',
            hostname='localhost',
            transport_type=transport,
            scheduler_type=scheduler,
            workdir=str(self.folder / 'scratch'),
        ).store()
        computer.set_minimum_job_poll_interval(0.4)
        computer.set_default_mpiprocs_per_machine(1)
        computer.configure(safe_interval=0, use_login_shell=False, **(authentication or {}))
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
    def kill_at_commit(self) -> Path:
        """Return the file that says at which of its next commits a worker kills itself, which then removes the file."""
        return self.folder / 'kill_at_commit'

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


def _joined(*paths: Path | str | None) -> str:
    return os.pathsep.join(str(path) for path in paths if path)


def _options(values: Mapping[str, Any]) -> list[str]:
    return [word for name, value in values.items() for word in (f'--{name}', str(value))]
