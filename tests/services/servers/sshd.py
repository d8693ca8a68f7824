"""An SSH server of OpenSSH on loopback, with a key that is known to nobody else."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from servers.missing import program
from servers.running import LOOPBACK, call, end, free_port, listens, wait_until

#: The name under which clients find it in `ssh_config`.
ALIAS = 'loopback'


class Sshd:
    """A server that lets the user who starts it log in.

    :param folder: everything is in there.
    :param environment: variables that sessions have, such as `SLURM_CONF`.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = 0
        self.key = folder / 'id'
        #: A configuration in which `Host loopback` is this server.
        self.ssh_config = folder / 'home' / '.ssh' / 'config'
        #: A value of `HOME` with which `asyncssh` finds that configuration.
        self.home = folder / 'home'
        #: To be put first in `PATH`: `ssh`, `scp` and `sftp`, which do not look at `HOME`, with that configuration.
        self.wrappers = folder / 'bin'
        self._environment = dict(environment or {})
        self._log = folder / 'log'
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Sshd:
        server, keygen = program('sshd', 'openssh-server'), program('ssh-keygen', 'openssh-client')
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            # Where the unprivileged part of the server lives; the service of Debian makes it when it starts.
            Path('/run/sshd').mkdir(mode=0o755, parents=True, exist_ok=True)
        for key in (self.folder / 'host_key', self.key):
            key.unlink(missing_ok=True)
            call(keygen, '-q', '-t', 'ed25519', '-N', '', '-C', key.name, '-f', key)
        (self.folder / 'authorized_keys').write_text(self.key.with_suffix('.pub').read_text())
        self.port = free_port()
        self._write_configurations()
        self._write_wrappers()
        with self._log.open('ab') as log:
            self._process = subprocess.Popen(
                [server, '-D', '-e', '-f', self.folder / 'sshd_config'], stdout=log, stderr=log, cwd='/'
            )
        wait_until(lambda: listens(self.port), 20, 'sshd', self._log)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            end([self._process.pid])
            self._process.wait()

    def version(self) -> str:
        """Return what the server says that it is."""
        done = subprocess.run([program('ssh', 'openssh-client'), '-V'], capture_output=True, text=True, check=False)
        return done.stderr.split(',')[0].strip()

    def _write_configurations(self) -> None:
        lines = [
            f'Port {self.port}',
            f'ListenAddress {LOOPBACK}',
            f'HostKey {self.folder}/host_key',
            f'AuthorizedKeysFile {self.folder}/authorized_keys',
            f'PidFile {self.folder}/pid',
            'StrictModes no',
            'UsePAM no',
            'PasswordAuthentication no',
            'PermitRootLogin prohibit-password',
            'Subsystem sftp internal-sftp',
            'MaxStartups 100',
            'MaxSessions 100',
        ]
        if self._environment:
            lines.append('SetEnv ' + ' '.join(f'{name}={value}' for name, value in self._environment.items()))
        (self.folder / 'sshd_config').write_text('\n'.join(lines) + '\n')

        self.ssh_config.parent.mkdir(parents=True, exist_ok=True)
        known = self.ssh_config.parent / 'known_hosts'
        known.write_text(f'[{LOOPBACK}]:{self.port} {(self.folder / "host_key.pub").read_text()}')
        lines = [
            f'Host {ALIAS}',
            f'    HostName {LOOPBACK}',
            f'    Port {self.port}',
            f'    User {getpass.getuser()}',
            f'    IdentityFile {self.key}',
            '    IdentitiesOnly yes',
            f'    UserKnownHostsFile {known}',
        ]
        self.ssh_config.write_text('\n'.join(lines) + '\n')

    def _write_wrappers(self) -> None:
        """One connection for all calls: a new one for each takes most of the time of a job."""
        self.wrappers.mkdir(exist_ok=True)
        shared = '-o ControlMaster=auto -o ControlPersist=20'
        for name in ('ssh', 'scp', 'sftp'):
            wrapper = self.wrappers / name
            real = program(name, 'openssh-client')
            wrapper.write_text(
                f'#!/bin/sh\nexec {real} -F {self.ssh_config} {shared} -o ControlPath={self.folder}/mux "$@"\n'
            )
            wrapper.chmod(0o755)
