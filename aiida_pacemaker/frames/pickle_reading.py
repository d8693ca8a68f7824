"""Reading the pickled tables that the engine and its users write, without running what is in them.

Neither pandas nor pyarrow is needed: :mod:`.pickle_opcodes` follows the pickle and :mod:`.pickle_objects` knows the
forms that the objects take. Whatever is wrong with a file, the error is an :class:`UnreadablePickle`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase.data import chemical_symbols

from .label_keys import LabelKeys
from .pickle_objects import ALLOWED, Array, Objects, Structure, array, describe, numbers, split, strings, structures
from .pickle_opcodes import Call, ForbiddenPickle, UnreadablePickle, decompress, follow
from .table import FloatArray, Frames, IntArray

__all__ = [
    'ForbiddenPickle',
    'Structure',
    'Table',
    'UnreadablePickle',
    'read_dataset',
    'read_selection',
    'read_table',
]

Source = bytes | Path | IO[bytes]
Column = Array | list[Any]

#: Most bytes of a table, decompressed, unless the caller allows more: 100,000 labelled frames of 150 atoms.
MAX_SIZE = 1 << 30
# Where Voigt's order xx, yy, zz, yz, xz, xy goes in a matrix.
_VOIGT = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])


@dataclass(frozen=True, eq=False)
class Table:
    """A pickled ``pandas.DataFrame``.

    :param columns: the columns by name, each with F rows: an array of numbers, or a list. The elements of lists are
        numbers, strings, None, arrays of numbers, instances of :class:`Structure`, or tuples, lists and dictionaries of
        these. Arrays are read-only.
    :param index: the labels of the rows, shape (F,).
    """

    columns: dict[str, Column]
    index: Array

    def __len__(self) -> int:
        return len(self.index)


def read_table(source: Source, *, max_size: int = MAX_SIZE) -> Table:
    """Read a pickled ``pandas.DataFrame``, gzipped or not.

    :param source: the content of the file, its path, or the file itself, open for reading bytes.
    :param max_size: the most bytes that the file may have when decompressed.
    :raises ForbiddenPickle: if the pickle refers to anything that does not belong in a table of structures.
    :raises UnreadablePickle: if the file is damaged or too large, or does not hold such a table.
    :raises OSError: if the file cannot be opened.
    """
    if isinstance(source, Path):
        with source.open('rb') as handle:
            content = decompress(handle, max_size)
    else:
        content = decompress(io.BytesIO(source) if isinstance(source, bytes) else source, max_size)
    tree = follow(content, ALLOWED)
    with _damage_reported():
        return _table(tree, len(content))


def read_selection(source: Source, *, max_size: int = MAX_SIZE) -> IntArray:
    """Read which candidates ``pace_select`` has chosen.

    :param source: the file that it wrote (``selected.pkl.gz``), as for :func:`read_table`.
    :param max_size: the most bytes that the file may have when decompressed.
    :returns: positions in the candidates, counted through all files in the order in which they were given; the one with
        the most atoms in the active set comes first. Nothing was chosen if there are none.
    :raises UnreadablePickle: as :func:`read_table`, or if the rows are not numbered by distinct positions.
    """
    index = read_table(source, max_size=max_size).index
    if index.dtype.kind not in 'iu' or (index < 0).any() or len(np.unique(index)) != len(index):
        raise UnreadablePickle('the rows are not numbered by distinct positions: `pace_select` did not write this file')
    return index.astype(np.int64)


def read_dataset(
    source: Source, source_key: str, *, keys: LabelKeys | None = None, max_size: int = MAX_SIZE
) -> tuple[Frames, tuple[str, ...]]:
    """Read structures and labels from a dataset of Pacemaker.

    Only its columns are read, not what calculators within its structures hold. If one label is there, those that are
    missing become NaN; if none is there, the frames are not labelled.

    :param source: the file, as for :func:`read_table`.
    :param source_key: the key of the source of all frames; their steps are their positions in the table.
    :param keys: names of the columns of labels, where they are not `energy` (total), `forces` and `stress`.
    :param max_size: the most bytes that the file may have when decompressed.
    :returns: the frames, and the names of the columns that were left out.
    :raises UnreadablePickle: as :func:`read_table`, or if a column is missing or a row of one does not fit its
        structure.
    """
    keys = keys or LabelKeys()
    energy_column = keys.energy or 'energy'
    table = read_table(source, max_size=max_size)
    columns = table.columns
    if 'ase_atoms' not in columns:
        raise UnreadablePickle(f'there is no column `ase_atoms` among {sorted(columns)}, so this is not a dataset')
    if energy_column not in columns and (energy_column != 'energy' or 'energy_corrected' in columns):
        raise UnreadablePickle(
            f'there is no column `{energy_column}` among {sorted(columns)}. `energy_corrected` is not taken for it, as '
            'the energies of single atoms may have been taken off: name a column of total energies by `keys`, as in '
            "keys={'energy': 'energy_corrected'}"
        )
    labels = (energy_column, keys.forces or 'forces', keys.stress or 'stress')
    if keys.virial is not None:
        raise UnreadablePickle(f'a virial (`{keys.virial}`) is not read from a pickle: give a column of stresses')
    for name in (keys.forces, keys.stress):
        if name is not None and name not in columns:
            raise UnreadablePickle(f'there is no column `{name}`, which `keys` names, among {sorted(columns)}')
    with _damage_reported():
        frames = _structures(columns['ase_atoms'], source_key, max_size)
        if any(label in columns for label in labels):
            frames = _with_labels(frames, *(columns.get(label, [None] * len(table)) for label in labels))
    return frames, tuple(name for name in columns if name not in {'ase_atoms', *labels})


def _structures(column: Column, source_key: str, max_size: int) -> Frames:
    for row, structure in enumerate(column):
        if not isinstance(structure, Structure):
            raise UnreadablePickle(f'row {row} of `ase_atoms` holds {type(structure).__name__}, a structure is needed')
    n_frames = len(column)
    n_atoms = np.array([len(structure.numbers) for structure in column], dtype=np.int64)
    # A few bytes of a pickle can repeat one large structure many times.
    if int(n_atoms.sum()) * 3 * 8 > max_size:
        raise UnreadablePickle(f'the structures have {int(n_atoms.sum()):,} atoms in all: split the table')
    species = np.concatenate([np.empty(0, np.int64), *(structure.numbers for structure in column)])
    if ((species < 0) | (species >= len(chemical_symbols))).any():
        raise UnreadablePickle('`ase_atoms` holds atomic numbers of no element')
    return Frames(
        n_atoms=n_atoms,
        numbers=species,
        positions=np.concatenate([np.empty((0, 3)), *(structure.positions for structure in column)]),
        cells=np.array([structure.cell for structure in column]).reshape(n_frames, 3, 3),
        pbc=np.array([structure.pbc for structure in column], dtype=bool).reshape(n_frames, 3),
        energy=None,
        forces=None,
        stress=None,
        source_keys=(source_key,),
        source=np.zeros(n_frames, dtype=np.int64),
        step=np.arange(n_frames, dtype=np.int64),
        generation=np.zeros(n_frames, dtype=np.int64),
    )


def _with_labels(frames: Frames, energy: Column, forces: Column, stress: Column) -> Frames:
    atoms = zip(forces, frames.n_atoms.tolist(), strict=True)
    per_atom = [_label(value, [(n_atoms, 3)], f'`forces` in row {i}') for i, (value, n_atoms) in enumerate(atoms)]
    per_cell = [_label(value, [(3, 3), (6,)], f'`stress` in row {i}') for i, value in enumerate(stress)]
    return frames.with_labels(
        np.array([_label(value, [()], f'the energy in row {i}') for i, value in enumerate(energy)], dtype=np.float64),
        np.concatenate([np.empty((0, 3)), *per_atom]),
        np.array([value[_VOIGT] if value.shape == (6,) else value for value in per_cell]).reshape(-1, 3, 3),
    )


def _label(value: Any, shapes: Sequence[tuple[int, ...]], what: str) -> FloatArray:
    """Return a label as an array of one of the given shapes; where there is none, of the first one and NaN."""
    match value:
        case None:
            return np.full(shapes[0], np.nan)
        case float() if np.isnan(value):
            return np.full(shapes[0], np.nan)
        case list() | tuple():
            # A few bytes of a pickle can repeat one large list many times, so look before copying.
            if len(value) not in {shape[0] for shape in shapes if shape} or not all(map(_is_number_or_row, value)):
                raise UnreadablePickle(f'{what} is a list that does not have the shape {_alternatives(shapes)}')
        case str() | dict() | Structure():
            raise UnreadablePickle(f'{what} is not a number or an array of numbers')
    label = np.asarray(value, dtype=np.float64)
    if label.shape not in shapes:
        raise UnreadablePickle(f'{what} has the shape {label.shape}, {_alternatives(shapes)} is needed')
    return label


def _is_number_or_row(item: Any) -> bool:
    if isinstance(item, list | tuple):
        return len(item) == 3 and all(isinstance(number, int | float) for number in item)
    return isinstance(item, int | float)


def _alternatives(shapes: Sequence[tuple[int, ...]]) -> str:
    return ' or '.join(map(str, shapes))


@contextmanager
def _damage_reported() -> Iterator[None]:
    try:
        yield
    except UnreadablePickle:
        raise
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError, MemoryError) as error:
        raise UnreadablePickle(f'the table is damaged ({error}): get the file again') from error


def _table(tree: Any, size: int) -> Table:
    match tree:
        case Call('DataFrame', (dict() as nodes,)):
            table = _plain_table(nodes, size)
        case Call('DataFrame', (), {'_mgr': Call('BlockManager', (tuple() | list() as blocks, [names, rows]))}):
            table = _managed_table(blocks, names, rows, size)
        case _:
            raise UnreadablePickle(f'a table of pandas 1.5 or newer is needed, the pickle holds {describe(tree)}')
    for name, column in table.columns.items():
        if not isinstance(name, str):
            raise UnreadablePickle('the names of the columns are not all strings')
        if len(column) != len(table):
            raise UnreadablePickle(f'column `{name}` has {len(column)} rows, the table has {len(table)}')
    return table


def _plain_table(nodes: dict[str, Any], size: int) -> Table:
    """Return the table that would be made from a dictionary of columns, as written by this package."""
    objects = Objects()
    columns: dict[str, Column] = {}
    for name, node in nodes.items():
        match node:
            case Call('list'):
                columns[name] = structures(node)
            case Call('split'):
                columns[name] = split(node)
            case list():
                columns[name] = [objects.value(item) for item in node]
            case _:
                columns[name] = _one_dimensional(numbers(node))
        _check_cells(len(columns[name]), len(nodes), size)
    n_rows = len(next(iter(columns.values()), ()))
    return Table(columns, np.arange(n_rows, dtype=np.int64))


def _managed_table(blocks: Sequence[Any], names: Any, rows: Any, size: int) -> Table:
    """Return the table that pandas keeps as blocks: columns of one type, stacked."""
    labels, index = _index(names, size).tolist(), _index(rows, size)
    _check_cells(len(index), len(labels), size)
    objects = Objects()
    columns: dict[str, Column] = {}
    for block in blocks:
        match block:
            case Call('block', (values, placement, _)):
                positions = _placement(placement, len(labels))
            case _:
                raise UnreadablePickle(f'a block of a table is needed, the pickle holds {describe(block)}')
        for position, column in zip(
            positions, _block_columns(values, (len(positions), len(index)), objects), strict=True
        ):
            if labels[position] in columns:
                raise UnreadablePickle('the table holds a column twice')
            columns[labels[position]] = column
    if len(columns) != len(labels):
        raise UnreadablePickle(f'the table has {len(labels)} columns and the values of {len(columns)}')
    return Table({name: columns[name] for name in labels}, index)


def _check_cells(n_rows: int, n_columns: int, size: int) -> None:
    # Each cell takes a byte at the very least, unless the same few are referred to many times.
    if n_rows * n_columns > size:
        raise UnreadablePickle(f'the table claims {n_rows} rows and {n_columns} columns in {size} bytes')


def _index(node: Any, size: int) -> Array:
    match node:
        case Call('new_index', ('RangeIndex', {'start': start, 'stop': stop, 'step': step})):
            labels = range(start, stop, step)
            _check_cells(len(labels), 1, size)
            return np.array(labels, dtype=np.int64)
        case Call('new_index', ('Index', {'data': data})):
            text = strings(data)
            values = array(data) if text is None else np.array(text, dtype=object)
            if not all(isinstance(label, int | float | str | None) for label in values.tolist()):
                raise UnreadablePickle('the rows or columns are labelled by something else than numbers or strings')
            return _one_dimensional(values)
    raise UnreadablePickle(f'the labels of rows or columns are needed, the pickle holds {describe(node)}')


def _placement(node: Any, n_columns: int) -> list[int]:
    match node:
        case Call('slice', (start, stop, step)):
            return list(range(n_columns)[start:stop:step])
    positions: list[int] = numbers(node).tolist()
    if not all(0 <= position < n_columns for position in positions):
        raise UnreadablePickle('a block of the table lies outside of its columns')
    return positions


def _block_columns(node: Any, shape: tuple[int, int], objects: Objects) -> list[Column]:
    text = strings(node)
    if text is not None:
        return [text]
    values = array(node)
    if values.shape != shape:
        raise UnreadablePickle(f'a block of the table has the shape {values.shape}, {shape} is needed')
    if values.dtype.kind != 'O':
        return list(values)
    return [[objects.value(item) for item in row] for row in values.tolist()]


def _one_dimensional(values: Array) -> Array:
    if values.ndim != 1:
        raise UnreadablePickle(f'a column or index has the shape {values.shape}')
    return values
