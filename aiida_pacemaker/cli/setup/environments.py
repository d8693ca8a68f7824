"""Environments for the engine on this machine: `aiida-pacemaker engine install`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from aiida_pacemaker.cli.setup.recipes import ENGINE, PYTHONS, TENSORPOT, TENSORPOTENTIAL, Answer, problems_of
from aiida_pacemaker.errors import InstallError
from aiida_pacemaker.pace.cost.byte_sizes import shown_bytes

#: Says in a folder that this command has made it, what of, and whether it came to the end.
MARK = 'aiida-pacemaker-engine.json'
#: What an environment takes, in bytes: pip keeps the wheels beside what it unpacks for a moment.
SIZE = {False: 1_000_000_000, True: 3_500_000_000}
QUESTION = Path(__file__).with_name('question.py')


def data_home() -> Path:
    """Return the folder that environments are made in if no other is given."""
    return Path(os.environ.get('XDG_DATA_HOME') or Path.home() / '.local' / 'share') / 'aiida-pacemaker'


def name_of(tensorpot: bool) -> str:
    """Return the name of the folder of an environment."""
    return 'engine-tensorpot' if tensorpot else 'engine'


def install_engine(
    folder: Path, tensorpot: bool = False, python: str = sys.executable, say: Callable[[str], None] = print
) -> Answer:
    """Make an environment with the engine, or find the one that this has made before.

    :param folder: where to; it must not be there, or be empty, or be what an earlier call has left.
    :param tensorpot: whether the evaluator `tensorpot` is to work, with TensorFlow for CPUs.
    :param python: the interpreter to make it with.
    :param say: told what is done.
    :returns: what the environment says of itself.
    :raises InstallError: if the folder is somebody else's, or if it fails; then nothing is left behind.
    """
    folder = Path(os.path.abspath(folder.expanduser()))  # noqa: PTH100 (links are kept)
    recipe: dict[str, Any] = {'packages': [ENGINE, *TENSORPOT, TENSORPOTENTIAL] if tensorpot else [ENGINE]}
    made = _made_here(folder)
    if made == {**recipe, 'complete': True}:
        say(f'{folder} has been made before')
        return _ask(folder)
    if made is not None and made.get('complete'):
        raise InstallError(
            f'{folder} is an environment of other packages ({" ".join(made["packages"])}): give another `--path`, or '
            'delete it first; codes that use it will need `aiida-pacemaker setup --path ...` again'
        )
    _check_python(python)
    _check_space(folder, SIZE[tensorpot])
    try:
        if made is not None:
            say(f'{folder} is what an installation that was killed has left: it is made again')
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        mark = folder / MARK
        mark.write_text(json.dumps({**recipe, 'complete': False}))
        _fill(folder, tensorpot, python, say)
        answer = _ask(folder)
        _check_result(answer, tensorpot)
        mark.write_text(json.dumps({**recipe, 'complete': True}))
    except BaseException:
        # An interrupt from the keyboard too.
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return answer


def _made_here(folder: Path) -> dict[str, Any] | None:
    """Return what is marked in a folder, None for one that is free.

    :raises InstallError: if the folder is somebody else's.
    """
    try:
        return dict(json.loads((folder / MARK).read_text()))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        pass
    if folder.is_dir() and not any(folder.iterdir()):
        return None
    if folder.exists() or folder.is_symlink():
        raise InstallError(
            f'{folder} is there already and was not made by this command, so it is left as it is: give a new folder '
            'with `--path`. An environment that has the engine already needs no installation, but '
            f'`aiida-pacemaker setup --path {folder}`'
        )
    return None


def _check_python(python: str) -> None:
    """Look whether there is a wheel of the engine for an interpreter."""
    lowest, highest = ('.'.join(map(str, version)) for version in PYTHONS)
    needed = f'the engine needs Python {lowest} to {highest}: give one with `--python`'
    try:
        done = subprocess.run(  # noqa: S603 (an argument list, no shell)
            [python, '-c', 'import sys; print(*sys.version_info[:2])'], capture_output=True, text=True, check=True
        )
        found = tuple(int(word) for word in done.stdout.split())
    except (OSError, ValueError, subprocess.CalledProcessError) as exception:
        raise InstallError(f'{python} does not work as a Python interpreter ({exception}); {needed}') from exception
    if not PYTHONS[0] <= found <= PYTHONS[1]:
        raise InstallError(f'{python} is Python {".".join(map(str, found))}, but {needed}')


def _check_space(folder: Path, needed: int) -> None:
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise InstallError(
            f'{parent} has {shown_bytes(free)} left and {shown_bytes(needed)} are needed while packages are unpacked: '
            'give a folder on another disk with `--path`'
        )


def _fill(folder: Path, tensorpot: bool, python: str, say: Callable[[str], None]) -> None:
    """Make the environment and install the packages."""
    inside = str(folder / 'bin' / 'python')
    pip = [inside, '-m', 'pip', '--quiet', '--disable-pip-version-check', '--no-input', 'install']
    say(f'making an environment in {folder} with {python}')
    _run([python, '-m', 'venv', str(folder)])
    packages = [ENGINE, *TENSORPOT] if tensorpot else [ENGINE]
    say(f'installing {" ".join(packages)}' + (f' {TENSORPOTENTIAL} (1.9 GB, minutes)' if tensorpot else ''))
    # Wheels only: what has to be compiled for minutes fails for want of a compiler in the end.
    _run([*pip, '--only-binary', ':all:', *packages])
    if tensorpot:
        _run([*pip, '--no-deps', TENSORPOTENTIAL])


def _run(command: list[str]) -> None:
    """Run a command.

    :raises InstallError: with the end of what it said, if it fails.
    """
    # What is set for the Python of this process is not meant for that of the environment.
    kept = {name: value for name, value in os.environ.items() if not re.fullmatch('PYTHON(PATH|HOME)', name)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept)  # noqa: S603
    except OSError as exception:
        raise InstallError(f'{command[0]} cannot be run: {exception}') from exception
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        said = '\n'.join(f'  {line}' for line in lines[-8:])
        raise InstallError(f'`{" ".join(command)}` failed, and nothing of it is left:\n{said}')


def _ask(folder: Path) -> Answer:
    """Ask the Python of an environment what there is."""
    command = [str(folder / 'bin' / 'python'), '-c', QUESTION.read_text()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        return Answer.model_validate_json(done.stdout)
    except (OSError, ValidationError) as exception:
        raise InstallError(f'the Python in {folder} does not work: delete the folder and install again') from exception


def _check_result(answer: Answer, tensorpot: bool) -> None:
    if 'tensorpot' not in answer.evaluators if tensorpot else answer.version is None:
        wrong = problems_of(answer) or ['no engine']
        raise InstallError(f'the packages were installed, but do not make an engine: {"; ".join(wrong)}')
