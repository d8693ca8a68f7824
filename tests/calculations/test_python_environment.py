"""What Python a job finds: that of its code, whatever the process that submits it has for itself."""

from __future__ import annotations

import subprocess

import pytest
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory

from aiida_pacemaker.calculations.python_environment import clean_python


def search_path(inherited, given=(), before=''):
    """Return `PYTHONPATH` in a script that stops at errors and at unset variables; None if there is none."""
    script = f'{before}\n{clean_python(given)}\nprintf "%s" "${{PYTHONPATH-none}}"'
    environment = {'PATH': '/usr/bin:/bin', **({} if inherited is None else {'PYTHONPATH': inherited})}
    printed = subprocess.run(
        ['bash', '-euc', script], env=environment, capture_output=True, text=True, check=True
    ).stdout
    return None if printed == 'none' else printed


@pytest.mark.parametrize('inherited', [None, '', '/aiida/site-packages', ':/a b:/c', '/a*:/$(touch x):[/]'])
def test_what_is_inherited_is_taken_off(inherited, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not search_path(inherited)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('line', 'left'),
    [
        ('export PYTHONPATH=/module:$PYTHONPATH', '/module'),
        ('export PYTHONPATH=$PYTHONPATH:/module', '/module'),
        ('export PYTHONPATH=/one:$PYTHONPATH:/two', '/one:/two'),
        ('export PYTHONPATH=/other', '/other'),
        ('unset PYTHONPATH', None),
    ],
)
def test_what_the_code_has_set_stays(line, left):
    assert search_path('/aiida/bin:/aiida/site-packages', before=line) == left


def test_what_the_job_sets_itself_stays():
    assert search_path('/mine', given={'PYTHONPATH': '/mine'}) == '/mine'


@pytest.mark.fault(
    'The daemon exports the search path of its own Python, and the engine is in another environment',
    engine='imports the packages of AiiDA in place of its own: other versions of NumPy, or none that it can load',
    here='jobs begin with the search path that their code and their options have set, and nothing inherited',
    ends='the job runs as it does without the daemon',
)
def test_a_job_does_not_import_what_its_submitter_does(tmp_path, monkeypatch, pace_codes_fake, train_inputs):
    (tmp_path / 'numpy.py').write_text('raise ImportError("not that of the engine")')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    inputs = {'code': pace_codes_fake['train'], **train_inputs()}
    _, node = run_get_node(CalculationFactory('pacemaker.train'), **inputs)
    assert node.is_finished_ok, node.exit_message
    options = {'environment_variables': {'PYTHONPATH': str(tmp_path)}}
    _, node = run_get_node(CalculationFactory('pacemaker.train'), metadata={'options': options}, **inputs)
    assert 'not that of the engine' in (node.exit_message or ''), 'what the job sets itself counts'
