"""Files that are compressed: told by their content, and decompressed up to a limit."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import IO

from .unreadable import UnreadableFile

#: Most bytes that a compressed file may have when decompressed, and how many times more than it has itself, unless that
#: is little: text of programs is compressed to a fiftieth at best.
MAX_SIZE, MAX_RATIO, LITTLE = 1 << 30, 100, 1 << 26
#: The endings of compressed files.
ENDINGS = ('.gz', '.gzip', '.xz', '.bz2')
_MAGIC = {b'\x1f\x8b': 'gzip', b'\xfd7zXZ\x00': 'xz', b'BZh': 'bzip2'}
_CHUNK = 1 << 20
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
    :raises UnreadableFile: if it is damaged, or larger than the limits above.
    """
    stream = _opened(handle)
    if stream is handle:
        return handle.read()
    size = _size_of(handle)
    limit = min(MAX_SIZE, max(LITTLE, MAX_RATIO * size))
    content = bytearray()
    try:
        while chunk := stream.read(_CHUNK):
            content += chunk
            if len(content) > limit:
                raise UnreadableFile(
                    f'{name} has {size:,} bytes and more than {limit:,} when decompressed: if you trust it, decompress '
                    'it yourself'
                )
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise UnreadableFile(f'{name} is compressed, and truncated or damaged ({error}): get the file again') from error
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
