"""Writing the datasets that the engine reads: gzip-pickled tables that any version of pandas and numpy can load.

``DataFrame.to_pickle`` stores the insides of pandas and numpy, which differ between versions: what pandas 3 writes, an
engine with pandas 2.0 cannot read. A pickle is a small program, though, so the one written here only calls what never
changes, the public constructors, with a few large buffers as arguments::

    pandas.DataFrame({'ase_atoms': list(map(ase.atoms.Atoms, ..., numpy.split(positions, ends), ...)), ...})

It is emitted opcode by opcode (documented in :mod:`pickletools`) rather than by :class:`pickle.Pickler`, which would
have to import pandas, and whose output depends on which of two equal objects are one and the same. Here equal input
gives equal bytes.
"""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from aiida_pacemaker.frames.handedness import right_handed_cells
from aiida_pacemaker.frames.table import FloatArray, Frames
from aiida_pacemaker.frames.weights import check_weights

#: The engine drops frames whose name begins so from active sets, and scales their weight down.
RESERVED_PREFIX = 'augmented'

_PROTOCOL = 4


def write_dataset(
    frames: Frames,
    handle: IO[bytes],
    *,
    energy: FloatArray,
    forces: FloatArray,
    energy_corrected: FloatArray | None = None,
    stress: FloatArray | None = None,
    weights: tuple[FloatArray, FloatArray] | None = None,
    names: Sequence[str] | None = None,
    level: int = 1,
) -> None:
    """Write structures with the energies and forces that the engine shall fit.

    The labels of the frames themselves are not written, since a baseline may have to be subtracted from them first.

    :param frames: the structures, labelled or not.
    :param handle: a file open for writing bytes; its name is not stored.
    :param energy: total energies to fit in eV, shape (F,); the engine takes its ``reference_energy`` off these.
    :param forces: forces to fit in eV/angstrom, shape (A, 3).
    :param energy_corrected: total energies without the reference energies of the atoms in eV, shape (F,); the engine
        needs them where its input has no ``reference_energy``, and replaces them where it has one.
    :param stress: stress in eV/angstrom^3 with the sign of ASE, shape (F, 3, 3), NaN where there is none; the engine
        carries it and fits nothing to it.
    :param weights: weight of the energy of each frame, shape (F,), and of the force on each atom, shape (A,); the
        engine then applies no weighting policy and only normalises these.
    :param names: a name for each frame, by which the reports of the engine refer to it.
    :param level: gzip level from 0 (fastest) to 9 (smallest).
    :raises ValueError: if there are no frames, if a column has the wrong shape or holds values that are not finite, or
        if a name is reserved by the engine.
    """
    n_frames, n_atoms = len(frames), len(frames.numbers)
    columns: dict[str, Any] = {'energy': _column('energy', energy, (n_frames,))}
    if energy_corrected is not None:
        columns['energy_corrected'] = _column('energy_corrected', energy_corrected, (n_frames,))
    # A copy, because arrays over a buffer in a pickle are read-only and the engine is free to change its forces.
    columns['forces'] = split_by_frame(Call('numpy', 'array', _column('forces', forces, (n_atoms, 3))), frames)
    if stress is not None:
        if stress.shape != (n_frames, 3, 3):
            raise ValueError(f'`stress` has shape {stress.shape}, the frames need {(n_frames, 3, 3)}')
        columns['stress'] = Call('builtins', 'list', Call('numpy', 'array', stress))
    if weights is not None:
        check_weights(*weights, frames.n_atoms)
        columns['w_energy'] = _column('w_energy', weights[0], (n_frames,))
        per_atom = Call('numpy', 'array', _column('w_forces', weights[1], (n_atoms,)))
        columns['w_forces'] = split_by_frame(per_atom, frames)
    write_table(frames, handle, columns, names, level)


def write_candidates(frames: Frames, handle: IO[bytes], *, names: Sequence[str] | None = None, level: int = 1) -> None:
    """Write structures without labels: a pool for the engine to select from.

    :param frames: the structures; labels they may have are not written.
    :param handle: a file open for writing bytes; its name is not stored.
    :param names: a name for each frame, which the engine hands on to the selected ones.
    :param level: gzip level from 0 (fastest) to 9 (smallest).
    :raises ValueError: if there are no frames, or if a name is reserved by the engine.
    """
    write_table(frames, handle, {}, names, level)


def write_table(
    frames: Frames, handle: IO[bytes], columns: dict[str, Any], names: Sequence[str] | None, level: int
) -> None:
    """Write structures with the given columns beside them.

    :param columns: values that :func:`opcodes_of` knows, each one row per frame.
    :raises ValueError: if there are no frames, or as for the names of :func:`write_dataset`.
    """
    if not len(frames):
        raise ValueError('there are no frames to write, and the engine cannot read an empty dataset')
    if names is not None:
        columns['name'] = _checked_names(names, len(frames))
    table = Call('pandas', 'DataFrame', {'ase_atoms': _atoms(frames), **columns})
    with gzip.GzipFile(filename='', mode='wb', compresslevel=level, fileobj=handle, mtime=0) as stream:
        stream.write(pickle.PROTO + bytes([_PROTOCOL]))
        for part in opcodes_of(table):
            stream.write(part)
        stream.write(pickle.STOP)


def _column(name: str, values: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    column = np.asarray(values, dtype=np.float64)
    if column.shape != shape:
        raise ValueError(f'`{name}` has shape {column.shape}, the frames need {shape}')
    if not np.isfinite(column).all():
        count = int(np.count_nonzero(~np.isfinite(column)))
        raise ValueError(f'`{name}` holds {count} values that are not finite: leave such frames out')
    return column


def _checked_names(names: Sequence[str], n_frames: int) -> list[str]:
    if len(names) != n_frames:
        raise ValueError(f'{len(names)} names are given for {n_frames} frames')
    reserved = [name for name in names if name.startswith(RESERVED_PREFIX)]
    if reserved:
        raise ValueError(
            f'{len(reserved)} names begin with `{RESERVED_PREFIX}`, the first is `{reserved[0]}`: the engine gives '
            'such frames hardly any weight. Choose other names'
        )
    return list(names)


class Global(NamedTuple):
    """A function or class that is imported when the pickle is loaded."""

    module: str
    name: str


class Call:
    """A call that is made when the pickle is loaded."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.function = Global(module, name)
        self.arguments = arguments


def split_by_frame(column: Any, frames: Frames) -> Call:
    """Return the call that divides a column with one row per atom into one array per frame."""
    return Call('numpy', 'split', column, frames.offsets[1:-1])


def _atoms(frames: Frames) -> Call:
    # The order of the arguments of ``Atoms`` up to ``pbc`` is the same in all versions of ASE.
    unused = Call('itertools', 'repeat', None)
    arguments = (
        unused,  # symbols
        split_by_frame(frames.positions, frames),
        split_by_frame(frames.numbers, frames),
        *[unused] * 6,  # tags, momenta, masses, magmoms, charges, scaled_positions
        right_handed_cells(frames.cells, frames.pbc),
        frames.pbc,
    )
    return Call('builtins', 'list', Call('builtins', 'map', Global('ase.atoms', 'Atoms'), *arguments))


def opcodes_of(value: Any) -> Iterator[bytes | memoryview]:
    """Yield the opcodes that put a value on the stack of the machine that loads the pickle."""
    if value is None:
        yield pickle.NONE
    elif isinstance(value, int):
        yield pickle.LONG1 + b'\x08' + value.to_bytes(8, 'little', signed=True)
    elif isinstance(value, str):
        encoded = value.encode()
        yield pickle.BINUNICODE + len(encoded).to_bytes(4, 'little') + encoded
    elif isinstance(value, memoryview):
        yield pickle.BINBYTES8 + value.nbytes.to_bytes(8, 'little')
        yield value
    elif isinstance(value, Global):
        yield pickle.GLOBAL + f'{value.module}\n{value.name}\n'.encode()
    elif isinstance(value, Call):
        yield from opcodes_of(value.function)
        yield from opcodes_of(value.arguments)
        yield pickle.REDUCE
    elif isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder('<'))
        yield from opcodes_of(
            Call('numpy', 'ndarray', array.shape, array.dtype.str, array.reshape(-1).view(np.uint8).data)
        )
    else:
        yield from _container_opcodes(value)


def _container_opcodes(value: Any) -> Iterator[bytes | memoryview]:
    if isinstance(value, tuple):
        yield pickle.MARK
        for item in value:
            yield from opcodes_of(item)
        yield pickle.TUPLE
    elif isinstance(value, list):
        yield pickle.EMPTY_LIST + pickle.MARK
        for item in value:
            yield from opcodes_of(item)
        yield pickle.APPENDS
    elif isinstance(value, dict):
        yield pickle.EMPTY_DICT + pickle.MARK
        for key, item in value.items():
            yield from opcodes_of(key)
            yield from opcodes_of(item)
        yield pickle.SETITEMS
    else:
        raise TypeError(f'there are no opcodes for {type(value).__name__}')
