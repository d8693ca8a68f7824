"""Real services, each started once, and AiiDA instances that use them."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from combinations import Combination
from engine_env import other_environment, same_environment, versions
from processes import kill_all
from servers.missing import ServiceMissing
from servers.postgres import Postgres
from servers.rabbitmq import RabbitMQ
from servers.slurm import Slurm
from servers.sshd import ALIAS, Sshd

Request = dict[str, Any]

ENGINES = {'same': same_environment, 'other': other_environment}

#: Seconds after which a script that runs an instance is ended.
LIMIT = 900


class Services:
    """The servers, started when the first test asks for one.

    :param folder: everything is in there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self._running: dict[str, Any] = {}
        self._missing: dict[str, str] = {}
        self._databases = count()

    def close(self) -> None:
        """End all servers, the last first."""
        self._stack.close()

    def request(self, combination: Combination) -> Request:
        """Return what `run_in_instance.py` is to be told of a combination, and the versions of what is in it.

        A test is skipped if a service of the combination cannot be had.
        """
        request: Request = {'storage': None, 'broker': None, 'authentication': {}, 'environment': {}, 'versions': []}
        if combination.storage == 'core.psql_dos':
            self._use_postgres(request)
        if combination.broker == 'core.rabbitmq':
            self._use_rabbitmq(request)
        cluster = self._get('slurm', Slurm, accounting=True) if combination.scheduler == 'core.slurm' else None
        if cluster is not None:
            request['versions'].append(cluster.version())
            request['environment'] |= {'SLURM_CONF': str(cluster.conf)}
        if combination.transport != 'core.local':
            self._use_ssh(request, combination.transport, cluster)
        engine = self._get(f'engine_{combination.engine}', ENGINES[combination.engine])
        request['versions'].append(versions(engine))
        return {
            **request,
            'transport': combination.transport.split()[0],
            'scheduler': combination.scheduler,
            'engine': str(engine),
        }

    def _use_postgres(self, request: Request) -> None:
        server = self._get('postgres', Postgres)
        request['storage'] = server.create_database(f'aiida_{next(self._databases)}')
        request['versions'].append(server.version())

    def _use_rabbitmq(self, request: Request) -> None:
        server = self._get('rabbitmq', RabbitMQ)
        login = {'protocol': 'amqp', 'host': server.host, 'port': server.port, 'virtual-host': ''}
        login |= {'username': server.username, 'password': server.password}
        request['broker'] = {f'broker-{key}': value for key, value in login.items()}
        request['versions'].append(server.version())

    def _use_ssh(self, request: Request, transport: str, cluster: Slurm | None) -> None:
        """Log in on a server whose sessions know of the cluster, if there is one, as those on its login node do."""
        environment = {} if cluster is None else {'SLURM_CONF': str(cluster.conf)}
        server = self._get('sshd' if cluster is None else 'sshd_slurm', Sshd, environment=environment)
        backend = transport.split('(')[1].rstrip(')')
        request['authentication'] = {'host': ALIAS, 'backend': backend}
        # The one looks for its configuration in `HOME`, the programs are told by their wrappers.
        request['environment'] |= {'HOME': str(server.home)}
        if backend == 'openssh':
            request['programs'] = str(server.wrappers)
        request['versions'].append(server.version())

    def _get(self, name: str, make: Callable[..., Any], **options: Any) -> Any:
        """Return a server, or whatever else is made once; the test is skipped if it cannot be had."""
        if name in self._missing:
            pytest.skip(self._missing[name])
        if name not in self._running:
            try:
                made = (
                    make(**options)
                    if make in ENGINES.values()
                    else self._stack.enter_context(make(self.folder / name, **options))
                )
            except ServiceMissing as missing:
                self._missing[name] = str(missing)
                pytest.skip(str(missing))
            self._running[name] = made
        return self._running[name]


@pytest.fixture(scope='session')
def services() -> Iterator[Services]:
    """Return the servers."""
    # A path of a socket has at most 107 characters, so the folder is not one of pytest.
    folder = Path(tempfile.mkdtemp(prefix='services_'))
    running = Services(folder)
    try:
        yield running
    finally:
        running.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope='session')
def run_on(services: Services) -> Iterator[Callable[..., dict[str, Any]]]:
    """Return a function that runs a task of `tasks.py` on a combination, and returns its outcome and the versions."""
    with contextlib.ExitStack() as stack:

        def run(combination: Combination, task: str, **options: Any) -> dict[str, Any]:
            request = services.request(combination)
            folder = Path(tempfile.mkdtemp(prefix='task_'))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            path = folder / 'request.json'
            path.write_text(json.dumps({**request, 'folder': str(folder / 'h'), 'task': task, 'options': options}))
            with (folder / 'log').open('w') as log:
                script = subprocess.Popen(
                    [sys.executable, Path(__file__).parent / 'run_in_instance.py', path],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            try:
                script.wait(timeout=LIMIT)
            finally:
                script.kill()
                kill_all(folder / 'h')
            said = (folder / 'log').read_text()
            assert script.returncode == 0, said[-3000:]
            return {**json.loads(path.with_suffix('.outcome.json').read_text()), 'versions': request['versions']}

        yield run
