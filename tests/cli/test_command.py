"""The command itself: what it answers to words that mean nothing here."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest
from command_line import call

from aiida_pacemaker.cli.setup import localhost
from aiida_pacemaker.errors import SetupError


def test_version_by_the_module():
    command = [sys.executable, '-m', 'aiida_pacemaker', '--version']
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == f'aiida-pacemaker, version {version("aiida-pacemaker")}\n'


@pytest.mark.parametrize('words', [('-h',), ('status', '-h'), ('cache', 'show', '--help')])
def test_help(words):
    assert call(*words).stdout.startswith('Usage: ')


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (('status', 'nowhere'), 'there is no node nowhere'),
        (('status', '1', '--profile', 'nothere'), 'there is no profile `nothere`, only '),
        (('cache', 'show', 'localhost', '--profile', 'nothere'), 'there is no profile `nothere`, only '),
        (('cache', 'show', ''), 'AiiDA knows no computer ``'),
        (('setup', 'hpc', '--suffix', '../../x'), '--suffix ../../x: labels of codes have letters'),
        (('setup', 'hpc', '--walltime', '-5'), '-5 is not in the range x>=1'),
    ],
)
def test_what_is_not_there_is_named(aiida_profile, words, said):
    result = call(*words)
    assert result.exit_code != 0
    assert said in result.output.replace('\n', ' ')
    assert 'Traceback' not in result.output


def test_without_a_profile(tmp_path):
    environment = {'PATH': '/usr/bin:/bin', 'AIIDA_PATH': str(tmp_path)}
    command = [sys.executable, '-m', 'aiida_pacemaker', 'status', '1']
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert 'there is no AiiDA profile yet: `aiida-pacemaker setup` makes one' in ended.stderr
    assert 'Traceback' not in ended.stderr


def test_a_profile_that_is_named_and_missing(aiida_profile):
    with pytest.raises(SetupError, match='there is no profile `nothere`, only'):
        localhost.load_named('nothere')
