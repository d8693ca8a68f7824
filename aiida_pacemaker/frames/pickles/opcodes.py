"""Following the opcodes of a pickle without doing what they say.

A pickle is a program that may call anything that can be imported. :func:`follow` runs the stack machine that
:mod:`pickletools` documents, but a call only leaves a :class:`Call` behind: nothing is imported, nothing is called, and
nothing is allocated that the file does not hold itself. What the calls mean is for the reader of the result to say.
Where the pickle refers to something that no table of structures needs, there is a :class:`Foreign`, whatever is done to
it: a column of such objects can be passed over, and the rest of the table be read.

This is stricter than a :class:`pickle.Unpickler` with its own ``find_class``. That one still fills the memory if a file
names a far memo slot, overflows the C stack in hashing a deeply nested key, and must let a ``getattr`` be called, which
ASE writes for each calculator.
"""

from __future__ import annotations

import io
import pickletools
import sys
from collections.abc import Callable, Mapping
from typing import Any

from aiida_pacemaker.errors import ForbiddenPickleError, UnreadablePickleError
from aiida_pacemaker.frames.pickles.limits import MAX_BITS, MAX_KEYS, MAX_NAMES, MAX_TUPLE_KEYS, Limits

#: Opcodes that push their own argument.
# fmt: off
_LITERALS = (
    'FLOAT', 'BININT', 'BININT1', 'BININT2', 'BINFLOAT', 'UNICODE', 'SHORT_BINUNICODE', 'BINUNICODE', 'BINUNICODE8',
    'SHORT_BINBYTES', 'BINBYTES', 'BINBYTES8', 'BYTEARRAY8',
)
#: Opcodes that leave an object in memory that is larger than they are.
_MAKERS = frozenset((
    'BINFLOAT', 'FLOAT', 'EMPTY_LIST', 'EMPTY_DICT', 'EMPTY_SET', 'MARK', 'TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3', 'LIST',
    'DICT', 'INST', 'REDUCE', 'NEWOBJ', 'NEWOBJ_EX', 'FROZENSET', 'GLOBAL', 'STACK_GLOBAL',
))
#: Of the standard library, what columns of a table may well hold. Whatever else comes from there is no object of a
#: table but a function, and the file is refused whole.
_COLUMNS = frozenset((
    'collections', 'copyreg', 'copy_reg', 'datetime', 'decimal', 'enum', 'fractions', 'functools', 'pathlib', 'uuid',
    'zoneinfo', '_codecs',
))
_BUILTINS = frozenset((
    'bool', 'bytearray', 'bytes', 'complex', 'dict', 'float', 'frozenset', 'getattr', 'int', 'list', 'object', 'range',
    'set', 'slice', 'str', 'tuple',
))
# fmt: on
_MAX_KEY_LENGTH = 8


class Symbol(str):
    """What a pickle would import, under a name that does not depend on the version of the library."""

    __slots__ = ()


class Call:
    """A call that a pickle would make, and what it would do to the result.

    :param function: what would be called.
    :param arguments: the positional arguments.
    """

    __match_args__ = ('function', 'arguments', 'state')
    __slots__ = ('arguments', 'function', 'state')

    def __init__(self, function: Symbol, arguments: tuple[Any, ...]) -> None:
        self.function = function
        self.arguments = arguments
        #: What would be handed to ``__setstate__``.
        self.state: Any = None


class Foreign:
    """Stands for whatever a pickle would make of something that tables of structures do not need.

    :param path: what the pickle refers to.
    """

    __slots__ = ('path',)

    def __init__(self, path: str) -> None:
        self.path = path

    def refusal(self) -> ForbiddenPickleError:
        """Return the error for a place where nothing can be passed over."""
        return ForbiddenPickleError(
            f'the pickle refers to `{self.path}`, which does not belong in a table of structures. Nothing was run. If '
            'you trust the source, load the file with pandas where it was made, and write a table of plain columns '
            '(`ase_atoms`, `energy`, `forces`, ...) instead'
        )


#: The key under which a dictionary says that it has other keys than are read.
OTHER_KEYS = Symbol('other keys')


def follow(content: bytes, allowed: Mapping[str, Symbol], limits: Limits) -> Any:
    """Return what a pickle would build: plain Python values, with a :class:`Call` or a :class:`Foreign` for an object.

    Lists, dictionaries and calls may contain themselves, so look only as deep as needed.

    :param content: the pickle, not compressed.
    :param allowed: what the pickle may refer to as ``module.name``, and the symbol to put there.
    :param limits: what it may hold.
    :raises ForbiddenPickleError: if it refers to a function of the standard library that is not allowed.
    :raises UnreadablePickleError: if it is not a pickle, is truncated or damaged, or holds more than it may.
    """
    machine = _Machine(allowed)
    objects = 0
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(content)), start=1):
            if count > limits.opcodes:
                limits.check('opcodes', count)
            if opcode.name in _MAKERS:
                objects += 1
                if objects > limits.objects:
                    limits.check('objects', objects)
            machine.step(opcode.name, argument)
        return machine.result()
    except UnreadablePickleError:
        raise
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise UnreadablePickleError(f'the content is not a pickle, or is truncated or damaged ({error})') from error


class _Machine:
    """The stack machine, with calls left undone."""

    def __init__(self, allowed: Mapping[str, Symbol]) -> None:
        self._allowed = allowed
        self._stack: list[Any] = []
        self._outer_stacks: list[list[Any]] = []
        self._names = 0
        # Those who write pickles number the slots one after the other.
        self._memo: list[Any] = []
        push = self._push
        self._steps: dict[str, Callable[[Any], None]] = {
            **dict.fromkeys(_LITERALS, push),
            **dict.fromkeys(['INT', 'LONG', 'LONG1', 'LONG4'], self._push_integer),
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
            'EMPTY_SET': lambda _: push(Foreign('a set')),
            'TUPLE1': lambda _: push(tuple(self._pop(1))),
            'TUPLE2': lambda _: push(tuple(self._pop(2))),
            'TUPLE3': lambda _: push(tuple(self._pop(3))),
            'MARK': self._mark,
            'TUPLE': lambda _: push(tuple(self._pop_mark())),
            'LIST': lambda _: push(self._pop_mark()),
            'DICT': self._dict,
            'FROZENSET': self._frozenset,
            'POP': lambda _: self._discard(),
            'POP_MARK': lambda _: self._discard_mark(),
            'DUP': lambda _: push(self._stack[-1]),
            'APPEND': lambda _: self._append(self._pop(1)),
            'APPENDS': lambda _: self._append(self._pop_mark()),
            'ADDITEMS': lambda _: self._add(self._pop_mark()),
            'SETITEM': lambda _: self._set_items(self._pop(2)),
            'SETITEMS': lambda _: self._set_items(self._pop_mark()),
            'GLOBAL': lambda path: push(self._symbol(*path.split(' ', 1))),
            'STACK_GLOBAL': lambda _: push(self._symbol(*self._pop(2))),
            'INST': lambda path: self._call(self._symbol(*path.split(' ', 1)), tuple(self._pop_mark())),
            'REDUCE': lambda _: self._call(*self._pop(2)),
            'NEWOBJ': lambda _: self._call(*self._pop(2)),
            'NEWOBJ_EX': self._call_with_keywords,
            'BUILD': self._build,
        }

    def step(self, opcode: str, argument: Any) -> None:
        """Do what one opcode says, except for calls."""
        if opcode not in self._steps:
            raise UnreadablePickleError(f'the pickle holds the opcode {opcode}, which tables do not need')
        self._steps[opcode](argument)

    def result(self) -> Any:
        """Return what is left on the stack at the end."""
        return self._pop(1)[0]

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _push_integer(self, value: int) -> None:
        if value.bit_length() > MAX_BITS:
            raise UnreadablePickleError(f'the pickle holds a whole number of {value.bit_length():,} bits')
        self._stack.append(value)

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise UnreadablePickleError('the pickle is damaged: its stack is empty before its end')
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
        if slot > len(self._memo):
            raise UnreadablePickleError(f'the pickle uses slot {slot} of its memo before slot {len(self._memo)}')
        self._memo[slot : slot + 1] = [self._stack[-1]]

    def _append(self, values: list[Any]) -> None:
        if isinstance(self._stack[-1], Foreign):
            return
        if not isinstance(self._stack[-1], list):
            raise UnreadablePickleError('the pickle appends to something that is not a list')
        self._stack[-1].extend(values)

    def _add(self, _: list[Any]) -> None:
        if not isinstance(self._stack[-1], Foreign):
            raise UnreadablePickleError('the pickle adds to something that is not a set')

    def _frozenset(self, _: Any) -> None:
        self._pop_mark()
        self._push(Foreign('a set'))

    def _dict(self, _: Any) -> None:
        values = self._pop_mark()
        self._push({})
        self._set_items(values)

    def _set_items(self, values: list[Any]) -> None:
        items = self._stack[-1]
        # Items of other objects, such as the parameters of calculators, are read by nobody.
        if isinstance(items, Foreign | Call):
            return
        if not isinstance(items, dict) or len(values) % 2:
            raise UnreadablePickleError('the pickle sets items of something that has none')
        for key, value in zip(values[::2], values[1::2], strict=True):
            if _is_key(key):
                items[key] = value
            else:
                items[OTHER_KEYS] = Foreign(f'a dictionary with a key of type {type(key).__name__}')
            if len(items) > (MAX_TUPLE_KEYS if isinstance(key, tuple) else MAX_KEYS):
                raise UnreadablePickleError(f'the pickle holds a dictionary with more than {len(items) - 1} keys')

    def _symbol(self, module: Any, name: Any) -> Symbol | Foreign:
        self._names += 1
        if self._names > MAX_NAMES:
            raise UnreadablePickleError(f'the pickle refers to functions and classes more than {MAX_NAMES} times')
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Foreign('something without a name').refusal()
        # What protocols up to 2 call it, so that Python 2 could read them.
        module = 'builtins' if module == '__builtin__' else module
        path = f'{module}.{name}'
        if path in self._allowed:
            return self._allowed[path]
        foreign = Foreign(path[:100])
        package = module.partition('.')[0]
        harmless = name in _BUILTINS if package == 'builtins' else package in _COLUMNS or package not in _STANDARD
        if not harmless:
            raise foreign.refusal()
        return foreign

    def _call(self, function: Any, arguments: Any) -> None:
        if not isinstance(arguments, tuple):
            raise ForbiddenPickleError('the pickle calls something without arguments. Nothing was run')
        match function:
            case Foreign():
                self._push(function)
            case Symbol('getattr') if arguments and isinstance(arguments[0], Foreign):
                self._push(arguments[0])
            case Symbol():
                self._push(Call(function, arguments))
            # How pandas 1.3 writes a block of a table.
            case Call('partial', (Symbol('block') as block,), (Symbol('block'), (), {'ndim': ndim}, *_)):
                self._push(Call(block, (*arguments, ndim)))
            case _:
                raise ForbiddenPickleError('the pickle calls something that is not named in it. Nothing was run')

    def _call_with_keywords(self, _: Any) -> None:
        function, arguments, _keywords = self._pop(3)
        if not isinstance(function, Foreign):
            raise UnreadablePickleError('the pickle makes an object of a table with named arguments, which none needs')
        self._call(function, arguments)

    def _build(self, _: Any) -> None:
        target, state = self._stack[-2], self._pop(1)[0]
        if isinstance(target, Foreign):
            return
        if not isinstance(target, Call) or target.state is not None:
            raise UnreadablePickleError('the pickle sets the state of something that has none')
        target.state = state


#: `posix` and the like are where the functions of `os` are from.
_STANDARD = frozenset(sys.stdlib_module_names) | {'commands', 'nt', 'popen2', 'posix', 'urllib2'}


def _is_key(key: Any) -> bool:
    """Return whether a key is of a kind whose hash costs next to nothing and that few others can share."""
    if isinstance(key, tuple):
        return len(key) <= _MAX_KEY_LENGTH and all(not isinstance(part, tuple) and _is_key(part) for part in key)
    return isinstance(key, str) or (isinstance(key, int) and key.bit_length() <= 63)
