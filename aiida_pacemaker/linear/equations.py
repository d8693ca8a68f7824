"""The equations of a fit: one row for each energy, force component and virial component.

All that a solution needs of many rows is their triangular factor (QR), whatever their number. The factors of parts are
put together by a QR of the stacked factors ("tall and skinny QR": Demmel et al., SIAM J. Sci. Comput. 34 (2012) A206),
which loses no digits. The normal equations would lose half of them.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import qr

FloatArray = npt.NDArray[np.float64]

#: The kinds of rows: energies per atom (eV), forces (eV/angstrom), virials per atom (eV).
KINDS = ('energy', 'forces', 'virial')
#: Doubles that the frames kept row by row may take in any case; beyond it, see :func:`row_limit`.
SAMPLE_DOUBLES = 1_000_000
#: Frames are kept row by row up to this many times the number of columns.
SAMPLE_FACTOR = 4


def row_limit(n_columns: int) -> int:
    """Return how many rows are kept as they are; those of all further frames are folded into triangular factors."""
    return max(SAMPLE_FACTOR * n_columns, SAMPLE_DOUBLES // (n_columns + 1))


def triangle(*blocks: FloatArray) -> FloatArray:
    """Return the triangular factor of the QR decomposition of stacked blocks of rows, shape (min(M, K), K)."""
    rows = np.concatenate(blocks)
    if not len(rows):
        return rows
    (factor,) = qr(rows, mode='r', overwrite_a=True, check_finite=False)
    return np.ascontiguousarray(factor[: min(rows.shape)])


@dataclass(frozen=True)
class FrameRows:
    """The equations of one frame; the last column is the right-hand side.

    :param key: content hash of the frame.
    :param rows: by kind, the rows: (1, K + 1), (3 n, K + 1), (6, K + 1); a kind that has no labels is not there.
    :param weights: by kind, the weight of each row.
    :param n_atoms: number of atoms.
    :param nearest: shortest distance in angstrom of each pair of elements, by their numbers, the smaller first.
    """

    key: str
    rows: Mapping[str, FloatArray]
    weights: Mapping[str, FloatArray]
    n_atoms: int
    nearest: Mapping[tuple[int, int], float] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        """Number of rows of all kinds."""
        return sum(map(len, self.rows.values()))

    def scaled(self, scales: Mapping[str, float]) -> FloatArray:
        """Return the rows as they enter the fit: times the square roots of their weights, and the scale of the kind."""
        return np.concatenate(
            [scales[kind] * np.sqrt(self.weights[kind])[:, None] * rows for kind, rows in self.rows.items()]
        )


class Equations:
    """The equations of a set of frames, in memory that does not grow with the number of frames.

    Frames with the smallest hashes are kept row by row, as a sample that does not depend on the order of the frames,
    for error estimates. Those of the others are folded into one triangular factor for each kind. Frames of equal
    hashes are all kept or all folded.

    :param n_columns: number of coefficients, K.
    """

    def __init__(self, n_columns: int) -> None:
        self.n_columns = n_columns
        self.limit = row_limit(n_columns)
        self.frames: list[FrameRows] = []
        self.rest: dict[str, FloatArray] = {kind: np.zeros((0, n_columns + 1)) for kind in KINDS}
        #: The same without weights, for errors that are those of all frames alike.
        self.plain: dict[str, FloatArray] = {kind: np.zeros((0, n_columns + 1)) for kind in KINDS}
        #: Shortest distance in angstrom of each pair of columns of elements, the smaller number first.
        self.nearest: dict[tuple[int, int], float] = {}
        #: By kind: how many rows there are, how many of them have a weight, and the sum of their weights.
        self.counts = dict.fromkeys(KINDS, 0)
        self.weighted = dict.fromkeys(KINDS, 0)
        self.weights = dict.fromkeys(KINDS, 0.0)
        self.n_frames = 0
        self.n_atoms = 0
        #: The smallest hash of a frame that was folded: those from here on are. Empty: none was.
        self.cut = ''

    def add(self, frames: Iterable[FrameRows]) -> None:
        """Add the equations of frames."""
        n_rows = sum(one.n_rows for one in self.frames)
        for frame in frames:
            self.n_frames += 1
            self.n_atoms += frame.n_atoms
            for kind, rows in frame.rows.items():
                self.counts[kind] += len(rows)
                self.weighted[kind] += int(np.count_nonzero(frame.weights[kind]))
                self.weights[kind] += float(frame.weights[kind].sum())
            self.see(frame.nearest)
            self.frames.append(frame)
            n_rows += frame.n_rows
            if n_rows > 1.25 * self.limit:
                n_rows = self._fold()
        self._fold()

    def merge(self, other: Equations) -> None:
        """Add the equations of another set of frames."""
        self.n_frames += other.n_frames
        self.n_atoms += other.n_atoms
        for kind in KINDS:
            self.counts[kind] += other.counts[kind]
            self.weighted[kind] += other.weighted[kind]
            self.weights[kind] += other.weights[kind]
            if len(other.rest[kind]):
                self.rest[kind] = triangle(self.rest[kind], other.rest[kind])
                self.plain[kind] = triangle(self.plain[kind], other.plain[kind])
        self.see(other.nearest)
        self.frames += other.frames
        self.cut = min((cut for cut in (self.cut, other.cut) if cut), default='')
        self._fold()

    def see(self, nearest: Mapping[tuple[int, int], float]) -> None:
        """Note the shortest distances of a frame."""
        for pair, distance in nearest.items():
            self.nearest[pair] = min(distance, self.nearest.get(pair, distance))

    def _fold(self) -> int:
        """Fold the rows of the frames beyond the limit, those with the largest hashes; return how many are kept.

        Nor is a frame kept whose hash is above that of one that was folded before: in another order it would not be.
        """
        self.frames.sort(key=lambda frame: frame.key)
        ends = np.cumsum([frame.n_rows for frame in self.frames])
        n_kept = int(np.searchsorted(ends, self.limit, side='right'))
        if n_kept < len(self.frames):
            self.cut = min(self.frames[n_kept].key, self.cut or self.frames[n_kept].key)
        while n_kept and self.cut and self.frames[n_kept - 1].key >= self.cut:
            n_kept -= 1
        leaving, self.frames = self.frames[n_kept:], self.frames[:n_kept]
        for kind in KINDS:
            of_kind = [one for one in leaving if kind in one.rows]
            if of_kind:
                weighted = (np.sqrt(one.weights[kind])[:, None] * one.rows[kind] for one in of_kind)
                self.rest[kind] = triangle(self.rest[kind], *weighted)
                self.plain[kind] = triangle(self.plain[kind], *(one.rows[kind] for one in of_kind))
        return sum(one.n_rows for one in self.frames)

    def factor(self, scales: Mapping[str, float], frames: Iterable[FrameRows] | None = None) -> FloatArray:
        """Return the triangular factor of all equations, shape (at most K + 1, K + 1).

        The last column is the right-hand side.

        :param scales: by kind, what its rows are multiplied with.
        :param frames: those of the sample that are taken, in place of all of them.
        """
        blocks = [scales[kind] * self.rest[kind] for kind in KINDS]
        blocks += [frame.scaled(scales) for frame in (self.frames if frames is None else frames)]
        # The factor of a few blocks after the other takes less memory than that of all at once.
        factor = np.zeros((0, self.n_columns + 1))
        waiting: list[FloatArray] = []
        for block in blocks:
            waiting.append(block)
            if sum(map(len, waiting)) > 2 * self.n_columns:
                factor, waiting = triangle(factor, *waiting), []
        return triangle(factor, *waiting) if waiting else factor

    @property
    def n_rows(self) -> int:
        """Number of rows of all kinds."""
        return sum(self.counts.values())

    def n_used(self, scales: Mapping[str, float]) -> int:
        """Return the number of rows that have a weight, of the kinds that are fitted.

        :param scales: by kind, what its rows are multiplied with.
        """
        return sum(count for kind, count in self.weighted.items() if scales[kind] > 0)

    def rmse(self, coefficients: FloatArray) -> dict[str, float]:
        """Return the root mean square residual of each kind, all frames alike; NaN without rows.

        :returns: eV/atom, eV/angstrom, eV/atom.
        """
        vector, found = np.append(coefficients, -1.0), {}
        for kind, count in self.counts.items():
            blocks = [self.plain[kind], *(frame.rows[kind] for frame in self.frames if kind in frame.rows)]
            square = sum(float(np.sum((block @ vector) ** 2)) for block in blocks)
            found[kind] = float(np.sqrt(square / count)) if count else float('nan')
        return found

    def save(self, path: str, signature: str = '') -> None:
        """Write all to a file of NumPy arrays, without pickles; `.npz` is not appended.

        The file has its name when it is complete, not before.

        :param signature: what the equations were made of, for :meth:`load`.
        """
        pairs = sorted(self.nearest)
        arrays: dict[str, Any] = {
            'signature': np.array(signature.encode(), dtype='S64'),
            'n_columns': np.array(self.n_columns, dtype=np.int64),
            'n_frames': np.array(self.n_frames, dtype=np.int64),
            'n_atoms': np.array(self.n_atoms, dtype=np.int64),
            'counts': np.array([self.counts[kind] for kind in KINDS], dtype=np.int64),
            'weighted': np.array([self.weighted[kind] for kind in KINDS], dtype=np.int64),
            'weights': np.array([self.weights[kind] for kind in KINDS], dtype=np.float64),
            'cut': np.array(self.cut.encode(), dtype='S64'),
            'keys': np.array([frame.key for frame in self.frames], dtype='S64'),
            'atoms': np.array([frame.n_atoms for frame in self.frames], dtype=np.int64),
            'pairs': np.array(pairs, dtype=np.int64).reshape(-1, 2),
            'distances': np.array([self.nearest[pair] for pair in pairs], dtype=np.float64),
        }
        for kind in KINDS:
            of_kind = [frame for frame in self.frames if kind in frame.rows]
            lengths = [len(frame.rows.get(kind, ())) for frame in self.frames]
            arrays[f'rest_{kind}'], arrays[f'plain_{kind}'] = self.rest[kind], self.plain[kind]
            arrays[f'lengths_{kind}'] = np.array(lengths, dtype=np.int64)
            arrays[f'rows_{kind}'] = np.concatenate(
                [np.zeros((0, self.n_columns + 1)), *(frame.rows[kind] for frame in of_kind)]
            )
            arrays[f'row_weights_{kind}'] = np.concatenate([np.zeros(0), *(frame.weights[kind] for frame in of_kind)])
        unfinished = f'{path}.part'
        with open(unfinished, 'wb') as handle:
            np.savez(handle, **arrays)
        os.replace(unfinished, path)

    @classmethod
    def load(cls, path: str, n_columns: int, signature: str = '') -> Equations:
        """Read what :meth:`save` has written.

        The file is not trusted: nothing in it is run, and no more memory is taken than the file has bytes.

        :param n_columns: number of coefficients that the equations should have.
        :param signature: what they should be made of.
        :raises ValueError: if the file is no such file, if it is damaged, if a number is not finite, or if the
            equations are others.
        """
        try:
            arrays = _read_arrays(path)
            found = arrays['signature'].item().decode()
            if found != signature:
                raise ValueError('they were made of other data, functions or weights')
            return cls._of_arrays(arrays, n_columns)
        except Exception as exception:  # of damaged files, the readers of ZIP and of NumPy raise many kinds
            raise ValueError(f'{path} has no equations that can be used: {exception}') from exception

    @classmethod
    def _of_arrays(cls, arrays: Mapping[str, Any], n_columns: int) -> Equations:
        if int(arrays['n_columns']) != n_columns:
            raise ValueError(f'they are of {int(arrays["n_columns"])} coefficients, not of {n_columns}')
        result = cls(n_columns)
        result.n_frames, result.n_atoms = int(arrays['n_frames']), int(arrays['n_atoms'])
        for name in ('counts', 'weighted', 'weights'):
            setattr(result, name, dict(zip(KINDS, arrays[name].tolist())))
        for pair, distance in zip(arrays['pairs'].tolist(), arrays['distances'].tolist()):
            result.nearest[pair[0], pair[1]] = distance
        result.cut = arrays['cut'].item().decode()
        keys, atoms = [key.decode() for key in arrays['keys'].tolist()], arrays['atoms'].tolist()
        _check(arrays, n_columns, len(keys))
        ends = {kind: np.cumsum(arrays[f'lengths_{kind}']) for kind in KINDS}
        for kind in KINDS:
            result.rest[kind], result.plain[kind] = arrays[f'rest_{kind}'], arrays[f'plain_{kind}']
        for index, key in enumerate(keys):
            parts = {kind: slice(ends[kind][index - 1] if index else 0, ends[kind][index]) for kind in KINDS}
            parts = {kind: part for kind, part in parts.items() if part.stop > part.start}
            rows = {kind: arrays[f'rows_{kind}'][part] for kind, part in parts.items()}
            weights = {kind: arrays[f'row_weights_{kind}'][part] for kind, part in parts.items()}
            result.frames.append(FrameRows(key, rows, weights, atoms[index]))
        return result


#: Types of the arrays of a file, and how many axes they have.
_ARRAYS: dict[str, tuple[str, int]] = {
    'signature': ('S64', 0),
    'n_columns': ('<i8', 0),
    'n_frames': ('<i8', 0),
    'n_atoms': ('<i8', 0),
    'counts': ('<i8', 1),
    'weighted': ('<i8', 1),
    'weights': ('<f8', 1),
    'cut': ('S64', 0),
    'keys': ('S64', 1),
    'atoms': ('<i8', 1),
    'pairs': ('<i8', 2),
    'distances': ('<f8', 1),
}
for _kind in KINDS:
    _ARRAYS.update(
        {
            f'rest_{_kind}': ('<f8', 2),
            f'plain_{_kind}': ('<f8', 2),
            f'lengths_{_kind}': ('<i8', 1),
            f'rows_{_kind}': ('<f8', 2),
            f'row_weights_{_kind}': ('<f8', 1),
        }
    )


def _read_arrays(path: str) -> dict[str, Any]:
    """Return the arrays of a file of :meth:`Equations.save`.

    :raises ValueError: or others: if there is anything else in it, or if it is compressed.
    """
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if sorted(members) != sorted(f'{name}.npy' for name in _ARRAYS) or len(members) != len(archive.infolist()):
            raise ValueError('it has other arrays')
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise ValueError('it is compressed')
        if sum(info.file_size for info in members.values()) > os.path.getsize(path):
            raise ValueError('its arrays are said to be larger than itself')
        for name, (kind, n_axes) in _ARRAYS.items():
            info = members[f'{name}.npy']
            with archive.open(info) as handle:
                version = np.lib.format.read_magic(handle)
                if version != (1, 0):
                    raise ValueError(f'{name} is in version {version} of the format')
                shape, transposed, dtype = np.lib.format.read_array_header_1_0(handle)
                data = handle.read()
            if dtype != np.dtype(kind) or len(shape) != n_axes or min(shape, default=0) < 0:
                raise ValueError(f'{name} is of type {dtype} and shape {shape}')
            # Of Python integers, which do not overflow.
            count = 1
            for length in shape:
                count *= int(length)
            if len(data) != count * dtype.itemsize:
                raise ValueError(f'{name} has {len(data)} bytes for shape {shape}')
            arrays[name] = np.frombuffer(data, dtype=dtype).reshape(shape, order='F' if transposed else 'C')
    return arrays


def _check(arrays: Mapping[str, Any], n_columns: int, n_kept: int) -> None:
    """Check that the arrays of a file fit together.

    :raises ValueError: if they do not.
    """
    fits = [
        len(arrays['atoms']) == n_kept <= int(arrays['n_frames']),
        (arrays['atoms'] > 0).all() and arrays['atoms'].sum() <= arrays['n_atoms'],
        all(len(arrays[name]) == len(KINDS) for name in ('counts', 'weighted', 'weights')),
        (arrays['weights'] >= 0).all() and np.isfinite(arrays['weights']).all(),
        (arrays['weighted'] >= 0).all() and (arrays['weighted'] <= arrays['counts']).all(),
        arrays['pairs'].shape == (len(arrays['distances']), 2) and (arrays['pairs'] >= 0).all(),
        (arrays['distances'] > 0).all() and np.isfinite(arrays['distances']).all(),
    ]
    if not all(fits):
        raise ValueError('its numbers do not fit together')
    for place, kind in enumerate(KINDS):
        rest, plain, rows, weights = (arrays[f'{name}_{kind}'] for name in ('rest', 'plain', 'rows', 'row_weights'))
        lengths = arrays[f'lengths_{kind}']
        # Each at most the number of rows, so that their sum does not overflow.
        if len(lengths) != n_kept or (lengths < 0).any() or (lengths > len(rows)).any():
            raise ValueError(f'the lengths of the {kind} do not fit')
        count = arrays['counts'][place]
        fits = [
            all(block.shape[1] == n_columns + 1 for block in (rest, plain, rows)),
            len(weights) == len(rows) == lengths.sum() <= count,
            len(rest) == len(plain) <= min(n_columns + 1, count - len(rows)),
            all(np.isfinite(block).all() for block in (rest, plain, rows, weights)),
            (weights >= 0).all(),
        ]
        if not all(fits):
            raise ValueError(f'the equations of the {kind} are damaged')
