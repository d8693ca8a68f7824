"""The frames that a merge knows already, most of which stay in the files of the datasets that have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.surveys import fingerprints_of
from aiida_pacemaker.frames.hashing import HASH_DTYPE, HashArray
from aiida_pacemaker.frames.merging import Deduplication, differing_labels
from aiida_pacemaker.frames.near_duplicates import Fingerprints, Pair, fingerprints, matching_atoms, near_pairs
from aiida_pacemaker.frames.table import BoolArray, Frames, IntArray

#: Pairs of frames that are compared atom by atom at once.
PAIRS_AT_ONCE = 2000


@dataclass(frozen=True)
class KnownPart:
    """Frames of one source.

    :param hashes: their content hashes, shape (F,).
    :param fingerprints: returns their fingerprints; asked only where it is needed.
    :param frames: returns those at some positions, in this order.
    :param origins: returns `source`, `frame` and `step` of those at some positions, which are given with them.
    """

    hashes: HashArray
    fingerprints: Callable[[], Fingerprints]
    frames: Callable[[IntArray], Frames]
    origins: Callable[[IntArray, Frames], list[dict[str, Any]]]


@dataclass
class KnownFrames:
    """The frames of several parts, as if they were in one table."""

    parts: list[KnownPart] = field(default_factory=list)

    @property
    def hashes(self) -> HashArray:
        """Content hashes of all frames."""
        return np.concatenate([np.empty(0, dtype=HASH_DTYPE), *(part.hashes for part in self.parts)])

    def look_up(self, positions: IntArray) -> tuple[Frames, list[dict[str, Any]]]:
        """Return some frames and where each is from, in the order of the positions, of which there is at least one.

        If only some of them have labels none are returned.
        """
        tables, origins, rows = [], [], []
        start = 0
        for part in self.parts:
            stop = start + len(part.hashes)
            here = np.flatnonzero((positions >= start) & (positions < stop))
            if len(here):
                wanted = positions[here] - start
                tables.append(part.frames(wanted))
                origins += part.origins(wanted, tables[-1])
                rows.append(here)
            start = stop
        if len({table.labelled for table in tables}) > 1:
            tables = [table.without_labels() for table in tables]
        order = np.argsort(np.concatenate(rows), kind='stable')
        return Frames.concatenate(tables).select(order), [origins[row] for row in order.tolist()]

    def repeated(self, frames: Frames, outcome: Deduplication) -> Frames:
        """Return for each duplicate among new frames the frame that it repeats, which is there at least once."""
        known = outcome.of_known >= 0
        parts, rows = [], []
        if known.any():
            parts.append(self.look_up(outcome.of_known[known])[0])
            rows.append(np.flatnonzero(known))
        if not known.all():
            parts.append(frames.select(outcome.of_new[~known]))
            rows.append(np.flatnonzero(~known))
        if len({part.labelled for part in parts}) > 1:
            parts = [part.without_labels() for part in parts]
        return Frames.concatenate(parts).select(np.argsort(np.concatenate(rows), kind='stable'))

    def near_duplicates(self, n_known: int) -> list[dict[str, Any]]:
        """Return the frames that are structures which are there already, written differently.

        :param n_known: frames at the beginning that are not compared with each other.
        :returns: `source`, `frame` and `step` of each frame, those of the frame that it repeats as `of`, and the
            `labels` that differ.
        """
        if sum(len(part.hashes) for part in self.parts) == n_known:
            return []
        given = Fingerprints.concatenate([part.fingerprints() for part in self.parts])
        found: dict[Pair, dict[str, Any]] = {}

        def verify(pairs: list[Pair]) -> list[bool]:
            ones, twos = np.array(pairs, dtype=np.int64).T
            (first, of), (second, origins) = self.look_up(ones), self.look_up(twos)
            partners = matching_atoms(first, second)
            same = [row for row, atoms in enumerate(partners) if atoms is not None]
            differ = differing_labels(
                first.select(same), second.select(same), [atoms for atoms in partners if atoms is not None]
            )
            for row, names in zip(same, differ, strict=True):
                found[pairs[row]] = {**origins[row], 'of': of[row], 'labels': list(names)}
            return [atoms is not None for atoms in partners]

        return [found[pair] for pair in near_pairs(given, in_chunks(verify), n_known)]


def part_of_frames(frames: Frames, hashes: HashArray, origins: Sequence[dict[str, Any]]) -> KnownPart:
    """Return frames that are in memory as a part."""
    return KnownPart(
        hashes=hashes,
        fingerprints=lambda: fingerprints(frames),
        frames=frames.select,
        origins=lambda rows, _: [origins[row] for row in rows.tolist()],
    )


def part_of_dataset(label: str, dataset: PaceDatasetData) -> KnownPart:
    """Return a dataset as a part, which stays in its files."""

    def origins(rows: IntArray, frames: Frames) -> list[dict[str, Any]]:
        return [
            {'source': label, 'frame': row, 'step': step}
            for row, step in zip(rows.tolist(), frames.step.tolist(), strict=True)
        ]

    return KnownPart(
        hashes=dataset.get_hashes(),
        fingerprints=lambda: fingerprints_of(dataset),
        frames=lambda rows: frames_at(dataset, rows),
        origins=origins,
    )


def frames_at(dataset: PaceDatasetData, rows: IntArray) -> Frames:
    """Return the frames of a dataset at some positions, in this order, reading only the shards that have them."""
    tables, places, start = [], [], 0
    for shard in dataset.shards:
        stop = start + shard['n_frames']
        here = np.flatnonzero((rows >= start) & (rows < stop))
        if len(here):
            tables.append(dataset.get_shard(shard['name']).select(rows[here] - start))
            places.append(here)
        start = stop
    return Frames.concatenate(tables).select(np.argsort(np.concatenate(places), kind='stable'))


def shared_frames(dataset: PaceDatasetData, others: Mapping[str, PaceDatasetData]) -> BoolArray:
    """Return which frames of a dataset are in one of the others, be it rounded, wrapped or with atoms reordered."""
    known = KnownFrames([part_of_dataset(label, other) for label, other in sorted(others.items())])
    shared: BoolArray = np.isin(dataset.get_hashes(), known.hashes)
    left = np.flatnonzero(~shared)
    if not (len(left) and known.parts):
        return shared
    new = fingerprints_of(dataset).select(left)
    n_known = len(known.hashes)
    old = Fingerprints.concatenate([part.fingerprints() for part in known.parts])

    def verify(pairs: list[Pair]) -> list[bool]:
        ones, twos = np.array(pairs, dtype=np.int64).T
        frames = frames_at(dataset, left[twos - n_known])
        return [atoms is not None for atoms in matching_atoms(known.look_up(ones)[0], frames)]

    pairs = near_pairs(Fingerprints.concatenate([old, new]), in_chunks(verify), n_known, among_new=False)
    shared[left[np.array([two - n_known for _, two in pairs], dtype=np.int64)]] = True
    return shared


def in_chunks(verify: Callable[[list[Pair]], list[bool]]) -> Callable[[Sequence[Pair]], list[bool]]:
    """Return a function that asks another one of so many pairs at once only as may be in memory."""

    def verify_all(pairs: Sequence[Pair]) -> list[bool]:
        # Pairs of one shard together.
        order = sorted(range(len(pairs)), key=pairs.__getitem__)
        answers = [False] * len(pairs)
        for start in range(0, len(order), PAIRS_AT_ONCE):
            rows = order[start : start + PAIRS_AT_ONCE]
            for row, answer in zip(rows, verify([pairs[row] for row in rows]), strict=True):
                answers[row] = answer
        return answers

    return verify_all
