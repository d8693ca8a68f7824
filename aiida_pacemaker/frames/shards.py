"""Shards: files that hold frames as columns, equal bytes for equal frames, read without unpickling.

A shard is a zip archive of uncompressed ``.npy`` members, which ``numpy.load`` reads. Format 1 has:

* ``format``: the number of the format, and ``source_keys``: a JSON list in UTF-8;
* ``hashes``: the content hash of each frame;
* one member for each column of :class:`~aiida_pacemaker.frames.table.Frames`, without ``energy``, ``forces`` and
  ``stress`` where the frames are not labelled.

Format 2 has ``w_energy`` and ``w_forces`` besides, the weights of frames and atoms in a fit; frames without weights are
written in format 1.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from aiida_pacemaker.errors import ArchiveError, ShardError
from aiida_pacemaker.frames.archives import Archive, open_archive
from aiida_pacemaker.frames.hashing import HASH_DTYPE, HashArray, frame_hashes
from aiida_pacemaker.frames.table import COLUMNS, LABELS, Frames
from aiida_pacemaker.frames.weights import WEIGHTS, check_weights

FORMAT, WEIGHTED_FORMAT = 1, 2

#: How each column is stored: the smallest type that holds every sane value.
STORED: dict[str, np.dtype[Any]] = {
    'format': np.dtype('<i4'),
    'source_keys': np.dtype('u1'),
    'hashes': HASH_DTYPE,
    'n_atoms': np.dtype('<i4'),
    'numbers': np.dtype('u1'),
    'positions': np.dtype('<f8'),
    'cells': np.dtype('<f8'),
    'pbc': np.dtype('u1'),
    'energy': np.dtype('<f8'),
    'forces': np.dtype('<f8'),
    'stress': np.dtype('<f8'),
    'source': np.dtype('<i4'),
    'step': np.dtype('<i8'),
    'generation': np.dtype('<i4'),
    'w_energy': np.dtype('<f8'),
    'w_forces': np.dtype('<f8'),
}

#: What a column is in memory, where that is not its stored type.
IN_MEMORY = {name: np.dtype(np.int64) for name in ('n_atoms', 'numbers', 'source', 'step', 'generation')} | {
    'pbc': np.dtype(np.bool_)
}

#: Stored bytes of a frame and of an atom, without weights.
FRAME_BYTES = 16 + 4 + 72 + 3 + 8 + 72 + 4 + 8 + 4
ATOM_BYTES = 1 + 24 + 24

Source = bytes | IO[bytes]


def write_shard(frames: Frames) -> bytes:
    """Return the content of the shard of these frames; equal frames give equal bytes everywhere.

    :raises ShardError: if a value is too large for the type it is stored in.
    """
    # Which sources are unused, and in which order they come, must not show in the bytes.
    frames = _with_canonical_sources(frames)
    columns: dict[str, npt.NDArray[Any]] = {
        'format': np.array(WEIGHTED_FORMAT if frames.weighted else FORMAT),
        'source_keys': np.frombuffer(json.dumps(frames.source_keys).encode(), dtype=np.uint8),
        'hashes': frame_hashes(frames),
    }
    columns |= {name: getattr(frames, name) for name in COLUMNS if getattr(frames, name) is not None}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', zipfile.ZIP_STORED) as archive:
        for name, column in columns.items():
            info = zipfile.ZipInfo(f'{name}.npy', date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            archive.writestr(info, _npy(name, column))
    return stream.getvalue()


def shard_name(content: bytes) -> str:
    """Return the name of a shard, which is the SHA-256 of its bytes: ``sha256sum`` verifies it.

    :param content: what :func:`write_shard` returned.
    """
    return f'{sha256(content).hexdigest()}.npz'


def read_shard(source: Source) -> Frames:
    """Return the frames of a shard.

    :param source: the bytes of the shard, or a seekable binary file.
    :raises ShardError: if it is not a shard, is damaged or truncated, or its hashes are not those of its frames.
    """
    with _open(source) as archive:
        _check_members(archive)
        columns = {name: _read_member(archive, name) for name in archive.names}
    if (columns['pbc'] > 1).any() or (columns['n_atoms'] < 0).any():
        raise ShardError('the shard is damaged: `pbc` is neither 0 nor 1, or `n_atoms` is negative')
    keys = _source_keys(columns.pop('source_keys'))
    hashes = columns.pop('hashes')
    del columns['format']
    in_memory: dict[str, Any] = dict.fromkeys((*LABELS, *WEIGHTS))
    in_memory |= {name: column.astype(IN_MEMORY.get(name, column.dtype)) for name, column in columns.items()}
    try:
        frames = Frames(source_keys=keys, **in_memory)
        if frames.w_energy is not None and frames.w_forces is not None:
            check_weights(frames.w_energy, frames.w_forces, frames.n_atoms)
    except ValueError as error:
        raise ShardError(f'the columns of the shard do not fit together: {error}') from error
    if hashes.shape != (len(frames),) or (hashes != frame_hashes(frames)).any():
        raise ShardError('the shard is damaged: its hashes are not those of its frames')
    return frames


def read_columns(source: Source, names: Collection[str]) -> dict[str, npt.NDArray[Any]]:
    """Return some columns of a shard and read nothing else.

    :param source: the bytes of the shard, or a seekable binary file.
    :param names: of columns of ``Frames``.
    :raises ShardError: if it is not a shard, or one without these columns.
    """
    with _open(source) as archive:
        _check_members(archive)
        missing = set(names) - (set(archive.names) & set(COLUMNS))
        if missing:
            raise ShardError(f'the shard has no column {", ".join(sorted(missing))}')
        columns = {name: _read_member(archive, name) for name in names}
    return {name: column.astype(IN_MEMORY.get(name, column.dtype)) for name, column in columns.items()}


def read_hashes(source: Source) -> HashArray:
    """Return the content hashes of a shard, shape (F,), and read nothing else.

    :param source: the bytes of the shard, or a seekable binary file.
    :raises ShardError: if it is not a shard.
    """
    with _open(source) as archive:
        _check_members(archive)
        return _read_member(archive, 'hashes')


def read_source_counts(source: Source) -> dict[str, int]:
    """Return how many frames of a shard each source key has, and read nothing else.

    :param source: the bytes of the shard, or a seekable binary file.
    :raises ShardError: if it is not a shard.
    """
    keys, positions = _read_sources(source)
    return {keys[position]: count for position, count in sorted(Counter(positions).items())}


def read_sources(source: Source) -> list[str]:
    """Return the source key of each frame of a shard, in order, and read nothing else.

    :param source: the bytes of the shard, or a seekable binary file.
    :raises ShardError: if it is not a shard.
    """
    keys, positions = _read_sources(source)
    return [keys[position] for position in positions]


def _read_sources(source: Source) -> tuple[tuple[str, ...], list[int]]:
    """Return the source keys of a shard, and the position of that of each frame among them."""
    with _open(source) as archive:
        _check_members(archive)
        keys = _source_keys(_read_member(archive, 'source_keys'))
        positions = _read_member(archive, 'source').tolist()
    if positions and not 0 <= min(positions) <= max(positions) < len(keys):
        raise ShardError('the shard is damaged: `source` points outside `source_keys`')
    return keys, positions


def split_into_shards(frames: Frames, max_bytes: int) -> Iterator[Frames]:
    """Iterate over runs of frames, each of which makes a shard of at most about ``max_bytes``.

    A frame that is larger by itself is a run of its own. A few kilobytes of headers are not counted.

    :raises ValueError: if ``max_bytes`` is not positive.
    """
    if max_bytes <= 0:
        raise ValueError(f'max_bytes is {max_bytes}, a positive number is needed')
    start, size = 0, 0
    for index, n_atoms in enumerate(frames.n_atoms.tolist()):
        frame_size = FRAME_BYTES + n_atoms * ATOM_BYTES
        if index > start and size + frame_size > max_bytes:
            yield frames.select(np.arange(start, index))
            start, size = index, 0
        size += frame_size
    if len(frames):
        yield frames.select(np.arange(start, len(frames)))


def _with_canonical_sources(frames: Frames) -> Frames:
    """Return the frames with only the sources that occur, in alphabetical order."""
    frames = frames.select(np.arange(len(frames)))
    order = sorted(range(len(frames.source_keys)), key=lambda index: frames.source_keys[index])
    rank = np.argsort(np.array(order, dtype=np.int64))
    columns: dict[str, Any] = {name: getattr(frames, name) for name in COLUMNS}
    columns['source'] = rank[frames.source] if len(frames) else frames.source
    return Frames(source_keys=tuple(frames.source_keys[index] for index in order), **columns)


def _npy(name: str, column: npt.NDArray[Any]) -> bytes:
    """Return a ``.npy`` file; the header is written here because that of numpy may change with its version."""
    stored = column.astype(STORED[name], order='C')
    if stored.dtype.kind in 'iu' and not np.array_equal(stored, column):
        worst = column[stored != column].flat[0]
        raise ShardError(f'column `{name}` holds {worst}, which does not fit {stored.dtype.name}')
    header = f"{{'descr': '{stored.dtype.str}', 'fortran_order': False, 'shape': {column.shape}, }}".encode()
    # Magic string, version and length take ten bytes; the data begin at a multiple of 64.
    header += b' ' * (-(len(header) + 11) % 64) + b'\n'
    return b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header + stored.tobytes()


@contextmanager
def _open(source: Source) -> Iterator[Archive]:
    try:
        with open_archive(source) as archive:
            yield archive
    except ArchiveError as error:
        raise ShardError(f'the file is not a shard, or it is damaged: {error}') from error


def _check_members(archive: Archive) -> None:
    """Check the format and the names of the members."""
    if 'format' not in archive.names:
        raise ShardError('the file is not a shard: it has no member `format.npy`')
    version = _read_member(archive, 'format')
    if version.shape != () or version not in (FORMAT, WEIGHTED_FORMAT):
        raise ShardError(
            f'the shard is of format {version.tolist()}, this version reads formats {FORMAT} and {WEIGHTED_FORMAT}'
        )
    weights = set(WEIGHTS) if version == WEIGHTED_FORMAT else set()
    found, full = set(archive.names), set(STORED) - set(WEIGHTS) | weights
    if found not in (full, full - set(LABELS)):
        raise ShardError(f'the shard has the members {sorted(found)}, those of {sorted(full)} are needed')


def _read_member(archive: Archive, name: str) -> npt.NDArray[Any]:
    array = archive.read(name)
    if array.dtype != STORED[name] or not array.flags.c_contiguous:
        raise ShardError(f'member `{name}` is of type {array.dtype}, {STORED[name]} in C order is needed')
    return array


def _source_keys(content: npt.NDArray[Any]) -> tuple[str, ...]:
    try:
        keys = json.loads(content.tobytes())
    except (ValueError, RecursionError) as error:
        raise ShardError(f'the source keys of the shard cannot be read: {error}') from error
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ShardError('the source keys of the shard are not a list of strings')
    return tuple(keys)
