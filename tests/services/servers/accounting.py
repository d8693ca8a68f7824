"""The accounting of Slurm, without which nobody can ask how a job has ended: `slurmdbd` and its MariaDB."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path

from servers.missing import program
from servers.running import LOOPBACK, call, end, free_port, listens, pid_in, wait_until


class Accounting:
    """A database of jobs on loopback.

    :param folder: everything is in there.
    :param munge: the socket by which `slurmdbd` knows whom it talks to.
    :param user: who the programs of Slurm belong to.
    """

    def __init__(self, folder: Path, munge: Path, user: str) -> None:
        self.folder = folder
        self.port = 0
        self._munge = munge
        self._user = user
        self._database: subprocess.Popen[bytes] | None = None
        self._pid = folder / 'slurmdbd.pid'

    @staticmethod
    def check() -> None:
        """Check that the programs are there.

        :raises ServiceMissing: if one is not.
        """
        program('mariadbd', 'mariadb-server')
        program('slurmdbd', 'slurmdbd')

    def start(self, environment: dict[str, str]) -> None:
        """Start the database, and `slurmdbd`, which finds its configuration beside that of Slurm."""
        self.folder.mkdir(parents=True, exist_ok=True)
        port, password = self._start_database()
        self.port = free_port()
        lines = [
            'AuthType=auth/munge',
            f'AuthInfo=socket={self._munge}',
            'CommunicationParameters=NoInAddrAny',
            'DbdHost=localhost',
            f'DbdAddr={LOOPBACK}',
            f'DbdPort={self.port}',
            f'SlurmUser={self._user}',
            'StorageType=accounting_storage/mysql',
            f'StorageHost={LOOPBACK}',
            f'StoragePort={port}',
            'StorageUser=slurm',
            f'StoragePass={password}',
            'StorageLoc=slurm',
            f'PidFile={self._pid}',
            f'LogFile={self.folder / "slurmdbd.log"}',
        ]
        configuration = Path(environment['SLURM_CONF']).parent / 'slurmdbd.conf'
        configuration.touch(mode=0o600)
        configuration.write_text('\n'.join(lines) + '\n')
        call(program('slurmdbd', 'slurmdbd'), environment=environment)
        wait_until(lambda: listens(self.port), 30, 'slurmdbd', self.folder / 'slurmdbd.log')

    def stop(self) -> None:
        """End both."""
        end([pid_in(self._pid)])
        if self._database is not None:
            end([self._database.pid], seconds=20)
            self._database.wait()

    def _start_database(self) -> tuple[int, str]:
        """Return the port of a new MariaDB and the password of the user `slurm`."""
        # It changes to another user, who would not get at the folder, unless it is told not to.
        common = ['--no-defaults', f'--datadir={self.folder / "data"}', *(['--user=root'] if os.getuid() == 0 else [])]
        call(
            program('mariadb-install-db', 'mariadb-server'),
            *(*common, '--auth-root-authentication-method=normal', '--skip-test-db'),
        )
        port, socket = free_port(), self.folder / 'socket'
        with (self.folder / 'mariadb.log').open('ab') as log:
            self._database = subprocess.Popen(
                [
                    *(program('mariadbd', 'mariadb-server'), *common),
                    *(f'--port={port}', f'--bind-address={LOOPBACK}', f'--socket={socket}'),
                    *(f'--pid-file={self.folder / "mariadb.pid"}', '--innodb-flush-log-at-trx-commit=0'),
                ],
                stdout=log,
                stderr=log,
                cwd='/',
            )
        wait_until(lambda: listens(port), 30, 'mariadbd', self.folder / 'mariadb.log')
        password = secrets.token_hex(8)
        account = f"'slurm'@'{LOOPBACK}'"
        call(
            *(program('mariadb', 'mariadb-client'), '--no-defaults', f'--socket={socket}', '--user=root', '--execute'),
            f"CREATE USER {account} IDENTIFIED BY '{password}'; GRANT ALL ON slurm.* TO {account}",
        )
        return port, password
