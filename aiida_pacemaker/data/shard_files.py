"""The files of a dataset between its construction and its storing.

To the storage, files that no stored node refers to are rubbish: they are removed when it is maintained, which may
happen at any time. So the new shards of a dataset that is not stored wait in a sandbox. The shards that it shares with
others are not copied: they are read where they are, and are only referred to when the dataset is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO

from aiida.common.exceptions import StoringNotAllowed
from aiida.manage import get_config_option
from aiida.repository import Repository
from aiida.repository.backend import AbstractRepositoryBackend, SandboxRepositoryBackend

from aiida_pacemaker._aiida.storage import with_keys

#: How often files are put again that a maintenance has removed while they were being stored.
_TRIES = 10


class SharingSandbox(SandboxRepositoryBackend):
    """The files of a node that is not stored: its own in a sandbox, and those that it shares where they are.

    :param shared: the repository that each shared object is in, by the key of the object.
    """

    def __init__(self, shared: Mapping[str, AbstractRepositoryBackend]) -> None:
        super().__init__(get_config_option('storage.sandbox') or None)
        self._shared = dict(shared)

    def has_objects(self, keys: list[str]) -> list[bool]:
        """Return whether each object is there."""
        there = dict(zip(keys, super().has_objects(keys), strict=True))
        for repository, shared in self._by_repository(keys):
            there.update(zip(shared, repository.has_objects(shared), strict=True))
        return [there[key] for key in keys]

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """Open an object for reading bytes.

        :raises FileNotFoundError: if it is not there.
        """
        opened = self._shared[key].open(key) if key in self._shared else super().open(key)
        with opened as handle:
            yield handle

    def iter_object_streams(self, keys: Iterable[str]) -> Iterator[tuple[str, BinaryIO]]:
        """Iterate over objects, in no particular order."""
        keys = list(keys)
        yield from super().iter_object_streams([key for key in keys if key not in self._shared])
        for repository, shared in self._by_repository(keys):
            yield from repository.iter_object_streams(shared)

    def delete_objects(self, keys: list[str]) -> None:
        """Delete objects of the node itself; others are only no longer referred to."""
        super().delete_objects([key for key in keys if key not in self._shared])
        for key in keys:
            self._shared.pop(key, None)

    def _by_repository(self, keys: Iterable[str]) -> list[tuple[AbstractRepositoryBackend, list[str]]]:
        found: dict[int, tuple[AbstractRepositoryBackend, list[str]]] = {}
        for key in keys:
            if key in self._shared:
                repository = self._shared[key]
                found.setdefault(id(repository), (repository, []))[1].append(key)
        return list(found.values())


class SettledFiles:
    """The files of a node in the repository that it is stored in.

    :param files: the files of the node so far.
    :param target: the repository of the storage.
    """

    def __init__(self, files: Repository, target: AbstractRepositoryBackend) -> None:
        self._files = files
        self._target = target
        #: The key that each object has in the repository, and the one that it has had so far.
        self._before: dict[str, str] = {}

    def put(self) -> Repository:
        """Put there what is not there yet, and return the files as they are there.

        :raises StoringNotAllowed: if a file that is shared with another node is not there any more.
        """
        paths = [(root / name) for root, _, names in self._files.walk() for name in names]
        keys = {path: str(self._files.get_object(path).key) for path in paths}
        known = list(keys.values())
        there = dict(zip(known, self._target.has_objects(known), strict=True))
        settled = {path: key if there[key] else self._put(key) for path, key in keys.items()}
        self._before |= {settled[path]: key for path, key in keys.items()}
        return with_keys(self._files, settled, self._target)

    def put_again(self) -> None:
        """Put again what has been removed before the node was stored, when nothing referred to it.

        :raises StoringNotAllowed: if a file cannot be had any more.
        """
        for _ in range(_TRIES):
            known = list(self._before)
            missing = [key for key, there in zip(known, self._target.has_objects(known), strict=True) if not there]
            if not missing:
                return
            for key in missing:
                self._put(self._before[key])
        raise StoringNotAllowed(f'{len(missing)} files are removed from the repository whenever they are put there')

    def _put(self, key: str) -> str:
        try:
            with self._files.backend.open(key) as handle:
                return self._target.put_object_from_filelike(handle)
        except FileNotFoundError as exception:
            raise StoringNotAllowed(
                f'a shard that is shared with another dataset is not in the repository any more (object {key}): that '
                'dataset was deleted, and the storage maintained, since this one was constructed. Construct it again '
                'from datasets that are stored'
            ) from exception
