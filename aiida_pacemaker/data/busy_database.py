"""How long a process waits for an SQLite database that another process is writing to.

Python's `sqlite3` waits five seconds, and AiiDA 2.9 has no option for it. An import of an archive writes in one
transaction that takes longer: whatever runs meanwhile would get "database is locked", after which AiiDA's session
refuses every further statement (`PendingRollbackError`) and the process hangs without a word.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import event
from sqlalchemy.pool import Pool

#: An import of an archive of a few gigabytes takes some minutes.
BUSY_SECONDS = 1800

_DONE = 'aiida_pacemaker_waits'


def wait_for_writers() -> None:
    """Have all connections of this process to SQLite databases wait for up to :data:`BUSY_SECONDS`.

    Connections that are open already wait from their next use on. Those to other databases are left alone.
    """
    if not event.contains(Pool, 'checkout', _wait_longer):
        event.listen(Pool, 'checkout', _wait_longer)


def _wait_longer(connection: Any, record: Any, _: Any) -> None:
    if isinstance(connection, sqlite3.Connection) and _DONE not in record.info:
        connection.execute(f'PRAGMA busy_timeout = {BUSY_SECONDS * 1000}')
        record.info[_DONE] = True
