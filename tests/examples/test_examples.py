"""Every example runs as a user runs it, with the real engine, on a profile that the command made."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / 'examples'

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope='module')
def command(tmp_path_factory):
    """Return a function that runs a program of this environment on a new configuration of AiiDA."""
    environment = {
        **os.environ,
        'AIIDA_PATH': str(tmp_path_factory.mktemp('aiida')),
        'PATH': os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']]),
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            arguments, env=environment, cwd=EXAMPLES.parent, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run('aiida-pacemaker', 'setup')
    return run


def test_setup_can_be_repeated(command):
    """What is there is kept."""
    lines = command('aiida-pacemaker', 'setup').splitlines()
    assert lines[0] == 'profile: pacemaker'
    assert len(lines) == 7
    assert re.fullmatch(r'engine: python-ace \S+, evaluators: pyace.*', lines[-1])


def test_mgo_active_learning(command):
    """The main job: at least three generations, and the test errors go down from the first to the last."""
    output = command('verdi', 'run', 'examples/mgo_active_learning.py')
    rows = re.findall(r'^ +\d+ +\d+ .*$', output, re.MULTILINE)
    assert len(rows) >= 3
    first, last = (row.split() for row in (rows[0], rows[-1]))
    assert float(last[4]) < float(first[4])
    assert float(last[5]) < float(first[5])
    assert 'Stopped: ' in output
    assert 'pair_style hybrid/overlay pace/extrapolation zbl' in output
    for ending in ('yaml', 'yace', 'asi', 'in.lammps', 'extrapolation.in.lammps'):
        assert (EXAMPLES / 'output' / f'mgo.{ending}').stat().st_size > 0


@pytest.mark.parametrize(
    'name', sorted(path.name for path in EXAMPLES.glob('*.py') if path.name != 'mgo_active_learning.py')
)
def test_example(command, name):
    command('verdi', 'run', f'examples/{name}')
