"""Interactions that the data of a potential never had, from nodes: see :mod:`aiida_pacemaker.pace.unseen`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from aiida import orm

from aiida_pacemaker.calculations.staging import trained_on
from aiida_pacemaker.data.surveys import surroundings_of
from aiida_pacemaker.pace.output.potentials import PotentialSummary, read_potential
from aiida_pacemaker.pace.unseen import Unseen, unseen_by_matrix, unseen_in

if TYPE_CHECKING:
    from aiida_pacemaker.data.active_set import PaceActiveSetData
    from aiida_pacemaker.data.dataset import PaceDatasetData
    from aiida_pacemaker.data.potential import PacePotentialData


def unseen_by(datasets: Iterable[PaceDatasetData], potential: PacePotentialData) -> Unseen:
    """Return the interactions of a potential that no atom of some datasets has."""
    summary = _summary(potential.get_b_basis())
    seen = [one for dataset in datasets for one in surroundings_of(dataset, summary.pair_cutoffs)]
    return unseen_in(frozenset(seen), summary)


def unseen_of(active_set: PaceActiveSetData, potential: PacePotentialData) -> Unseen | None:
    """Return the interactions of a potential that the data of its active set never had; None if that is not known.

    An active set says so itself, or it and its data, looked up in the provenance, are compared with the potential.
    """
    if active_set.unseen is not None:
        return active_set.unseen
    creator = active_set.creator
    dataset = data_of(creator) if isinstance(creator, orm.CalcJobNode) else None
    return unseen_from(active_set.content, active_set.kind, dataset, potential)


def unseen_from(
    content: bytes, kind: str, dataset: PaceDatasetData | None, potential: PacePotentialData
) -> Unseen | None:
    """Return the interactions of a potential that an active set does not have; None if that is not known.

    They are those that its data never had, and those of which no atom is left after outliers were left out.

    :param content: the content of the active set.
    :param kind: its kind; of a `full` one only the data can tell.
    :param dataset: what it was built from, if that is known.
    """
    if dataset is None and kind != 'linear':
        return None
    summary = _summary(potential.get_b_basis())
    blocks = dict(unseen_by([dataset], potential).blocks) if dataset is not None else {}
    if kind == 'linear':
        blocks |= unseen_by_matrix(content, summary).blocks
    return Unseen(summary.pair_cutoffs, blocks)


def data_of(job: orm.CalcJobNode) -> PaceDatasetData | None:
    """Return the dataset that an active-set job takes its atoms from, None if the provenance does not say."""
    inputs = job.inputs
    if 'dataset' in inputs:
        dataset: PaceDatasetData = inputs.dataset
        return dataset
    return trained_on(inputs.parent_folder) if 'parent_folder' in inputs else None


@lru_cache(maxsize=16)
def _summary(b_basis: bytes) -> PotentialSummary:
    return read_potential(b_basis)
