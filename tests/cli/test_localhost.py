"""Setting up this machine."""

from __future__ import annotations

from uuid import uuid4

import pytest
from aiida import orm

from aiida_pacemaker.calculations.declarations import declared
from aiida_pacemaker.cli import localhost
from aiida_pacemaker.cli.engine import PROGRAMS


@pytest.fixture
def here(aiida_profile, home, monkeypatch):
    """Return the label of this machine as a computer that nobody knows yet."""
    label = f'localhost-{uuid4().hex[:8]}'
    monkeypatch.setattr(localhost, 'COMPUTER', label)
    monkeypatch.setattr(localhost, 'nearby', tuple)
    return label


def test_engine_beside_this_python_comes_first(here, setup, make_engine, monkeypatch):
    folders = make_engine('beside') / 'bin', make_engine('in_path') / 'bin'
    monkeypatch.setattr(localhost, 'nearby', lambda: tuple(map(str, folders)))
    result = setup(here)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == 'profile: test'
    assert lines[-1] == 'engine: python-ace 0.4.0rc1, evaluators: pyace'
    assert len(lines) == 7
    for program, plugin in PROGRAMS.items():
        code = orm.load_code(f'{program}@{here}')
        assert code.filepath_executable.parent == folders[0]
        assert code.default_calc_job_plugin == plugin
        assert declared(code).evaluators == ('pyace',)
    assert setup(here).stdout == result.stdout


def test_environment_that_was_installed_is_found(here, setup, make_engine, home):
    made = make_engine('home/data/aiida-pacemaker/engine')
    assert setup(here).exit_code == 0
    assert orm.load_code(f'pacemaker@{here}').filepath_executable.parent == made / 'bin'


def test_missing_engine(here, setup):
    result = setup(here)
    assert result.exit_code == 1
    assert f'the program `pacemaker` is not on `{here}`' in result.output
    assert '`aiida-pacemaker engine install`' in result.output
