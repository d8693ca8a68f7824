"""How much each frame and each atom counts in a fit.

The loss of the engine is a sum of squared errors, of the energy per atom of each frame times the weight of the frame,
and of the force on each atom times the weight of the atom. It normalises either kind of weights to a sum of one, those
of the test set by themselves, so that only their ratios matter. Where frames with weights meet frames without, the
latter count as 1 for the energy and 1 for each atom: with all weights 1 the loss is that without any.
"""

from __future__ import annotations

import numpy as np

from .table import FloatArray, IntArray

#: The columns of weights, under the names that they have in tables of the engine and in extended XYZ.
WEIGHTS = ('w_energy', 'w_forces')


def check_weights(w_energy: FloatArray, w_forces: FloatArray, n_atoms: IntArray) -> None:
    """Look whether weights can be used in a fit.

    :param w_energy: weight of the energy of each frame, shape (F,).
    :param w_forces: weight of the force on each atom, shape (A,).
    :param n_atoms: atoms of each frame, shape (F,).
    :raises ValueError: if a weight is negative or not a number, naming the frame.
    """
    bad_atoms = ~(np.isfinite(w_forces) & (w_forces >= 0))
    frame_of_atom = np.repeat(np.arange(len(n_atoms)), n_atoms)
    bad = ~(np.isfinite(w_energy) & (w_energy >= 0))
    bad[frame_of_atom[bad_atoms]] = True
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f'{int(bad.sum())} frames have a weight (`w_energy`, `w_forces`) that is missing, negative or not finite, '
            f'the first is frame {first}: weights are numbers from 0 on, for each frame and each atom'
        )
