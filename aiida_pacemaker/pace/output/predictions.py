"""What the engine predicts for the frames that it was given.

With a weighting policy the engine shuffles the frames and leaves some out, so that the rows of its predictions are
neither those of a dataset nor in its order. Each row has the name of its frame, which is the content hash.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aiida_pacemaker.frames.pickles.tables import Source, read_table
from aiida_pacemaker.frames.table import FloatArray, IntArray

_COLUMNS = ('name', 'energy_pred', 'forces_pred')


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions in the order of a dataset.

    :param energy: energies in eV without those of the isolated atoms and of the baseline, shape (F,); NaN for frames
        that the engine has left out.
    :param forces: forces in eV/angstrom without those of the baseline, shape (A, 3); NaN for the same frames.
    :param left_out: positions of the frames that the engine has left out.
    """

    energy: FloatArray
    forces: FloatArray
    left_out: IntArray


def read_predictions(source: Source, names: Sequence[str], n_atoms: IntArray, *, max_size: int) -> Predictions:
    """Read the predictions of a fit for the frames of a dataset.

    :param source: `train_pred.pckl.gzip` or `test_pred.pckl.gzip`.
    :param names: the name that each frame was given to the engine with, its content hash.
    :param n_atoms: atoms of each frame, shape (F,).
    :param max_size: the most bytes that the content of the file may have.
    :raises ValueError: if it cannot be read, or is not about these frames.
    """
    table = read_table(source, columns=_COLUMNS, max_size=max_size)
    for name in _COLUMNS:
        if name not in table.columns:
            raise ValueError(f'it has no column `{name}` that can be read ({table.skipped.get(name) or "not there"})')
    given, energies, per_frame = (table.columns[name] for name in _COLUMNS)
    # Equal frames have equal names: each row is that of the next one.
    places: dict[str, list[int]] = defaultdict(list)
    for place in range(len(names) - 1, -1, -1):
        places[names[place]].append(place)
    ends = np.cumsum(n_atoms)
    energy, forces = np.full(len(names), np.nan), np.full((int(n_atoms.sum()), 3), np.nan)
    for row, name in enumerate(given):
        if not isinstance(name, str) or not places.get(name):
            raise ValueError(f'row {row} is called {str(name)[:60]!r}, which is none of the frames that are left')
        place = places[name].pop()
        found = np.asarray(per_frame[row], dtype=np.float64)
        if found.shape != (n_atoms[place], 3):
            raise ValueError(f'row {row} has forces of shape {found.shape} for {n_atoms[place]} atoms')
        energy[place] = np.asarray(energies[row], dtype=np.float64).reshape(())
        forces[ends[place] - n_atoms[place] : ends[place]] = found
    left_out = np.array(sorted(place for remaining in places.values() for place in remaining), dtype=np.int64)
    return Predictions(energy, forces, left_out)
