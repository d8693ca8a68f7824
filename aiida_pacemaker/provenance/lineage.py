"""Where the frames of datasets and potentials come from, and what became of them.

All answers come from the links of the graph. What is missing here can be asked of it with :mod:`.graph`, for instance
which potentials any frame of a trajectory may have gone into, with their numbers of functions::

    [(potential.pk, potential.n_functions) for potential in descendants(trajectory, PacePotentialData)]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from aiida import orm

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.frames.ase_io import info_of
from aiida_pacemaker.frames.ase_io.compression import is_pickle
from aiida_pacemaker.frames.hashing import frame_hashes, hex_hashes
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.provenance.graph import ancestors, descendants
from aiida_pacemaker.sources.given import dataset_of as given_dataset
from aiida_pacemaker.sources.given import node_of
from aiida_pacemaker.sources.origin import source_key, theory_of
from aiida_pacemaker.sources.reading import Source


@dataclass(frozen=True)
class FrameOrigin:
    """Where one frame of a dataset comes from.

    :param source: the node that it was read from.
    :param step: its position there, counted from zero.
    :param generation: generation in which it joined the dataset.
    :param hash: its content hash, 32 hexadecimal digits.
    :param level: level of theory of its labels, None without labels or if it is not known.
    :param info: what its file says of it beside the labels, such as a name: `info` of ASE, of an extxyz file.
    """

    source: Source
    step: int
    generation: int
    hash: str
    level: LevelOfTheory | None = None
    info: dict[str, str | int | float | bool] = field(default_factory=dict)

    def __str__(self) -> str:
        name = self.source.filename if isinstance(self.source, orm.SinglefileData) else self.source.label
        node = f'{type(self.source).__name__}<{self.source.pk}>'
        parts = [f'step {self.step} of {name} ({node})' if name else f'step {self.step} of {node}']
        parts += [f'{key} {value}' for key, value in self.info.items()]
        level = 'level of theory not known' if self.level is None else str(self.level)
        return '; '.join([*parts, f'generation {self.generation}', level])


@dataclass(frozen=True)
class LevelUse:
    """A level of theory and what of a dataset was labelled with it.

    :param level: the level of theory, None if it is not known.
    :param n_frames: number of frames.
    :param sources: the nodes that these were read from, as far as they are in the graph.
    """

    level: LevelOfTheory | None
    n_frames: int
    sources: list[Source]


@dataclass(frozen=True)
class DatasetDifference:
    """What two datasets do not share, by content hash (32 hexadecimal digits), sorted.

    :param n_common: number of distinct frames that are in both.
    :param only_in_a: the frames that only the first has.
    :param only_in_b: the frames that only the second has.
    """

    n_common: int
    only_in_a: list[str]
    only_in_b: list[str]


@dataclass(frozen=True)
class TrainingStep:
    """One job in the history of a potential.

    :param potential: what the job made.
    :param job: the job.
    :param dataset: what it was trained on.
    :param errors: the `TrainingMetrics` of the job, None if it was stopped before it had any.
    """

    potential: PacePotentialData
    job: orm.CalcJobNode
    dataset: PaceDatasetData
    errors: dict[str, Any] | None


def contributing_trajectories(node: PacePotentialData | PaceDatasetData | int | str) -> list[Source]:
    """Return every node that frames of a dataset, or of the dataset that a potential was trained on, were read from.

    These are trajectories and files, and datasets that were made from frames without any other node. They are ancestors
    in the graph, but not all ancestors are among them: one whose frames were all duplicates, refused or filtered out
    contributed nothing; see :func:`idle_sources`. Without that distinction, the graph alone answers::

        ancestors(potential, orm.TrajectoryData)

    :param node: the dataset or potential, or its PK or uuid.
    :returns: the nodes, oldest first.
    :raises ValueError: if it is something else, or if a potential was not made by a training job.
    """
    dataset = _data_of(node)
    found = {source.uuid: source for source in _source_nodes(dataset).values() if source is not None}
    return sorted(found.values(), key=_age)


def idle_sources(node: PacePotentialData | PaceDatasetData | int | str) -> list[Source]:
    """Return the trajectories and files among the ancestors of a dataset of which no frame is in it, oldest first.

    :param node: the dataset or potential, or its PK or uuid.
    :raises ValueError: if it is something else, or if a potential was not made by a training job.
    """
    dataset = _data_of(node)
    used = {source.uuid for source in contributing_trajectories(dataset)}
    return [
        source for source in _ancestors(dataset) if source.uuid not in used and not isinstance(source, PaceDatasetData)
    ]


def unsourced_frames(dataset: PaceDatasetData | int | str) -> int:
    """Return how many frames of a dataset have no source in the graph.

    There are none unless nodes were deleted, or links were cut by importing a part of an archive.
    """
    dataset = given_dataset(dataset)
    nodes = _source_nodes(dataset)
    count = 0
    for frames in dataset.iterate():
        lost = [index for index, key in enumerate(frames.source_keys) if nodes.get(key) is None]
        count += int(np.isin(frames.source, lost).sum())
    return count


def frame_origin(dataset: PaceDatasetData | int | str, index: int) -> FrameOrigin:
    """Return where one frame comes from. One shard is read.

    :param dataset: the dataset, or its PK or uuid.
    :param index: position of the frame in the dataset, counted from zero.
    :raises ValueError: if something else than a dataset is given.
    :raises IndexError: if there is no such frame.
    :raises LookupError: if the source of the frame is not in the graph.
    """
    dataset = given_dataset(dataset)
    if not 0 <= index < dataset.n_frames:
        raise IndexError(f'{dataset} has frames 0 to {dataset.n_frames - 1}, not {index}')
    ends = np.cumsum([shard['n_frames'] for shard in dataset.shards])
    position = int(np.searchsorted(ends, index, side='right'))
    shard = dataset.shards[position]
    row = index - int(ends[position]) + shard['n_frames']
    frame = dataset.get_shard(shard['name']).select([row])
    source = _source_nodes(dataset).get(frame.source_of(0))
    if source is None:
        uuid = dataset.source_uuids.get(frame.source_of(0))
        raise LookupError(f'the source of frame {index} is not among the ancestors of {dataset}: it had uuid {uuid}')
    level = (_found_level(source) or dataset.theories.get(frame.source_of(0))) if dataset.labelled else None
    return FrameOrigin(
        source=source,
        step=int(frame.step[0]),
        generation=int(frame.generation[0]),
        hash=hex_hashes(frame_hashes(frame))[0],
        level=level,
        info=_said_in_file(source, int(frame.step[0])),
    )


def _said_in_file(source: Source, step: int) -> dict[str, str | int | float | bool]:
    """Return what a file of structures says of one beside its labels."""
    if not isinstance(source, orm.SinglefileData):
        return {}
    with source.open(mode='rb') as handle:
        if is_pickle(handle):
            return {}
        return info_of(handle, source.filename, step)


def levels_of(dataset: PaceDatasetData | int | str) -> list[LevelUse]:
    """Return the levels of theory of the labels of a dataset, each with its frames and their sources.

    Versions of a code are told apart here. What is not known has the level None and comes last; there is nothing to
    tell of a dataset without labels.
    """
    dataset = given_dataset(dataset)
    if not dataset.labelled:
        return []
    nodes, counts, theories = _source_nodes(dataset), dataset.frames_per_source(), dataset.theories
    uses: dict[str, LevelUse] = {}
    for key in dataset.sources:
        source = nodes.get(key)
        level = _found_level(source) or theories.get(key)
        name = '' if level is None else level.model_dump_json()
        use = uses.get(name, LevelUse(level, 0, []))
        sources = use.sources if source is None else [*use.sources, source]
        uses[name] = LevelUse(level, use.n_frames + counts.get(key, 0), sources)
    return sorted(uses.values(), key=lambda use: (use.level is None, -use.n_frames))


def _found_level(source: Source | None) -> LevelOfTheory | None:
    """Return the level of theory that is found at a source; one that was said in a merge is known to datasets only."""
    return None if source is None or isinstance(source, PaceDatasetData) else theory_of(source)


def dataset_of(potential: PacePotentialData | int | str) -> PaceDatasetData:
    """Return the dataset that a potential was trained on.

    :raises ValueError: if it was not made by a training job.
    """
    return _job_of(node_of(potential, PacePotentialData, 'potential')).inputs.dataset


def potentials_from(source: Source | int | str) -> list[PacePotentialData]:
    """Return the potentials that descend from a trajectory, a file or a dataset, oldest first.

    A potential that was continued from another one descends from the frames of that one too, whatever its own dataset.
    """
    return descendants(node_of(source, orm.Data, 'source'), PacePotentialData)


def difference(dataset_a: PaceDatasetData | int | str, dataset_b: PaceDatasetData | int | str) -> DatasetDifference:
    """Return which frames only one of two datasets has; labels and sources are not compared."""
    one, other = given_dataset(dataset_a, 'dataset_a'), given_dataset(dataset_b, 'dataset_b')
    a, b = np.unique(one.get_hashes()), np.unique(other.get_hashes())
    in_b = np.isin(a, b)
    return DatasetDifference(
        n_common=int(in_b.sum()), only_in_a=hex_hashes(a[~in_b]), only_in_b=hex_hashes(b[~np.isin(b, a)])
    )


def training_history(potential: PacePotentialData | int | str) -> list[TrainingStep]:
    """Return the jobs that led to a potential, each continued from the potential of the one before, oldest first.

    The list is empty for a potential that was not made by a training job.
    """
    steps: list[TrainingStep] = []
    current: PacePotentialData | None = node_of(potential, PacePotentialData, 'potential')
    while current is not None and current.creator is not None:
        job = _job_of(current)
        errors = job.outputs.metrics.get_dict() if 'metrics' in job.outputs else None
        steps.append(TrainingStep(current, job, job.inputs.dataset, errors))
        current = job.inputs.potential if 'potential' in job.inputs else None
    return steps[::-1]


def _data_of(given: Any) -> PaceDatasetData:
    """Return the dataset that was given, or that a given potential was trained on; both also by PK or uuid."""
    node = node_of(given, (PaceDatasetData, PacePotentialData), 'node')
    return dataset_of(node) if isinstance(node, PacePotentialData) else given_dataset(node)


def _job_of(potential: PacePotentialData) -> orm.CalcJobNode:
    job = potential.creator
    if not isinstance(job, orm.CalcJobNode) or 'dataset' not in job.inputs:
        raise ValueError(f'{potential} was not made by a training job, so nothing is known of its dataset')
    return job


def _age(node: orm.Node) -> datetime:
    return node.ctime


def _ancestors(dataset: PaceDatasetData) -> list[Source]:
    """Return the trajectories, files and datasets that a dataset descends from, oldest first."""
    return ancestors(dataset, orm.TrajectoryData, orm.SinglefileData, PaceDatasetData)


def _source_nodes(dataset: PaceDatasetData) -> dict[str, Source | None]:
    """Return the node behind each source key, None where it is neither an ancestor nor the dataset itself."""
    there: dict[str, Source] = {node.uuid: node for node in [*_ancestors(dataset), dataset]}
    found = {key: there.get(uuid) for key, uuid in dataset.source_uuids.items()}
    if None in found.values():
        # A dataset that was taken from the cache has the uuids of the sources of the one it was copied from; its own
        # are equal in content, which is what the keys say.
        by_key: dict[str, Source] = {}
        for node in there.values():
            for key in _keys_of(node):
                by_key.setdefault(key, node)
        found = {key: node or by_key.get(key) for key, node in found.items()}
    return found


def _keys_of(node: Source) -> list[str]:
    """Return the source keys of the frames that were read from a node, or given to it."""
    if isinstance(node, PaceDatasetData):
        return [key for key, uuid in node.sources.items() if uuid is None]
    return [source_key(node)]
