"""The combinations, who runs the tests of services, and what is said where one is missing: needs no service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from combinations import COMBINATIONS, PLAIN, Combination, every
from recording import Recorder
from servers import missing
from servers.missing import ServiceMissing
from servers.slurm import Slurm
from servers.sshd import Sshd


def test_the_combinations_are_some_of_all():
    assert {*COMBINATIONS, *PLAIN} < set(every())
    assert len({combination.name for combination in every()}) == len(every()) == 48
    assert (
        Combination('core.psql_dos', 'core.rabbitmq', 'core.ssh_async (asyncssh)', 'core.slurm', 'other')
        in COMBINATIONS
    )


@pytest.mark.parametrize(('server', 'package'), [(Sshd, 'openssh-server'), (Slurm, 'munge')])
def test_what_is_missing_is_named(server, package, tmp_path, monkeypatch):
    monkeypatch.setattr(missing, 'SYSTEM_PATHS', ())
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(ServiceMissing, match=f'^NO .* apt-get install {package}$'), server(tmp_path / 'server'):
        pass


def test_services_have_to_be_asked_for():
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '--collect-only', '-q', 'tests/services/test_service_loops.py'],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f'no tests collected ({len(COMBINATIONS)} deselected)' in done.stdout


def test_recording_keeps_what_was_not_run(tmp_path):
    def report(when='call', outcome='passed', longrepr=None):
        return pytest.TestReport(
            # With its group, as `--dist loadgroup` names it.
            nodeid='tests/a.py::test_x@slurm',
            location=('tests/a.py', 1, 'test_x'),
            keywords={'services': 1},
            outcome=outcome,
            longrepr=longrepr,
            when=when,
            user_properties=[('versions', ['Slurm 22'])],
            duration=1.6,
        )

    path = tmp_path / 'record.json'
    path.write_text(json.dumps({'tests': {'tests/b.py::test_y': {'outcome': 'passed'}}}))
    recorder = Recorder(path)
    for one in (report('setup'), report(), report('teardown')):
        recorder.pytest_runtest_logreport(one)
    recorder.pytest_sessionfinish()
    tests = json.loads(path.read_text())['tests']
    assert tests['tests/b.py::test_y'] == {'outcome': 'passed'}
    result = tests['tests/a.py::test_x']
    assert (result['outcome'], result['seconds'], result['versions']) == ('passed', 3, ['Slurm 22'])

    recorder.pytest_runtest_logreport(report('setup', 'skipped', ('conftest.py', 3, 'Skipped: NO sshd')))
    recorder.pytest_sessionfinish()
    result = json.loads(path.read_text())['tests']['tests/a.py::test_x']
    assert (result['outcome'], result['reason']) == ('skipped', 'Skipped: NO sshd')
