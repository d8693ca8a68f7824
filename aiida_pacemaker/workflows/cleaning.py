"""Cleaning the folders of jobs on their computers."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from aiida import orm
from aiida.engine import Process
from plumpy import run_until_complete

from aiida_pacemaker.provenance.graph import called_by, chunks


def clean_folders(process: Process) -> None:
    """Remove the folders of all jobs below a process from their computers, where that has not been done yet.

    It is done over one connection for each computer, which is opened no sooner than the computer allows. What cannot be
    removed is reported, and tried again with the next call.
    """
    by_computer = sorted(_folders(process.node), key=lambda folder: str(folder.computer.uuid))
    for _, folders in groupby(by_computer, key=lambda folder: str(folder.computer.uuid)):
        of_computer = list(folders)
        try:
            run_until_complete(process.loop, _clean(process, of_computer))
        # Each transport has exceptions of its own.
        except Exception as exception:
            label = of_computer[0].computer.label
            process.report(f'{len(of_computer)} folders on {label} could not be cleaned: {exception!r}')


async def _clean(process: Any, folders: list[orm.RemoteData]) -> None:
    async with process.runner.transport.request_transport(folders[0].get_authinfo()) as request:
        transport = await request
        for folder in folders:
            path = folder.get_remote_path()
            if await transport.path_exists_async(path):
                await transport.rmtree_async(path)
            folder.base.extras.set(orm.RemoteData.KEY_EXTRA_CLEANED, True)


def _folders(node: orm.ProcessNode) -> list[Any]:
    """Return the folders of the jobs below a process that have not been cleaned, in a few queries."""
    folders = []
    for pks in chunks(called_by(node)):
        query = orm.QueryBuilder().append(orm.CalcJobNode, filters={'id': {'in': pks}}, tag='job')
        edge = {'label': 'remote_folder'}
        query.append(orm.RemoteData, with_incoming='job', edge_filters=edge, project='*')
        folders += [folder for folder in query.all(flat=True) if not folder.is_cleaned]
    return folders
