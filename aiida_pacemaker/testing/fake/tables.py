"""The pickled tables that the fake engine reads and writes, with the room `frames` alone: no pandas is needed."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aiida_pacemaker.frames.hashing import frame_hashes, hex_hashes
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.pickles.reading import Table, read_dataset, read_table
from aiida_pacemaker.frames.pickles.writing import Call, Global, opcodes_of, split_by_frame, write_table
from aiida_pacemaker.frames.table import BoolArray, FloatArray, Frames


@dataclass(frozen=True, eq=False)
class Labelled:
    """Frames with what is fitted to them.

    :param frames: F frames with A atoms.
    :param energy: total energies without those of the single atoms in eV, shape (F,).
    :param forces: forces in eV/angstrom, shape (A, 3).
    """

    frames: Frames
    energy: FloatArray
    forces: FloatArray

    def __len__(self) -> int:
        return len(self.frames)

    def select(self, mask: BoolArray) -> Labelled:
        """Return the frames that are marked in a mask of shape (F,)."""
        return Labelled(self.frames.select(mask), self.energy[mask], self.forces[mask[self.frames.frame_of_atom]])


def read(path: Path) -> Table:
    """Read a table.

    :raises OSError, EOFError: as the engine does, if the file is missing or damaged.
    """
    # The engine decompresses with this module, whose errors are those that users see.
    return read_table(gzip.decompress(path.read_bytes()))


def structures(path: Path) -> Frames:
    """Read the structures of a table, without labels."""
    return read_dataset(path, path.name, keys=LabelKeys(energy=energy_column(read(path))))[0].without_labels()


def energy_column(table: Table) -> str:
    """Return the name of the column that holds energies; that of a table without any is `energy` too."""
    return 'energy_corrected' if 'energy' not in table.columns and 'energy_corrected' in table.columns else 'energy'


def forces_of(table: Table) -> FloatArray:
    """Return the column of forces, shape (A, 3).

    :raises ValueError, AssertionError: as the engine does, if there is none, or if it does not fit the structures.
    """
    if 'forces' not in table.columns:
        raise ValueError('Column `forces` not found in dataset')
    rows = [np.asarray(row, dtype=np.float64) for row in table.columns['forces']]
    if any(row.shape != (len(atoms.numbers), 3) for row, atoms in zip(rows, table.columns['ase_atoms'], strict=True)):
        raise AssertionError('forces has wrong shape. It should be [nat,3]')
    return np.concatenate([np.empty((0, 3)), *rows])


def concatenate(parts: Sequence[Frames]) -> Frames:
    """Return the frames of all parts, which may have come from files of the same name."""
    return Frames.concatenate([replace(part, source_keys=(f'{index}',)) for index, part in enumerate(parts)])


def write_fitting_data(path: Path, data: Labelled) -> None:
    """Write the frames that are fitted, as the engine leaves them for `pace_activeset`."""
    _write_frames(path, data.frames, energy_corrected=data.energy, forces=_forces(data.forces, data.frames))


def write_predictions(path: Path, data: Labelled, energy: FloatArray, forces: FloatArray) -> None:
    """Write what a potential says of the frames that it was fitted to or tested on."""
    _write_frames(
        path,
        data.frames,
        energy_corrected=data.energy,
        forces=_forces(data.forces, data.frames),
        energy_pred=energy,
        forces_pred=_forces(forces, data.frames),
        name=hex_hashes(frame_hashes(data.frames)),
    )


def write_selection(path: Path, rows: Sequence[int]) -> None:
    """Write which candidates were selected, as the labels of the rows of a table without columns."""
    axes = [
        _index('RangeIndex', {'start': 0, 'stop': 0, 'step': 1}),
        _index('Index', {'data': np.array(rows, dtype=np.int64)}),
    ]
    manager = Call('pandas.core.internals.managers', 'BlockManager', (), axes)
    with gzip.GzipFile(path, mode='wb', mtime=0) as stream:
        stream.write(pickle.PROTO + bytes([4]))
        stream.writelines(opcodes_of(Global('pandas', 'DataFrame')))
        stream.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
        state = {'_mgr': manager, '_typ': 'dataframe', '_flags': {'allows_duplicate_labels': True}}
        stream.writelines(opcodes_of(state))
        stream.write(pickle.BUILD + pickle.STOP)


def _index(kind: str, content: dict[str, Any]) -> Call:
    return Call('pandas.core.indexes.base', '_new_Index', Global('pandas', kind), {**content, 'name': None})


def _write_frames(path: Path, frames: Frames, **columns: Any) -> None:
    with path.open('wb') as handle:
        write_table(frames, handle, columns, None, 1)


def _forces(forces: FloatArray, frames: Frames) -> Call:
    return split_by_frame(Call('numpy', 'array', forces), frames)
