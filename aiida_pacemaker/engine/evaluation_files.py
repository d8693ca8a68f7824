"""The arrays that the drivers bring back from the computer."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from aiida_pacemaker.frames.table import FloatArray


class EvaluationFileError(ValueError):
    """A file does not hold the results that it should."""


def read_evaluation(
    path: Path, n_frames: int, n_atoms: int, *, with_gamma: bool, complete: bool = True
) -> dict[str, FloatArray]:
    """Read what a potential or another calculator says of a set of structures.

    :param path: the `.npz` file.
    :param n_frames: number of structures F that were asked for.
    :param n_atoms: number of atoms A in all of them.
    :param with_gamma: whether gamma was asked for.
    :param complete: whether a structure without a result (NaN) is an error.
    :returns: `energy` (F,) in eV, `forces` (A, 3) in eV/angstrom, `stress` (F, 3, 3) in eV/angstrom^3 (NaN where it has
        no meaning) and, if asked for, `gamma` (A,).
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
    try:
        arrays = _read(path, shapes)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as exception:
        raise EvaluationFileError(f'{path.name} is damaged: {exception}') from exception
    for name, array in arrays.items():
        if complete and name != 'stress' and not np.isfinite(array).all():
            count = int(np.count_nonzero(~np.isfinite(array)))
            raise EvaluationFileError(f'{count} values of `{name}` are not finite')
    return arrays


def _read(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, FloatArray]:
    """Read the arrays; none is allocated that is not as large as expected."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for name, shape in shapes.items():
            with archive.open(f'{name}.npy') as member:
                version = np.lib.format.read_magic(member)
                if version != (1, 0):
                    raise ValueError(f'`{name}` is stored in version {version} of the format of numpy')
                found, fortran, dtype = np.lib.format.read_array_header_1_0(member)
                if found != shape or dtype != np.float64 or fortran:
                    raise ValueError(f'`{name}` is {dtype} of shape {found}, float64 of shape {shape} is needed')
                size = int(np.prod(shape)) * dtype.itemsize
                arrays[name] = np.frombuffer(member.read(size), dtype=np.float64).reshape(shape).copy()
    return arrays
