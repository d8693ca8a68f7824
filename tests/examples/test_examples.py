"""Every example runs as a user runs it, with the real engine, on a profile that the command made."""

from __future__ import annotations

import os
import re
import shutil
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
    """The main job: the test errors go down to those of a good potential."""
    output = command('verdi', 'run', 'examples/mgo_active_learning.py')
    rows = re.findall(r'^ +\d+ +\d+ .*$', output, re.MULTILINE)
    assert len(rows) >= 3
    first, last = (row.split() for row in (rows[0], rows[-1]))
    assert float(last[4]) < min(8.0, float(first[4]))
    assert float(last[5]) < min(80.0, float(first[5]))
    (reference, modulus), (found, other) = re.findall(r'a = (\S+) Å, B = (\S+) GPa', output)
    assert float(found) == pytest.approx(float(reference), rel=0.005)
    assert float(other) == pytest.approx(float(modulus), rel=0.05)
    assert 'Stopped: ' in output
    assert 'pair_style pace/extrapolation' in output
    for ending in ('yaml', 'yace', 'asi', 'in.lammps', 'extrapolation.in.lammps'):
        assert (EXAMPLES / 'output' / f'mgo.{ending}').stat().st_size > 0


def test_copper_from_five_frames(command):
    """The loop that closes by itself: the potential holds 5,000 steps at 600 K, and energy and bulk come out right."""
    output = command('verdi', 'run', 'examples/copper_from_five_frames.py')
    rows = re.findall(r'^ +\d+ +\d+ .*$', output, re.MULTILINE)
    assert len(rows) >= 3
    assert rows[0].split()[1] == '5'
    assert re.search(r'nve: 5000 steps, finished', output)
    assert re.search(r'nvt: 5000 steps, finished', output)
    (drift,) = re.findall(r'drift ([+-]\S+) meV/atom per ps', output)
    assert abs(float(drift)) < 0.1
    (reference, modulus), (found, other) = re.findall(r'a = (\S+) Å, B = (\S+) GPa', output)
    assert float(found) == pytest.approx(float(reference), rel=0.002)
    assert float(other) == pytest.approx(float(modulus), rel=0.05)


def test_judged_by_pacemaker(command):
    """The loss is the same to nine digits, and nothing better is found; errors of both ways stand side by side."""
    output = command('verdi', 'run', 'examples/judged_by_pacemaker.py')
    exact, reported, lowest = (float(number) for number in re.findall(r'^The (?:low|loss).*: +(\S+)$', output, re.M))
    assert reported == pytest.approx(exact, rel=1e-9)
    assert lowest == pytest.approx(reported, rel=1e-9)
    assert '`pacemaker` says the same loss and finds nothing better.' in output
    (of_pacemaker, of_default) = re.findall(r'(\S+) meV/atom +(\S+) meV/Å$', output, re.M)
    assert float(of_default[0]) < float(of_pacemaker[0]) < 40.0
    assert max(float(of_default[1]), float(of_pacemaker[1])) < 250.0


def test_refine_linear_fit(command):
    """The second density changes nothing at first; then errors that were not fitted go down."""
    output = command('verdi', 'run', 'examples/refine_linear_fit.py')
    (first, last) = map(float, re.search(r'both, refined: loss (\S+) to (\S+) in', output).groups())
    assert last < 0.8 * first
    exact, begin, refined = re.findall(r'(\S+) meV/atom +(\S+) meV/Å$', output, re.M)
    assert begin == exact
    assert float(refined[0]) < 1.1 * float(exact[0])
    assert float(refined[1]) < 0.9 * float(exact[1])


@pytest.mark.qe
@pytest.mark.skipif(shutil.which('pw.x') is None, reason='DFT IS NOT TESTED: there is no `pw.x` in the search path')
def test_mgo_from_scratch(command):
    """Two generations by real DFT: what gamma picks out joins the dataset, at the level of theory of the others."""
    output = command('verdi', 'run', 'examples/mgo_from_scratch.py', 'quick')
    first, second = (line.split() for line in re.findall(r'^ +\d+ +\d+ .*$', output, re.MULTILINE))
    assert int(second[1]) > int(first[1]) == 6
    assert 'Stopped: ' in output
    levels = re.findall(r'(\d+) frames: quantumespresso.pw, .*, PZ, ', output)
    assert len(levels) == 1
    assert int(levels[0]) >= int(second[1])


#: Examples that are looked at more closely above.
OTHERS = {
    *('mgo_active_learning.py', 'copper_from_five_frames.py', 'mgo_from_scratch.py'),
    *('judged_by_pacemaker.py', 'refine_linear_fit.py'),
}


@pytest.mark.parametrize('name', sorted({path.name for path in EXAMPLES.glob('*.py')} - OTHERS))
def test_example(command, name):
    command('verdi', 'run', f'examples/{name}')
