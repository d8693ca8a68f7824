"""Calculation functions on datasets, and the functions that call them with plain arguments.

Every dataset that a workflow makes comes from one of these, or from a job, so each keeps its links. They fail with an
exit status and a message; the functions with plain arguments raise that message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from operator import index
from typing import Any, Literal

import numpy as np
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ExitCode, calcfunction
from pydantic import BaseModel, ConfigDict, Field

from aiida_pacemaker.baseline.distances import join_distances
from aiida_pacemaker.baseline.evaluation import evaluate
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.baseline.reference_energies import element_counts, fit_energies
from aiida_pacemaker.baseline.zbl import distance_of_concern
from aiida_pacemaker.calculations.functions.reference_atoms import isolated_atom_energies
from aiida_pacemaker.data.dataset import SHARD_BYTES, PaceDatasetData
from aiida_pacemaker.data.surveys import shortest_of
from aiida_pacemaker.errors import RefusedError
from aiida_pacemaker.frames.isolated import isolated_atoms
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.shards import ATOM_BYTES, FRAME_BYTES
from aiida_pacemaker.frames.splitting import filter_by, split
from aiida_pacemaker.frames.table import BoolArray, Frames
from aiida_pacemaker.option_errors import parse_options
from aiida_pacemaker.provenance.evaluations import gamma_of
from aiida_pacemaker.sources.given import dataset_of, nodes_of
from aiida_pacemaker.sources.known_frames import shared_frames
from aiida_pacemaker.sources.merge_options import MergeOptions
from aiida_pacemaker.sources.merging import file_names, merge_sources
from aiida_pacemaker.sources.origin import TrajectoryOrigin, recognised_conventions, recognised_levels
from aiida_pacemaker.sources.reading import Source

#: Exit status of a function whose input could not be dealt with; the message says why.
ERROR_REFUSED = 410
#: Exit status of a function that would have to return a dataset without frames.
ERROR_NOTHING_LEFT = 420


class SplitOptions(BaseModel):
    """How a dataset is split in two."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    test_fraction: float = Field(gt=0, lt=1, description='Share of the frames in the test set.')
    seed: int = Field(description='Decides which frames these are.')
    by: Literal['frame', 'source'] = Field(
        default='frame', description='`source` keeps all frames of one trajectory on one side.'
    )


class FilterOptions(BaseModel):
    """Which frames are kept: those inside all ranges that are given."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    energy_per_atom: tuple[float | None, float | None] | None = Field(
        default=None, description='Smallest and largest energy in eV/atom; None leaves a side open.'
    )
    max_force: tuple[float | None, float | None] | None = Field(
        default=None, description='Smallest and largest value of the largest force in eV/angstrom.'
    )
    gamma: tuple[float | None, float | None] | None = Field(
        default=None, description='Smallest and largest extrapolation grade of a frame; needs an evaluation.'
    )


@calcfunction
def merge(options: orm.Dict, base: PaceDatasetData | None = None, **sources: Source) -> dict[str, orm.Data] | ExitCode:
    """Merge trajectories, files and datasets into one dataset: see `merge_frames`."""
    try:
        dataset, atoms, report = merge_sources(base, sources, parse_options(MergeOptions, options.get_dict()))
    except ValueError as exception:
        return ExitCode(ERROR_REFUSED, str(exception))
    outputs: dict[str, orm.Data] = {'dataset': dataset, 'report': orm.Dict(report)}
    return outputs if atoms is None else {**outputs, 'isolated_atoms': atoms}


@calcfunction
def split_dataset(dataset: PaceDatasetData, options: orm.Dict) -> dict[str, PaceDatasetData] | ExitCode:
    """Split a dataset into training and test set: see `split_frames`."""
    settings = parse_options(SplitOptions, options.get_dict())
    frames = dataset.get_frames()
    try:
        train, _ = split(frames, settings.test_fraction, settings.seed, by=settings.by)
    except ValueError as exception:
        return ExitCode(ERROR_REFUSED, str(exception))
    in_train = np.zeros(len(frames), dtype=np.bool_)
    in_train[train] = True
    return {'train': part_of(dataset, in_train), 'test': part_of(dataset, ~in_train)}


@calcfunction
def filter_dataset(
    dataset: PaceDatasetData, options: orm.Dict, evaluation: orm.ArrayData | None = None
) -> dict[str, orm.Data] | ExitCode:
    """Keep the frames inside ranges of energy, force and gamma: see `filter_frames`."""
    settings = parse_options(FilterOptions, options.get_dict())
    if settings.gamma is not None and evaluation is None:
        return ExitCode(ERROR_REFUSED, 'a range of gamma needs an `evaluation` of this dataset with an active set')
    if settings.gamma is None and evaluation is not None:
        return ExitCode(
            ERROR_REFUSED, 'nothing of the `evaluation` would be used: give a range of `gamma`, or leave it out'
        )
    masks: list[BoolArray] = []
    refused_by: Counter[str] = Counter()
    start = 0
    try:
        gamma = None if evaluation is None else gamma_of(evaluation, dataset)
        for frames in dataset.iterate():
            mask, refused = filter_by(
                frames,
                energy_per_atom=settings.energy_per_atom,
                max_force=settings.max_force,
                gamma_range=settings.gamma,
                gamma=None if gamma is None else gamma[start : start + len(frames)],
            )
            start += len(frames)
            masks.append(mask)
            refused_by.update(refused)
    except ValueError as exception:
        return ExitCode(ERROR_REFUSED, str(exception))
    kept = np.concatenate(masks)
    if not kept.any():
        return ExitCode(ERROR_NOTHING_LEFT, f'none of the {len(kept)} frames is inside the ranges')
    report = {'n_given': len(kept), 'n_kept': int(kept.sum()), 'refused_by': dict(refused_by)}
    return {'dataset': part_of(dataset, kept), 'report': orm.Dict(report)}


@calcfunction
def exclude_datasets(dataset: PaceDatasetData, **others: PaceDatasetData) -> PaceDatasetData | ExitCode:
    """Return the frames of a dataset that are in none of the others, however written: see `exclude_frames`."""
    unknown = ~shared_frames(dataset, others)
    if not unknown.any():
        return ExitCode(ERROR_NOTHING_LEFT, f'all {dataset.n_frames} frames are in the other datasets')
    return part_of(dataset, unknown)


@calcfunction
def pick_dataset(dataset: PaceDatasetData, indices: orm.List) -> PaceDatasetData | ExitCode:
    """Return frames of a dataset by their positions, in the order of these: see `pick_frames`."""
    positions = indices.get_list()
    if not positions:
        return ExitCode(ERROR_NOTHING_LEFT, 'no positions of frames were given')
    if len(set(positions)) < len(positions):
        twice = next(position for position, count in Counter(positions).items() if count > 1)
        return ExitCode(ERROR_REFUSED, f'frame {twice} is picked twice, a dataset has each frame once')
    outside = [position for position in positions if not 0 <= position < dataset.n_frames]
    if outside:
        return ExitCode(ERROR_REFUSED, f'{dataset} has frames 0 to {dataset.n_frames - 1}, not {outside[0]}')
    mask = np.zeros(dataset.n_frames, dtype=np.bool_)
    mask[positions] = True
    if positions == sorted(positions):
        return part_of(dataset, mask)
    frames = Frames.concatenate(list(_tables(dataset, mask))).select(np.argsort(np.argsort(positions)))
    return PaceDatasetData([frames], sources=dataset.source_uuids, theories=dataset.theories)


@calcfunction
def find_candidates(
    pool: PaceDatasetData, evaluation: orm.ArrayData, gamma_threshold: orm.Float, **known: PaceDatasetData
) -> dict[str, orm.Data] | ExitCode:
    """Return the frames of a pool on which a potential extrapolates: not in its dataset, and gamma above a threshold.

    The output `candidates` is not there if there are none; `report` says how many there were on the way, and how many
    of them have interactions that the data of the potential never had, for which gamma is infinite (`n_unseen`).
    """
    try:
        gamma = gamma_of(evaluation, pool)
    except ValueError as exception:
        return ExitCode(ERROR_REFUSED, str(exception))
    unknown = ~shared_frames(pool, known)
    wanted = unknown & (gamma >= gamma_threshold.value)
    outputs: dict[str, orm.Data] = {
        'report': orm.Dict(
            {
                'n_pool': pool.n_frames,
                'n_unknown': int(unknown.sum()),
                'n_candidates': int(wanted.sum()),
                'n_unseen': int(np.isinf(gamma[wanted]).sum()),
            }
        )
    }
    if wanted.any():
        outputs['candidates'] = part_of(pool, wanted)
    return outputs


@calcfunction
def fit_reference_energies(dataset: PaceDatasetData, baseline: orm.Dict) -> orm.Dict | ExitCode:
    """Return the energy per atom of each element (eV) that describes a dataset best, its baseline subtracted.

    These are no energies of isolated atoms, but they bring the energies into the range that the engine accepts. Fit
    them once, at the first generation, and keep them for all later ones.
    """
    parsed = DeltaBaseline.model_validate(baseline.get_dict())
    parts = []
    for frames in dataset.iterate():
        if frames.energy is None:
            return ExitCode(ERROR_REFUSED, f'{dataset} has no labels, energies are needed')
        parts.append((*element_counts(frames), frames.energy - evaluate(parsed, frames).energy))
    return orm.Dict(fit_energies(parts))


@calcfunction
def default_baseline(dataset: PaceDatasetData, lj: orm.Bool, **others: PaceDatasetData) -> orm.Dict | ExitCode:
    """Return the baseline that the elements of a dataset and its shortest distances suggest: ZBL, and LJ if wanted.

    The ZBL repulsion of each pair ends where the two atoms would bond, and before the first label of the pair. Other
    datasets are structures that may come to be fitted later or tested on: their distances count as well.
    """
    try:
        within = distance_of_concern(dataset.elements)
        shortest = join_distances(shortest_of(one, within) for one in (dataset, *others.values()))
        baseline = DeltaBaseline.for_elements(dataset.elements, lj=lj.value, shortest=shortest)
    except ValueError as exception:
        return ExitCode(ERROR_REFUSED, f'there is no default baseline: {exception}')
    return orm.Dict(baseline.model_dump(mode='json'))


def merge_frames(
    *sources: Any, base: PaceDatasetData | int | str | None = None, **options: Any
) -> tuple[PaceDatasetData, orm.Dict]:
    """Merge any number of trajectories, files and datasets into one dataset, with provenance.

    :param sources: `TrajectoryData`, `PaceDatasetData`, and `SinglefileData` with a Pacemaker `.pckl.gzip` or whatever
        ASE reads; paths of such files, which become `SinglefileData`; structures of ASE, which become trajectories, one
        for each composition and periodicity; PKs and uuids of nodes; lists of all these. In options and report they are
        `source_0000`, `source_0001`, ... in their order. What the arrays of a trajectory mean is known from the process
        that made it (:mod:`aiida_pacemaker.sources`), or stated with `conventions`.
    :param base: a dataset to begin with; it is not checked again.
    :param options: the fields of :class:`MergeOptions`.
    :returns: the dataset, and a report that lists duplicates and refused frames with their reasons.
    :raises RefusedError: if something given is no source, if it is not known what its arrays mean, or if more frames
        are refused than `max_failed_fraction` allows; nothing is merged then.
    """
    try:
        labelled = {f'source_{index:04d}': node for index, node in enumerate(_given(sources, options))}
    except ValueError as exception:
        raise RefusedError(str(exception)) from exception
    begin = {} if base is None else {'base': _dataset(base, 'base')}
    outputs = _run(merge, options=merge_options(labelled, **options), **begin, **labelled)
    return outputs['dataset'], outputs['report']


def _given(sources: Iterable[Any], options: Mapping[str, Any]) -> list[Source]:
    """Return the nodes of what was given to a merge with some options."""
    keys = options.get('keys')
    by_source = isinstance(keys, Mapping) and any(isinstance(value, (Mapping, LabelKeys)) for value in keys.values())
    return nodes_of(sources, keys=None if by_source else keys, labelled=options.get('labelled', True))


def merge_options(sources: Mapping[str, Source], **options: Any) -> orm.Dict:
    """Return the options of a merge, with the conventions and levels of theory of all trajectories said outright.

    The merge is a function of its inputs then, which its hash follows from: who made a trajectory is in the graph, not
    in the content of the node. A trajectory whose convention is not known is left out; the merge refuses it.
    """
    origins = {label: TrajectoryOrigin(node) for label, node in sources.items() if isinstance(node, orm.TrajectoryData)}
    stated = options.get('conventions', {})
    recognised = recognised_conventions({label: one for label, one in origins.items() if label not in stated})
    parsed = parse_options(MergeOptions, {**options, 'conventions': {**recognised, **stated}})
    try:
        parsed.check_labels(file_names(sources))
    except ValueError as exception:
        raise RefusedError(str(exception)) from exception
    if parsed.labelled:
        levels = recognised_levels({label: one for label, one in origins.items() if label not in parsed.levels})
        parsed = parsed.model_copy(update={'levels': {**levels, **parsed.levels}})
    return orm.Dict(parsed.model_dump(mode='json'))


def reference_energies_from(dataset: PaceDatasetData | int | str) -> orm.Dict:
    """Return the energy of the isolated atom of each element of a dataset (eV), of frames of one atom alone.

    These are looked for in the dataset, and if there are none among those that were set aside when it was merged, also
    where it is a part of what was merged.

    :param dataset: the dataset, or its PK or uuid.
    :raises RefusedError: if an element has no isolated atom, or several with different energies.
    """
    dataset = _dataset(dataset)
    elements = orm.List(dataset.elements)
    found = {f'atoms_{index:02d}': node for index, node in enumerate(_with_isolated_atoms(dataset))}
    energies: orm.Dict = _run(isolated_atom_energies, elements=elements, **found)
    return energies


def split_frames(dataset: PaceDatasetData | int | str, **options: Any) -> tuple[PaceDatasetData, PaceDatasetData]:
    """Return training and test set of a dataset; a structure is never on both sides, however it is written.

    :param dataset: the dataset, or its PK or uuid.
    :param options: the fields of :class:`SplitOptions`.
    :raises RefusedError: if it cannot be split so.
    """
    parsed = parse_options(SplitOptions, options)
    outputs = _run(split_dataset, dataset=_dataset(dataset), options=orm.Dict(parsed.model_dump(mode='json')))
    return outputs['train'], outputs['test']


def filter_frames(
    dataset: PaceDatasetData | int | str, *, evaluation: orm.ArrayData | None = None, **options: Any
) -> tuple[PaceDatasetData, orm.Dict]:
    """Return the frames inside ranges, and how many each criterion refused.

    :param dataset: the dataset, or its PK or uuid.
    :param evaluation: an evaluation of the dataset, for a range of gamma.
    :param options: the fields of :class:`FilterOptions`.
    :raises RefusedError: if no frame is left, or if a range needs what is not there.
    """
    parsed = parse_options(FilterOptions, options)
    extra = {} if evaluation is None else {'evaluation': evaluation}
    outputs = _run(filter_dataset, dataset=_dataset(dataset), options=orm.Dict(parsed.model_dump(mode='json')), **extra)
    return outputs['dataset'], outputs['report']


def exclude_frames(dataset: PaceDatasetData | int | str, *others: PaceDatasetData | int | str) -> PaceDatasetData:
    """Return the frames of a dataset that are in none of the others.

    A frame of the others that was rounded or wrapped, or has its atoms in another order, is left out too.

    :param dataset: the dataset, or its PK or uuid; so are the others.
    :raises RefusedError: if no frame is left.
    """
    labelled = {f'other_{index:02d}': _dataset(other, 'others') for index, other in enumerate(others)}
    left: PaceDatasetData = _run(exclude_datasets, dataset=_dataset(dataset), **labelled)
    return left


def pick_frames(dataset: PaceDatasetData | int | str, indices: Iterable[int]) -> PaceDatasetData:
    """Return frames of a dataset by their positions, each with the source that it had.

    Where a dataset was read from one file and nothing was left out, these are the positions in the file, so that frames
    can be chosen by what it says beside the labels.

    :param dataset: the dataset, or its PK or uuid.
    :param indices: positions, counted from zero; the frames are in this order.
    :raises RefusedError: if there is no such frame, if one is given twice, or none at all.
    """
    try:
        positions = [index(one) for one in indices]
    except TypeError as exception:
        raise RefusedError(f'`indices` are positions of frames, whole numbers: {exception}') from exception
    picked: PaceDatasetData = _run(pick_dataset, dataset=_dataset(dataset), indices=orm.List(positions))
    return picked


def _dataset(given: Any, name: str = 'dataset') -> PaceDatasetData:
    try:
        return dataset_of(given, name)
    except ValueError as exception:
        raise RefusedError(str(exception)) from exception


def _run(function: Any, **inputs: Any) -> Any:
    """Run a calculation function and return its outputs.

    :raises RefusedError: with the message of the function, if it failed.
    """
    outputs, node = function.run_get_node(**inputs)
    if not node.is_finished_ok:
        raise RefusedError(f'{node.exit_message} (process {node.pk})')
    return outputs


def _with_isolated_atoms(dataset: PaceDatasetData) -> list[PaceDatasetData]:
    """Return the dataset if it has isolated atoms, else what the merges behind it have set aside."""
    if any(isolated_atoms(frames).any() for frames in dataset.iterate()):
        return [dataset]
    found: dict[str, PaceDatasetData] = {}
    seen = {dataset.uuid}
    queue = [dataset]
    while queue:
        creator = queue.pop(0).creator
        if creator is None:
            continue
        if 'isolated_atoms' in creator.outputs and isinstance(creator.outputs.isolated_atoms, PaceDatasetData):
            found.setdefault(creator.outputs.isolated_atoms.uuid, creator.outputs.isolated_atoms)
        for node in creator.base.links.get_incoming(PaceDatasetData, link_type=LinkType.INPUT_CALC).all_nodes():
            if isinstance(node, PaceDatasetData) and node.uuid not in seen:
                seen.add(node.uuid)
                queue.append(node)
    return list(found.values())


def part_of(dataset: PaceDatasetData, mask: BoolArray) -> PaceDatasetData:
    """Return the frames of a dataset that are in a mask as a dataset of its own, in order, each with its source."""
    return PaceDatasetData(_tables(dataset, mask), sources=dataset.source_uuids, theories=dataset.theories)


def _tables(dataset: PaceDatasetData, mask: BoolArray) -> Iterator[Frames]:
    """Iterate over the frames that are in a mask, with no more than about two shards in memory.

    Whole shards stay as they are: their bytes are in the object store already. What is left of others is joined.
    """
    held: list[Frames] = []
    start = size = 0
    for shard in dataset.shards:
        chosen = mask[start : start + shard['n_frames']]
        start += shard['n_frames']
        if not chosen.any():
            continue
        frames = dataset.get_shard(shard['name'])
        part_size = int(frames.n_atoms[chosen].sum()) * ATOM_BYTES + int(chosen.sum()) * FRAME_BYTES
        if held and (chosen.all() or size + part_size > SHARD_BYTES):
            yield Frames.concatenate(held)
            held, size = [], 0
        if chosen.all():
            yield frames
        else:
            held.append(frames.select(chosen))
            size += part_size
    if held:
        yield Frames.concatenate(held)
