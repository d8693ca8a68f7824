"""Setting up this machine."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import pytest
from aiida import orm

from aiida_pacemaker.calculations.declarations import Declaration, declared
from aiida_pacemaker.cli import localhost


@pytest.fixture
def programs(aiida_profile, tmp_path, monkeypatch):
    """Return the programs of an engine of no use, which is found first, for a computer that nobody knows."""
    monkeypatch.setattr(localhost, 'COMPUTER', f'localhost-{uuid4().hex}')
    for program in localhost.PROGRAMS:
        (tmp_path / program).touch(mode=0o755)
    (tmp_path / 'python').touch(mode=0o755)
    monkeypatch.setattr(localhost.sys, 'executable', str(tmp_path / 'python'))
    return tmp_path


def test_codes_are_made_once(programs):
    codes = localhost.ensure_codes()
    assert set(codes) == set(localhost.PROGRAMS)
    assert codes['pace_python'].filepath_executable == programs / 'python'
    assert codes['pacemaker'].default_calc_job_plugin == 'pacemaker.train'
    assert {code.pk for code in localhost.ensure_codes().values()} == {code.pk for code in codes.values()}


def test_a_code_whose_program_is_gone_makes_way(programs):
    """As after the environment of an earlier set-up was deleted."""
    computer = localhost.ensure_computer()
    gone = orm.InstalledCode(label='pacemaker', computer=computer, filepath_executable='/gone/pacemaker').store()
    codes = localhost.ensure_codes()
    assert codes['pacemaker'].filepath_executable == programs / 'pacemaker'
    assert orm.load_node(gone.pk).label == f'pacemaker-{gone.pk}'
    assert orm.load_code(f'pacemaker@{localhost.COMPUTER}').pk == codes['pacemaker'].pk


def test_missing_engine(programs, monkeypatch):
    (programs / 'pace_select').unlink()
    monkeypatch.setenv('PATH', str(programs))
    with pytest.raises(localhost.EngineMissingError, match='`pace_select` is not on this machine: install the engine'):
        localhost.ensure_codes()


def test_the_engine_says_what_it_can_do(programs):
    """Each code declares it, so that what it cannot do is refused before it is submitted."""
    python = programs / 'python'
    python.write_text('#!/bin/sh\necho \'{"version": "9.9", "evaluators": ["pyace"]}\'\n')
    codes = localhost.ensure_codes()
    assert localhost.declare_engine(codes) == Declaration(version='9.9', evaluators=('pyace',))
    assert all(declared(code).evaluators == ('pyace',) for code in codes.values())


@pytest.mark.parametrize('script', ['', '#!/bin/sh\nexit 1\n', '#!/bin/sh\necho nonsense\n', '#!/gone\n'])
def test_a_python_without_the_engine(programs, script):
    (programs / 'python').write_text(script)
    with pytest.raises(localhost.EngineMissingError, match='does not tell its version of python-ace'):
        localhost.ask_engine(programs / 'python')


@pytest.mark.engine
def test_the_question_is_answered_by_a_real_engine():
    pytest.importorskip('pyace', reason='python-ace is not installed: `pip install aiida-pacemaker[engine]`')
    answer = localhost.ask_engine(Path(sys.executable))
    assert answer.version == version('python-ace')
    assert 'pyace' in answer.evaluators
