"""A cluster of PostgreSQL on loopback, made by `pgtest`."""

from __future__ import annotations

import os
import pwd
import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

from servers.missing import ServiceMissing, program
from servers.running import LOOPBACK, StartError, call

#: PostgreSQL refuses to be run by root, and `pgtest` knows of no other user: this `pg_ctl` changes to one.
_PG_CTL = """#!/bin/bash
# It has to be silent on stderr, which `pgtest` takes for a failure, hence the `cd`.
previous=; data=
for word in "$@"; do [ "$previous" = -D ] && data=$word; previous=$word; done
[ -n "$data" ] && chown -R postgres: "$(dirname "$data")"
cd /
exec setpriv --reuid=postgres --regid=postgres --init-groups -- {real} "$@"
"""


class Postgres:
    """A server in which the user `postgres` may do everything, with any password.

    :param folder: everything is in there. Run by root, the way to it is opened to the user `postgres`.
    """

    host = LOOPBACK
    username = 'postgres'
    password = 'unused'  # noqa: S105 (the server trusts loopback)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._cluster: Any = None
        self._programs = Path()

    def __enter__(self) -> Postgres:
        self._programs = _newest()
        try:
            from pgtest.pgtest import PGTest
        except ImportError as error:
            raise ServiceMissing('NO pgtest, SO NOTHING IS SAID ABOUT postgresql: pip install pgtest') from error
        self.folder.mkdir(parents=True, exist_ok=True)
        pg_ctl = self._programs / 'pg_ctl'
        if os.getuid() == 0:
            pg_ctl = self._as_postgres(pg_ctl)
        with warnings.catch_warnings():
            # `pgtest` asks for the time in a way that newer Python dislikes.
            warnings.simplefilter('ignore')
            self._cluster = PGTest(
                username=self.username, base_dir=str(self.folder / 'cluster'), pg_ctl=str(pg_ctl), max_connections=100
            )
        self.port = int(self._cluster.port)
        return self

    def __exit__(self, *_: object) -> None:
        if self._cluster is not None:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                self._cluster.close()

    def create_database(self, name: str) -> dict[str, Any]:
        """Create an empty database, in a locale that every machine has.

        :returns: the options of `verdi profile setup core.psql_dos` for it.
        """
        call(
            *(self._programs / 'createdb', '-h', self.host, '-p', str(self.port), '-U', self.username),
            *('-T', 'template0', '-E', 'UTF8', '-l', 'C.UTF-8', name),
        )
        login = {'hostname': self.host, 'port': self.port, 'name': name}
        login |= {'username': self.username, 'password': self.password}
        return {f'database-{key}': value for key, value in login.items()}

    def version(self) -> str:
        """Return what the server says that it is."""
        return 'PostgreSQL ' + call(self._programs / 'postgres', '--version').split()[2]

    def _as_postgres(self, real: Path) -> Path:
        """Return a `pg_ctl` that runs as the user of Debian's package, which has to get at the folder."""
        try:
            pwd.getpwnam('postgres')
        except KeyError:
            raise ServiceMissing('NO USER postgres, WHICH ITS PACKAGE MAKES: apt-get install postgresql') from None
        program('setpriv', 'util-linux')
        path = self.folder.resolve()
        temporary = Path(tempfile.gettempdir()).resolve()
        closed = [one for one in (path, *path.parents) if not one.stat().st_mode & 0o001]
        for one in [one for one in closed if one == path or temporary in one.parents]:
            # Temporary folders are closed to others. This one can then be gone through, but not listed.
            one.chmod(one.stat().st_mode | 0o001)
            closed.remove(one)
        if closed:
            raise StartError(
                f'the user `postgres` cannot get through {", ".join(map(str, closed))}: take another folder'
            )
        (self.folder / 'cluster').mkdir(exist_ok=True)
        wrapper = self.folder / 'pg_ctl'
        wrapper.write_text(_PG_CTL.format(real=real))
        wrapper.chmod(0o755)
        return wrapper


def _newest() -> Path:
    """Return the folder of the programs of the newest PostgreSQL that Debian has installed, or that is in the path."""
    found = [path.parent for path in Path('/usr/lib/postgresql').glob('*/bin/initdb')]
    if found:
        return max(found, key=lambda path: [int(digits) for digits in re.findall(r'\d+', path.parent.name)])
    return Path(program('initdb', 'postgresql')).resolve().parent
