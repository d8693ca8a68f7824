"""The arrays that the drivers bring back from the computer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aiida_pacemaker.errors import EvaluationFileError
from aiida_pacemaker.frames.archives import read_arrays
from aiida_pacemaker.frames.table import FloatArray


def read_evaluation(
    path: Path, n_frames: int, n_atoms: int, *, with_gamma: bool, with_sigma: bool = False, complete: bool = True
) -> dict[str, FloatArray]:
    """Read what a potential or another calculator says of a set of structures.

    :param path: the `.npz` file.
    :param n_frames: number of structures F that were asked for.
    :param n_atoms: number of atoms A in all of them.
    :param with_gamma: whether gamma was asked for.
    :param with_sigma: whether error bars were asked for.
    :param complete: whether a structure without a result (NaN) is an error.
    :returns: `energy` (F,) in eV, `forces` (A, 3) in eV/angstrom, `stress` (F, 3, 3) in eV/angstrom^3 (NaN where it has
        no meaning) and, if asked for, `gamma` (A,), and `sigma_energy` (F,) in eV and `sigma_forces` (A,) in
        eV/angstrom, which may be infinite.
    :raises EvaluationFileError: if the file is damaged, if an array is missing or has another shape, or if a number is
        not finite.
    """
    shapes: dict[str, tuple[int, ...]] = {
        'energy': (n_frames,),
        'forces': (n_atoms, 3),
        'stress': (n_frames, 3, 3),
    }
    if with_gamma:
        shapes['gamma'] = (n_atoms,)
    if with_sigma:
        shapes |= {'sigma_energy': (n_frames,), 'sigma_forces': (n_atoms,)}
    expected = {name: (np.float64, shape) for name, shape in shapes.items()}
    arrays = read_arrays(path, expected, EvaluationFileError)
    if with_sigma and any(np.isnan(arrays[name]).any() for name in ('sigma_energy', 'sigma_forces')):
        raise EvaluationFileError('not all error bars are numbers')
    for name, array in arrays.items():
        if complete and name not in ('stress', 'sigma_energy', 'sigma_forces') and not np.isfinite(array).all():
            count = int(np.count_nonzero(~np.isfinite(array)))
            raise EvaluationFileError(f'{count} values of `{name}` are not finite')
    return arrays
