"""Reading archives of arrays (``.npz``) that may be damaged, or made to do harm.

Nothing is unpickled, evaluated or decompressed: the members are stored as they are, which is how ``numpy.savez`` writes
them, and their headers have to be those that NumPy writes. So nothing is allocated that the file does not hold itself.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from aiida_pacemaker.errors import ArchiveError, FileError

Array = npt.NDArray[Any]
Source = bytes | Path | IO[bytes]

#: The record that ends an archive without a comment, and the one before it in archives of more than 4 GiB.
_END, _END_BYTES = b'PK\x05\x06', 22
_LOCATOR, _LOCATOR_BYTES = b'PK\x06\x07', 20
#: Of the list of members, which takes some 70 bytes for each: `zipfile` makes an object of a kilobyte of any 46 of it.
_MAX_LIST_BYTES = 1 << 16
#: Only the types of plain numbers and of raw bytes, and shapes with lengths of at most 18 digits.
_HEADER = re.compile(
    rb"\{'descr': '([<|](?:[biu][1248]|f[248]|V\d{1,3}))', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}(?:, \d{1,18}){0,31},?)?)\), \} *\n"
)
#: Bytes that an archive has beyond its arrays, at most.
_HEADERS = 1 << 16
_MAGIC = b'\x93NUMPY'
#: Bytes of the length of the header by the version of the format.
_LENGTH_BYTES = {b'\x01\x00': 2, b'\x02\x00': 4}
#: Whatever `zipfile` raises for what is not as it should be.
_DAMAGES = (
    *(zipfile.BadZipFile, EOFError, OSError, ValueError, KeyError, NotImplementedError, RuntimeError, OverflowError),
    struct.error,
)


class Archive:
    """The arrays of an archive.

    :param names: names of the arrays, in the order of the file.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._size = size
        for info in archive.infolist():
            name = info.filename.removesuffix('.npy')
            if name == info.filename or name in self._members:
                raise ArchiveError(f'it has a member {info.filename!r} that is no array, or is there twice')
            self._members[name] = info
        self._archive = archive
        self.names = tuple(self._members)

    def read(self, name: str) -> Array:
        """Return an array, which is read-only.

        :raises ArchiveError: if it is not there, not stored as it is, or not as large as it claims.
        """
        if name not in self._members:
            raise ArchiveError(f'it has no array `{name}`')
        info = self._members[name]
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
            raise ArchiveError(f'`{name}` is compressed or encrypted: arrays are stored as they are')
        if info.file_size > self._size:
            raise ArchiveError(f'`{name}` claims {info.file_size} bytes of a file of {self._size}')
        try:
            content = self._archive.read(info)
        except _DAMAGES as error:
            raise ArchiveError(f'`{name}` cannot be read: {error}') from error
        return _array(content, name)


@contextmanager
def open_archive(source: Source) -> Iterator[Archive]:
    """Open an archive for reading.

    :param source: the content of the file, its path, or the file itself, open for reading bytes and seekable.
    :raises ArchiveError: if it is not one, or is cut.
    """
    if isinstance(source, Path):
        with source.open('rb') as file, open_archive(file) as archive:
            yield archive
        return
    handle: IO[bytes] = io.BytesIO(source) if isinstance(source, bytes) else source
    # What `seek` returns is not asked: streams of packed objects of AiiDA's repository return what they were given.
    handle.seek(0, io.SEEK_END)
    size = handle.tell()
    _check_end(handle, size)
    try:
        # It has nothing to close: the file is not its own.
        opened = Archive(zipfile.ZipFile(handle), size)
    except ArchiveError:
        raise
    except _DAMAGES as error:
        raise ArchiveError(f'it is not an archive of arrays, or it is damaged: {error}') from error
    yield opened


@contextmanager
def open_sized(path: Path, needed: int, needs: str) -> Iterator[Archive]:
    """Open an archive that is no larger than its arrays can be.

    The size is looked at first, because the list of what is in an archive can be as large as the archive.

    :param needed: bytes of all arrays, at most.
    :param needs: what needs them, for the message.
    :raises ArchiveError: if it is larger, or damaged.
    :raises OSError: if it cannot be read.
    """
    size = path.stat().st_size
    if size > needed + _HEADERS:
        raise ArchiveError(f'it has {size} bytes, {needs}')
    with open_archive(path) as archive:
        yield archive


def read_arrays(
    path: Path, expected: Mapping[str, tuple[type[Any] | np.dtype[Any], tuple[int, ...]]], error: type[FileError]
) -> dict[str, Array]:
    """Return the arrays that a file should hold, each of a type and shape that are known before.

    :param path: the `.npz` file.
    :param expected: type and shape of each array by its name.
    :param error: what is raised if the file cannot be read or is damaged, if it is larger than its arrays need, or if
        an array is missing or is another one.
    """
    needed = sum(np.dtype(dtype).itemsize * prod(shape) for dtype, shape in expected.values())
    # Looked at first, because the list of what is in an archive can be as large as the archive.
    try:
        size = path.stat().st_size
        if size > needed + _HEADERS:
            raise error(f'{path.name} has {size} bytes, its arrays need {needed}')
        with open_archive(path) as archive:
            arrays = {name: archive.read(name) for name in expected}
    except (OSError, ArchiveError) as exception:
        raise error(f'{path.name} is damaged: {exception}') from exception
    for name, (dtype, shape) in expected.items():
        found = arrays[name]
        if found.shape != shape or found.dtype != dtype:
            raise error(
                f'{path.name}: `{name}` is {found.dtype} of shape {found.shape}, {np.dtype(dtype)} of shape {shape} is '
                'needed'
            )
    return {name: array.copy() for name, array in arrays.items()}


def _check_end(handle: IO[bytes], size: int) -> None:
    if not size:
        raise ArchiveError('it is empty')
    # Nor is it moved to before its beginning, where such a stream has another object: `zipfile` looks for the locator,
    # and with a single member the file is longer than that.
    if size < _END_BYTES + _LOCATOR_BYTES:
        raise ArchiveError('it is shorter than an archive of arrays: it is another file, or it is truncated')
    handle.seek(size - _END_BYTES - _LOCATOR_BYTES)
    tail = handle.read()
    locator, end = tail[:-_END_BYTES], tail[-_END_BYTES:]
    if not end.startswith(_END) or len(end) < _END_BYTES or end[-2:] != b'\0\0':
        raise ArchiveError('it does not end as an archive of arrays does: it is another file, or it is truncated')
    if int.from_bytes(end[12:16], 'little') > _MAX_LIST_BYTES or locator.startswith(_LOCATOR):
        raise ArchiveError('it has more members than an archive of arrays')


def _array(content: bytes, name: str) -> Array:
    width = _LENGTH_BYTES.get(content[6:8])
    if not content.startswith(_MAGIC) or width is None:
        raise ArchiveError(f'`{name}` is not an array of NumPy in version 1 or 2 of its format')
    start = 8 + width
    stop = start + int.from_bytes(content[8:start], 'little')
    header = _HEADER.fullmatch(content, start, stop)
    if header is None:
        found = content[start:stop][:200]
        raise ArchiveError(f'`{name}` has a header that NumPy does not write for numbers: {found!r}')
    dtype: np.dtype[Any] = np.dtype(header[1].decode())
    shape = tuple(int(length) for length in header[3].replace(b',', b' ').split())
    if prod(shape) * dtype.itemsize != len(content) - stop:
        raise ArchiveError(f'`{name}` declares an array of shape {shape}, but holds {len(content) - stop} bytes')
    return np.frombuffer(content, dtype, offset=stop).reshape(shape, order='F' if header[2] == b'True' else 'C')
