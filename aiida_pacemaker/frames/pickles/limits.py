"""What a pickle of a given size may hold: the cost of reading one follows from the bytes that were given.

A few kilobytes can claim a great deal: zeros compress by a factor of a thousand, one byte refers to an object that is
there already, another makes an empty list of 64. The bounds here are several times what honest tables need. Measured on
tables that pandas 0.25 to 3.1 wrote of structures of one to 192 atoms, at gzip level 9: up to 10 opcodes for a byte of
the file (70 where 10,000 structures are one and the same), a row for 18 bytes of it (for 2.5), one opcode for 2.3 bytes
of its content and one object for 9.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any

from aiida_pacemaker.errors import UnreadablePickleError

#: How compressed files begin, and what reads them.
_COMPRESSED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b'\x1f\x8b': lambda stream: gzip.GzipFile(fileobj=stream, mode='rb'),
    b'BZh': bz2.BZ2File,
    b'\xfd7zXZ\x00': lzma.LZMAFile,
}
#: More opcodes than a table of 100,000 structures has.
MAX_OPCODES = 20_000_000
_CHUNK = 1 << 20

#: Functions and classes that are named. A pickler names each of them once.
MAX_NAMES = 2000
#: Content that any file may have, and how much more of it a byte of a file may bring.
_FREE_CONTENT, _EXPANSION = 16 << 20, 200
#: Keys of one dictionary, and those of them that are tuples: what numbers a tuple needs to collide is known.
MAX_KEYS, MAX_TUPLE_KEYS = 4096, 512
#: Bits of a whole number; Python hashes and converts longer ones anew each time.
MAX_BITS = 128

_UNPACK = 'if the file is what it should be, decompress it (`gunzip`) and read it as it is'


class Limits:
    """What the pickle in a file may hold.

    :param file_size: bytes of the file, compressed if it is.
    :param content_size: bytes of the pickle.
    """

    def __init__(self, file_size: int, content_size: int) -> None:
        self._sizes = f'{content_size:,} bytes' + (f' from {file_size:,}' if file_size != content_size else '')
        self._advice = 'split the table' if file_size == content_size else f'{_UNPACK}, or split the table'
        self.opcodes = min(MAX_OPCODES, 100_000 + min(100 * file_size, content_size // 2))
        self.objects = 20_000 + min(40 * file_size, content_size // 5)
        self.rows = 10_000 + file_size // 2
        self.cells = 500_000 + 4 * file_size
        self.atoms = (2**20 + 2 * content_size) // 24

    def check(self, kind: str, claimed: int) -> None:
        """Hold a number against what is allowed.

        :param kind: `opcodes`, `objects`, `rows`, `cells` or `atoms`.
        :raises UnreadablePickleError: if there are more.
        """
        allowed = getattr(self, kind)
        if claimed > allowed:
            raise UnreadablePickleError(
                f'the file has {claimed:,} {kind} or more in {self._sizes}, and a table of that size needs no more '
                f'than {allowed:,}: {self._advice}'
            )


def decompress(handle: IO[bytes], max_size: int) -> tuple[bytes, Limits]:
    """Return the rest of a file, decompressed if it is compressed by gzip, bzip2 or xz, and what it may hold.

    :param handle: a file open for reading bytes.
    :param max_size: the most bytes that the content may have.
    :raises UnreadablePickleError: if the file is empty, truncated, damaged or too large.
    """
    given = handle.read(max_size + 1)
    if not given:
        raise UnreadablePickleError('the file is empty')
    opened = next((function for magic, function in _COMPRESSED.items() if given.startswith(magic)), None)
    if opened is None:
        _check_size(len(given), max_size)
        return given, Limits(len(given), len(given))
    allowed = _FREE_CONTENT + _EXPANSION * len(given)
    content = bytearray()
    try:
        stream = opened(io.BytesIO(given))
        while chunk := stream.read(_CHUNK):
            content += chunk
            _check_size(len(content), max_size)
            if len(content) > allowed:
                raise UnreadablePickleError(
                    f'{len(given):,} bytes unpack to more than {allowed:,}, as no table of structures does: {_UNPACK}'
                )
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise UnreadablePickleError(f'the compressed file is truncated or damaged ({error}): get it again') from error
    return bytes(content), Limits(len(given), len(content))


def _check_size(size: int, max_size: int) -> None:
    if size > max_size:
        raise UnreadablePickleError(
            f'the content is larger than {max_size:,} bytes: allow more with `max_size` if you trust it'
        )
