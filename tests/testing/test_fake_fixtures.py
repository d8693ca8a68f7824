"""The fixtures for pytest, in a test run of their own, as a user has it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

TESTS = """
from pathlib import Path


def test_fake(pace_codes_fake, fake_engine):
    assert set(pace_codes_fake) == {'train', 'activeset', 'select', 'yace', 'python'}
    assert pace_codes_fake['train'].default_calc_job_plugin == 'pacemaker.train'
    for code in pace_codes_fake.values():
        assert code.is_stored
        assert Path(code.filepath_executable).parent == fake_engine
        assert Path(code.filepath_executable).stat().st_mode & 0o100


def test_a_job_sees_the_fault(pace_codes_fake, tmp_path, monkeypatch):
    monkeypatch.setenv('PACE_FAKE_FAULT', 'exit_status:status=9')
    code = pace_codes_fake['train']
    with code.computer.get_transport() as transport:
        status, _, _ = transport.exec_command_wait(f'{code.filepath_executable} input.yaml', workdir=str(tmp_path))
    assert status == 9


def test_real(pace_codes):
    assert 'from pyace' in Path(pace_codes['train'].filepath_executable).read_text()
"""


@pytest.mark.engine
def test_the_fixtures_work_in_a_project_of_a_user(tmp_path):
    (tmp_path / 'conftest.py').write_text("pytest_plugins = ['aiida_pacemaker.testing.fixtures']\n")
    (tmp_path / 'test_codes.py').write_text(TESTS)
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(tmp_path)]
    environment = {**os.environ, 'AIIDA_PATH': str(tmp_path / '.aiida')}
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert process.returncode == 0, process.stdout
    assert '3 passed' in process.stdout
