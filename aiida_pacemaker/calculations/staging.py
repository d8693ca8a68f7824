"""Putting datasets where the engine finds them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from aiida import orm

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.baseline.targets import write_targets
from aiida_pacemaker.frames.hashing import frame_hashes, hex_hashes
from aiida_pacemaker.frames.pickle_writing import write_candidates

if TYPE_CHECKING:
    from aiida.common.folders import Folder

    from aiida_pacemaker.data.dataset import PaceDatasetData

#: Part of the name of every file: raised when the content for the same shard and baseline changes.
LAYOUT = 1


def training_files(dataset: PaceDatasetData, baseline: DeltaBaseline) -> dict[str, str]:
    """Return the name of the engine's file for each shard of a labelled dataset.

    The name says all that the content follows from (the shard and the baseline that is taken off), so that equal files
    have equal names wherever they are made.
    """
    parameters = json.dumps(baseline.model_dump(mode='json'), sort_keys=True)
    return {shard['name']: _file_name(shard['name'], parameters) for shard in dataset.shards}


def candidate_files(dataset: PaceDatasetData) -> dict[str, str]:
    """Return the name of the engine's file for each shard of a set of candidates, labelled or not."""
    return {shard['name']: _file_name(shard['name'], 'candidates') for shard in dataset.shards}


def _file_name(shard: str, purpose: str) -> str:
    digest = hashlib.sha256(f'{LAYOUT}\n{shard}\n{purpose}'.encode()).hexdigest()
    return f'{digest[:24]}.pckl.gzip'


def link(info: Any, remote: orm.RemoteData, name: str) -> None:
    """Have a file of another folder on the same computer linked instead of sent."""
    path = f'{remote.get_remote_path()}/{name}'
    computer: Any = remote.computer
    info.remote_symlink_list.append((computer.uuid, path, name))


def available_in(remote: orm.RemoteData | None) -> dict[str, orm.RemoteData]:
    """Return the engine's files that can be linked from the folder of a training job, and where each was uploaded.

    What the job itself had linked is followed to the folder that holds it: links to links to links, one per generation,
    would end in an error of the file system.
    """
    if remote is None or remote.is_cleaned:
        return {}
    parent = None
    if _is_training(remote) and 'parent_folder' in remote.creator.inputs:
        parent = remote.creator.inputs.parent_folder
    linked, held = _names_in(parent), available_in(parent)
    present = {name: held.get(name) if name in linked else remote for name in _names_in(remote)}
    return {name: folder for name, folder in present.items() if folder is not None}


def trained_on(remote: orm.RemoteData) -> PaceDatasetData | None:
    """Return the dataset of the training job that a folder belongs to, None if it belongs to none."""
    dataset: PaceDatasetData | None = remote.creator.inputs.dataset if _is_training(remote) else None
    return dataset


def _is_training(remote: orm.RemoteData) -> bool:
    return isinstance(remote.creator, orm.CalcJobNode) and 'baseline' in remote.creator.inputs


def _names_in(remote: orm.RemoteData | None) -> set[str]:
    """Return the names of the engine's files that a training job had, uploaded or linked."""
    if remote is None or not _is_training(remote):
        return set()
    inputs = remote.creator.inputs
    baseline = DeltaBaseline.model_validate(inputs.baseline.get_dict())
    datasets = [inputs[label] for label in ('dataset', 'test_dataset') if label in inputs]
    return {name for dataset in datasets for name in training_files(dataset, baseline).values()}


def stage_training(
    folder: Folder,
    info: Any,
    dataset: PaceDatasetData,
    baseline: DeltaBaseline,
    parent: orm.RemoteData | None = None,
) -> list[str]:
    """Write the shards of a labelled dataset, less the baseline, as the engine reads them.

    :param parent: folder of an earlier training job on the same computer, whose files are linked.
    :returns: the names of the files, in the order of the dataset. They are uploaded but not kept in the provenance,
        where the dataset and the baseline already say all.
    """
    available = available_in(parent)
    names = training_files(dataset, baseline)
    for shard, name in names.items():
        if name in available:
            link(info, available[name], name)
            continue
        with folder.open(name, 'wb') as handle:
            write_targets(dataset.get_shard(shard), handle, baseline)
        info.provenance_exclude_list.append(name)
    return list(names.values())


def stage_candidates(folder: Folder, info: Any, dataset: PaceDatasetData) -> list[str]:
    """Write the structures of a dataset, without labels, as the engine reads them.

    :returns: the names of the files, in the order of the dataset.
    """
    names = candidate_files(dataset)
    for shard, name in names.items():
        frames = dataset.get_shard(shard)
        with folder.open(name, 'wb') as handle:
            write_candidates(frames, handle, names=hex_hashes(frame_hashes(frames)))
    info.provenance_exclude_list.extend(names.values())
    return list(names.values())
