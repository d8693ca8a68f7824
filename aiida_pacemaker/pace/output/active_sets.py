"""The engine's active sets: what is in an ``.asi`` or ``.asi.nonlinear`` file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from aiida_pacemaker.errors import ActiveSetFileError, ArchiveError
from aiida_pacemaker.frames.archives import Array, open_archive

#: Active sets that are larger than this are refused; one of 2000 functions for each of 10 elements has 320 MB.
MAX_BYTES = 1024**3


@dataclass(frozen=True)
class ActiveSetBlock:
    """The inverted active set of one element.

    :param size: rows and columns: the basis functions of the element, times its densities in a full active set.
    :param condition_number: condition number in the 1-norm, infinite for a singular matrix. Extrapolation grades from
        a matrix whose condition number nears 1e16 are noise.
    """

    size: int
    condition_number: float


def read_active_set(content: bytes) -> dict[str, ActiveSetBlock]:
    """Summarise an active set, linear (``.asi``) or full (``.asi.nonlinear``).

    :param content: the content of the file: an archive of one square float64 matrix per element.
    :returns: chemical symbol to its matrix, in the order of the file.
    :raises ActiveSetFileError: if it is not such a file, or not a whole one, or holds NaN.
    """
    if not content:
        raise ActiveSetFileError('it is empty: the engine was stopped before it wrote anything')
    if len(content) > MAX_BYTES:
        raise ActiveSetFileError(f'it has {len(content)} bytes; active sets have no more than {MAX_BYTES}')
    try:
        with open_archive(content) as archive:
            strangers = [name for name in archive.names if name not in chemical_symbols[1:]]
            if strangers or not archive.names:
                found = ', '.join(archive.names) or 'no matrices'
                raise ActiveSetFileError(f'it has {found}: a matrix for each element is needed')
            return {symbol: _block(archive.read(symbol), symbol) for symbol in archive.names}
    except ArchiveError as exception:
        raise ActiveSetFileError(
            f'it is not a whole archive, perhaps it was cut while written: {exception}'
        ) from exception


def function_weights(content: bytes) -> dict[str, Array]:
    """Return how much each function can add to gamma at most: the largest element of its row, by element.

    :param content: the content of the file of a linear active set, see :func:`read_active_set`.
    :returns: chemical symbol to one number for each function, in the order of the engine's projections.
    :raises ActiveSetFileError: if it is not such a file.
    """
    try:
        with open_archive(content) as archive:
            return {symbol: np.abs(archive.read(symbol)).max(axis=1) for symbol in archive.names}
    except ArchiveError as exception:
        raise ActiveSetFileError(f'it is not a whole archive: {exception}') from exception


def _block(matrix: Array, symbol: str) -> ActiveSetBlock:
    if matrix.dtype != np.float64:
        raise ActiveSetFileError(f'the matrix of {symbol} has type {matrix.dtype}, float64 is needed')
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ActiveSetFileError(f'the matrix of {symbol} has shape {matrix.shape}, a square one is needed')
    if not np.isfinite(matrix).all():
        raise ActiveSetFileError(
            f'the matrix of {symbol} holds NaN or infinity: extrapolation grades cannot be computed'
        )
    # The 1-norm takes one inversion; the 2-norm takes a singular-value decomposition, ten times as long.
    return ActiveSetBlock(len(matrix), float(np.linalg.cond(matrix, p=1)))
