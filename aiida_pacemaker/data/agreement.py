"""Whether datasets agree on what they say of the sources that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from aiida_pacemaker.frames.source_keys import follows_from_content
from aiida_pacemaker.frames.theory import LevelOfTheory, differences

if TYPE_CHECKING:
    from aiida_pacemaker.data.dataset import PaceDatasetData


def add_sources(known: dict[str, str], more: Mapping[str, str]) -> None:
    """Add the nodes of source keys to those that are known; of nodes with equal content the first stays.

    :param known: uuid of the node of each source key.
    :param more: the same, of another dataset.
    :raises ValueError: if a key that somebody has made up stands for two nodes.
    """
    for key, uuid in more.items():
        if known.setdefault(key, uuid) != uuid and not follows_from_content(key):
            raise ValueError(
                f'two different sources have the key `{key}`: one is of node {known[key]}, the other of {uuid}. '
                'Construct the dataset of one of them again, `PaceDatasetData(dataset.get_frames(), '
                'theories=dataset.theories)`: its keys follow from its content then'
            )


def agreed_sources(datasets: Sequence[PaceDatasetData]) -> dict[str, str]:
    """Return the node of each source key of some datasets.

    :raises ValueError: if they disagree on the level of theory of a source, or if a key that somebody has made up
        stands for two nodes.
    """
    known: dict[str, str] = {}
    fingerprints: dict[str, str] = {}
    levels: dict[str, LevelOfTheory] = {}
    for dataset in datasets:
        add_sources(known, dataset.source_uuids)
        levels |= dataset.levels
        for key, fingerprint in dataset.level_of_source.items():
            first = fingerprints.setdefault(key, fingerprint)
            found = [] if first == fingerprint else differences(levels[first], levels[fingerprint])
            if found:
                raise ValueError(
                    f'the labels of the source `{key}` are said to be of two levels of theory: {"; ".join(found)}'
                )
    return known
