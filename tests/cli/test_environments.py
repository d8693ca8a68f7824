"""Making an environment for the engine on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import call

from aiida_pacemaker.cli.setup import environments
from aiida_pacemaker.cli.setup.recipes import ENGINE, TENSORPOTENTIAL
from aiida_pacemaker.errors import InstallError


@pytest.fixture
def commands(monkeypatch, make_engine):
    """Return the commands that would make an environment; they make one of no use, or fail where they are told to."""
    ran: list[list[str]] = []
    failing: list[str] = []

    def run(command):
        ran.append(command)
        if any(word in command for word in failing):
            raise InstallError('no network')
        if 'venv' in command:
            make_engine(Path(command[-1]).name)

    monkeypatch.setattr(environments, '_run', run)
    ran_and_failing = type('Commands', (), {'ran': ran, 'failing': failing})
    return ran_and_failing()


def install(*arguments):
    return call('engine', 'install', *arguments)


def test_what_it_installs_and_says(commands, tmp_path):
    result = install('--path', tmp_path / 'new')
    assert result.exit_code == 0, result.output
    assert [ENGINE in command for command in commands.ran] == [False, True]
    assert 'academic' in result.output
    assert result.output.splitlines()[-1] == f'next: aiida-pacemaker setup --path {tmp_path}/new'
    commands.ran.clear()
    assert 'has been made before' in install('--path', tmp_path / 'new').output
    assert not commands.ran


def test_tensorpot_comes_without_its_dependencies(commands, tmp_path):
    result = install('--path', tmp_path / 'new', '--tensorpot')
    assert commands.ran[-1][-2:] == ['--no-deps', TENSORPOTENTIAL]
    # What has been made here cannot do it, and is not kept as if it could.
    assert result.exit_code == 1
    assert 'tensorpotential and TensorFlow missing' in result.output
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('step', ['venv', 'pip'])
def test_nothing_half_made_is_left(commands, tmp_path, step):
    commands.failing.append(step)
    result = install('--path', tmp_path / 'new')
    assert result.exit_code == 1
    assert 'no network' in result.output
    assert not (tmp_path / 'new').exists()


def test_what_a_kill_has_left_is_made_again(commands, tmp_path):
    (tmp_path / 'new' / 'lib').mkdir(parents=True)
    (tmp_path / 'new' / environments.MARK).write_text(json.dumps({'packages': [ENGINE], 'complete': False}))
    assert install('--path', tmp_path / 'new').exit_code == 0
    assert not (tmp_path / 'new' / 'lib').exists()


def test_folders_of_others_are_left_alone(commands, tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.tex').touch()
    (tmp_path / 'file').touch()
    for name in ('mine', 'file'):
        result = install('--path', tmp_path / name)
        assert result.exit_code == 1
        assert 'was not made by this command' in result.output
    assert (tmp_path / 'mine' / 'thesis.tex').exists()
    assert install('--path', tmp_path / 'new').exit_code == 0
    assert 'environment of other packages' in install('--path', tmp_path / 'new', '--tensorpot').output
    assert (tmp_path / 'new' / 'bin').exists()


def test_python_that_there_is_no_engine_for(tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho 3 8\n')
    python.chmod(0o755)
    assert (
        'is Python 3.8, but the engine needs Python 3.9 to 3.13'
        in install('--python', python, '--path', tmp_path / 'new').output
    )
    assert 'does not work as a Python interpreter' in install('--python', '/gone', '--path', tmp_path / 'new').output
    assert not (tmp_path / 'new').exists()


def test_disk_that_is_full(commands, tmp_path, monkeypatch):
    monkeypatch.setattr(environments, 'SIZE', {False: 10**18})
    assert 'GB left and' in install('--path', tmp_path / 'new').output
    assert not commands.ran


def test_why_pip_fails(tmp_path):
    """It is said in its own words."""
    with pytest.raises(
        InstallError, match=r'(?s)failed, and nothing of it is left:.*unrecognized arguments: --nonsense'
    ):
        environments._run([sys.executable, '-m', 'venv', '--nonsense', str(tmp_path / 'new')])


@pytest.mark.engine
@pytest.mark.slow
def test_a_real_environment(tmp_path):
    """Its programs run, and it is apart from that of AiiDA."""
    done = subprocess.run(
        [Path(sys.executable).with_name('aiida-pacemaker'), 'engine', 'install', '--path', tmp_path / 'engine'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'engine: python-ace 0.4.0rc1, evaluators: pyace' in done.stdout
    helped = subprocess.run(
        [tmp_path / 'engine/bin/pace_select', '--help'], capture_output=True, text=True, check=False
    )
    assert 'usage: pace_select' in helped.stdout
    missing = subprocess.run([tmp_path / 'engine/bin/python', '-c', 'import aiida'], capture_output=True, check=False)
    assert missing.returncode == 1
