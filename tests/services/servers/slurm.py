"""Slurm on one node without systemd and cgroups: its controller, its node and their authentication."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path

import psutil

from servers.accounting import Accounting
from servers.missing import program
from servers.running import LOOPBACK, StartError, call, end, free_port, pid_in, wait_until

CLUSTER = 'loopback'


class Slurm:
    """A cluster of one node and the partition `main`, with all cores and nearly all memory of this machine.

    Jobs that need more memory than they asked for are killed, as on a cluster; without control groups, that is found
    out by looking at their processes every second.

    :param folder: everything is in there; its path has to be short, since sockets are in it.
    :param accounting: whether the end of jobs is recorded, so that `sacct` can be asked.
    """

    def __init__(self, folder: Path, *, accounting: bool = False) -> None:
        self.folder = folder
        #: For `SLURM_CONF`, in the environment of everybody who calls a program of Slurm.
        self.conf = folder / 'slurm.conf'
        self._munge = folder / 'munge'
        self._user = getpass.getuser()
        self._accounting = Accounting(folder / 'accounting', self._munge / 'socket', self._user) if accounting else None

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment in which programs of Slurm find this one."""
        return {**os.environ, 'SLURM_CONF': str(self.conf)}

    def __enter__(self) -> Slurm:
        munged = program('munged', 'munge')
        control, node = program('slurmctld', 'slurmctld'), program('slurmd', 'slurmd')
        program('sbatch', 'slurm-client')
        if self._accounting is not None:
            self._accounting.check()
        for folder in (self._munge, *(self.folder / name for name in ('log', 'ctld', 'slurmd'))):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            self._start_munge(munged)
            if self._accounting is not None:
                self._accounting.start(self.environment)
            self._write_configuration()
            if self._accounting is not None:
                self.call('sacctmgr', '--immediate', 'add', 'cluster', CLUSTER)
            call(control, '-f', self.conf, environment=self.environment)
            call(node, '-f', self.conf, environment=self.environment)
            wait_until(self._is_idle, 60, 'slurmd', self.folder / 'log' / 'ctld.log')
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for job in self.jobs():
            self.call('scancel', job)
        self._stop()

    def call(self, *command: str) -> str:
        """Run a program of Slurm, and return what it prints."""
        return call(program(command[0], 'slurm-client'), *command[1:], environment=self.environment)

    def jobs(self) -> list[str]:
        """Return the numbers of the jobs that wait or run."""
        return self.call('squeue', '--noheader', '--format=%i').split()

    def version(self) -> str:
        """Return what the server says that it is."""
        return ' '.join(['Slurm', *call(program('slurmctld', 'slurmctld'), '-V').split()[1:]])

    def _is_idle(self) -> bool:
        try:
            return self.call('sinfo', '--noheader', '--format=%T').strip() == 'idle'
        except StartError:
            return False

    def _start_munge(self, munged: str) -> None:
        self._munge.chmod(0o755)
        key = self._munge / 'key'
        key.unlink(missing_ok=True)
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        names = {'socket': 'socket', 'key-file': 'key', 'log-file': 'log', 'pid-file': 'pid', 'seed-file': 'seed'}
        # `--force`: it dislikes that folders above may be written by others, as that of temporary files.
        call(munged, '--force', *(f'--{option}={self._munge / name}' for option, name in names.items()))
        wait_until((self._munge / 'socket').exists, 10, 'munged', self._munge / 'log')

    def _stop(self) -> None:
        end([pid_in(self.folder / 'slurmd.pid'), pid_in(self.folder / 'ctld.pid')])
        if self._accounting is not None:
            self._accounting.stop()
        end([pid_in(self._munge / 'pid')])

    def _write_configuration(self) -> None:
        host = socket.gethostname().split('.')[0]
        cores = os.cpu_count() or 1
        memory = int(psutil.virtual_memory().total / 1024**2 * 0.95)  # MB
        log = self.folder / 'log'
        lines = [
            f'ClusterName={CLUSTER}',
            f'SlurmctldHost={host}({LOOPBACK})',
            f'SlurmUser={self._user}',
            f'SlurmdUser={self._user}',
            'AuthType=auth/munge',
            f'AuthInfo=socket={self._munge / "socket"}',
            # Without both, the controller listens on all addresses.
            'CommunicationParameters=NoCtldInAddrAny,NoInAddrAny',
            f'SlurmctldPort={free_port()}',
            f'SlurmdPort={free_port()}',
            f'StateSaveLocation={self.folder / "ctld"}',
            f'SlurmdSpoolDir={self.folder / "slurmd"}',
            f'SlurmctldPidFile={self.folder / "ctld.pid"}',
            f'SlurmdPidFile={self.folder / "slurmd.pid"}',
            f'SlurmctldLogFile={log / "ctld.log"}',
            f'SlurmdLogFile={log / "slurmd.log"}',
            'ProctrackType=proctrack/linuxproc',
            'TaskPlugin=task/none',
            'JobAcctGatherType=jobacct_gather/linux',
            'JobAcctGatherFrequency=task=1',
            'JobAcctGatherParams=OverMemoryKill',
            'MpiDefault=none',
            'SelectType=select/cons_tres',
            'SelectTypeParameters=CR_Core_Memory',
            f'DefMemPerCPU={memory // cores}',
            'SchedulerType=sched/builtin',
            # With the default of 3 s every job waits that long.
            'SchedulerParameters=batch_sched_delay=0',
            'ReturnToService=2',
            'MinJobAge=30',
            'KillWait=2',
            f'NodeName={host} NodeAddr={LOOPBACK} CPUs={cores} RealMemory={memory} State=UNKNOWN',
            f'PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO',
        ]
        if self._accounting is None:
            lines.append('AccountingStorageType=accounting_storage/none')
        else:
            lines += [
                'AccountingStorageType=accounting_storage/slurmdbd',
                f'AccountingStorageHost={LOOPBACK}',
                f'AccountingStoragePort={self._accounting.port}',
                # The programs of users take the socket from here, not from `AuthInfo`.
                f'AccountingStoragePass={self._munge / "socket"}',
            ]
        self.conf.write_text('\n'.join(lines) + '\n')
