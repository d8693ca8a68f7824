"""Making hostile files of good ones: what a kill, a full disk, a broken wire or an enemy could leave behind.

A :class:`Mutator` changes bytes in ways that follow from its seed alone. Besides blind changes it knows the formats
that have a structure of their own: text with numbers, zip archives of arrays, and gzipped pickles.
"""

from __future__ import annotations

import gzip
import io
import pickletools
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise

Mutation = Callable[[bytes], bytes]

#: What readers of text trip over.
TOKENS = [
    *(b'', b'\0', b'\xff\xfe', b'\xed\xa0\x80', b'\xe2\x80\xae', b'\x1b[2J', b'\r', b'\n', b'\t', b' ' * 300),
    *(b'nan', b'-nan', b'inf', b'-Infinity', b'1e999', b'-1', b'0', b'-0', b'1_0', b'0x10', b'True', b'None', b'null'),
    *(b'9' * 25, b'9' * 5000, b'-' + b'9' * 400, b'1e-400', b'.' * 50, b'\xd9\xa3', b'1.5', b'2**63'),
    *(b'9223372036854775807',),
    *(b'{', b'}', b'{0}', b'{program}', b'{{', b'%s', b'[', b'[' * 2000, b'(' * 2000, b'{' * 2000, b'- ' * 500),
    *(b'-' * 3000,),
    *(b'&a [*a]', b'*a', b'!!python/object/apply:os.system ["id"]', b'!!binary aa', b'"\\0"', b'? [a]'),
    *(b'%YAML 9.9', b'---\n'),
    *(b'"\\ud800"', b"'", b'"', b'`', b'$(touch ran)', b'; touch ran', b'../../ran', b'__import__("os").system("id")'),
    *(b' - Start pacemaker', b'Traceback (most recent call last)\n', b'loss', b'species', b'A' * 10_000),
    *(b'species type ' + b'9' * 5000,),
    *(b'np.quantile(', b' 0 structures found', b'Killed', b"KeyError: 'Al'", b'Insufficient atomic environments '),
]  # fmt: skip
#: Numbers in binary headers.
INTEGERS = [0, 1, 2, 7, 127, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1]
#: Headers of arrays that claim what is not there.
HEADERS = [
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-2, -2), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776, 0), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (), }",
    "{'descr': '|V1099511627776', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f8', 'fortran_order': True, 'shape': (3, 3), }",
    "{'descr': [('a', '|O'), ('b', '<f8')], 'fortran_order': False, 'shape': (1,), }",
    "{'descr': ('<f8', (1000000, 1000000)), 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': 'f8,(2,', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f8', 'fortran_order': 7, 'shape': (True,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1L, 2L), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (" + '9' * 4400 + ',), }',
    "{'descr': __import__('os').system('id'), 'fortran_order': False, 'shape': (1,), }",
    '(' * 3000,
    '-' * 8000 + '1',
    '{' * 99,
    '"\\',
    "{'descr': '<f8',\n  'fortran_order'\n\t: False",
    '',
]
#: Opcodes that would run something, reach far or nest deeply; each leaves one value on the stack or ends the machine.
OPCODES = [
    b'cos\nsystem\n(X\x02\x00\x00\x00idtR',
    b'cbuiltins\neval\n(X\x03\x00\x00\x001+1tR',
    b'csubprocess\nPopen\n(](X\x02\x00\x00\x00ideatR',
    b'X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93',
    b'(X\x02\x00\x00\x00idios\nsystem\n',
    b'cbuiltins\ngetattr\n(cnumpy\nndarray\nX\x09\x00\x00\x00__class__tR)R',
    b'cnumpy\nload\n)R',
    b'cpandas\nDataFrame\n)\x81}b',
    b'r\xff\xff\xff\x7f',
    b'j\xff\xff\xff\x7f',
    b'\x8e' + struct.pack('<Q', 2**62),
    b'\x8d' + struct.pack('<Q', 2**62),
    b'B\xff\xff\xff\x7f',
    b'\x96' + struct.pack('<Q', 2**40),
    b'\x95' + struct.pack('<Q', 2**62),
    b'\x8b\xff\xff\xff\x7f',
    b'\x8b\x10\x27\x00\x00' + b'\xff' * 10_000,
    b']' * 5000 + b'a' * 4999,
    b')' + b'\x85' * 20_000,
    b'(' * 3000,
    b'0', b'1', b'2', b'.', b'N', b'}', b']', b')', b't', b'e', b'u', b's', b'b', b'R', b'a', b'\x81',
    b'\x92', b'\x93', b'\x94',
    b'h\x00', b'h\xff', b'P1\n', b'Q', b'\x82\x01', b'I' + b'9' * 5000 + b'\n', b'L' + b'9' * 5000 + b'L\n',
    b'F1e999\n',
    b'S"\\ud800"\n', b'V\\ud800\n', b'U\x03abc', b'G\x7f\xf8' + bytes(6), b'\x8c\x01\xff', b'K\x01',
    b'J\xff\xff\xff\xff',
]  # fmt: skip

GZIP = b'\x1f\x8b'
_NUMBER = re.compile(rb'-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?')
_WORD = re.compile(rb'\w{3,}')


class Mutator:
    """Changes that follow from a seed.

    :param seed: of all random choices.
    :param others: good files to splice parts from.
    """

    def __init__(self, seed: int, others: Sequence[bytes] = ()) -> None:
        self.random = random.Random(seed)  # noqa: S311 (reproducible, not secret)
        self.others = others

    def mutate(self, content: bytes) -> bytes:
        """Return a file with one to four changes, most of them in the words of its format."""
        random = self.random
        for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
            # What a checksum covers is changed inside of it, or it would never be looked at.
            blind = 0.1 if content[:2] in (b'PK', GZIP) else 0.4
            change = self._any if random.random() < blind else self._in_its_words
            content = change(content)
        return content

    def _in_its_words(self, content: bytes) -> bytes:
        if content[:2] == b'PK':
            return self.random.choice((self._zip_member, self._zip_member, self._zip_fields))(content)
        if content[:2] == GZIP:
            try:
                inner = gzip.decompress(content)
            except (OSError, EOFError, zlib.error):
                return self.insert_token(content)
            changes = (*[self._opcodes] * 5, self._opcode, self._lengths, self._names, *[self._any] * 2)
            return gzip.compress(self.random.choice(changes)(inner), 1, mtime=0)
        if content[:6] == b'\x93NUMPY':
            return self._npy(content)
        return self.random.choice((self._replace_number, self._replace_word, self._lines, self.insert_token))(content)

    # Any file.

    def _any(self, content: bytes) -> bytes:
        return self.random.choice(self._blind)(self, content)

    def _span(self, content: bytes, longest: int = 4096) -> tuple[int, int]:
        start = self.random.randrange(len(content) + 1)
        return start, min(len(content), start + self.random.randrange(longest))

    def truncate(self, content: bytes) -> bytes:
        """Cut the end, as a kill or a full disk does."""
        return content[: self.random.randrange(len(content) + 1)]

    def behead(self, content: bytes) -> bytes:
        """Cut the beginning."""
        return content[self.random.randrange(len(content) + 1) :]

    def flip(self, content: bytes) -> bytes:
        """Flip bits of up to 16 bytes."""
        changed = bytearray(content)
        for _ in range(self.random.randrange(1, 17) if content else 0):
            changed[self.random.randrange(len(changed))] ^= 1 << self.random.randrange(8)
        return bytes(changed)

    def zero(self, content: bytes) -> bytes:
        """Put zeros in place of a part, as a file system does after a crash."""
        start, stop = self._span(content)
        return content[:start] + bytes(stop - start) + content[stop:]

    def noise(self, content: bytes) -> bytes:
        """Put random bytes in place of a part."""
        start, stop = self._span(content, 64)
        return content[:start] + self.random.randbytes(self.random.randrange(64)) + content[stop:]

    def duplicate(self, content: bytes) -> bytes:
        """Repeat a part."""
        start, stop = self._span(content)
        return content[:stop] + content[start:stop] * self.random.choice((1, 1, 2, 20)) + content[stop:]

    def remove(self, content: bytes) -> bytes:
        """Leave a part out."""
        start, stop = self._span(content)
        return content[:start] + content[stop:]

    def swap(self, content: bytes) -> bytes:
        """Exchange two neighbouring parts."""
        first, second, third = sorted(self.random.randrange(len(content) + 1) for _ in range(3))
        return content[:first] + content[second:third] + content[first:second] + content[third:]

    def splice(self, content: bytes) -> bytes:
        """Go on with the rest of another file."""
        other = self.random.choice(self.others) if self.others else content
        return content[: self.random.randrange(len(content) + 1)] + other[self.random.randrange(len(other) + 1) :]

    def insert_token(self, content: bytes) -> bytes:
        """Put what readers trip over somewhere."""
        start = self.random.randrange(len(content) + 1)
        return content[:start] + self.random.choice(TOKENS) + content[start:]

    _blind = (truncate, behead, flip, flip, zero, noise, duplicate, remove, swap, splice, insert_token)

    # Text.

    def _replace_match(self, pattern: re.Pattern[bytes], content: bytes, replacement: bytes) -> bytes:
        matches = list(pattern.finditer(content[:200_000]))
        if not matches:
            return self.insert_token(content)
        match = self.random.choice(matches)
        return content[: match.start()] + replacement + content[match.end() :]

    def _replace_number(self, content: bytes) -> bytes:
        return self._replace_match(_NUMBER, content, self.random.choice(TOKENS))

    def _replace_word(self, content: bytes) -> bytes:
        words = _WORD.findall(content[:200_000]) or [b'']
        return self._replace_match(_WORD, content, self.random.choice((*TOKENS[:40], self.random.choice(words))))

    def _lines(self, content: bytes) -> bytes:
        lines = content.split(b'\n')
        first, second = self.random.randrange(len(lines)), self.random.randrange(len(lines))
        match self.random.randrange(5):
            case 0:
                lines[first], lines[second] = lines[second], lines[first]
            case 1:
                lines[first:first] = [lines[second]] * self.random.choice((1, 5, 200))
            case 2:
                del lines[first]
            case 3:
                lines[first] += self.random.choice((b' ', b'\r', b' 1', b' nan', b': x', lines[second]))
            case 4:
                lines[first] = self.random.choice(TOKENS) + lines[first]
        return b'\n'.join(lines)

    # Archives of arrays.

    def _zip_member(self, content: bytes) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = [(info.filename, archive.read(info)) for info in archive.infolist()]
        except Exception:  # an archive that an earlier change has damaged
            return self.flip(content)
        if not members:
            return self.flip(content)
        position = self.random.randrange(len(members))
        name, inner = members[position]
        method = zipfile.ZIP_STORED
        match self.random.randrange(6):
            case 0:
                members[position] = (
                    self.random.choice(('Xx.npy', '../ran.npy', 'a' * 5000, 'Mg', '\x1b[2J.npy', 'é.npy')),
                    inner,
                )
            case 1:
                members.append(self.random.choice(members))
            case 2:
                del members[position]
            case 3:
                method = self.random.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            case 4:
                members[position] = (name, self._npy(inner))
            case 5:
                members[position] = (name, self._any(inner))
        target = io.BytesIO()
        with zipfile.ZipFile(target, 'w', method) as archive:
            for number, (name, inner) in enumerate(members):
                info = zipfile.ZipInfo(name)
                info.compress_type = method if number == position else zipfile.ZIP_STORED
                with warnings.catch_warnings():
                    # A name may well be there twice.
                    warnings.simplefilter('ignore')
                    archive.writestr(info, inner)
        return self.flip(target.getvalue()) if method and self.random.random() < 0.7 else target.getvalue()

    def _zip_fields(self, content: bytes) -> bytes:
        """Change a field of a header of the archive: flags, method, sizes, lengths, offsets."""
        signature, size = self.random.choice(
            ((b'PK\x03\x04', 30), (b'PK\x01\x02', 46), (b'PK\x01\x02', 46), (b'PK\x05\x06', 22))
        )
        places = [match.start() for match in re.finditer(re.escape(signature), content)]
        if not places:
            return self.flip(content)
        start = self.random.choice(places) + self.random.randrange(4, size - 1)
        width = self.random.choice((2, 4))
        value = self.random.choice(INTEGERS) % 2 ** (8 * width)
        return content[:start] + value.to_bytes(width, 'little') + content[start + width :]

    def _npy(self, content: bytes) -> bytes:
        header = self.random.choice(HEADERS).encode()
        if self.random.random() < 0.3 and len(content) > 10:
            stop = 10 + int.from_bytes(content[8:10], 'little')
            header = self._replace_number(content[10:stop])
        version = self.random.choice((b'\x01\x00', b'\x01\x00', b'\x01\x00', b'\x02\x00', b'\x03\x00', b'\x09\x09'))
        width = 2 if version == b'\x01\x00' else 4
        length = len(header) if self.random.random() < 0.9 else self.random.choice(INTEGERS)
        length %= 2 ** (8 * width)
        return b'\x93NUMPY' + version + length.to_bytes(width, 'little') + header + content[128:]

    # Pickles.

    def _opcodes(self, content: bytes) -> bytes:
        """Change, exchange, repeat or leave out whole opcodes, so that the rest is still understood."""
        parts = list(_opcodes_of(content))
        first, second = self.random.randrange(len(parts)), self.random.randrange(len(parts))
        match self.random.randrange(6):
            case 0:
                parts[first] = self.random.choice(OPCODES)
            case 1:
                parts.insert(first, self.random.choice(OPCODES))
            case 2:
                parts[first], parts[second] = parts[second], parts[first]
            case 3:
                parts[first:first] = [parts[second]] * self.random.choice((1, 2, 50))
            case 4:
                del parts[first : first + self.random.choice((1, 1, 1, 5))]
            case 5:
                # Another argument, of the same length: a number, a name, a shape, a few bytes of an array.
                parts[first] = parts[first][:1] + self.random.choice(
                    [part[1:] for part in parts if len(part) == len(parts[first])]
                    + [self.random.randbytes(max(0, len(parts[first]) - 1))]
                )
        return b''.join(parts)

    def _opcode(self, content: bytes) -> bytes:
        start = self.random.randrange(len(content) + 1)
        return content[:start] + self.random.choice(OPCODES) + content[start + self.random.choice((0, 0, 0, 1, 2, 5)) :]

    def _lengths(self, content: bytes) -> bytes:
        """Change a length behind an opcode that has one, or a slot of the memo."""
        places = [match.end() for match in re.finditer(rb'[BXTrj\x8b\x8d\x8e\x95\x96]', content[:100_000])]
        if not places:
            return self.flip(content)
        start, width = self.random.choice(places), self.random.choice((1, 4, 8))
        value = self.random.choice(INTEGERS) % 2 ** (8 * width)
        return content[:start] + value.to_bytes(width, 'little') + content[start + width :]

    def _names(self, content: bytes) -> bytes:
        """Have the pickle name something else, of the same length where it can be."""
        names = (
            b'os',
            b'system',
            b'builtins',
            b'eval',
            b'posix',
            b'getattr',
            b'ndarray',
            b'DataFrame',
            b'Atoms',
            b'<f8',
            b'|O8',
        )
        return self._replace_match(_WORD, content, self.random.choice(names))


@lru_cache(maxsize=64)
def _opcodes_of(content: bytes) -> tuple[bytes, ...]:
    """Return the opcodes of a pickle with their arguments, and what is behind the last one that is understood."""
    starts = [0]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with suppress(ValueError):
            starts.extend(position for _, _, position in pickletools.genops(content) if position)
    return tuple(content[start:stop] for start, stop in pairwise([*starts, len(content)]))
