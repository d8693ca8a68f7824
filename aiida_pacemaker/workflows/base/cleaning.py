"""Cleaning the folders of jobs on their computers."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import Process

from aiida_pacemaker._aiida.processes import run_in_loop, transport_of
from aiida_pacemaker.provenance.graph import called_by, chunks


def clean_folders(process: Process) -> None:
    """Remove the folders of all jobs below a process from their computers, where that has not been done yet.

    It is done over one connection for each computer, which is opened no sooner than the computer allows. What cannot be
    removed is reported, and tried again with the next call.
    """
    by_computer: dict[str, list[orm.RemoteData]] = {}
    for folder in _folders(process.node):
        by_computer.setdefault(folder.computer.label, []).append(folder)
    for label, folders in by_computer.items():
        try:
            run_in_loop(process, _clean(process, folders))
        # Each transport has exceptions of its own.
        except Exception as exception:
            process.report(f'{len(folders)} folders on {label} could not be cleaned: {exception!r}')


async def _clean(process: Any, folders: list[orm.RemoteData]) -> None:
    async with transport_of(process, folders[0].get_authinfo()) as transport:
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
        query.append(
            orm.RemoteData,
            with_incoming='job',
            edge_filters={'label': 'remote_folder'},
            # Those of all earlier generations are not even read.
            filters={'extras': {'!has_key': orm.RemoteData.KEY_EXTRA_CLEANED}},
            project='*',
        )
        folders += query.all(flat=True)
    return folders
