"""Engines of no use: programs that do nothing, and a Python that says what it is told to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiida import orm
from aiida.manage import get_manager
from click.testing import Result
from command_line import call

from aiida_pacemaker.cli.setup import localhost
from aiida_pacemaker.cli.setup.engine import PROGRAMS

MakeEngine = Callable[..., Path]


@pytest.fixture
def make_engine(tmp_path) -> MakeEngine:
    """Return a function that makes an environment with an engine, and returns its folder."""

    def make(name: str = 'engine', without: tuple[str, ...] = (), said: str | None = None, **changes: Any) -> Path:
        programs = tmp_path / name / 'bin'
        programs.mkdir(parents=True)
        answer = {'python': '3.11.2', 'engine': True, 'tensorflow': False, 'versions': {'python-ace': '0.4.0rc1'}}
        (programs / 'answer.json').write_text(said or json.dumps({**answer, **changes}))
        (programs / 'python').write_text('#!/bin/sh\ncat "${0%/*}/answer.json"\n')
        (programs / 'python').chmod(0o755)
        for program in set(PROGRAMS) - {'pace_python', *without}:
            (programs / program).write_text('#!/bin/sh\n')
            (programs / program).chmod(0o755)
        return tmp_path / name

    return make


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """Return a home of its own for the shells that ask for the engine, without engines in the search path."""
    folder = tmp_path / 'home'
    folder.mkdir()
    monkeypatch.setenv('HOME', str(folder))
    monkeypatch.setenv('XDG_DATA_HOME', str(folder / 'data'))
    for name in ('CONDA_EXE', 'MAMBA_ROOT_PREFIX'):
        monkeypatch.delenv(name, raising=False)
    (folder / '.bash_profile').write_text(
        'PATH=/usr/bin:/bin\necho "Welcome to the cluster, $USER"\nprintf "no line"\n'
    )
    return folder


@pytest.fixture
def cluster(aiida_profile, tmp_path, home) -> orm.Computer:
    """Return a computer that is not `localhost`; a shell answers for it here."""
    computer = orm.Computer(
        label=f'hpc-{uuid4().hex[:8]}',
        hostname='hpc',
        transport_type='core.local',
        scheduler_type='core.direct',
        workdir=str(tmp_path / 'work'),
    ).store()
    computer.set_minimum_job_poll_interval(0)
    computer.set_default_mpiprocs_per_machine(1)
    computer.configure(safe_interval=0)
    return computer


@pytest.fixture
def setup(aiida_profile, monkeypatch) -> Callable[..., Result]:
    """Return a function that calls `aiida-pacemaker setup` on the profile of the tests."""
    monkeypatch.setattr(localhost, 'ensure_profile', lambda _: 'test')
    # As in a process that has submitted something before.
    get_manager().get_runner()
    return lambda *arguments: call('setup', *arguments)
