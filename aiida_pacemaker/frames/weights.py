"""How much each frame and each atom counts in a fit.

The loss of the engine is a sum of squared errors, of the energy per atom of each frame times the weight of the frame,
and of the force on each atom times the weight of the atom. It normalises either kind of weights to a sum of one, those
of the test set by themselves, so that only their ratios matter. Where frames with weights meet frames without, the
latter count as 1 for the energy and 1 for each atom: with all weights 1 the loss is that without any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from aiida_pacemaker.frames.table import FloatArray, Frames, IntArray

#: The columns of weights, under the names that they have in tables of the engine and in extended XYZ.
WEIGHTS = ('w_energy', 'w_forces')


@dataclass(frozen=True)
class Weights:
    """Weights of frames in a fit, added up.

    :param n_frames: how many frames have weights.
    :param n_atoms: how many atoms these have.
    :param energy: sum of the weights of their energies.
    :param forces: sum of the weights of the forces on their atoms.
    """

    n_frames: int = 0
    n_atoms: int = 0
    energy: float = 0.0
    forces: float = 0.0

    @classmethod
    def of(cls, frames: Frames) -> Weights:
        """Return those of frames, nothing if they have none."""
        if frames.w_energy is None or frames.w_forces is None:
            return cls()
        return cls(len(frames), len(frames.numbers), float(frames.w_energy.sum()), float(frames.w_forces.sum()))

    def plus(self, other: Weights) -> Weights:
        """Return those of both."""
        return Weights(
            self.n_frames + other.n_frames,
            self.n_atoms + other.n_atoms,
            self.energy + other.energy,
            self.forces + other.forces,
        )

    @property
    def energy_mean(self) -> float:
        """Mean weight of an energy."""
        return self.energy / self.n_frames

    @property
    def forces_mean(self) -> float:
        """Mean weight of the force on an atom."""
        return self.forces / self.n_atoms


def check_weights(w_energy: FloatArray, w_forces: FloatArray, n_atoms: IntArray) -> None:
    """Look whether weights can be used in a fit.

    :param w_energy: weight of the energy of each frame, shape (F,).
    :param w_forces: weight of the force on each atom, shape (A,).
    :param n_atoms: atoms of each frame, shape (F,).
    :raises ValueError: if a weight is negative or not a number, naming the frame.
    """
    bad_atoms = ~(np.isfinite(w_forces) & (w_forces >= 0))
    frame_of_atom = np.repeat(np.arange(len(n_atoms)), n_atoms)
    bad = ~(np.isfinite(w_energy) & (w_energy >= 0))
    bad[frame_of_atom[bad_atoms]] = True
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f'{int(bad.sum())} frames have a weight (`w_energy`, `w_forces`) that is missing, negative or not finite, '
            f'the first is frame {first}: weights are numbers from 0 on, for each frame and each atom'
        )


def with_weights_of(frames: Frames, images: Sequence[Atoms]) -> Frames:
    """Return frames with the weights that structures of ASE have, as `info['w_energy']` and `arrays['w_forces']`.

    :param frames: the same structures as frames; without labels they get no weights.
    :raises ValueError: if some structures have a weight and others do not, if one of the two is missing, or if a weight
        is not a number from 0 on.
    """
    given = [('w_energy' in image.info) + ('w_forces' in image.arrays) for image in images]
    if not frames.labelled or not any(given):
        return frames
    if any(count < 2 for count in given):
        lacking = [index for index, count in enumerate(given) if count < 2]
        raise ValueError(
            f'{len(lacking)} of {len(images)} structures, the first is structure {lacking[0]}, lack a weight that '
            "others have: give each structure `info['w_energy']` (a number) and `arrays['w_forces']` (one an atom), "
            '1 where it counts as one without weights'
        )
    shape = (len(frames.numbers),)
    try:
        w_energy = np.array([float(image.info['w_energy']) for image in images])
        per_atom = [np.asarray(image.arrays['w_forces'], dtype=np.float64).reshape(-1) for image in images]
    except (TypeError, ValueError) as error:
        raise ValueError(f'a weight (`w_energy`, `w_forces`) is not a number: {error}') from error
    w_forces = np.concatenate([np.empty(0), *per_atom])
    if w_forces.shape != shape:
        raise ValueError(f'there are {len(w_forces)} `w_forces` for {shape[0]} atoms: one number for each is needed')
    check_weights(w_energy, w_forces, frames.n_atoms)
    return frames.with_weights(w_energy, w_forces)


def weights_of(frames: Frames, frame: int, atoms: slice) -> dict[str, Any]:
    """Return the weights of one frame by their names, none where it has none."""
    if frames.w_energy is None or frames.w_forces is None:
        return {}
    return {'w_energy': float(frames.w_energy[frame]), 'w_forces': frames.w_forces[atoms]}
