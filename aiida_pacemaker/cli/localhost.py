"""Setting up profile, computer and codes on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida.manage.configuration import get_config, load_profile, reset_config
from pydantic import ValidationError

from aiida_pacemaker.calculations.declarations import Declaration, declare

#: The programs of the engine, and the plugin that each is called by.
PROGRAMS = {
    'pacemaker': 'pacemaker.train',
    'pace_yaml2yace': None,
    'pace_activeset': 'pacemaker.activeset',
    'pace_select': 'pacemaker.select',
    'pace_python': 'pacemaker.evaluate',
}
COMPUTER = 'localhost'
#: What the engine's Python is asked. Nothing is imported, which would take seconds.
QUESTION = """
import json
from importlib.metadata import version
from importlib.util import find_spec
parts = {'pyace': ['pyace'], 'tensorpot': ['pyace', 'tensorpotential', 'tensorflow']}
evaluators = [name for name, modules in parts.items() if all(map(find_spec, modules))]
print(json.dumps({'version': version('python-ace'), 'evaluators': evaluators}))
"""


class EngineMissingError(RuntimeError):
    """The programs of python-ace are not on this machine."""


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


def find_programs() -> dict[str, Path]:
    """Return the path of each program of the engine, from the environment of this Python or from `PATH`.

    :raises EngineMissingError: if one is missing.
    """
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', '')])
    paths: dict[str, Path] = {}
    for program in PROGRAMS:
        found = shutil.which(program, path=search)
        if program == 'pace_python':
            # The Python beside `pacemaker` is the one that the engine is installed in.
            found = str(paths['pacemaker'].with_name('python'))
        if found is None:
            raise EngineMissingError(
                f'the program `{program}` is not on this machine: install the engine with '
                '`pip install "aiida-pacemaker[engine]"` (python-ace; its licence is for academic use)'
            )
        paths[program] = Path(found)
    return paths


def ensure_codes() -> dict[str, orm.AbstractCode]:
    """Return a code on `localhost` for each program of the engine, made if it is not there.

    A code whose program is gone, with the environment that it was installed in, makes way: it gets its pk behind its
    label, and stays as the code of what it has run.

    :raises EngineMissingError: if a code has to be made and its program is missing.
    """
    computer = ensure_computer()
    codes: dict[str, orm.AbstractCode] = {}
    missing = []
    for program in PROGRAMS:
        try:
            code = orm.load_code(f'{program}@{COMPUTER}')
        except NotExistent:
            missing.append(program)
            continue
        if isinstance(code, orm.InstalledCode) and not Path(code.filepath_executable).exists():
            code.label = f'{program}-{code.pk}'
            missing.append(program)
        else:
            codes[program] = code
    paths = find_programs() if missing else {}
    for program in missing:
        codes[program] = orm.InstalledCode(
            label=program,
            computer=computer,
            filepath_executable=str(paths[program]),
            default_calc_job_plugin=PROGRAMS[program],
        ).store()
    return codes


def ask_engine(python: Path) -> Declaration:
    """Ask the Python that the engine is installed in for its version and its evaluators.

    :raises EngineMissingError: if it does not answer, or has no python-ace.
    """
    said = ''
    try:
        answer = subprocess.run([str(python), '-c', QUESTION], capture_output=True, text=True, check=False)  # noqa: S603
        said = answer.stderr.strip()
        return Declaration.model_validate_json(answer.stdout)
    except (OSError, ValidationError) as exception:
        reason = said.splitlines()[-1] if said else str(exception)
        raise EngineMissingError(
            f'{python} does not tell its version of python-ace ({reason}): install the engine there with '
            '`pip install "python-ace==0.4.0rc1"`, or activate the environment that has it and run this again'
        ) from exception


def declare_engine(codes: Mapping[str, orm.AbstractCode]) -> Declaration:
    """Ask the engine behind the codes of this machine what it can do, and keep that with each of them."""
    python = codes['pace_python']
    if not isinstance(python, orm.InstalledCode):
        return Declaration()
    declaration = ask_engine(Path(python.filepath_executable))
    for code in codes.values():
        declare(code, declaration)
    return declaration


def _verdi() -> list[str]:
    """Return the command line of `verdi` in the environment of this Python."""
    return [sys.executable, '-m', 'aiida']
