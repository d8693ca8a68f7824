"""The equations of a fit: one row for each energy, force component and virial component.

All that a solution needs of many rows is their triangular factor (QR), whatever their number. The factors of parts are
put together by a QR of the stacked factors ("tall and skinny QR": Demmel et al., SIAM J. Sci. Comput. 34 (2012) A206),
which loses no digits. The normal equations would lose half of them.
"""

from __future__ import annotations

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
SAMPLE_DOUBLES = 2_000_000
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
    for error estimates. Those of the others are folded into one triangular factor for each kind.

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
        #: By kind: how many rows there are, and the sum of their weights.
        self.counts = dict.fromkeys(KINDS, 0)
        self.weights = dict.fromkeys(KINDS, 0.0)
        self.n_frames = 0
        self.n_atoms = 0

    def add(self, frames: Iterable[FrameRows]) -> None:
        """Add the equations of frames."""
        for frame in frames:
            self.n_frames += 1
            self.n_atoms += frame.n_atoms
            for kind, rows in frame.rows.items():
                self.counts[kind] += len(rows)
                self.weights[kind] += float(frame.weights[kind].sum())
            self.see(frame.nearest)
            self.frames.append(frame)
            if sum(one.n_rows for one in self.frames) > 1.5 * self.limit:
                self._fold()
        self._fold()

    def merge(self, other: Equations) -> None:
        """Add the equations of another set of frames."""
        self.n_frames += other.n_frames
        self.n_atoms += other.n_atoms
        for kind in KINDS:
            self.counts[kind] += other.counts[kind]
            self.weights[kind] += other.weights[kind]
            if len(other.rest[kind]):
                self.rest[kind] = triangle(self.rest[kind], other.rest[kind])
                self.plain[kind] = triangle(self.plain[kind], other.plain[kind])
        self.see(other.nearest)
        self.frames += other.frames
        self._fold()

    def see(self, nearest: Mapping[tuple[int, int], float]) -> None:
        """Note the shortest distances of a frame."""
        for pair, distance in nearest.items():
            self.nearest[pair] = min(distance, self.nearest.get(pair, distance))

    def _fold(self) -> None:
        """Fold the rows of the frames beyond the limit, those with the largest hashes."""
        self.frames.sort(key=lambda frame: frame.key)
        ends = np.cumsum([frame.n_rows for frame in self.frames])
        n_kept = int(np.searchsorted(ends, self.limit, side='right'))
        leaving, self.frames = self.frames[n_kept:], self.frames[:n_kept]
        unit = dict.fromkeys(KINDS, 1.0)
        for kind in KINDS:
            blocks = [
                FrameRows('', {kind: one.rows[kind]}, {kind: one.weights[kind]}, one.n_atoms).scaled(unit)
                for one in leaving
                if kind in one.rows
            ]
            if blocks:
                self.rest[kind] = triangle(self.rest[kind], *blocks)
                plain = [one.rows[kind] for one in leaving if kind in one.rows]
                self.plain[kind] = triangle(self.plain[kind], *plain)

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

    def save(self, path: str) -> None:
        """Write all to a file of NumPy arrays, without pickles; `.npz` is not appended."""
        kinds = [[kind for kind in KINDS if kind in frame.rows] for frame in self.frames]
        arrays: dict[str, Any] = {
            'n_columns': self.n_columns,
            'n_frames': self.n_frames,
            'n_atoms': self.n_atoms,
            'counts': [self.counts[kind] for kind in KINDS],
            'weights': [self.weights[kind] for kind in KINDS],
            'keys': np.array([frame.key for frame in self.frames], dtype='S64'),
            'atoms': np.array([frame.n_atoms for frame in self.frames], dtype=np.int64),
            'pairs': np.array(sorted(self.nearest), dtype=np.int64).reshape(-1, 2),
            'distances': np.array([self.nearest[pair] for pair in sorted(self.nearest)], dtype=float),
        }
        for kind in KINDS:
            of_kind = [frame for frame, present in zip(self.frames, kinds) if kind in present]
            arrays[f'rest_{kind}'], arrays[f'plain_{kind}'] = self.rest[kind], self.plain[kind]
            arrays[f'lengths_{kind}'] = np.array([len(frame.rows.get(kind, ())) for frame in self.frames], dtype=int)
            arrays[f'rows_{kind}'] = np.concatenate(
                [np.zeros((0, self.n_columns + 1)), *(frame.rows[kind] for frame in of_kind)]
            )
            arrays[f'row_weights_{kind}'] = np.concatenate([[], *(frame.weights[kind] for frame in of_kind)])
        with open(path, 'wb') as handle:
            np.savez(handle, **arrays)

    @classmethod
    def load(cls, path: str, n_columns: int) -> Equations:
        """Read what :meth:`save` has written.

        :param n_columns: number of coefficients that the equations should have.
        :raises ValueError: if the file is no such file, or one of another number of coefficients, or if a number is
            not finite.
        """
        try:
            with np.load(path, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            return cls._of_arrays(arrays, n_columns)
        except (OSError, KeyError, IndexError, TypeError, AttributeError, EOFError) as exception:
            raise ValueError(f'{path} has no equations of a linear fit: {exception}') from exception

    @classmethod
    def _of_arrays(cls, arrays: Mapping[str, Any], n_columns: int) -> Equations:
        if int(arrays['n_columns']) != n_columns:
            raise ValueError(f'found equations of {int(arrays["n_columns"])} coefficients, needed: {n_columns}')
        result = cls(n_columns)
        result.n_frames, result.n_atoms = int(arrays['n_frames']), int(arrays['n_atoms'])
        result.counts = dict(zip(KINDS, map(int, arrays['counts'])))
        result.weights = dict(zip(KINDS, map(float, arrays['weights'])))
        for (first, second), distance in zip(arrays['pairs'].tolist(), arrays['distances'].tolist()):
            result.nearest[int(first), int(second)] = float(distance)
        keys, atoms = [key.decode() for key in arrays['keys'].tolist()], arrays['atoms'].tolist()
        ends = {kind: np.cumsum(arrays[f'lengths_{kind}']) for kind in KINDS}
        for kind in KINDS:
            rest, plain, rows, weights = (arrays[f'{name}_{kind}'] for name in ('rest', 'plain', 'rows', 'row_weights'))
            n_rows = int(ends[kind][-1]) if keys else 0
            shapes_fit = (
                rest.ndim == 2
                and plain.ndim == 2
                and rest.shape[1] == plain.shape[1] == n_columns + 1
                and rows.shape == (n_rows, n_columns + 1)
                and weights.shape == (n_rows,)
                and len(ends[kind]) == len(keys) == len(atoms)
                and (arrays[f'lengths_{kind}'] >= 0).all()
            )
            if not shapes_fit or not all(
                array.dtype == np.float64 and np.isfinite(array).all() for array in (rest, plain, rows, weights)
            ):
                raise ValueError(f'the equations of the {kind} are damaged')
            result.rest[kind], result.plain[kind] = rest, plain
        for index, key in enumerate(keys):
            parts = {kind: slice(ends[kind][index - 1] if index else 0, ends[kind][index]) for kind in KINDS}
            parts = {kind: part for kind, part in parts.items() if part.stop > part.start}
            rows = {kind: arrays[f'rows_{kind}'][part] for kind, part in parts.items()}
            weights = {kind: arrays[f'row_weights_{kind}'][part] for kind, part in parts.items()}
            result.frames.append(FrameRows(key, rows, weights, atoms[index]))
        return result
