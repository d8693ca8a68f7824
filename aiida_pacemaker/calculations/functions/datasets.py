"""Calculation functions that choose frames of a dataset, and the functions that call them with plain arguments.

Every dataset that a workflow makes comes from a calculation function or a job, so each keeps its links. Calculation
functions fail with an exit status and a message; the functions with plain arguments raise that message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from operator import index
from typing import Any, Literal

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, calcfunction
from pydantic import BaseModel, ConfigDict, Field

from aiida_pacemaker.calculations.functions.calling import (
    ERROR_NOTHING_LEFT,
    ERROR_REFUSED,
    loaded_dataset,
    run_function,
)

# Stored processes find it here: it has no entry point.
from aiida_pacemaker.calculations.functions.references import default_baseline  # noqa: F401
from aiida_pacemaker.data.dataset import SHARD_BYTES, PaceDatasetData
from aiida_pacemaker.errors import RefusedError
from aiida_pacemaker.frames.shards import ATOM_BYTES, FRAME_BYTES
from aiida_pacemaker.frames.splitting import filter_by, split
from aiida_pacemaker.frames.table import BoolArray, Frames
from aiida_pacemaker.option_errors import parse_options
from aiida_pacemaker.provenance.evaluations import gamma_of
from aiida_pacemaker.sources.known_frames import shared_frames


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

    The output `candidates` is not there if there are none; `report` counts the frames at each step, and how many
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


def split_frames(dataset: PaceDatasetData | int | str, **options: Any) -> tuple[PaceDatasetData, PaceDatasetData]:
    """Return training and test set of a dataset; a structure is never on both sides, however it is written.

    :param dataset: the dataset, or its PK or uuid.
    :param options: the fields of :class:`SplitOptions`.
    :raises RefusedError: if it cannot be split so.
    """
    parsed = parse_options(SplitOptions, options)
    outputs = run_function(
        split_dataset, dataset=loaded_dataset(dataset), options=orm.Dict(parsed.model_dump(mode='json'))
    )
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
    outputs = run_function(
        filter_dataset, dataset=loaded_dataset(dataset), options=orm.Dict(parsed.model_dump(mode='json')), **extra
    )
    return outputs['dataset'], outputs['report']


def exclude_frames(dataset: PaceDatasetData | int | str, *others: PaceDatasetData | int | str) -> PaceDatasetData:
    """Return the frames of a dataset that are in none of the others.

    A frame of the others that was rounded or wrapped, or has its atoms in another order, is left out too.

    :param dataset: the dataset, or its PK or uuid; so are the others.
    :raises RefusedError: if no frame is left.
    """
    labelled = {f'other_{index:02d}': loaded_dataset(other, 'others') for index, other in enumerate(others)}
    left: PaceDatasetData = run_function(exclude_datasets, dataset=loaded_dataset(dataset), **labelled)
    return left


def pick_frames(dataset: PaceDatasetData | int | str, indices: Iterable[int]) -> PaceDatasetData:
    """Return frames of a dataset by their positions, each with the source that it had.

    Where a dataset was read from one file and nothing was left out, these are the positions in the file, so that frames
    can be chosen by the other columns of the file.

    :param dataset: the dataset, or its PK or uuid.
    :param indices: positions, counted from zero; the frames are in this order.
    :raises RefusedError: if there is no such frame, if one is given twice, or none at all.
    """
    try:
        positions = [index(one) for one in indices]
    except TypeError as exception:
        raise RefusedError(f'`indices` are positions of frames, whole numbers: {exception}') from exception
    picked: PaceDatasetData = run_function(pick_dataset, dataset=loaded_dataset(dataset), indices=orm.List(positions))
    return picked


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
