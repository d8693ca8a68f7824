"""RabbitMQ on loopback, with a port mapper of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from servers.missing import program
from servers.running import LOOPBACK, StartError, call, end, free_port, listens, wait_until


class RabbitMQ:
    """A broker with the user `guest`, as AiiDA expects it: messages may stay unacknowledged for as long as a job takes.

    :param folder: everything is in there.
    """

    host = LOOPBACK
    username = 'guest'
    password = 'guest'  # noqa: S105 (the default of the server, which lets it in from loopback only)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._environment: dict[str, str] = {}
        self._mapper: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RabbitMQ:
        server, control = (_script(name) for name in ('rabbitmq-server', 'rabbitmqctl'))
        mapper = program('epmd', 'erlang-base')
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, mapper_port, peers = free_port(), free_port(), free_port()
        self._write_configuration(mapper_port, peers)
        try:
            with (self.folder / 'console.log').open('ab') as log:
                # Started by us, so that it can be ended by us: the server would start one and leave it behind.
                self._mapper = subprocess.Popen([mapper], stdout=log, stderr=log, env=self._environment, cwd='/')
                wait_until(lambda: listens(mapper_port), 10, 'epmd', self.folder / 'console.log')
                self._process = subprocess.Popen([server], stdout=log, stderr=log, env=self._environment, cwd='/')
            wait_until(lambda: listens(self.port) or self._has_ended(), 90, 'rabbitmq-server', Path(log.name))
            call(control, 'await_startup', '--timeout', '60', environment=self._environment, seconds=90)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def version(self) -> str:
        """Return what the server says that it is."""
        return 'RabbitMQ ' + call(_script('rabbitmqctl'), 'version', environment=self._environment).split()[-1]

    def _has_ended(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            said = (self.folder / 'console.log').read_text(errors='replace')[-1500:]
            raise StartError(f'rabbitmq-server ended with {self._process.returncode}. It said: {said}')
        return False

    def _stop(self) -> None:
        for process in (self._process, self._mapper):
            if process is not None:
                end([process.pid], seconds=20)
                process.wait()

    def _write_configuration(self, mapper_port: int, peers: int) -> None:
        folder = self.folder
        (folder / 'rabbitmq.conf').write_text(f'listeners.tcp.1 = {LOOPBACK}:{self.port}\n')
        # A message that starts a process is acknowledged when that ends. The default gives up after half an hour.
        (folder / 'advanced.config').write_text('[{rabbit, [{consumer_timeout, undefined}]}].\n')
        self._environment = {
            **os.environ,
            # The cookie of Erlang is there.
            'HOME': str(folder),
            'ERL_EPMD_ADDRESS': LOOPBACK,
            'ERL_EPMD_PORT': str(mapper_port),
            'RABBITMQ_NODENAME': 'aiida@localhost',
            'RABBITMQ_NODE_PORT': str(self.port),
            'RABBITMQ_NODE_IP_ADDRESS': LOOPBACK,
            'RABBITMQ_DIST_PORT': str(peers),
            'RABBITMQ_CONFIG_FILE': str(folder / 'rabbitmq'),
            'RABBITMQ_ADVANCED_CONFIG_FILE': str(folder / 'advanced.config'),
            'RABBITMQ_MNESIA_BASE': str(folder / 'mnesia'),
            'RABBITMQ_LOG_BASE': str(folder / 'log'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(folder / 'enabled_plugins'),
            'RABBITMQ_PID_FILE': str(folder / 'pid'),
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': '-kernel inet_dist_use_interface {127,0,0,1}',
        }


def _script(name: str) -> str:
    """Return a script of the package itself: that in `/usr/sbin` is a wrapper that changes to another user."""
    own = Path('/usr/lib/rabbitmq/bin') / name
    return str(own) if own.exists() else program(name, 'rabbitmq-server')
