"""The cache of a computer: files that were sent for one job, or made by one, and are there for the next.

It is a directory with files and, beside each, its checksum. What is in it is looked up when a job is uploaded, over the
connection that is open for that; the script of the job puts the files in place, and looks whether they are whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiida import orm
from aiida.engine import CalcJob
from plumpy import run_until_complete

#: Where a user sets another directory: in the metadata of how the computer is configured for that user.
SETTING = 'pacemaker_cache'
#: Name of the directory in the work directory of the computer, and its path from the folder of a job in there.
NAME = 'pacemaker_cache'
FROM_JOB = f'../../../{NAME}'
#: Ending of the file with the checksum of another.
CHECKSUM = '.sha256'
#: Tables by what they follow from, everything else by its content.
ENTRY = re.compile(r'([0-9a-f]{24}\.pckl\.gzip|[0-9a-f]{64})(\.sha256)?')


@dataclass(frozen=True)
class Cache:
    """What a job knows of the cache of its computer.

    :param directory: its path, from the folder of the job or absolute.
    :param names: the files that are there.
    """

    directory: str = FROM_JOB
    names: frozenset[str] = frozenset()


def is_of_cache(name: str) -> bool:
    """Return whether a name is that of a file of the cache, or of its checksum."""
    return ENTRY.fullmatch(name) is not None


def setting_of(authinfo: orm.AuthInfo) -> str | None:
    """Return the directory that was set for the cache; None if it is in the work directory."""
    return authinfo.get_metadata().get(SETTING)


def directory_of(authinfo: orm.AuthInfo, username: str) -> str:
    """Return the absolute path of the cache of a user.

    :param username: the name that the user has on the computer.
    """
    workdir = authinfo.get_workdir().format(username=username)
    return setting_of(authinfo) or f'{workdir.rstrip("/")}/{NAME}'


def cache_of(process: CalcJob) -> Cache:
    """Return the cache for a job that is about to be uploaded. If it cannot be looked up, all files are sent."""
    authinfo = process.node.get_authinfo()
    directory = setting_of(authinfo) or FROM_JOB
    if process.inputs.metadata.dry_run:
        return Cache(directory)
    try:
        return Cache(directory, run_until_complete(process.loop, _names(process, authinfo)))
    # Each transport has exceptions of its own.
    except Exception as exception:
        process.report(f'The cache of {authinfo.computer.label} cannot be read, all files are sent: {exception!r}')
        return Cache(directory)


async def _names(process: CalcJob, authinfo: orm.AuthInfo) -> frozenset[str]:
    """Return what is whole in the cache, over the connection by which the job is being uploaded."""
    async with process.runner.transport.request_transport(authinfo) as request:
        transport = await request
        # Each command costs a round trip, or a connection.
        username = await transport.whoami_async() if '{username}' in authinfo.get_workdir() else ''
        directory = directory_of(authinfo, username)
        if not await transport.isdir_async(directory):
            return frozenset()
        listed = set(await transport.listdir_async(directory))
    return frozenset(name for name in listed if name + CHECKSUM in listed)
