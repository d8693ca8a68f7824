"""Pickled tables as columns: what pandas 0.25 to 3.1 and this package write, read without running what is in it."""

from __future__ import annotations

import io
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from aiida_pacemaker.errors import UnreadablePickleError
from aiida_pacemaker.frames.pickles.limits import Limits, decompress
from aiida_pacemaker.frames.pickles.objects import (
    ALLOWED,
    Array,
    Objects,
    array,
    describe,
    numbers,
    split,
    strings,
    structures,
)
from aiida_pacemaker.frames.pickles.opcodes import Call, follow

Source = bytes | Path | IO[bytes]
Column = Array | list[Any]

#: Most bytes of a table, decompressed, unless the caller allows more: 100,000 labelled frames of 150 atoms.
MAX_SIZE = 1 << 30


@dataclass(frozen=True, eq=False)
class Table:
    """A pickled ``pandas.DataFrame``.

    :param columns: the columns by name, each with F rows: an array of numbers, or a list. The elements of lists are
        numbers, strings, None, arrays of numbers, instances of :class:`Structure`, or tuples, lists and dictionaries of
        these. Arrays are read-only.
    :param index: the labels of the rows, shape (F,).
    :param skipped: why other columns were not read, by name; None where they were not asked for.
    :param limits: what a file of its size may hold.
    """

    columns: dict[str, Column]
    index: Array
    skipped: dict[str, UnreadablePickleError | None] = field(default_factory=dict)
    limits: Limits = field(default_factory=lambda: Limits(0, 0))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, of those that were not read last."""
        return (*self.columns, *self.skipped)


def read_table(source: Source, *, columns: Container[str] | None = None, max_size: int = MAX_SIZE) -> Table:
    """Read a pickled ``pandas.DataFrame``, gzipped or not.

    :param source: the content of the file, its path, or the file itself, open for reading bytes.
    :param columns: names of the columns that are needed; all that can be read if not given. A column of objects that
        are nothing to tables of structures is an error only where it is needed.
    :param max_size: the most bytes that the file may have when decompressed.
    :raises ForbiddenPickleError: if what the pickle refers to does not belong in a table of structures.
    :raises UnreadablePickleError: if the file is damaged or too large, or does not hold such a table.
    :raises OSError: if the file cannot be opened.
    """
    if isinstance(source, Path):
        with source.open('rb') as handle:
            content, limits = decompress(handle, max_size)
    else:
        content, limits = decompress(io.BytesIO(source) if isinstance(source, bytes) else source, max_size)
    tree = follow(content, ALLOWED, limits)
    with damage_reported():
        return _Builder(limits, columns).table(tree)


@contextmanager
def damage_reported() -> Iterator[None]:
    """Raise whatever a damaged table leads to as :class:`UnreadablePickleError`."""
    try:
        yield
    except UnreadablePickleError:
        raise
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError, MemoryError) as error:
        raise UnreadablePickleError(f'the table is damaged ({error}): get the file again') from error


class _Builder:
    """Makes a table of what a pickle holds.

    :param limits: what a file of its size may hold.
    :param wanted: names of the columns that are needed; all that can be read where None.
    """

    def __init__(self, limits: Limits, wanted: Container[str] | None) -> None:
        self._limits = limits
        self._wanted = wanted
        self._objects = Objects()
        self._columns: dict[str, Column] = {}
        self._skipped: dict[str, UnreadablePickleError | None] = {}

    def table(self, tree: Any) -> Table:
        """Return the table."""
        match tree:
            case Call('DataFrame', (dict() as nodes,)):
                return self.plain(nodes)
            # `_data` is the name of the same until pandas 1.0.
            case Call('DataFrame', (), {'_mgr': Call('BlockManager') as manager}) | Call(
                'DataFrame', (), {'_data': Call('BlockManager') as manager}
            ):
                return self.managed(*_parts(manager))
        raise UnreadablePickleError(f'a table of pandas 0.25 or newer is needed, the pickle holds {describe(tree)}')

    def plain(self, nodes: dict[str, Any]) -> Table:
        """Return the table that would be made from a dictionary of columns, as written by this package."""
        n_rows = None
        for name, node in nodes.items():
            column = self.plain_column(node)
            n_rows = len(column) if n_rows is None else n_rows
            self._limits.check('rows', len(column))
            self._limits.check('cells', len(column) * len(nodes))
            self.put([name], [column], n_rows)
        return Table(self._columns, np.arange(n_rows or 0, dtype=np.int64), self._skipped, self._limits)

    def plain_column(self, node: Any) -> Column:
        """Return a column as this package writes it."""
        match node:
            case Call('list', (Call('array') as stacked,)):
                return list(numbers(stacked))
            case Call('list'):
                return structures(node)
            case Call('split'):
                return split(node)
            case list():
                self._limits.check('rows', len(node))
                return [self._objects.value(item) for item in node]
        return _one_dimensional(numbers(node))

    def managed(self, blocks: Sequence[tuple[Any, Any]], names: Any, rows: Any) -> Table:
        """Return the table that pandas keeps as blocks: columns of one type, stacked.

        :param blocks: the values of each, and which columns they are.
        :param names: the index of the columns.
        :param rows: the index of the rows.
        """
        labels, index = self.index(names).tolist(), self.index(rows)
        if not all(isinstance(label, str) for label in labels):
            raise UnreadablePickleError('the names of the columns are not all strings')
        if len(set(labels)) < len(labels):
            raise UnreadablePickleError('the table holds a column twice')
        self._limits.check('cells', len(index) * len(labels))
        for values, placement in blocks:
            positions = _placement(placement, len(labels))
            self.put_block([labels[position] for position in positions], values, len(index))
        missing = [name for name in labels if name not in self._columns and name not in self._skipped]
        if missing:
            raise UnreadablePickleError(
                f'the table has {len(labels)} columns, but not the values of `{missing[0][:100]}`'
            )
        columns = {name: self._columns[name] for name in labels if name in self._columns}
        return Table(columns, index, self._skipped, self._limits)

    def put_block(self, names: Sequence[str], values: Any, n_rows: int) -> None:
        """Enter the columns of a block, or why they cannot be read."""
        if self._wanted is not None and not any(name in self._wanted for name in names):
            self._skipped |= dict.fromkeys(names)
            return
        try:
            text = strings(values)
            if text is not None:
                self.put(names, [text], n_rows)
                return
            stacked = array(values)
        except UnreadablePickleError as error:
            self._skipped |= dict.fromkeys(names, error)
            return
        if stacked.shape != (len(names), n_rows):
            raise UnreadablePickleError(
                f'a block of the table has the shape {stacked.shape}, {(len(names), n_rows)} is needed'
            )
        self.put(names, list(stacked), n_rows)

    def put(self, names: Sequence[str], columns: Sequence[Column], n_rows: int) -> None:
        """Enter columns, those of objects as what these are."""
        for name, column in zip(names, columns, strict=True):
            if not isinstance(name, str):
                raise UnreadablePickleError('the names of the columns are not all strings')
            if len(column) != n_rows:
                raise UnreadablePickleError(f'column `{name[:100]}` has {len(column)} rows, the table has {n_rows}')
            if name in self._columns or name in self._skipped:
                raise UnreadablePickleError('the table holds a column twice')
            if self._wanted is not None and name not in self._wanted:
                self._skipped[name] = None
            elif isinstance(column, np.ndarray) and column.dtype.kind == 'O':
                try:
                    self._columns[name] = [self._objects.value(item) for item in column.tolist()]
                except UnreadablePickleError as error:
                    self._skipped[name] = error
            else:
                self._columns[name] = column

    def index(self, node: Any) -> Array:
        """Return the labels of rows or columns."""
        match node:
            case Call('new_index', ('RangeIndex', {'start': start, 'stop': stop, 'step': step})):
                labels = range(start, stop, step)
                self._limits.check('rows', len(labels))
                return np.array(labels, dtype=np.int64)
            case Call('new_index', ('Index', {'data': data})):
                text = strings(data)
                values = _one_dimensional(array(data) if text is None else np.array(text, dtype=object))
                self._limits.check('rows', len(values))
                if not all(isinstance(label, int | float | str | None) for label in values.tolist()):
                    raise UnreadablePickleError(
                        'the rows or columns are labelled by something else than numbers or strings: write the table '
                        'again after `reset_index(drop=True)`'
                    )
                return values
        raise UnreadablePickleError(f'the labels of rows or columns are needed, the pickle holds {describe(node)}')


def _parts(manager: Call) -> tuple[list[tuple[Any, Any]], Any, Any]:
    """Return the blocks of a table, each with its columns, the index of the columns and that of the rows."""
    match manager:
        # pandas 1.3 and later.
        case Call(_, (tuple() | list() as blocks, [names, rows])):
            return [_block(block) for block in blocks], names, rows
        # Before, in a form that has been the same since 0.14.1.
        case Call(_, (), (_, _, _, {'0.14.1': {'axes': [names, rows], 'blocks': list() as blocks}})):
            return [_block(block) for block in blocks], names, rows
    raise UnreadablePickleError('the table is not kept in the way of pandas 0.25 to 3.1')


def _block(node: Any) -> tuple[Any, Any]:
    match node:
        case Call('block', (values, placement, *_)) | {'values': values, 'mgr_locs': placement}:
            return values, placement
    raise UnreadablePickleError(f'a block of a table is needed, the pickle holds {describe(node)}')


def _placement(node: Any, n_columns: int) -> list[int]:
    match node:
        case Call('slice', (start, stop, step)):
            return list(range(n_columns)[start:stop:step])
    positions: list[int] = numbers(node).tolist()
    if not all(0 <= position < n_columns for position in positions):
        raise UnreadablePickleError('a block of the table lies outside of its columns')
    return positions


def _one_dimensional(values: Array) -> Array:
    if values.ndim != 1:
        raise UnreadablePickleError(f'a column or index has the shape {values.shape}')
    return values
