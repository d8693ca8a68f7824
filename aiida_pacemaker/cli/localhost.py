"""Setting up a profile, and this machine as a computer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida.manage.configuration import get_config, load_profile, reset_config

COMPUTER = 'localhost'


def ensure_profile(name: str | None = None) -> str:
    """Load a profile, and make one if there is none at all; it needs no services.

    :param name: name of the profile, the default one if not given.
    :returns: the name of the profile that is loaded now.
    """
    if not get_config(create=True).profile_names:
        command = [*_verdi(), 'presto', '--non-interactive', '--use-zeromq', '--profile-name', name or 'pacemaker']
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (an argument list, no shell)
        reset_config()
    return str(load_profile(name, allow_switch=True).name)


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
