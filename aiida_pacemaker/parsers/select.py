"""Parser of the selection job."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode

from aiida_pacemaker.calculations.checks.inputs import options_of
from aiida_pacemaker.calculations.select import PaceSelectCalculation
from aiida_pacemaker.calculations.unseen import unseen_of
from aiida_pacemaker.data.agreement import add_sources
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.pickles.reading import read_selection
from aiida_pacemaker.frames.table import Frames, IntArray
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.pace.config.options import SelectOptions
from aiida_pacemaker.pace.output.logs import SelectionLog, read_selection_log
from aiida_pacemaker.pace.unseen import UNKNOWN, Unseen, cover, ranked, unseen_counts
from aiida_pacemaker.parsers.base import PaceParser


class PaceSelectParser(PaceParser):
    """Attach the selected frames. Nothing selected is a success: the candidates have nothing to add.

    The engine ranks by what it knows of. Before its frames come those with interactions that the data of the active set
    never had, as many as their functions need (:func:`aiida_pacemaker.pace.unseen.cover`), and after them, where more
    frames were asked for, the others that have such interactions.
    """

    def parse(self, **kwargs: Any) -> ExitCode:
        """Parse the retrieved files."""
        folder = kwargs.get('retrieved_temporary_folder')
        path = self.temporary(folder, PaceSelectCalculation.SELECTED)
        if path is None:
            return self.verdict(self.diagnose(), self.silent(folder))
        candidates = dict(sorted(self.inputs.candidates.items()))
        n_candidates = sum(dataset.n_frames for dataset in candidates.values())
        try:
            rows = read_selection(path, max_size=self.table_size(candidates.values()))
            if len(rows) and rows.max() >= n_candidates:
                raise ValueError(f'row {rows.max()} was selected of {n_candidates} candidates')
        except ValueError as exception:
            invalid = self.exit_codes.ERROR_SELECTION_INVALID.format(reason=str(exception))
            return self.verdict(self.diagnose(), self.unusable(invalid))

        self.attach(rows, candidates, asdict(self.summarise(read_selection_log, self.job.STDERR, SelectionLog())))
        return self.verdict()

    def attach(self, rows: IntArray, candidates: dict[str, PaceDatasetData], found: dict[str, Any]) -> None:
        """Attach what was selected.

        :param rows: what the program selected, in the order of rank.
        :param found: what else there is to say of it.
        """
        chosen, n_unseen = self.with_unseen(rows, candidates)
        n_candidates = sum(dataset.n_frames for dataset in candidates.values())
        counts = {'n_candidates': n_candidates, 'n_selected': len(chosen), 'n_unseen': n_unseen}
        if 'gains' in found:
            # Those that come for interactions without data have none.
            gains = dict(zip(rows.tolist(), found['gains'], strict=True))
            found = {**found, 'gains': [gains.get(row) for row in chosen.tolist()]}
        self.out('output_parameters', orm.Dict({**found, **counts}))
        self.out('indices', _indices(chosen, candidates))
        if len(chosen):
            self.out('selected', select_frames(chosen, candidates))

    def with_unseen(self, rows: IntArray, candidates: dict[str, PaceDatasetData]) -> tuple[IntArray, int]:
        """Return the selected rows with those for what the data never had, and how many have any of it.

        :param rows: what the engine selected, in the order of rank.
        """
        inputs = self.inputs
        unseen = unseen_of(inputs.active_set, inputs.potential) if 'active_set' in inputs else Unseen({})
        if unseen is None:
            self.logger.warning(UNKNOWN)
        if not unseen:
            return rows, 0
        most = options_of(SelectOptions, inputs).max_structures
        places, counts = unseen_in_candidates(candidates, unseen)
        needed = np.array(list(unseen.blocks.values()), dtype=np.int64)
        first = places[cover(counts, needed, most)].tolist()
        # Where there is room, by the number that was asked for, all that is unknown is worth a label.
        selected = list(dict.fromkeys([*first, *rows.tolist()]))
        if most is not None and len(selected) < most:
            left = ~np.isin(places, selected)
            selected += places[left][ranked(counts[left], needed, most - len(selected))].tolist()
        chosen = np.array(selected[:most], dtype=np.int64)
        return chosen, int(np.isin(chosen, places).sum())


def unseen_in_candidates(candidates: dict[str, PaceDatasetData], unseen: Unseen) -> tuple[IntArray, IntArray]:
    """Return the positions of frames with interactions that the data never had, and how many atoms have which, (F, B).

    Positions are counted through all candidate sets. One shard is in memory at a time.
    """
    # More atoms than there are functions count for nothing.
    needed = np.minimum(list(unseen.blocks.values()), np.iinfo(np.uint16).max)
    places, counts = [], []
    start = 0
    for dataset in candidates.values():
        for shard in dataset.shards:
            found = unseen_counts(dataset.get_shard(shard['name']), unseen)
            having = np.flatnonzero(found.any(axis=1))
            places.append(start + having)
            counts.append(np.minimum(found[having], needed).astype(np.uint16))
            start += shard['n_frames']
    return np.concatenate(places), np.concatenate(counts)


def _indices(rows: IntArray, candidates: dict[str, PaceDatasetData]) -> orm.ArrayData:
    """Return the positions of the selected frames in each candidate set."""
    indices = orm.ArrayData()
    start = 0
    for label, dataset in candidates.items():
        stop = start + dataset.n_frames
        indices.set_array(label, rows[(rows >= start) & (rows < stop)] - start)
        start = stop
    return indices


def select_frames(rows: IntArray, candidates: dict[str, PaceDatasetData]) -> PaceDatasetData:
    """Return the frames at positions counted through all candidate sets, in the given order.

    One shard is in memory at a time, and none that has no selected frame.
    """
    parts, ranks = [], []
    sources: dict[str, str] = {}
    theories: dict[str, LevelOfTheory] = {}
    start = 0
    for dataset in candidates.values():
        add_sources(sources, dataset.source_uuids)
        theories |= dataset.theories
        for shard in dataset.shards:
            inside = np.flatnonzero((rows >= start) & (rows < start + shard['n_frames']))
            if len(inside):
                parts.append(dataset.get_shard(shard['name']).select(rows[inside] - start))
                ranks.append(inside)
            start += shard['n_frames']
    order = np.argsort(np.concatenate(ranks))
    return PaceDatasetData(Frames.concatenate(parts).select(order), sources=sources, theories=theories)
