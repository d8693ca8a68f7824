"""Files that are compressed: told by their content, and decompressed up to a limit."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import IO

from aiida_pacemaker.errors import UnreadableFileError

#: Most bytes that a compressed file may have when decompressed, and how many times more than it has itself, unless that
#: is little: text of programs is compressed to a fiftieth at best.
MAX_SIZE, MAX_RATIO, LITTLE = 1 << 30, 100, 1 << 26
#: The endings of compressed files.
ENDINGS = ('.gz', '.gzip', '.xz', '.bz2')
_MAGIC = {b'\x1f\x8b': 'gzip', b'\xfd7zXZ\x00': 'xz', b'BZh': 'bzip2'}
_CHUNK = 1 << 20
#: Archives, which may have many files, and compressions that are rare: where in the file what begins which.
_NOT_READ = (
    (0, b'PK\x03\x04', 'a zip archive'),
    (0, b'7z\xbc\xaf\x27\x1c', 'a 7z archive'),
    (0, b'Rar!\x1a\x07', 'a rar archive'),
    (257, b'ustar', 'a tar archive'),
    (0, b'\x28\xb5\x2f\xfd', 'compressed by zstd'),
    (0, b'\x04\x22\x4d\x18', 'compressed by lz4'),
    (0, b'\x1f\x9d', 'compressed by compress'),
    (0, b'\x5d\x00\x00', 'compressed by lzma'),
)
#: How a pickle of protocol 2 or later begins.
_PICKLES = tuple(b'\x80' + bytes([protocol]) for protocol in range(2, 6))


def plain_name(name: str) -> str:
    """Return the name of a file without the ending of a compressed one."""
    for ending in ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def is_pickle(handle: IO[bytes]) -> bool:
    """Return whether a file, compressed or not, is a pickle of protocol 2 or later; it is read from the beginning."""
    try:
        return _opened(handle).read(2).startswith(_PICKLES)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError):
        return False
    finally:
        handle.seek(0)


def decompressed(handle: IO[bytes], name: str) -> bytes:
    """Return the content of a file, decompressed if it is compressed by gzip, xz or bzip2.

    :param handle: a seekable file at its beginning.
    :param name: its name, for messages.
    :raises UnreadableFileError: if it is damaged, larger than the limits above, or packed in another way.
    """
    stream = _opened(handle)
    content = handle.read() if stream is handle else _unpacked(handle, stream, name)
    packed = next((what for at, magic, what in _NOT_READ if content.startswith(magic, at)), '')
    twice = '' if stream is handle else next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), '')
    if packed or twice:
        what = packed or f'compressed twice, the second time by {twice}'
        raise UnreadableFileError(
            f'{name} is {what}, which is not read: unpack it, and give the files in it, as they are or each compressed '
            'by gzip, xz or bzip2'
        )
    return content


def _unpacked(handle: IO[bytes], stream: IO[bytes], name: str) -> bytes:
    size = _size_of(handle)
    limit = min(MAX_SIZE, max(LITTLE, MAX_RATIO * size))
    content = bytearray()
    try:
        while chunk := stream.read(_CHUNK):
            content += chunk
            if len(content) > limit:
                raise UnreadableFileError(
                    f'{name} has {size:,} bytes and more than {limit:,} when decompressed: if you trust it, decompress '
                    'it yourself'
                )
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise UnreadableFileError(
            f'{name} is compressed, and truncated or damaged ({error}): get the file again'
        ) from error
    return bytes(content)


def _size_of(handle: IO[bytes]) -> int:
    position = handle.tell()
    handle.seek(0, io.SEEK_END)
    size = handle.tell()
    handle.seek(position)
    return size


def _opened(handle: IO[bytes]) -> IO[bytes]:
    """Return a file as it is, or as a stream of its decompressed content."""
    start = handle.read(6)
    handle.seek(0)
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), '')
    if kind == 'gzip':
        return gzip.GzipFile(fileobj=handle, mode='rb')  # type: ignore[return-value]
    if kind == 'xz':
        return lzma.LZMAFile(handle, 'rb')
    return bz2.BZ2File(handle, 'rb') if kind == 'bzip2' else handle
