"""A database that another process is writing to."""

from __future__ import annotations

import sqlite3
import threading
import time

import pytest
from sqlalchemy import create_engine, text

from aiida_pacemaker._aiida.storage import BUSY_SECONDS, wait_for_writers


@pytest.fixture
def engine(tmp_path):
    """Return an engine whose connections do not wait, as they were opened, with a table."""
    made = create_engine(f'sqlite:///{tmp_path / "database.sqlite"}', connect_args={'timeout': 0})
    with made.begin() as connection:
        connection.execute(text('CREATE TABLE nodes (pk INTEGER)'))
    yield made
    made.dispose()


@pytest.mark.fault(
    'another terminal writes to the database for longer than five seconds (an import of an archive)',
    engine='(not the engine: AiiDA says "database is locked" and the process hangs)',
    here='connections wait; the profile that `setup` makes has a write-ahead log, in which readers wait for nobody',
    ends='the loop goes on',
)
def test_a_write_waits_for_that_of_another(engine, tmp_path):
    other = sqlite3.connect(tmp_path / 'database.sqlite', isolation_level=None, check_same_thread=False)
    other.execute('BEGIN IMMEDIATE')
    release = threading.Timer(0.3, lambda: other.execute('COMMIT'))
    release.start()
    begun = time.monotonic()
    with engine.begin() as connection:
        connection.execute(text('INSERT INTO nodes VALUES (1)'))
    assert time.monotonic() - begun > 0.2
    release.join()
    other.close()


def test_it_is_asked_for_once(engine):
    wait_for_writers()
    wait_for_writers()
    with engine.connect() as connection:
        assert connection.execute(text('PRAGMA busy_timeout')).scalar() == BUSY_SECONDS * 1000
