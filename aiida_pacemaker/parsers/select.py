"""Parser of the selection job."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode

from aiida_pacemaker.calculations.select import PaceSelectCalculation
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.engine.logs import SelectionLog, read_selection_log
from aiida_pacemaker.frames.pickle_reading import read_selection
from aiida_pacemaker.frames.table import Frames, IntArray
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.parsers.base import PaceParser


class PaceSelectParser(PaceParser):
    """Attach the selected frames. Nothing selected is a success: the candidates have nothing to add."""

    def parse(self, **kwargs: Any) -> ExitCode:
        """Parse the retrieved files."""
        folder = kwargs.get('retrieved_temporary_folder')
        path = self.temporary(folder, PaceSelectCalculation.SELECTED)
        if path is None:
            return self.verdict(self.diagnose(), self.silent(folder))
        candidates = dict(sorted(self.node.inputs.candidates.items()))
        n_candidates = sum(dataset.n_frames for dataset in candidates.values())
        try:
            rows = read_selection(path, max_size=self.table_size(candidates.values()))
            if len(rows) and rows.max() >= n_candidates:
                raise ValueError(f'row {rows.max()} was selected of {n_candidates} candidates')
        except ValueError as exception:
            invalid = self.exit_codes.ERROR_SELECTION_INVALID.format(reason=str(exception))
            return self.verdict(self.diagnose(), self.unusable(invalid))

        log = asdict(self.summarise(read_selection_log, self.job.STDERR, SelectionLog()))
        self.out('output_parameters', orm.Dict({**log, 'n_candidates': n_candidates, 'n_selected': len(rows)}))
        self.out('indices', _indices(rows, candidates))
        if len(rows):
            self.out('selected', select_frames(rows, candidates))
        return self.verdict()


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
        sources |= dataset.source_uuids
        theories |= dataset.theories
        for shard in dataset.shards:
            inside = np.flatnonzero((rows >= start) & (rows < start + shard['n_frames']))
            if len(inside):
                parts.append(dataset.get_shard(shard['name']).select(rows[inside] - start))
                ranks.append(inside)
            start += shard['n_frames']
    order = np.argsort(np.concatenate(ranks))
    return PaceDatasetData(Frames.concatenate(parts).select(order), sources=sources, theories=theories)
