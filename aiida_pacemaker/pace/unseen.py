"""Interactions that a fit has never seen: functions of a potential for surroundings that no atom of its data has.

Nothing in the data speaks of the coefficients of such functions. Nor does the extrapolation grade gamma: where a
function is zero for every atom of the data, the engine's active set gives it a diagonal of 1e-16 before it is
pseudo-inverted, so that it drops out, and an atom in such surroundings has a gamma that may be zero. What is listed
here counts as infinitely far from the data instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from aiida_pacemaker.frames.neighbours import pair_blocks, searchable
from aiida_pacemaker.frames.table import BoolArray, FloatArray, Frames, IntArray
from aiida_pacemaker.pace.near_elements import NearElements
from aiida_pacemaker.pace.output.active_sets import function_weights
from aiida_pacemaker.pace.output.potentials import PotentialSummary

#: A central element, and the elements of which it needs at least one neighbour each, sorted.
Surroundings = tuple[str, tuple[str, ...]]

#: What is said of an active set of which nobody knows what it was built from.
UNKNOWN = (
    'It is not known from which data the active set was built, so gamma may be 0 instead of infinite for interactions '
    'that these data never had. Build it anew with `pacemaker.activeset` and its `dataset`.'
)

#: What has dropped out of an active set is left with the noise of a pseudo-inverse. Of fits to two pure elements it was
#: 1e-9 of the largest element or less, and that of the strongest function of anything seen 1e-1 or more.
DROPPED = 1e-7

#: No more are named in a sentence.
MOST_NAMES = 12


@dataclass(frozen=True)
class Unseen:
    """The interactions that a fit has never seen.

    :param cutoffs: how far an atom sees its neighbours in angstrom, keyed by the symbols of the two.
    :param blocks: number of basis functions for each of the surroundings that no atom of the data has.
    """

    cutoffs: Mapping[tuple[str, str], float]
    blocks: Mapping[Surroundings, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.blocks)

    @cached_property
    def smallest(self) -> list[Surroundings]:
        """Those of the surroundings that do not follow from others of them: who lacks a pair lacks all its triples."""
        found: dict[str, list[set[str]]] = {}
        for centre, neighbours in sorted(self.blocks, key=lambda block: len(block[1])):
            fewer = found.setdefault(centre, [])
            if not any(one <= set(neighbours) for one in fewer):
                fewer.append(set(neighbours))
        return sorted((centre, tuple(sorted(one))) for centre, ones in found.items() for one in ones)

    @cached_property
    def names(self) -> list[str]:
        """The smallest of them in words: `Ag-Cu` for a pair, `Cu with Ag, Au` for a central atom and its neighbours."""
        pairs = {(centre, neighbours[0]) for centre, neighbours in self.smallest if len(neighbours) == 1}
        found = {
            '-'.join(sorted(pair)) if pair[::-1] in pairs else f'{pair[1]} around {pair[0]}' for pair in sorted(pairs)
        }
        more = [f'{centre} with {", ".join(others)}' for centre, others in self.smallest if len(others) > 1]
        return [*sorted(found), *more]

    @property
    def text(self) -> str:
        """The names in one line."""
        more = len(self.names) - MOST_NAMES
        listed = '; '.join(self.names[:MOST_NAMES])
        return listed if more <= 0 else f'{listed}; and {more} more'

    @property
    def warning(self) -> str:
        """What a user has to be told; empty if there is nothing."""
        if not self:
            return ''
        return (
            f'Interactions without data: {self.text}. No atom of the data has such neighbours within the cutoffs, '
            'so what the potential says of them is fitted to nothing, and gamma counts as infinite there. Add frames '
            'that have them, or use the potential only where they do not occur.'
        )

    def plain(self) -> dict[str, Any]:
        """Return it as plain data, such as for an attribute of a node."""
        return {
            'cutoffs': [[*pair, cutoff] for pair, cutoff in sorted(self.cutoffs.items())],
            'blocks': [[centre, list(near), count] for (centre, near), count in sorted(self.blocks.items())],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Unseen:
        """Return what :meth:`plain` has made plain."""
        return cls(
            {(centre, neighbour): float(cutoff) for centre, neighbour, cutoff in plain['cutoffs']},
            {(centre, tuple(near)): int(count) for centre, near, count in plain['blocks']},
        )

    def request(self) -> dict[str, Any] | None:
        """Return what a driver has to know, by atomic numbers; None if there is nothing to look for."""
        if not self:
            return None
        needed = {(centre, other) for centre, near in self.smallest for other in near}
        return {
            'cutoffs': [
                [atomic_numbers[centre], atomic_numbers[other], self.cutoffs[centre, other]]
                for centre, other in sorted(needed)
            ],
            'blocks': [[atomic_numbers[centre], _numbers(near)] for centre, near in self.smallest],
        }


def all_surroundings(frames: Frames, cutoffs: Mapping[tuple[str, str], float]) -> frozenset[Surroundings]:
    """Return what the atoms of frames are surrounded by: each distinct element with all elements that it sees.

    :param frames: the frames; those whose neighbours cannot be listed at a sane cost are left out.
    :param cutoffs: how far an atom sees its neighbours in angstrom, keyed by the symbols of the two.
    """
    rule = NearElements(_by_numbers(cutoffs))
    frames = frames.select(searchable(frames, rule.largest))
    near = _near(frames, rule)
    table = np.unique(np.column_stack([frames.numbers, near.astype(np.int64)]), axis=0)
    symbols = [chemical_symbols[number] for number in rule.elements.tolist()]
    return frozenset(
        (chemical_symbols[number], tuple(sorted(symbol for symbol, there in zip(symbols, row, strict=True) if there)))
        for number, *row in table.tolist()
    )


def unseen_in(seen: Iterable[Surroundings], potential: PotentialSummary) -> Unseen:
    """Return the interactions of a potential that none of some surroundings have.

    :param seen: all that atoms of the data are surrounded by, as of :func:`all_surroundings`.
    :param potential: the potential.
    """
    by_centre: dict[str, list[set[str]]] = {}
    for centre, near in seen:
        by_centre.setdefault(centre, []).append(set(near))
    blocks = {
        (centre, near): count
        for (centre, near), count in potential.blocks.items()
        if all((centre, other) in potential.pair_cutoffs for other in near)
        and not any(set(near) <= there for there in by_centre.get(centre, []))
    }
    return Unseen(potential.pair_cutoffs, blocks)


def dropped_from(weights: Mapping[str, FloatArray], potential: PotentialSummary) -> dict[Surroundings, int]:
    """Return the surroundings all of whose functions have dropped out of an active set, as keyed in `Unseen.blocks`.

    The data may have them all the same: atoms with large force errors are left out of an active set, and those are
    often the few that have surroundings of their kind.

    :param weights: of the functions of each element, as of `function_weights`.
    :param potential: the potential.
    """
    dropped: dict[Surroundings, int] = {}
    for element, of_functions in weights.items():
        needed = potential.blocks_in_order(element)
        if len(needed) != len(of_functions):
            # Not the active set of this potential, which other checks report.
            continue
        largest: dict[tuple[str, ...], float] = {}
        for near, weight in zip(needed, of_functions.tolist(), strict=True):
            largest[near] = max(largest.get(near, 0.0), weight)
        blocks = potential.blocks
        for near, weight in largest.items():
            if weight < DROPPED * max(largest.values()):
                dropped[element, near] = blocks[element, near]
    return dropped


def unseen_by_matrix(content: bytes, potential: PotentialSummary) -> Unseen:
    """Return the interactions that a linear active set knows nothing of, as far as its matrix alone tells.

    :param content: the content of its file.
    :param potential: its potential.
    :raises ActiveSetFileError: if it is not the file of an active set.
    """
    return Unseen(potential.pair_cutoffs, dropped_from(function_weights(content), potential))


def unseen_atoms(frames: Frames, unseen: Unseen) -> BoolArray:
    """Return which atoms have surroundings that the data never had, shape (A,).

    Of a frame whose neighbours cannot be listed it is all of them.
    """
    result: BoolArray = np.zeros(len(frames.numbers), dtype=np.bool_)
    if not unseen.blocks:
        return result
    for _, having in _having(frames, unseen, unseen.smallest):
        np.logical_or(result, having, out=result)
    rule = NearElements(_by_numbers(unseen.cutoffs))
    lost: BoolArray = ~searchable(frames, rule.largest)[frames.frame_of_atom]
    return result | lost


def unseen_counts(frames: Frames, unseen: Unseen) -> IntArray:
    """Return how many atoms of each frame have each of the surroundings that the data never had, shape (F, B).

    :returns: columns in the order of ``unseen.blocks``.
    """
    counts: IntArray = np.zeros((len(frames), len(unseen.blocks)), dtype=np.int64)
    for column, having in _having(frames, unseen, list(unseen.blocks)):
        counts[:, column] = np.bincount(frames.frame_of_atom[having], minlength=len(frames))
    return counts


def cover(counts: IntArray, needed: IntArray, most: int | None = None) -> list[int]:
    """Return which frames to label for what the data never had: as few as may be, those that bring most first.

    A function of the basis is one unknown, and each atom in its surroundings one row: of each of the surroundings as
    many atoms are taken as it has functions, or all that there are. Among frames that bring the same the first is
    taken, so that the choice depends on nothing else.

    :param counts: atoms of each frame in each of the surroundings, shape (F, B).
    :param needed: atoms that are wanted in each of the surroundings, shape (B,).
    :param most: largest number of frames.
    """
    left = needed.astype(np.int64).copy()
    free: BoolArray = np.asarray(counts.any(axis=1), dtype=np.bool_)
    chosen: list[int] = []
    while free.any() and (most is None or len(chosen) < most):
        gain = np.where(free, np.minimum(counts, left).sum(axis=1), 0)
        best = int(gain.argmax())
        if not gain[best]:
            break
        chosen.append(best)
        free[best] = False
        left = np.maximum(left - counts[best].astype(np.int64), 0)
    return chosen


def ranked(counts: IntArray, needed: IntArray, most: int) -> list[int]:
    """Return frames with any of what the data never had: those of a cover, then those of a cover by what is left.

    :param counts: atoms of each frame in each of the surroundings, shape (F, B).
    :param needed: atoms that are wanted in each of the surroundings by one cover, shape (B,).
    :param most: largest number of frames.
    """
    left = np.flatnonzero(counts.any(axis=1))
    order: list[int] = []
    while len(left) and len(order) < most:
        chosen = left[cover(counts[left], needed, most - len(order))]
        order += chosen.tolist()
        left = np.setdiff1d(left, chosen)
    return order


def _having(frames: Frames, unseen: Unseen, wanted: list[Surroundings]) -> Iterable[tuple[int, BoolArray]]:
    """Iterate over some surroundings, by their places, and which atoms have them."""
    rule = NearElements(_by_numbers(unseen.cutoffs))
    good = searchable(frames, rule.largest)
    atoms = np.flatnonzero(good[frames.frame_of_atom])
    searched = frames if good.all() else frames.select(good)
    near = _near(searched, rule)
    for place, (centre, others) in enumerate(wanted):
        result: BoolArray = np.zeros(len(frames.numbers), dtype=np.bool_)
        np.put(result, atoms, rule.having(near, searched.numbers, atomic_numbers[centre], _numbers(others)))
        yield place, result


def _near(frames: Frames, rule: NearElements) -> BoolArray:
    near = rule.nothing(len(frames.numbers))
    if rule.largest and len(frames):
        for block in pair_blocks(frames, rule.largest):
            # Each pair is there once, and seen from both of its ends.
            for centre, neighbour in ((block.first, block.second), (block.second, block.first)):
                rule.note(near, frames.numbers, centre, neighbour, block.distance)
    return near


def _by_numbers(cutoffs: Mapping[tuple[str, str], float]) -> list[tuple[int, int, float]]:
    return [(atomic_numbers[centre], atomic_numbers[other], cutoff) for (centre, other), cutoff in cutoffs.items()]


def _numbers(symbols: Iterable[str]) -> list[int]:
    return [int(atomic_numbers[symbol]) for symbol in symbols]
