"""Nodes, their files and their database, beyond the public API of AiiDA. Nothing here imports its engine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from aiida import orm
from aiida.manage import get_config
from aiida.orm.implementation.utils import clean_value
from aiida.orm.nodes.caching import NodeCaching
from aiida.repository import Repository
from aiida.storage.sqlite_dos.backend import FILENAME_DATABASE
from sqlalchemy import event
from sqlalchemy.pool import Pool

if TYPE_CHECKING:
    from aiida.repository.backend import AbstractRepositoryBackend

    _Node = orm.Data
else:
    _Node = object

#: Extra in which AiiDA keeps the node that one is a copy of. A query needs its name; of a node one can ask
#: `node.base.caching.get_cache_source()`.
CACHED_FROM = str(NodeCaching.CACHED_FROM_KEY)

#: How long a connection to SQLite waits. An import of an archive of a few gigabytes takes some minutes.
BUSY_SECONDS = 1800

_DONE = 'aiida_pacemaker_waits'


class AttributeCaching(NodeCaching):
    """The hash of a node as that of its attributes, for nodes whose attributes name their files by content.

    AiiDA has a class for it set by `_CLS_NODE_CACHING`, but none of its public packages has the base of such classes.
    """

    def get_objects_to_hash(self) -> dict[str, Any]:
        """Return what is hashed: not the files, which would be looked up one by one, whatever has accumulated."""
        ignored = self._node._hash_ignored_attributes
        attributes = {key: value for key, value in self._node.base.attributes.items() if key not in ignored}
        return {'class': str(self._node.__class__), 'attributes': attributes}


class StoringHook(_Node):
    """Mixin of data nodes that do something right before and after they are stored.

    A node has no public hook for it: `store` of a node is also called where it is cached, and calls `_store` where not.
    """

    def storing(self) -> AbstractContextManager[None]:
        """Return the context in which the node is stored."""
        raise NotImplementedError

    def _store(self, clean: bool = True) -> Any:
        with self.storing():
            super()._store(clean=clean)
        return self


def files_of(node: orm.Data) -> Repository:
    """Return the files of a node with their keys and their backend.

    `node.base.repository` gives files one by one, and opening each takes 4 ms; the backend reads many in one go.
    """
    repository: Repository = node.base.repository._repository
    return repository


def share_files(node: orm.Data, files: Repository) -> None:
    """Have a node that is not stored refer to files that are in a repository already.

    The public API copies what is put into a node, which would feed it to the object store again.
    """
    node.base.repository._repository = files


@contextmanager
def files_while_storing(node: orm.Data, files: Repository) -> Iterator[None]:
    """Have a node store other files than it has so far, and put these back if it cannot be stored."""
    before = files_of(node)
    share_files(node, files)
    try:
        yield
    except BaseException:
        share_files(node, before)
        raise


def objects_in(node: orm.Data, folder: str) -> dict[str, Any]:
    """Return what AiiDA keeps of each file in a folder of a stored node, by name: `k` is its key in the repository.

    The format is that of `Repository.serialize`, which is not documented.
    """
    objects: dict[str, Any] = node.base.repository.metadata['o'][folder]['o']
    return objects


def repository_of(folder: str, objects: Mapping[str, Any], backend: AbstractRepositoryBackend) -> Repository:
    """Return a repository of one folder with files that its backend has, as :func:`objects_in` tells of them."""
    return Repository.from_serialized(backend=backend, serialized={'o': {folder: {'o': dict(objects)}}})


def with_keys(files: Repository, keys: Mapping[PurePath, str], backend: AbstractRepositoryBackend) -> Repository:
    """Return a repository of the same files that has them in another backend, under other keys.

    :param files: the files so far.
    :param keys: the key of each file in the other backend, by its path.
    :param backend: where the files are.
    """
    serialized = files.serialize()
    for path, key in keys.items():
        place: Any = serialized
        for part in path.parts:
            place = place['o'][part]
        place['k'] = key
    return Repository.from_serialized(backend=backend, serialized=serialized)


def as_stored(value: Any) -> Any:
    """Return plain data as they come back from the database, which rounds numbers to 14 digits.

    What was stored is compared with what was not. The function of AiiDA that rounds is not public.
    """
    return clean_value(value)


def database_of(profile: str) -> Path:
    """Return the database of a profile that has SQLite as its storage.

    The name of the file is a constant of the storage backend, and no public function tells it.

    :param profile: the name of the profile.
    """
    return Path(get_config().get_profile(profile).storage_config['filepath'], FILENAME_DATABASE)


def wait_for_writers() -> None:
    """Have all connections of this process to SQLite databases wait for up to :data:`BUSY_SECONDS`.

    Python's `sqlite3` waits five seconds, and AiiDA 2.9 has no option for it. An import of an archive writes in one
    transaction that takes longer: whatever runs meanwhile would get "database is locked", after which AiiDA's session
    refuses every further statement (`PendingRollbackError`) and the process hangs without a word. The connections are
    those that SQLAlchemy, by which AiiDA has its database, keeps in a pool.

    Connections that are open already wait from their next use on. Those to other databases are left alone.
    """
    if not event.contains(Pool, 'checkout', _wait_longer):
        event.listen(Pool, 'checkout', _wait_longer)


def _wait_longer(connection: Any, record: Any, _: Any) -> None:
    if isinstance(connection, sqlite3.Connection) and _DONE not in record.info:
        connection.execute(f'PRAGMA busy_timeout = {BUSY_SECONDS * 1000}')
        record.info[_DONE] = True
