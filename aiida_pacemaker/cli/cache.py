"""Looking at the cache of a computer, putting it elsewhere, and cleaning it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from aiida import orm

from aiida_pacemaker.calculations.cache import CHECKSUM, SETTING, directory_of, is_of_cache, setting_of
from aiida_pacemaker.cli.problems import SetupError


@dataclass(frozen=True)
class Entry:
    """A file of the cache.

    :param name: its name.
    :param size: in bytes.
    :param unused: seconds since a job has used it.
    """

    name: str
    size: int
    unused: float


class CacheOf:
    """The cache of a computer, over a connection that is open.

    :param computer: a computer that is configured.
    :param transport: a connection to it.
    :raises SetupError: if the directory cannot be read.
    """

    def __init__(self, computer: orm.Computer, transport: Any) -> None:
        self._computer = computer
        self._transport = transport
        self._authinfo = _authinfo(computer)
        self.directory = directory_of(self._authinfo, transport.whoami())
        self._files = self._list()

    def _list(self) -> dict[str, Any]:
        """Return the attributes of what jobs have put there, by name; nothing else is looked at."""
        try:
            if not self._transport.isdir(self.directory):
                return {}
            listed = self._transport.listdir_withattributes(self.directory)
        except OSError as exception:
            raise SetupError(f'{self.directory} on `{self._computer.label}` cannot be read: {exception}') from exception
        return {item['name']: item['attributes'] for item in listed if is_of_cache(item['name'])}

    @property
    def entries(self) -> list[Entry]:
        """What is there, but for the checksums, which tell when each was used last."""
        now = time.time()
        entries = []
        for name, attributes in sorted(self._files.items()):
            if not name.endswith(CHECKSUM):
                used = self._files.get(name + CHECKSUM, attributes).st_mtime
                entries.append(Entry(name, int(attributes.st_size), max(0.0, now - used)))
        return entries

    def describe(self) -> str:
        """Return what there is to say of it."""
        entries = self.entries
        where = f'{self.directory} on `{self._computer.label}`'
        if not entries:
            return f'{where}: empty'
        size, longest = sum(entry.size for entry in entries), max(entry.unused for entry in entries)
        return f'{where}: {len(entries)} files, {_bytes(size)}, unused for up to {longest / 86400:.1f} days'

    def clean(self, unused_days: float = 0.0) -> str:
        """Remove what no job has used for some days, and return what was removed."""
        old = [entry for entry in self.entries if entry.unused >= unused_days * 86400]
        for entry in old:
            # A file without its checksum is none: a job that begins meanwhile has it sent again.
            for name in (entry.name + CHECKSUM, entry.name):
                if name in self._files:
                    self._transport.remove(f'{self.directory}/{name}')
        freed = _bytes(sum(entry.size for entry in old))
        return f'{self.directory} on `{self._computer.label}`: {len(old)} files removed, {freed}'


def put_elsewhere(computer: orm.Computer, transport: Any, directory: str | None) -> str:
    """Set another directory for the cache of a computer, after trying to write there, and return what that means.

    :param directory: its absolute path; `{username}` stands for the name of the user there. None is the default.
    :raises SetupError: if it is no absolute path, or cannot be written to.
    """
    authinfo = _authinfo(computer)
    metadata = authinfo.get_metadata()
    before = setting_of(authinfo)
    if directory is None:
        metadata.pop(SETTING, None)
    else:
        metadata[SETTING] = _writable(transport, directory)
    authinfo.set_metadata(metadata)
    after = setting_of(authinfo)
    text = f'the cache on `{computer.label}` is {after or "in its work directory"} from the next job on'
    if before is not None and before != after:
        text += f'; what is in {before} stays there'
    return text


def _writable(transport: Any, directory: str) -> str:
    if '{username}' in directory:
        directory = directory.replace('{username}', str(transport.whoami()))
    if not directory.startswith('/') or not directory.isprintable():
        raise SetupError(f'`{directory}` is not an absolute path: give one that begins with `/`')
    directory = directory.rstrip('/')
    try:
        transport.makedirs(directory, ignore_existing=True)
        trial = f'{directory}/.trial'
        transport.makedirs(trial, ignore_existing=True)
        transport.rmtree(trial)
    except OSError as exception:
        raise SetupError(f'{directory} cannot be written to: {exception}. Choose another directory') from exception
    return directory


def _authinfo(computer: orm.Computer) -> orm.AuthInfo:
    user = orm.User.collection.get_default()
    if user is None:
        raise SetupError('the profile has no default user: `verdi user set-default`')
    return computer.get_authinfo(user)


def _bytes(size: float) -> str:
    for unit in ('B', 'kB', 'MB', 'GB'):
        if size < 1000:
            return f'{size:.3g} {unit}'
        size /= 1000
    return f'{size:.3g} TB'
