"""Setting up a computer that is reached over SSH, and running a fit there."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import uuid4

import pytest
from aiida import orm
from command_line import call
from servers.sshd import Sshd

from aiida_pacemaker.cli.setup import localhost

pytestmark = [pytest.mark.services, pytest.mark.engine, pytest.mark.slow]


def test_setup_over_ssh(aiida_profile, tmp_path, monkeypatch):
    """Without daemon and broker, over a transport that asks for the latter."""
    pytest.importorskip('pyace', reason='python-ace is not installed: `pip install python-ace==0.4.0rc1`')
    monkeypatch.setattr(localhost, 'ensure_profile', lambda _: 'test')
    with Sshd(tmp_path / 'sshd') as server:
        monkeypatch.setenv('HOME', str(server.home))
        computer = orm.Computer(
            label=f'ssh-{uuid4().hex[:8]}',
            hostname='loopback',
            transport_type='core.ssh_async',
            scheduler_type='core.direct',
            workdir=str(tmp_path / 'work'),
        ).store()
        computer.set_minimum_job_poll_interval(0.2)
        computer.set_default_mpiprocs_per_machine(1)
        computer.configure(host='loopback', backend='asyncssh', use_login_shell=True, safe_interval=0)
        result = call('setup', computer.label, '--path', Path(sys.executable).parent)
    assert result.exit_code == 0, result.output
    assert 'check: passed' in result.stdout
