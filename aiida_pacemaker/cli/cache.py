"""Looking at the cache of a computer, putting it elsewhere, and cleaning it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from aiida import orm

from aiida_pacemaker.calculations.cache import (
    ENTRY,
    IDENTITY,
    LEFTOVER,
    SETTING,
    Account,
    directory_of,
    read_account,
    refuse_foreign,
    setting_of,
)
from aiida_pacemaker.errors import CacheError, SetupError
from aiida_pacemaker.pace.cost.byte_sizes import shown_bytes

#: Seconds after which a copy is not going on any more.
LEFTOVER_AGE = 86400


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

    @property
    def is_leftover(self) -> bool:
        """Whether it is what is left of a file that was not copied to its end."""
        return LEFTOVER.fullmatch(self.name) is not None


class CacheOf:
    """The cache of the account that AiiDA has on a computer, over a connection that is open.

    :param computer: a computer that is configured.
    :param transport: a connection to it.
    :raises SetupError: if the directory cannot be read, or is not of that account alone.
    """

    def __init__(self, computer: orm.Computer, transport: Any) -> None:
        self._computer = computer
        self._transport = transport
        account = _account(transport)
        self.directory = directory_of(_authinfo(computer), account.name)
        self.entries = self._list(account)

    def _list(self, account: Account) -> list[Entry]:
        """Return what jobs have put there, and what they have left; nothing else is looked at."""
        try:
            if not self._transport.path_exists(self.directory):
                return []
            refuse_foreign(self.directory, self._transport.get_attribute(self.directory), account)
            listed = self._transport.listdir_withattributes(self.directory)
        except (OSError, CacheError) as exception:
            raise SetupError(f'the cache on `{self._computer.label}` cannot be used: {exception}') from exception
        now = time.time()
        entries = [
            Entry(item['name'], int(item['attributes'].st_size), max(0.0, now - item['attributes'].st_mtime))
            for item in listed
            if ENTRY.fullmatch(item['name']) or LEFTOVER.fullmatch(item['name'])
        ]
        return sorted(entries, key=lambda entry: entry.name)

    def describe(self) -> str:
        """Return what there is to say of it."""
        where = f'{self.directory} on `{self._computer.label}`'
        if not self.entries:
            return f'{where}: empty'
        size, longest = sum(entry.size for entry in self.entries), max(entry.unused for entry in self.entries)
        left = [entry for entry in self.entries if entry.is_leftover]
        n_files = len(self.entries) - len(left)
        text = f'{where}: {n_files} files, {shown_bytes(size)}, unused for up to {longest / 86400:.1f} days'
        if left:
            in_parts = shown_bytes(sum(entry.size for entry in left))
            text += f'; {in_parts} of it in {len(left)} copies that did not come to their end'
        return text

    def clean(self, unused_days: float = 0.0) -> str:
        """Remove what no job has used for some days, and what is left of copies, and return what was removed."""
        # What is being copied at this moment is not as old as that.
        old = [
            entry
            for entry in self.entries
            if entry.unused >= (LEFTOVER_AGE if entry.is_leftover else unused_days * 86400)
        ]
        for entry in old:
            self._transport.remove(f'{self.directory}/{entry.name}')
        freed = shown_bytes(sum(entry.size for entry in old))
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
    if not directory:
        raise SetupError('`/` cannot be a cache: give the path of a directory that is to be yours alone')
    try:
        if not transport.path_exists(directory):
            transport.makedirs(directory, ignore_existing=True)
            transport.chmod(directory, 0o700)
        refuse_foreign(directory, transport.get_attribute(directory), _account(transport))
        trial = f'{directory}/.trial'
        transport.makedirs(trial, ignore_existing=True)
        transport.rmtree(trial)
    except CacheError as exception:
        raise SetupError(str(exception)) from exception
    except OSError as exception:
        raise SetupError(f'{directory} cannot be written to: {exception}. Choose another directory') from exception
    return directory


def _account(transport: Any) -> Account:
    status, output, _ = transport.exec_command_wait(IDENTITY)
    try:
        return read_account(output) if status == 0 else Account(str(transport.whoami()))
    except CacheError as exception:
        raise SetupError(str(exception)) from exception


def _authinfo(computer: orm.Computer) -> orm.AuthInfo:
    user = orm.User.collection.get_default()
    if user is None:
        raise SetupError('the profile has no default user: `verdi user set-default`')
    return computer.get_authinfo(user)
