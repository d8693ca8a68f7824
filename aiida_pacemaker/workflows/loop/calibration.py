"""Calibration of gamma: the errors of what was labelled, compared with the grades by which it was selected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_pacemaker.analysis import calibration
from aiida_pacemaker.analysis.statistics import force_errors, force_spread
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.hashing import frame_hashes
from aiida_pacemaker.frames.table import Frames


@calcfunction
def calibrate(
    candidates: PaceDatasetData,
    evaluation: orm.ArrayData,
    dataset: PaceDatasetData,
    generation: orm.Int,
    test: PaceDatasetData | None = None,
    previous: orm.Dict | None = None,
    **member_evaluations: orm.ArrayData,
) -> orm.Dict:
    """Return the errors of the potential on what was labelled after it had been chosen, and what follows from them.

    None of these frames had been trained on when they were evaluated, so the errors are those of extrapolation, and
    gamma is that of the selection.

    :param candidates: what was evaluated.
    :param evaluation: energies, forces and gamma of the candidates by the potential of that time.
    :param dataset: the dataset with the labels of the selected candidates.
    :param generation: generation in which they joined it.
    :param test: the test set with the labels of the frames that were held out.
    :param previous: what this function has returned in the generation before; its points stay.
    :param member_evaluations: evaluations of the candidates by the members of an ensemble.
    :returns: `points`, lists of equal length with the `generation`, `gamma`, `error` (largest error of the force on any
        atom in eV/angstrom) and `spread` (eV/angstrom, None without an ensemble) of each frame, and what
        :func:`aiida_pacemaker.analysis.calibration.calibrate` makes of them.
    """
    points: dict[str, list[Any]] = {'generation': [], 'gamma': [], 'error': [], 'spread': []}
    if previous is not None:
        points = {name: list(previous['points'][name]) for name in points}
    row_of = {content: row for row, content in enumerate(candidates.get_hashes().tolist())}
    everything = candidates.get_frames()
    forces, gamma = evaluation.get_array('forces'), evaluation.get_array('gamma_max')
    spread = None
    if len(member_evaluations) > 1:
        spread = force_spread(
            everything, [member_evaluations[name].get_array('forces') for name in sorted(member_evaluations)]
        )
    starts = everything.offsets
    for frames in _joined_in(generation.value, dataset, test):
        rows = [row_of.get(content) for content in frame_hashes(frames).tolist()]
        # A labeller that moves atoms returns frames that were never evaluated.
        known = [(index, row) for index, row in enumerate(rows) if row is not None]
        if not known:
            continue
        labelled = frames.select([index for index, _ in known])
        predicted = np.concatenate([forces[starts[row] : starts[row + 1]] for _, row in known])
        points['generation'] += [generation.value] * len(known)
        # An infinite one, of interactions that the data never had, is no number in JSON.
        points['gamma'] += [float(gamma[row]) if np.isfinite(gamma[row]) else None for _, row in known]
        points['error'] += force_errors(labelled, predicted).tolist()
        points['spread'] += [None if spread is None else float(spread[row]) for _, row in known]
    grades, spreads = (np.array(points[name], dtype=np.float64) for name in ('gamma', 'spread'))
    return orm.Dict({'points': points, **calibration.calibrate(grades, points['error'], spreads)})


def _joined_in(generation: int, *datasets: PaceDatasetData | None) -> Iterator[Frames]:
    """Iterate over the frames that joined datasets in a generation; shards without any are not read."""
    for dataset in datasets:
        for shard in [] if dataset is None else dataset.shards:
            if str(generation) in shard['generations']:
                frames = dataset.get_shard(shard['name'])  # type: ignore[union-attr]
                yield frames.select(frames.generation == generation)
