"""The columns that hold a set of structures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: The columns with one row per atom; all others have one row per frame.
ATOM_COLUMNS = ('numbers', 'positions', 'forces', 'w_forces')
#: The labels: what a reference calculation adds to a structure.
LABELS = ('energy', 'forces', 'stress')


@dataclass(frozen=True, eq=False)
class Frames:
    """Structures of any composition, as contiguous columns.

    ``F`` frames hold ``A`` atoms in all; the atoms of one frame are neighbours in the atom columns. Either all frames
    carry labels or none does.

    :param n_atoms: atoms of each frame, int64, shape (F,).
    :param numbers: atomic numbers, int64, shape (A,).
    :param positions: Cartesian positions in angstrom, shape (A, 3).
    :param cells: cell vectors as rows in angstrom, shape (F, 3, 3); zero along directions that have no cell.
    :param pbc: periodicity along each cell vector, bool, shape (F, 3).
    :param energy: total energies in eV, shape (F,), or None where the frames are not labelled.
    :param forces: forces in eV/angstrom, shape (A, 3), or None where the frames are not labelled.
    :param stress: stress in eV/angstrom^3 with the sign of ASE (tension positive), shape (F, 3, 3), or None where the
        frames are not labelled. A frame without a stress (not periodic, or allowed by the caller) has NaN there.
    :param source_keys: the distinct sources; a key names a source by its content and is the same wherever the same
        source is read.
    :param source: position in ``source_keys`` of the source of each frame, int64, shape (F,).
    :param step: position of each frame in its source, counted from zero, int64, shape (F,).
    :param generation: generation in which each frame joined its dataset, int64, shape (F,).
    :param w_energy: weight of the energy of each frame in a fit, shape (F,), or None where the frames have no weights.
    :param w_forces: weight of the force on each atom in a fit, shape (A,), or None where the frames have no weights.
    :raises ValueError: if the columns do not fit together.
    """

    n_atoms: IntArray
    numbers: IntArray
    positions: FloatArray
    cells: FloatArray
    pbc: BoolArray
    energy: FloatArray | None
    forces: FloatArray | None
    stress: FloatArray | None
    source_keys: tuple[str, ...]
    source: IntArray
    step: IntArray
    generation: IntArray
    w_energy: FloatArray | None = None
    w_forces: FloatArray | None = None

    def __post_init__(self) -> None:
        n_frames, n_atoms = len(self.n_atoms), int(self.n_atoms.sum())
        shapes: dict[str, tuple[int, ...]] = {
            'n_atoms': (n_frames,),
            'numbers': (n_atoms,),
            'positions': (n_atoms, 3),
            'cells': (n_frames, 3, 3),
            'pbc': (n_frames, 3),
            'energy': (n_frames,),
            'forces': (n_atoms, 3),
            'stress': (n_frames, 3, 3),
            'source': (n_frames,),
            'step': (n_frames,),
            'generation': (n_frames,),
            'w_energy': (n_frames,),
            'w_forces': (n_atoms,),
        }
        for name, shape in shapes.items():
            column = getattr(self, name)
            if column is not None and column.shape != shape:
                raise ValueError(f'column `{name}` has shape {column.shape}, {shape} is needed')
        given = [name for name in LABELS if getattr(self, name) is not None]
        if given and len(given) < len(LABELS):
            raise ValueError(f'labels {given} are given without the others of {list(LABELS)}')
        if (self.w_energy is None) != (self.w_forces is None):
            raise ValueError('weights of energies and of forces are given one without the other')
        if n_frames and (self.source.min() < 0 or self.source.max() >= len(self.source_keys)):
            raise ValueError('column `source` points outside `source_keys`')

    def __len__(self) -> int:
        return len(self.n_atoms)

    @property
    def labelled(self) -> bool:
        """Whether the frames carry energies, forces and stresses."""
        return self.energy is not None

    @property
    def weighted(self) -> bool:
        """Whether the frames carry weights."""
        return self.w_energy is not None

    @property
    def offsets(self) -> IntArray:
        """Where the atoms of each frame begin and end: frame ``i`` is ``offsets[i]:offsets[i + 1]``, shape (F + 1,)."""
        return np.concatenate([[0], np.cumsum(self.n_atoms)]).astype(np.int64)

    @property
    def frame_of_atom(self) -> IntArray:
        """Position of the frame that each atom belongs to, shape (A,)."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.n_atoms)

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols that occur, sorted."""
        return tuple(sorted(str(chemical_symbols[number]) for number in np.unique(self.numbers)))

    def source_of(self, frame: int) -> str:
        """Return the key of the source of one frame."""
        return self.source_keys[int(self.source[frame])]

    def slices(self) -> Iterator[slice]:
        """Iterate over the slice of the atom columns that each frame occupies."""
        for start, stop in pairwise(self.offsets.tolist()):
            yield slice(start, stop)

    def select(self, frames: Sequence[int] | IntArray | BoolArray) -> Frames:
        """Return the given frames in the given order; ``frames`` are positions or a mask of shape (F,)."""
        positions = np.asarray(frames)
        if positions.dtype == np.bool_:
            positions = np.flatnonzero(positions)
        positions = positions.astype(np.int64)
        n_atoms = self.n_atoms[positions]
        starts = self.offsets[:-1][positions]
        # The rows of all chosen frames at once: each start, repeated, plus a count that begins anew in each frame.
        first_row = np.repeat(np.cumsum(n_atoms) - n_atoms, n_atoms)
        rows = np.repeat(starts, n_atoms) + np.arange(int(n_atoms.sum())) - first_row
        used, source = np.unique(self.source[positions], return_inverse=True)
        columns: dict[str, Any] = {}
        for name in COLUMNS:
            column = getattr(self, name)
            columns[name] = None if column is None else column[rows if name in ATOM_COLUMNS else positions]
        columns['source'] = source.astype(np.int64).reshape(-1)
        return replace(self, source_keys=tuple(self.source_keys[key] for key in used), **columns)

    def with_labels(self, energy: FloatArray, forces: FloatArray, stress: FloatArray) -> Frames:
        """Return the same structures with these labels (eV, eV/angstrom, eV/angstrom^3) in place of their own."""
        return replace(self, energy=energy, forces=forces, stress=stress)

    def without_labels(self) -> Frames:
        """Return the same structures without labels, and without the weights that these would have in a fit."""
        return replace(self, energy=None, forces=None, stress=None, w_energy=None, w_forces=None)

    def with_weights(self, w_energy: FloatArray | float, w_forces: FloatArray | float) -> Frames:
        """Return the same frames with these weights: an array as above, or one number for all."""
        return replace(
            self,
            w_energy=np.full(len(self), w_energy) if isinstance(w_energy, float) else w_energy,
            w_forces=np.full(len(self.numbers), w_forces) if isinstance(w_forces, float) else w_forces,
        )

    def with_generation(self, generation: int) -> Frames:
        """Return the same frames as members of one generation."""
        return replace(self, generation=np.full(len(self), generation, dtype=np.int64))

    @staticmethod
    def concatenate(parts: Sequence[Frames]) -> Frames:
        """Return the frames of all parts, one after the other.

        Where some have weights, all others get those that they count with: 1 for each frame and each atom.

        :raises ValueError: if there is no part, or if some are labelled and others are not.
        """
        if not parts:
            raise ValueError('there are no frames to concatenate')
        if len({part.labelled for part in parts}) > 1:
            raise ValueError('labelled and unlabelled frames cannot be in one table')
        if any(part.weighted for part in parts):
            parts = [part if part.weighted else part.with_weights(1.0, 1.0) for part in parts]
        keys = tuple(dict.fromkeys(key for part in parts for key in part.source_keys))
        position = {key: index for index, key in enumerate(keys)}
        columns: dict[str, Any] = {
            name: None if getattr(parts[0], name) is None else np.concatenate([getattr(part, name) for part in parts])
            for name in COLUMNS
        }
        columns['source'] = np.concatenate(
            [np.array([position[key] for key in part.source_keys], dtype=np.int64)[part.source] for part in parts]
        )
        return Frames(source_keys=keys, **columns)


#: All columns, in the order in which they are written and hashed.
COLUMNS = tuple(field.name for field in fields(Frames) if field.name != 'source_keys')
