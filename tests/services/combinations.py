"""What the loop is run on: combinations of storage, broker, transport, scheduler and environment of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

STORAGES = ('core.sqlite_dos', 'core.psql_dos')
BROKERS = ('core.zeromq', 'core.rabbitmq')
TRANSPORTS = ('core.local', 'core.ssh_async (asyncssh)', 'core.ssh_async (openssh)')
SCHEDULERS = ('core.direct', 'core.slurm')

#: Where the programs of the engine are: beside AiiDA, or in an environment with other versions of NumPy and pandas.
ENGINES = ('same', 'other')


@dataclass(frozen=True)
class Combination:
    """One combination.

    :param storage: where nodes are kept.
    :param broker: what carries the messages to the daemon.
    :param transport: how AiiDA gets at the computer, with the backend where there are several.
    :param scheduler: of the computer.
    :param engine: one of :data:`ENGINES`.
    """

    storage: str
    broker: str
    transport: str
    scheduler: str
    engine: str

    @property
    def name(self) -> str:
        """Return the name of its test."""
        return '-'.join(
            part.removeprefix('core.').removesuffix('_dos').removeprefix('ssh_async (').rstrip(')')
            for part in (self.storage, self.broker, self.transport, self.scheduler, self.engine)
        )


#: Those that are run by `pytest -m services`: every kind of service, and the two that are most alike to a cluster.
COMBINATIONS = (
    Combination('core.psql_dos', 'core.zeromq', 'core.local', 'core.direct', 'other'),
    Combination('core.sqlite_dos', 'core.rabbitmq', 'core.local', 'core.direct', 'same'),
    Combination('core.sqlite_dos', 'core.zeromq', 'core.ssh_async (asyncssh)', 'core.direct', 'other'),
    Combination('core.sqlite_dos', 'core.zeromq', 'core.ssh_async (openssh)', 'core.direct', 'other'),
    Combination('core.psql_dos', 'core.rabbitmq', 'core.ssh_async (asyncssh)', 'core.slurm', 'other'),
    Combination('core.sqlite_dos', 'core.zeromq', 'core.local', 'core.slurm', 'same'),
)

#: What the plain test command runs, and where.
PLAIN = {
    Combination(
        'core.sqlite_dos', 'core.zeromq', 'core.local', 'core.direct', 'same'
    ): 'tests/workflows/test_loop_daemon.py',
}


def every() -> list[Combination]:
    """Return all combinations that there are, tried or not."""
    return [Combination(*parts) for parts in product(STORAGES, BROKERS, TRANSPORTS, SCHEDULERS, ENGINES)]
