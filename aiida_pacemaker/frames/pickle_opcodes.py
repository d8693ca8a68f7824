"""Following the opcodes of a pickle without doing what they say.

A pickle is a program that may call anything that can be imported. :func:`follow` runs the stack machine that
:mod:`pickletools` documents, but a call only leaves a :class:`Call` behind: nothing is imported, nothing is called, and
nothing is allocated that the file does not hold itself. What the calls mean is for the reader of the result to say.

This is stricter than a :class:`pickle.Unpickler` with its own ``find_class``. That one still fills the memory if a file
names a far memo slot, overflows the C stack in hashing a deeply nested key, and must let a ``getattr`` be called, which
ASE writes for each calculator.
"""

from __future__ import annotations

import gzip
import pickletools
import zlib
from collections.abc import Callable, Mapping
from typing import IO, Any

from .file_errors import FileError

GZIP_MAGIC = b'\x1f\x8b'
#: One opcode of a single byte may make an object of 64 bytes. Files of pandas take about 150 opcodes for a structure.
MAX_OPCODES = 20_000_000
_CHUNK = 1 << 20

#: Opcodes that push their own argument.
# fmt: off
_LITERALS = (
    'INT', 'LONG', 'FLOAT', 'BININT', 'BININT1', 'BININT2', 'LONG1', 'LONG4', 'BINFLOAT', 'UNICODE', 'SHORT_BINUNICODE',
    'BINUNICODE', 'BINUNICODE8', 'SHORT_BINBYTES', 'BINBYTES', 'BINBYTES8', 'BYTEARRAY8',
)
# fmt: on


class UnreadablePickle(FileError):  # noqa: N818 - it is the file that is wrong
    """A file is not a pickle, is damaged or too large, or does not hold the kind of table that was expected."""


class ForbiddenPickle(UnreadablePickle):
    """A pickle refers to something that does not belong in a table of structures."""


class Symbol(str):
    """What a pickle would import, under a name that does not depend on the version of the library."""

    __slots__ = ()


class Call:
    """A call that a pickle would make, and what it would do to the result.

    :param function: what would be called.
    :param arguments: the positional arguments.
    """

    __match_args__ = ('function', 'arguments', 'state')
    __slots__ = ('arguments', 'function', 'items', 'state')

    def __init__(self, function: Symbol, arguments: tuple[Any, ...]) -> None:
        self.function = function
        self.arguments = arguments
        #: What would be handed to ``__setstate__``.
        self.state: Any = None
        #: What would be set as items.
        self.items: dict[Any, Any] = {}


def decompress(handle: IO[bytes], max_size: int) -> bytes:
    """Return the rest of a file, decompressed if it is gzipped.

    :param handle: a seekable file open for reading bytes.
    :param max_size: the most bytes that the content may have.
    :raises UnreadablePickle: if the file is empty, truncated, damaged or too large.
    """
    start = handle.read(len(GZIP_MAGIC))
    if not start:
        raise UnreadablePickle('the file is empty')
    handle.seek(-len(start), 1)
    stream = gzip.GzipFile(fileobj=handle, mode='rb') if start == GZIP_MAGIC else handle
    content = bytearray()
    try:
        while chunk := stream.read(_CHUNK):
            content += chunk
            if len(content) > max_size:
                raise UnreadablePickle(
                    f'the content is larger than {max_size:,} bytes: allow more with `max_size` if you trust it'
                )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnreadablePickle(f'the gzip stream is truncated or damaged ({error}): get the file again') from error
    return bytes(content)


def follow(content: bytes, allowed: Mapping[str, Symbol]) -> Any:
    """Return what a pickle would build: plain Python values, with a :class:`Call` in place of each object.

    Lists, dictionaries and calls may contain themselves, so look only as deep as needed.

    :param content: the pickle, not compressed.
    :param allowed: what the pickle may refer to as ``module.name``, and the symbol to put there.
    :raises ForbiddenPickle: if it refers to anything else.
    :raises UnreadablePickle: if it is not a pickle, is truncated or damaged, or has too many opcodes.
    """
    machine = _Machine(allowed)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count > MAX_OPCODES:
                raise UnreadablePickle(f'the pickle has more than {MAX_OPCODES:,} opcodes: split the table')
            machine.step(opcode.name, argument)
        return machine.result()
    except UnreadablePickle:
        raise
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise UnreadablePickle(f'the content is not a pickle, or is truncated or damaged ({error})') from error


class _Machine:
    """The stack machine, with calls left undone."""

    def __init__(self, allowed: Mapping[str, Symbol]) -> None:
        self._allowed = allowed
        self._stack: list[Any] = []
        self._outer_stacks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        push = self._push
        self._steps: dict[str, Callable[[Any], None]] = {
            **dict.fromkeys(_LITERALS, push),
            **dict.fromkeys(['PUT', 'BINPUT', 'LONG_BINPUT'], self._memoize),
            **dict.fromkeys(['GET', 'BINGET', 'LONG_BINGET'], lambda slot: push(self._memo[slot])),
            **dict.fromkeys(['PROTO', 'FRAME', 'STOP'], lambda _: None),
            'MEMOIZE': lambda _: self._memoize(len(self._memo)),
            'NONE': lambda _: push(None),
            'NEWTRUE': lambda _: push(True),
            'NEWFALSE': lambda _: push(False),
            'EMPTY_TUPLE': lambda _: push(()),
            'EMPTY_LIST': lambda _: push([]),
            'EMPTY_DICT': lambda _: push({}),
            'TUPLE1': lambda _: push(tuple(self._pop(1))),
            'TUPLE2': lambda _: push(tuple(self._pop(2))),
            'TUPLE3': lambda _: push(tuple(self._pop(3))),
            'MARK': self._mark,
            'TUPLE': lambda _: push(tuple(self._pop_mark())),
            'LIST': lambda _: push(self._pop_mark()),
            'DICT': self._dict,
            'POP': lambda _: self._discard(),
            'POP_MARK': lambda _: self._discard_mark(),
            'DUP': lambda _: push(self._stack[-1]),
            'APPEND': lambda _: self._append(self._pop(1)),
            'APPENDS': lambda _: self._append(self._pop_mark()),
            'SETITEM': lambda _: self._set_items(self._pop(2)),
            'SETITEMS': lambda _: self._set_items(self._pop_mark()),
            'GLOBAL': lambda path: push(self._symbol(*path.split(' ', 1))),
            'STACK_GLOBAL': lambda _: push(self._symbol(*self._pop(2))),
            'INST': lambda path: push(Call(self._symbol(*path.split(' ', 1)), tuple(self._pop_mark()))),
            'REDUCE': self._call,
            'NEWOBJ': self._call,
            'BUILD': self._build,
        }

    def step(self, opcode: str, argument: Any) -> None:
        """Do what one opcode says, except for calls."""
        if opcode not in self._steps:
            raise UnreadablePickle(f'the pickle holds the opcode {opcode}, which tables do not need')
        self._steps[opcode](argument)

    def result(self) -> Any:
        """Return what is left on the stack at the end."""
        return self._pop(1)[0]

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise UnreadablePickle('the pickle is damaged: its stack is empty before its end')
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _mark(self, _: Any) -> None:
        self._outer_stacks.append(self._stack)
        self._stack = []

    def _pop_mark(self) -> list[Any]:
        values, self._stack = self._stack, self._outer_stacks.pop()
        return values

    def _discard(self) -> None:
        # At a mark, POP removes the mark.
        if self._stack:
            self._pop(1)
        else:
            self._pop_mark()

    def _discard_mark(self) -> None:
        self._pop_mark()

    def _memoize(self, slot: int) -> None:
        self._memo[slot] = self._stack[-1]

    def _append(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise UnreadablePickle('the pickle appends to something that is not a list')
        self._stack[-1].extend(values)

    def _dict(self, _: Any) -> None:
        values = self._pop_mark()
        self._push({})
        self._set_items(values)

    def _set_items(self, values: list[Any]) -> None:
        target = self._stack[-1]
        items = target.items if isinstance(target, Call) else target
        if not isinstance(items, dict) or len(values) % 2:
            raise UnreadablePickle('the pickle sets items of something that has none')
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str | int | float | None):
                raise UnreadablePickle(f'the pickle holds a dictionary with a key of type {type(key).__name__}')
            items[key] = value

    def _symbol(self, module: Any, name: Any) -> Symbol:
        path = f'{module}.{name}' if isinstance(module, str) and isinstance(name, str) else 'something without a name'
        if path not in self._allowed:
            raise ForbiddenPickle(
                f'the pickle refers to `{path[:100]}`, which does not belong in a table of structures. Nothing was '
                'run. If you trust the source, load the file with pandas where it was made, and write a table of plain '
                'columns (`ase_atoms`, `energy`, `forces`, ...) instead'
            )
        return self._allowed[path]

    def _call(self, _: Any) -> None:
        function, arguments = self._pop(2)
        if not isinstance(function, Symbol) or not isinstance(arguments, tuple):
            raise ForbiddenPickle('the pickle calls something that is not named in it. Nothing was run')
        self._push(Call(function, arguments))

    def _build(self, _: Any) -> None:
        target, state = self._stack[-2], self._pop(1)[0]
        if not isinstance(target, Call) or target.state is not None:
            raise UnreadablePickle('the pickle sets the state of something that has none')
        target.state = state
