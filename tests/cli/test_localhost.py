"""Setting up this machine."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from uuid import uuid4

import pytest
from aiida import orm

from aiida_pacemaker.calculations.declarations import declared
from aiida_pacemaker.cli.setup import localhost
from aiida_pacemaker.cli.setup.engine import PROGRAMS


@pytest.fixture
def here(aiida_profile, home, monkeypatch):
    """Return the label of this machine as a computer that nobody knows yet."""
    label = f'localhost-{uuid4().hex[:8]}'
    monkeypatch.setattr(localhost, 'COMPUTER', label)
    monkeypatch.setattr(localhost, 'nearby', tuple)
    return label


def journal_mode(database):
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute('PRAGMA journal_mode').fetchone()[0]


def test_the_database_of_a_profile_has_a_write_ahead_log(tmp_path, monkeypatch):
    database = tmp_path / 'database.sqlite'
    assert journal_mode(database) == 'delete'
    monkeypatch.setattr(localhost, 'LOCAL_FILE_SYSTEMS', frozenset())
    assert not localhost.use_write_ahead_log(database), 'other machines may have it open'
    assert journal_mode(database) == 'delete'
    monkeypatch.undo()
    assert localhost.use_write_ahead_log(database)
    assert journal_mode(database) == 'wal'


def test_set_ups_wait_for_each_other(aiida_profile):
    order = []

    def second():
        with localhost.one_at_a_time():
            order.append('second')

    with localhost.one_at_a_time():
        other = threading.Thread(target=second)
        other.start()
        other.join(0.2)
        order.append('first')
    other.join()
    assert order == ['first', 'second']


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
