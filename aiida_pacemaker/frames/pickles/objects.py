"""What the calls in a pickled table mean: arrays, columns and structures, made from the bytes that the pickle holds.

The forms are those that pandas 0.25 to 3.1 (with and without pyarrow), numpy 1.x and 2.x and ASE 3.17 to 3.29 write,
and those of :mod:`.pickle_writing`. None of these libraries is asked to load anything: all sizes that a file claims are
held against the bytes it has, and every object is made once however often the file refers to it.
"""

from __future__ import annotations

import re
from itertools import pairwise
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from aiida_pacemaker.errors import UnreadablePickleError
from aiida_pacemaker.frames.pickles.opcodes import OTHER_KEYS, Call, Foreign, Symbol
from aiida_pacemaker.frames.table import BoolArray, FloatArray, IntArray

Array = npt.NDArray[Any]

#: Cells of a table are nested less deeply than this.
_MAX_DEPTH = 6
_DTYPE = re.compile(r'[<>=|]?(b1|[iu][1248]|f[248]|O8)')
#: Bytes for each offset in the string arrays of Arrow.
_ARROW_OFFSET = {'string': 'i4', 'large_string': 'i8'}

_SYMBOLS = {
    'DataFrame': ['pandas.DataFrame', 'pandas.core.frame.DataFrame', 'pyace.preparedata.DataFrameWithMetadata'],
    'BlockManager': ['pandas.core.internals.managers.BlockManager'],
    'block': ['pandas._libs.internals._unpickle_block', 'pandas.core.internals.blocks.new_block'],
    # Around the function that makes a block, by pandas 1.3.
    'partial': ['functools.partial'],
    'new_index': ['pandas.core.indexes.base._new_Index'],
    'Index': ['pandas.Index', 'pandas.core.indexes.base.Index', 'pandas.core.indexes.numeric.Int64Index'],
    'RangeIndex': ['pandas.RangeIndex', 'pandas.core.indexes.range.RangeIndex'],
    'StringDtype': ['pandas.StringDtype', 'pandas.core.arrays.string_.StringDtype'],
    'StringArray': ['pandas.arrays.StringArray', 'pandas.core.arrays.string_.StringArray'],
    'backed_array': ['pandas._libs.arrays.__pyx_unpickle_NDArrayBacked'],
    'ArrowStringArray': ['pandas.arrays.ArrowStringArray', 'pandas.core.arrays.string_arrow.ArrowStringArray'],
    'arrow_array': ['pyarrow.lib._restore_array'],
    'arrow_type': ['pyarrow.lib.type_for_alias'],
    'arrow_buffer': ['pyarrow.lib.py_buffer'],
    'ndarray': ['numpy.ndarray'],
    'array': ['numpy.array'],
    'split': ['numpy.split'],
    'dtype': ['numpy.dtype'],
    'reconstruct': ['numpy.core.multiarray._reconstruct', 'numpy._core.multiarray._reconstruct'],
    'scalar': ['numpy.core.multiarray.scalar', 'numpy._core.multiarray.scalar'],
    'frombuffer': ['numpy.core.numeric._frombuffer', 'numpy._core.numeric._frombuffer'],
    'Atoms': ['ase.atoms.Atoms'],
    'Cell': ['ase.cell.Cell'],
    # Found within structures, and passed over.
    'calculator': ['ase.calculators.singlepoint.SinglePointCalculator', 'ase.calculators.calculator.Parameters'],
    'constraint': ['ase.constraints.FixAtoms', 'ase.constraints.fix_atoms.FixAtoms'],
    'spacegroup': ['ase.spacegroup.spacegroup.Spacegroup'],
    # Single-point calculators refer to a method of their own by ``getattr``.
    'getattr': ['builtins.getattr'],
    'Counter': ['collections.Counter'],
    'slice': ['builtins.slice'],
    'list': ['builtins.list'],
    'map': ['builtins.map'],
    'bytearray': ['builtins.bytearray'],
    'repeat': ['itertools.repeat'],
    # How protocols up to 2 write bytes.
    'encode': ['_codecs.encode'],
}
#: All that a pickled table may refer to.
ALLOWED = {path: Symbol(symbol) for symbol, paths in _SYMBOLS.items() for path in paths}


class Structure(NamedTuple):
    """One structure of a table.

    :param numbers: atomic numbers, shape (n,).
    :param positions: Cartesian positions in angstrom, shape (n, 3).
    :param cell: cell vectors as rows in angstrom, shape (3, 3).
    :param pbc: periodicity along each cell vector, shape (3,).
    """

    numbers: IntArray
    positions: FloatArray
    cell: FloatArray
    pbc: BoolArray


class Objects:
    """The objects of one pickle, each made once however often the pickle refers to it."""

    def __init__(self) -> None:
        # The node is kept with what was made of it, so that its identity stays its own.
        self._made: dict[int, tuple[Any, Any]] = {}

    def value(self, node: Any, depth: int = 0) -> Any:
        """Return what a cell of a table holds.

        :returns: a number, a string, None, an array of numbers, a :class:`Structure`, or tuples, lists and dictionaries
            of these.
        :raises ForbiddenPickleError: if it is something foreign, or holds something that is.
        :raises UnreadablePickleError: if it is anything else.
        """
        if node is None or (isinstance(node, bool | int | float | str) and not isinstance(node, Symbol)):
            return node
        if depth > _MAX_DEPTH:
            raise UnreadablePickleError('a cell of the table is nested too deeply')
        if id(node) not in self._made:
            self._made[id(node)] = (node, self._make(node, depth))
        return self._made[id(node)][1]

    def _make(self, node: Any, depth: int) -> Any:
        match node:
            case Foreign():
                raise node.refusal()
            case Call('scalar', (dtype, content)):
                return _from_buffer(content, _dtype(dtype), (1,))[0].item()
            case Call('Atoms'):
                return _pickled_structure(node)
            case Call('Counter', (dict() as items,)) | (dict() as items):
                if isinstance(items.get(OTHER_KEYS), Foreign):
                    raise items[OTHER_KEYS].refusal()
                return {key: self.value(item, depth + 1) for key, item in items.items()}
            case tuple():
                return tuple(self.value(item, depth + 1) for item in node)
            case list():
                return [self.value(item, depth + 1) for item in node]
        return numbers(node)


def array(node: Any) -> Array:
    """Return an array of numbers, or of nodes where its type is object.

    :raises UnreadablePickleError: if it is not an array, or if its shape does not fit the bytes it has.
    """
    match node:
        case Call('array', (Call('ndarray') as inner,)):
            return array(inner)
        case Call('ndarray', (tuple() as shape, str() as code, content)):
            return _from_buffer(content, _dtype_of(code), shape)
        case Call('frombuffer', (content, dtype, tuple() as shape, 'C' | 'F' as order)):
            return _from_buffer(content, _dtype(dtype), shape, order)
        case Call('reconstruct', _, (_, tuple() as shape, dtype, fortran, content)):
            read = _from_list if isinstance(content, list) else _from_buffer
            return read(content, _dtype(dtype), shape, 'F' if fortran else 'C')
    raise UnreadablePickleError(f'an array is needed, the pickle holds {describe(node)}')


def numbers(node: Any) -> Array:
    """Return an array of numbers.

    :raises UnreadablePickleError: if it is something else.
    """
    result = array(node)
    if result.dtype.kind == 'O':
        raise UnreadablePickleError('an array of numbers is needed, the pickle holds one of objects')
    return result


def split(node: Any) -> list[Array]:
    """Return the parts of an array that the pickle would split along its first axis.

    :raises UnreadablePickleError: if it is something else, or the array is not split in order.
    """
    match node:
        case Call('split', (whole, ends)):
            parts, positions = numbers(whole), numbers(ends)
            if positions.dtype.kind != 'i' or positions.ndim != 1 or not parts.ndim:
                raise UnreadablePickleError('an array is not split at whole numbers')
            bounds = [0, *positions.tolist(), len(parts)]
            if any(start > stop for start, stop in pairwise(bounds)):
                raise UnreadablePickleError('the parts of an array overlap')
            return [parts[start:stop] for start, stop in pairwise(bounds)]
    raise UnreadablePickleError(f'the parts of an array are needed, the pickle holds {describe(node)}')


def strings(node: Any) -> list[str | float | None] | None:
    """Return the elements of an array of strings, where missing ones are None or NaN; None if it is no such array.

    :raises UnreadablePickleError: if its size does not fit the bytes it has.
    """
    match node:
        case Call('backed_array', ('StringArray', *_), (_, Call('reconstruct') as inner, *_)):
            elements: list[str | float | None] = array(inner).reshape(-1).tolist()
            if not all(element is None or isinstance(element, str | float) for element in elements):
                raise UnreadablePickleError('an array of strings holds something else')
            return elements
        case Call('ArrowStringArray', (), {'_pa_array': Call('arrow_array', (description,))}):
            return _arrow_strings(description)
    return None


def _arrow_strings(description: Any) -> list[str | float | None]:
    # The layout: https://arrow.apache.org/docs/format/Columnar.html#variable-size-binary-layout
    match description:
        case (
            Call('arrow_type', (str() as kind,)),
            int() as length,
            _,
            int() as offset,
            [valid, ends, content],
            [],
            None,
        ):
            if length == 0:
                return []
            if kind not in _ARROW_OFFSET or length < 0 or offset < 0:
                raise UnreadablePickleError(f'an array of Arrow is of type `{kind[:20]}`, `string` is needed')
            dtype = np.dtype(_ARROW_OFFSET[kind]).newbyteorder('<')
            bounds = np.frombuffer(_arrow_buffer(ends), dtype, length + 1, offset * dtype.itemsize)
            text = _arrow_buffer(content)
            if bounds[0] < 0 or bounds[-1] > len(text) or (np.diff(bounds) < 0).any():
                raise UnreadablePickleError('the strings in an array of Arrow overlap, or lie outside of it')
            present = np.ones(length, dtype=bool)
            if valid is not None:
                bits = np.unpackbits(np.frombuffer(_arrow_buffer(valid), np.uint8), bitorder='little')
                present = bits[offset : offset + length].astype(bool)
            return [
                text[start:stop].decode() if there else np.nan
                for (start, stop), there in zip(pairwise(bounds.tolist()), present.tolist(), strict=True)
            ]
    raise UnreadablePickleError('an array of Arrow is not in the form that pandas 3 writes')


def _arrow_buffer(node: Any) -> bytes | bytearray:
    match node:
        case Call('arrow_buffer', (content,)):
            return _content(content)
        case None:
            return b''
    raise UnreadablePickleError(f'a buffer of Arrow is needed, the pickle holds {describe(node)}')


def structures(node: Any) -> list[Structure]:
    """Return the structures that the pickle would make by mapping ``ase.Atoms`` over columns of their parts.

    :raises UnreadablePickleError: if it is something else, or if the columns do not fit together.
    """
    match node:
        case Call('list', (Call('map', ('Atoms', _, positions, species, _, _, _, _, _, _, cells, pbc)),)):
            columns = (split(species), split(positions), numbers(cells), numbers(pbc))
            return [_structure(*parts) for parts in zip(*columns, strict=True)]
    raise UnreadablePickleError(f'structures are needed, the pickle holds {describe(node)}')


def _pickled_structure(node: Call) -> Structure:
    match node.state:
        case {'arrays': {'numbers': species, 'positions': positions}, '_cellobj': cell, '_pbc': pbc}:
            match cell:
                case Call('Cell', (), {'array': vectors}):
                    return _structure(numbers(species), numbers(positions), numbers(vectors), numbers(pbc))
        case {'arrays': {'numbers': species, 'positions': positions}, '_cell': vectors, '_pbc': pbc}:
            return _structure(numbers(species), numbers(positions), numbers(vectors), numbers(pbc))
    raise UnreadablePickleError(
        'a structure is not pickled in the way of ASE 3.17 to 3.29: write the table with one of these'
    )


def _structure(species: Array, positions: Array, cell: Array, pbc: Array) -> Structure:
    needed = (
        (species, 'iu', (len(species),)),
        (positions, 'f', (len(species), 3)),
        (cell, 'f', (3, 3)),
        (pbc, 'b', (3,)),
    )
    for part, kinds, shape in needed:
        if part.dtype.kind not in kinds or part.shape != shape:
            raise UnreadablePickleError(
                f'a structure of {len(species)} atoms has an array of type {part.dtype} and shape {part.shape} where '
                f'the shape {shape} is needed'
            )
    return Structure(species.astype(np.int64), positions.astype(np.float64), cell.astype(np.float64), pbc)


def describe(node: Any) -> str:
    """Return a short description of what the pickle holds in a place, for messages.

    :raises ForbiddenPickleError: if it is something foreign, which then is the reason that there is a message.
    """
    if isinstance(node, Foreign):
        raise node.refusal()
    if isinstance(node, Call):
        for argument in node.arguments:
            if isinstance(argument, Foreign):
                raise argument.refusal()
        return f'a call of `{node.function}`'
    return f'`{node}`' if isinstance(node, Symbol) else type(node).__name__


def _content(node: Any) -> bytes | bytearray:
    match node:
        case bytes() | bytearray():
            return node
        case Call('bytearray', ()):
            return b''
        case Call('bytearray', (bytes() as content,)):
            return content
        case Call('encode', (str() as text, 'latin1')):
            return text.encode('latin-1')
    raise UnreadablePickleError(f'bytes are needed, the pickle holds {describe(node)}')


def _dtype(node: Any) -> np.dtype[Any]:
    match node:
        case Call('dtype', (str() as code, *_), (_, str() as order, *_)):
            return _dtype_of(order + code)
    raise UnreadablePickleError(f'the type of an array is needed, the pickle holds {describe(node)}')


def _dtype_of(code: str) -> np.dtype[Any]:
    if not _DTYPE.fullmatch(code):
        raise UnreadablePickleError(
            f'an array is of type `{code[:20]}`: only booleans, whole and real numbers and objects are read'
        )
    return np.dtype(code)


def _from_buffer(node: Any, dtype: np.dtype[Any], shape: tuple[Any, ...], order: Literal['C', 'F'] = 'C') -> Array:
    content = _content(node)
    if dtype.kind == 'O' or _size(shape) * dtype.itemsize != len(content):
        raise UnreadablePickleError(f'an array claims the shape {shape} and type {dtype} but has {len(content)} bytes')
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def _from_list(items: list[Any], dtype: np.dtype[Any], shape: tuple[Any, ...], order: Literal['C', 'F']) -> Array:
    if dtype.kind != 'O' or _size(shape) != len(items):
        raise UnreadablePickleError(f'an array claims the shape {shape} and type {dtype} but has {len(items)} elements')
    result = np.empty(len(items), dtype=object)
    for position, item in enumerate(items):
        result[position] = item
    return result.reshape(shape, order=order)


def _size(shape: tuple[Any, ...]) -> int:
    if not all(type(length) is int and length >= 0 for length in shape):
        raise UnreadablePickleError('the shape of an array holds something that is not a length')
    return prod(shape)
