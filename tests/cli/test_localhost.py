"""Setting up this machine."""

from __future__ import annotations

import pytest
from aiida import orm

from aiida_pacemaker.cli import localhost


@pytest.fixture
def programs(aiida_profile_clean, tmp_path, monkeypatch):
    """Return the programs of an engine of no use, which is found first."""
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
    assert orm.load_code('pacemaker@localhost').pk == codes['pacemaker'].pk


def test_missing_engine(programs, monkeypatch):
    (programs / 'pace_select').unlink()
    monkeypatch.setenv('PATH', str(programs))
    with pytest.raises(localhost.EngineMissingError, match='`pace_select` is not on this machine: install the engine'):
        localhost.ensure_codes()
