"""Setting up a profile, and this machine as a computer."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
from aiida import orm
from aiida.common.exceptions import MissingConfigurationError, NotExistent
from aiida.manage.configuration import get_config, load_profile, reset_config
from aiida.manage.configuration.settings import AiiDAConfigDir

from aiida_pacemaker._aiida.storage import database_of
from aiida_pacemaker.errors import SetupError

COMPUTER = 'localhost'
#: Those of one machine.
LOCAL_FILE_SYSTEMS = frozenset(
    ['apfs', 'bcachefs', 'btrfs', 'ext2', 'ext3', 'ext4', 'f2fs', 'hfs', 'overlay', 'tmpfs', 'xfs', 'zfs']
)


def ensure_profile(name: str | None = None) -> str:
    """Load a profile, and make one if there is none at all; it needs no services.

    :param name: name of the profile, the default one if not given.
    :returns: the name of the profile that is loaded now.
    :raises SetupError: if there are profiles, but none of that name.
    """
    with one_at_a_time():
        # Another command may have made one meanwhile.
        reset_config()
        if not get_config(create=True).profile_names:
            label = name or 'pacemaker'
            command = [*_verdi(), 'presto', '--non-interactive', '--use-zeromq', '--profile-name', label]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (an argument list, no shell)
            reset_config()
            use_write_ahead_log(database_of(label))
    return load_named(name)


def load_named(name: str | None) -> str:
    """Load a profile and return its name.

    :param name: of the profile; the default one if not given.
    :raises SetupError: if there is no such profile, or none at all.
    """
    try:
        config = get_config()
    except MissingConfigurationError:
        known, default = [], None
    else:
        known, default = config.profile_names, config.default_profile_name
    if not known:
        raise SetupError('there is no AiiDA profile yet: `aiida-pacemaker setup` makes one')
    if (name or default) not in known:
        what = 'there is no default profile' if name is None else f'there is no profile `{name}`'
        raise SetupError(
            f'{what}, only {", ".join(known)}: give one of them with `--profile`, or make it the default one with '
            '`verdi profile set-default NAME`'
        )
    return str(load_profile(name, allow_switch=True).name)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait for other commands that set up the same configuration: what this one looks for, they may be making."""
    folder = AiiDAConfigDir.get()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'pacemaker_setup.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def use_write_ahead_log(database: Path) -> bool:
    """Have readers and a writer of an SQLite database not wait for each other; the file remembers it.

    It needs memory that all processes share, so it is not for file systems of several machines
    (https://sqlite.org/wal.html); there the database stays as it is.

    :returns: whether it is so now.
    """
    place = database.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if place.is_relative_to(part.mountpoint)]
    kind = max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else ''
    if kind not in LOCAL_FILE_SYSTEMS:
        return False
    with closing(sqlite3.connect(database)) as connection:
        (mode,) = connection.execute('PRAGMA journal_mode = WAL').fetchone()
    return bool(mode == 'wal')


def ensure_computer() -> orm.Computer:
    """Return the computer `localhost`, made and configured if it is not there."""
    try:
        return orm.load_computer(COMPUTER)
    except NotExistent:
        computer = orm.Computer(
            label=COMPUTER,
            hostname=COMPUTER,
            description='This machine',
            transport_type='core.local',
            scheduler_type='core.direct',
            workdir=str(Path(get_config().dirpath, 'scratch')),
        ).store()
        computer.set_minimum_job_poll_interval(1.0)
        computer.set_default_mpiprocs_per_machine(1)
        computer.configure(safe_interval=0)
        return computer


def nearby() -> tuple[str, ...]:
    """Return the folders that are searched first on this machine: those of this Python and of the shell it runs in."""
    return str(Path(sys.executable).parent), *os.environ.get('PATH', '').split(os.pathsep)


def _verdi() -> list[str]:
    """Return the command line of `verdi` in the environment of this Python."""
    return [sys.executable, '-m', 'aiida']
