"""Reading the datasets and selections that the engine and its users write.

Neither pandas nor pyarrow is needed: :mod:`.opcodes` follows the pickle, :mod:`.objects` knows the forms
that the objects take, and :mod:`.tables` those of tables. Whatever is wrong with a file, the error is an
:class:`UnreadablePickleError`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.stress import voigt_6_to_full_3x3_stress

from aiida_pacemaker.errors import ForbiddenPickleError, UnreadablePickleError
from aiida_pacemaker.frames.hashing import frame_hashes, hex_hashes
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.pickles.objects import Structure
from aiida_pacemaker.frames.pickles.rivals import WithRivals, refuse_rivals
from aiida_pacemaker.frames.pickles.tables import MAX_SIZE, Column, Source, Table, damage_reported, read_table
from aiida_pacemaker.frames.pickles.writing import RESERVED_PREFIX
from aiida_pacemaker.frames.table import FloatArray, Frames, IntArray
from aiida_pacemaker.frames.weights import WEIGHTS, check_weights

__all__ = [
    'MAX_SIZE',
    'ForbiddenPickleError',
    'Structure',
    'Table',
    'UnreadablePickleError',
    'read_dataset',
    'read_selection',
    'read_table',
]

#: A factor on both weights of a frame, and the name of a frame.
_FACTOR, _NAME = 'w_factor', 'name'
_CORRECTED = 'energy_corrected'
_HASH = re.compile('[0-9a-f]{32}')


def read_selection(source: Source, *, max_size: int = MAX_SIZE) -> IntArray:
    """Read which candidates ``pace_select`` has chosen.

    :param source: the file that it wrote (``selected.pkl.gz``), as for :func:`read_table`.
    :param max_size: the most bytes that the file may have when decompressed.
    :returns: positions in the candidates, counted through all files in the order in which they were given; the one with
        the most atoms in the active set comes first. Nothing was chosen if there are none.
    :raises UnreadablePickleError: as :func:`read_table`, or if the rows are not numbered by distinct positions.
    """
    index = read_table(source, columns=(), max_size=max_size).index
    if index.dtype.kind not in 'iu' or (index < 0).any() or len(np.unique(index)) != len(index):
        raise UnreadablePickleError(
            'the rows are not numbered by distinct positions: `pace_select` did not write this file'
        )
    return index.astype(np.int64)


def read_dataset(
    source: Source, source_key: str, *, keys: LabelKeys | None = None, max_size: int = MAX_SIZE
) -> tuple[Frames, tuple[str, ...]]:
    """Read structures, labels and weights from a dataset of Pacemaker.

    Only its columns are read, not what calculators within its structures hold. If one label is there, those that are
    missing become NaN; if none is there, the frames are not labelled. Weights are read where there are both of
    `w_energy` and `w_forces`, as the engine does, multiplied by `w_factor` if that is there too.

    :param source: the file, as for :func:`read_table`.
    :param source_key: the key of the source of all frames; their steps are their positions in the table.
    :param keys: names of the columns of labels, where they are not `energy` (total), `forces` and `stress`.
    :param max_size: the most bytes that the file may have when decompressed.
    :returns: the frames, and the names of the columns that were left out; names that only repeat the content hashes of
        the frames, as this package writes them, are not counted.
    :raises UnreadablePickleError: as :func:`read_table`, if a column is missing or a row of one does not fit its
        structure, if there are other labels that differ and none is named, or if the engine would treat frames
        specially because of their names.
    """
    keys = keys or LabelKeys()
    energy, forces = keys.energy or 'energy', keys.forces or 'forces'
    stress = keys.virial or keys.stress or 'stress'
    labels = (energy, forces, stress)
    wanted = WithRivals({'ase_atoms', *labels, *WEIGHTS, _FACTOR, _NAME})
    table = read_table(source, columns=wanted, max_size=max_size)
    _check_columns(table, keys)
    columns = table.columns
    used = {'ase_atoms', *labels}
    with damage_reported():
        frames = _structures(_needed(table, 'ase_atoms'), source_key, table)
        refuse_rivals(table, frames, keys)
        if any(label in columns for label in labels):
            missing = [None] * len(table)
            frames = _with_labels(frames, *(columns.get(label, missing) for label in labels))
            if keys.virial is not None:
                frames = _with_stress_of_virial(frames)
            if set(columns) >= set(WEIGHTS):
                frames = _with_weights(frames, columns[WEIGHTS[0]], columns[WEIGHTS[1]], columns.get(_FACTOR))
                used |= {*WEIGHTS, _FACTOR}
        names = columns.get(_NAME, ())
        _check_names(names)
        frames = _as_named(frames, names)
        if len(names) and list(names) == hex_hashes(frame_hashes(frames)):
            used.add(_NAME)
    return frames, tuple(sorted(name for name in table.names if name not in used))


def said_of_columns(left_out: Sequence[str]) -> tuple[str, ...]:
    """Return what people have to be told of the columns that :func:`read_dataset` left out."""
    texts = []
    alone = [name for name in WEIGHTS if name in left_out]
    if len(alone) == 1:
        texts.append(
            f'the weights in `{alone[0]}` were left out: the engine uses weights only where both of '
            f'{_quoted(WEIGHTS)} are there. Give both, or set weights with the option `weights`'
        )
    if _FACTOR in left_out:
        texts.append(
            f'the factors in `{_FACTOR}` were left out: they need the weights {_quoted(WEIGHTS)} that they multiply'
        )
    if _CORRECTED in left_out:
        texts.append(
            f'the column `{_CORRECTED}` was left out. The engine fits it where its input has no '
            f"`data.reference_energy`: for the same fit, merge with keys={{'energy': '{_CORRECTED}'}} and give "
            'reference energies of 0'
        )
    others = [name for name in left_out if name not in (*WEIGHTS, _FACTOR, _CORRECTED)]
    if others:
        texts.append(f'the columns {_quoted(others)} were left out: a dataset has no place for them')
    return tuple(texts)


def _quoted(names: Sequence[str]) -> str:
    return ', '.join(f'`{name[:60]}`' for name in names[:20]) + (' and more' if len(names) > 20 else '')


def _needed(table: Table, name: str) -> Column:
    """Return a column without which nothing can be done.

    :raises UnreadablePickleError: if it could not be read, saying why.
    """
    reason = table.skipped.get(name)
    if reason is not None:
        raise type(reason)(f'the column `{name}` cannot be read: {reason}') from reason
    return table.columns[name]


def _check_columns(table: Table, keys: LabelKeys) -> None:
    """Look whether the columns are there, and could be read.

    :raises UnreadablePickleError: if not.
    """
    names = sorted(table.names)
    if 'ase_atoms' not in names:
        raise UnreadablePickleError(f'there is no column `ase_atoms` among {_quoted(names)}, so this is not a dataset')
    energy = keys.energy or 'energy'
    if energy not in names and (energy != 'energy' or 'energy_corrected' in names):
        raise UnreadablePickleError(
            f'there is no column `{energy}` among {_quoted(names)}. `energy_corrected` is not taken for it, as the '
            'energies of single atoms may have been subtracted: name a column of total energies by `keys`, as in '
            "keys={'energy': 'energy_corrected'}"
        )
    for name in (keys.forces, keys.stress, keys.virial):
        if name is not None and name not in names:
            raise UnreadablePickleError(f'there is no column `{name}`, which `keys` names, among {_quoted(names)}')
    for name in (energy, keys.forces or 'forces', keys.virial or keys.stress or 'stress', *WEIGHTS, _NAME):
        if name in names:
            _needed(table, name)


def _check_names(names: Column | Sequence[str]) -> None:
    """Look for names that mean something to the engine.

    :raises UnreadablePickleError: if there are any.
    """
    rows = [row for row, name in enumerate(names) if isinstance(name, str) and name.startswith(RESERVED_PREFIX)]
    if rows:
        raise UnreadablePickleError(
            f'{len(rows)} rows have names that begin with `{RESERVED_PREFIX}`, the first is row {rows[0]} with '
            f'`{names[rows[0]][:60]}`: the engine scales the weights of such frames down by 1e-4 and keeps them out of '
            'active sets, which a dataset cannot carry, so they would count as much as all others. Leave these rows '
            'out, or give them other names and, in `w_energy` and `w_forces`, the weights that they are to have'
        )


def _as_named(frames: Frames, names: Column | Sequence[str]) -> Frames:
    """Return frames with the cells that they had where this package wrote them with two vectors exchanged.

    The engine stops at left-handed cells. The name of a frame is the hash that it has with the vectors in their order.
    """
    hashes = hex_hashes(frame_hashes(frames))
    rows = [row for row, name in enumerate(names) if name != hashes[row] and _HASH.fullmatch(str(name))]
    if not rows:
        return frames
    cells = frames.cells.copy()
    cells[rows] = cells[rows][:, [1, 0, 2]]
    exchanged = replace(frames, cells=cells)
    found = np.array([name == hash_ for name, hash_ in zip(names, hex_hashes(frame_hashes(exchanged)), strict=True)])
    cells = np.where(found[:, None, None], cells, frames.cells)
    return replace(frames, cells=cells)


def _structures(column: Column, source_key: str, table: Table) -> Frames:
    for row, structure in enumerate(column):
        if not isinstance(structure, Structure):
            raise UnreadablePickleError(
                f'row {row} of `ase_atoms` holds {type(structure).__name__}, a structure is needed'
            )
    n_frames = len(column)
    n_atoms = np.array([len(structure.numbers) for structure in column], dtype=np.int64)
    # A few bytes of a pickle can repeat one large structure many times.
    table.limits.check('atoms', int(n_atoms.sum()))
    species = np.concatenate([np.empty(0, np.int64), *(structure.numbers for structure in column)])
    if ((species < 0) | (species >= len(chemical_symbols))).any():
        raise UnreadablePickleError('`ase_atoms` holds atomic numbers of no element')
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
    stresses = [voigt_6_to_full_3x3_stress(value) if value.shape == (6,) else value for value in per_cell]
    return frames.with_labels(
        np.array([_label(value, [()], f'the energy in row {i}') for i, value in enumerate(energy)], dtype=np.float64),
        np.concatenate([np.empty((0, 3)), *per_atom]),
        np.array(stresses).reshape(-1, 3, 3),
    )


def _with_stress_of_virial(frames: Frames) -> Frames:
    """Return frames whose stress is -virial/volume, where the virial stands in its place."""
    if frames.energy is None or frames.forces is None or frames.stress is None:
        return frames
    volumes = np.abs(np.linalg.det(frames.cells))
    with np.errstate(divide='ignore', invalid='ignore'):
        stress = np.where(volumes[:, None, None] > 0, -frames.stress / volumes[:, None, None], np.nan)
    return frames.with_labels(frames.energy, frames.forces, stress)


def _with_weights(frames: Frames, energy: Column, forces: Column, factors: Column | None) -> Frames:
    """Return frames with weights, the NaN of missing ones included, which is refused."""
    atoms = zip(forces, frames.n_atoms.tolist(), strict=True)
    per_atom = [
        _label(value, [(n_atoms,), (n_atoms, 1)], f'`w_forces` in row {i}').reshape(-1)
        for i, (value, n_atoms) in enumerate(atoms)
    ]
    w_energy = np.array([_label(value, [()], f'`w_energy` in row {i}') for i, value in enumerate(energy)], dtype=float)
    w_forces = np.concatenate([np.empty(0), *per_atom])
    if factors is not None:
        factor = np.array([_label(value, [()], f'`{_FACTOR}` in row {i}') for i, value in enumerate(factors)])
        w_energy, w_forces = w_energy * factor, w_forces * np.repeat(factor, frames.n_atoms)
    try:
        check_weights(w_energy, w_forces, frames.n_atoms)
    except ValueError as error:
        raise UnreadablePickleError(str(error)) from error
    return frames.with_weights(w_energy, w_forces)


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
                raise UnreadablePickleError(f'{what} is a list that does not have the shape {_alternatives(shapes)}')
        case str() | dict() | Structure():
            raise UnreadablePickleError(f'{what} is not a number or an array of numbers')
    label = np.asarray(value, dtype=np.float64)
    if label.shape not in shapes:
        raise UnreadablePickleError(f'{what} has the shape {label.shape}, {_alternatives(shapes)} is needed')
    return label


def _is_number_or_row(item: Any) -> bool:
    if isinstance(item, list | tuple):
        return len(item) == 3 and all(isinstance(number, int | float) for number in item)
    return isinstance(item, int | float)


def _alternatives(shapes: Sequence[tuple[int, ...]]) -> str:
    return ' or '.join(map(str, shapes))
