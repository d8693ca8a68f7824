"""The cache of an account on a computer: files that were sent for one job, or made by one, and are there for the next.

It is a directory of that account alone, with files that are named by their SHA-256. What is in it is looked up when a
job is uploaded, over the connection that is open for that. It is only a list of names, and nothing is taken on trust:
the profile knows the checksum of what it has sent (:mod:`.checksums`), that of everything else follows from a node, and
the script of the job looks whether each file has it.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from typing import Any

from aiida import orm
from aiida.engine import CalcJob

from aiida_pacemaker._aiida.processes import run_in_loop, transport_of
from aiida_pacemaker.calculations.checksums import LOST, Checksums
from aiida_pacemaker.errors import CacheError

#: Where a user sets another directory: in the metadata of how the computer is configured for that user.
SETTING = 'pacemaker_cache'
#: Beginning of the name of the directory in the work directory of the computer, before the name of the account, and the
#: path of that work directory from the folder of a job.
NAME = 'pacemaker_cache'
FROM_JOB = '../../..'
#: Files, and what is left of files that were not copied to their end.
ENTRY = re.compile(r'[0-9a-f]{64}')
LEFTOVER = re.compile(r'\.[0-9a-f]{64}\..+')
#: Bits of the mode of a directory that give other accounts something.
OF_OTHERS = 0o077
#: One command, since each costs a round trip.
IDENTITY = 'id -u && id -un'


@dataclass(frozen=True)
class Account:
    """Who AiiDA is on a computer.

    :param name: the name of the user.
    :param uid: its number, None if the computer does not tell.
    """

    name: str
    uid: int | None = None


@dataclass(frozen=True)
class Cache:
    """What a job knows of the cache of its computer.

    :param directory: its path, from the folder of the job or absolute; empty for none.
    :param names: the checksums of the files that it seems to have.
    :param checksums: what the profile knows of files that it has sent there; None to know nothing and note nothing.
    """

    directory: str = ''
    names: frozenset[str] = frozenset()
    checksums: Checksums | None = None

    def held(self, name: str) -> str | None:
        """Return the checksum of a file that is there; None if it has to be sent.

        :param name: of a table, by what it follows from.
        """
        digest = self.checksums.get(name) if self.checksums else None
        return digest if digest in self.names else None

    def has(self, digest: str) -> bool:
        """Return whether a file is there that is known by its content."""
        return digest in self.names and not self.was_lost(digest)

    def was_lost(self, digest: str) -> bool:
        """Return whether a job did not find a file that is known by its content, and it was not sent since."""
        return self.checksums is not None and self.checksums.get(digest) == LOST


def directory_name(account: str) -> str:
    """Return the name of the cache of an account, in the work directory."""
    return f'{NAME}_{re.sub("[^A-Za-z0-9_.-]", "_", account)}'


def setting_of(authinfo: orm.AuthInfo) -> str | None:
    """Return the directory that was set for the cache; None if it is in the work directory."""
    return authinfo.get_metadata().get(SETTING)


def directory_of(authinfo: orm.AuthInfo, username: str) -> str:
    """Return the absolute path of the cache of a user.

    :param username: the name that the user has on the computer.
    """
    workdir = authinfo.get_workdir().format(username=username)
    return setting_of(authinfo) or f'{workdir.rstrip("/")}/{directory_name(username)}'


def read_account(output: str) -> Account:
    """Return the account from what :data:`IDENTITY` prints.

    :raises CacheError: if it is something else.
    """
    lines = output.split('\n')
    if len(lines) < 2 or not lines[0].isdecimal() or not lines[1]:
        raise CacheError(f'the computer does not say which account AiiDA has there: {output[:100]!r}')
    return Account(lines[1], int(lines[0]))


def refuse_foreign(directory: str, attributes: Any, account: Account) -> None:
    """Refuse a directory that is not of the account alone.

    :param attributes: of the directory itself, not of what a link leads to.
    :raises CacheError: saying whose it is.
    """
    mode = attributes.st_mode
    cure = 'Remove it, or choose a directory of your own with `aiida-pacemaker cache set`'
    if not stat.S_ISDIR(mode):
        raise CacheError(f'{directory} is a link or a file, not a directory. {cure}')
    if account.uid is not None and attributes.st_uid != account.uid:
        raise CacheError(
            f'{directory} belongs to another account (number {attributes.st_uid}, {account.name} is {account.uid}), '
            f'who could put anything there. {cure}'
        )
    if mode & OF_OTHERS:
        raise CacheError(
            f'{directory} is open to other accounts (mode {stat.S_IMODE(mode):o}, needed: 700). Look who has made it '
            f'so, then remove it, or choose a directory of your own with `aiida-pacemaker cache set`'
        )


def cache_of(process: CalcJob) -> Cache:
    """Return the cache for a job that is about to be uploaded. If it cannot be looked up, all files are sent."""
    authinfo = process.node.get_authinfo()
    if process.inputs.metadata.dry_run:
        return Cache(setting_of(authinfo) or '')
    try:
        return run_in_loop(process, _cache(process, authinfo))
    # Each transport has exceptions of its own.
    except Exception as exception:
        reason = str(exception) if isinstance(exception, CacheError) else repr(exception)
        process.report(f'The cache on {authinfo.computer.label} is not used, all files are sent: {reason}')
        return Cache()


async def _cache(process: CalcJob, authinfo: orm.AuthInfo) -> Cache:
    """Return what the cache seems to have, over the connection by which the job is being uploaded."""
    names: frozenset[str] = frozenset()
    problem: CacheError | None = None
    async with transport_of(process, authinfo) as transport:
        try:
            account = await _account(transport, authinfo)
            directory = directory_of(authinfo, account.name)
            if await transport.path_exists_async(directory):
                refuse_foreign(directory, await transport.get_attribute_async(directory), account)
                names = frozenset(filter(ENTRY.fullmatch, await transport.listdir_async(directory)))
        except CacheError as exception:
            # AiiDA logs what leaves the connection as a fault of the transport, with a traceback.
            problem = exception
    if problem is not None:
        raise problem
    from_job = setting_of(authinfo) or f'{FROM_JOB}/{directory_name(account.name)}'
    return Cache(from_job, names, Checksums(authinfo.computer))


#: By how a computer is configured: who one is does not change from job to job.
_ACCOUNTS: dict[str, Account] = {}


async def _account(transport: Any, authinfo: orm.AuthInfo) -> Account:
    key = f'{authinfo.computer.uuid} {authinfo.pk} {authinfo.get_auth_params()}'
    if key not in _ACCOUNTS:
        try:
            status, output, _ = await transport.exec_command_wait_async(IDENTITY)
            _ACCOUNTS[key] = read_account(output) if status == 0 else Account(await transport.whoami_async())
        except NotImplementedError:
            # There are transports without commands. The script of the job looks whose the cache is anyway.
            _ACCOUNTS[key] = Account(await transport.whoami_async())
    return _ACCOUNTS[key]
