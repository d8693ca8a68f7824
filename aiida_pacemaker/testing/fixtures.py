"""Fixtures for pytest: ``pytest_plugins = ['aiida_pacemaker.testing.fixtures']``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from aiida import orm

from aiida_pacemaker.testing.fake.install import install

pytest_plugins = ['aiida.tools.pytest_fixtures']

#: The codes by their use: their programs and calculations.
_CODES = {
    'train': ('pacemaker', 'pacemaker.train'),
    'activeset': ('pace_activeset', 'pacemaker.activeset'),
    'select': ('pace_select', 'pacemaker.select'),
    'yace': ('pace_yaml2yace', None),
    'python': ('python', 'pacemaker.evaluate'),
}

ComputerFactory = Callable[[], orm.Computer]
Codes = dict[str, orm.InstalledCode]


@pytest.fixture(scope='session')
def fake_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the executables of the fake engine."""
    folder = tmp_path_factory.mktemp('fake_engine')
    install(folder)
    return folder


@pytest.fixture
def pace_codes_fake(aiida_computer_local: ComputerFactory, fake_engine: Path) -> Codes:
    """Return codes of the fake engine on this computer: `train`, `activeset`, `select`, `yace` and `python`."""
    return _codes(aiida_computer_local(), {program: fake_engine / program for program, _ in _CODES.values()})


@pytest.fixture
def pace_codes(aiida_computer_local: ComputerFactory) -> Codes:
    """Return codes of the real engine on this computer, as :func:`pace_codes_fake`; without one, the test is skipped.

    It is looked for beside the Python interpreter and in the search path.
    """
    folder = _engine_folder()
    if folder is None:
        pytest.skip('python-ace is not installed: `pip install python-ace==0.4.0rc1`')
    return _codes(aiida_computer_local(), {program: folder / program for program, _ in _CODES.values()})


def _engine_folder() -> Path | None:
    # The interpreter is not resolved: in a virtual environment it is a link to one that knows nothing of the engine.
    found = shutil.which('pacemaker', path=str(Path(sys.executable).parent)) or shutil.which('pacemaker')
    return None if found is None else Path(found).parent


def _codes(computer: orm.Computer, programs: Mapping[str, Path]) -> Codes:
    codes = {}
    for name, (program, plugin) in _CODES.items():
        code = orm.InstalledCode(
            label=f'pace-{name}',
            computer=computer,
            filepath_executable=str(programs[program]),
            default_calc_job_plugin=plugin,
        )
        codes[name] = code.store()
    return codes
