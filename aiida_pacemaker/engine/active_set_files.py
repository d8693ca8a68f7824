"""The engine's active sets: what is in an ``.asi`` or ``.asi.nonlinear`` file."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols

#: Active sets that claim to be larger than this are refused; one of 2000 functions for each of 10 elements has 320 MB.
MAX_BYTES = 1024**3


class ActiveSetFileError(ValueError):
    """A file is not an active set of the engine."""


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
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            claimed = sum(member.file_size for member in members)
            if claimed > MAX_BYTES:
                raise ActiveSetFileError(f'it claims {claimed} bytes; active sets have no more than {MAX_BYTES}')
            symbols = [_symbol(member.filename) for member in members]
            if not symbols or len(set(symbols)) < len(symbols):
                raise ActiveSetFileError(f'it has matrices for {symbols}; one for each element is needed')
            return {
                symbol: _block(_matrix(archive.read(member), symbol), symbol)
                for symbol, member in zip(symbols, members, strict=True)
            }
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as exception:
        raise ActiveSetFileError(
            f'it is not a whole archive, perhaps it was cut while written: {exception}'
        ) from exception


def _symbol(filename: str) -> str:
    symbol = filename.removesuffix('.npy')
    if symbol == filename or symbol not in chemical_symbols[1:]:
        raise ActiveSetFileError(f'it has a member {filename!r}, which is not a matrix of an element')
    return symbol


def _matrix(content: bytes, symbol: str) -> npt.NDArray[np.float64]:
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read_header = np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
    except ValueError as exception:
        raise ActiveSetFileError(f'the matrix of {symbol} is not a NumPy array: {exception}') from exception
    # The header is checked before NumPy allocates what it claims, and before it would unpickle an array of objects.
    if dtype != np.float64:
        raise ActiveSetFileError(f'the matrix of {symbol} has type {dtype}, float64 is needed')
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ActiveSetFileError(f'the matrix of {symbol} has shape {shape}, a square one is needed')
    if shape[0] * shape[1] * 8 != len(content) - stream.tell():
        raise ActiveSetFileError(f'the matrix of {symbol} has shape {shape} but {len(content) - stream.tell()} bytes')
    stream.seek(0)
    matrix: npt.NDArray[np.float64] = np.lib.format.read_array(stream, allow_pickle=False)
    return matrix


def _block(matrix: npt.NDArray[np.float64], symbol: str) -> ActiveSetBlock:
    if not np.isfinite(matrix).all():
        raise ActiveSetFileError(
            f'the matrix of {symbol} holds NaN or infinity: extrapolation grades cannot be computed'
        )
    # The 1-norm takes one inversion; the 2-norm takes a singular-value decomposition, ten times as long.
    return ActiveSetBlock(len(matrix), float(np.linalg.cond(matrix, p=1)))
