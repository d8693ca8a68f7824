"""How close atoms come in data, pair of elements by pair of elements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations_with_replacement

import numpy as np
from ase.data import chemical_symbols

from aiida_pacemaker.frames.neighbours import pair_blocks, searchable
from aiida_pacemaker.frames.table import Frames

Distances = Mapping[tuple[str, str], float]


def shortest_distances(frames: Frames, within: float) -> dict[tuple[str, str], float]:
    """Return the shortest distance in angstrom of each pair of elements that comes closer than a limit.

    Frames whose neighbours cannot be listed at a sane cost are left out; the checks of a training refuse them.

    :param frames: the structures; labels are not needed.
    :param within: distance in angstrom beyond which a pair is as good as not there.
    :returns: by the two symbols in alphabetical order.
    """
    shortest = np.full((len(chemical_symbols), len(chemical_symbols)), np.inf)
    good = frames.select(searchable(frames, within))
    for near in pair_blocks(good, within):
        np.minimum.at(shortest, (good.numbers[near.first], good.numbers[near.second]), near.distance)
    shortest = np.minimum(shortest, shortest.T)
    numbers = {symbol: chemical_symbols.index(symbol) for symbol in frames.elements}
    found = {
        (first, second): float(shortest[numbers[first], numbers[second]])
        for first, second in combinations_with_replacement(sorted(numbers), 2)
    }
    return {pair: distance for pair, distance in found.items() if np.isfinite(distance)}


def join_distances(parts: Iterable[Distances]) -> dict[tuple[str, str], float]:
    """Return the shortest distances in all parts of a set of structures."""
    joined: dict[tuple[str, str], float] = {}
    for part in parts:
        for pair, distance in part.items():
            joined[pair] = min(distance, joined.get(pair, np.inf))
    return joined
