"""Changes of the energy between near frames of the same atoms: by the energies, the forces and the stresses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_pacemaker.frames.lattices import lattices_of
from aiida_pacemaker.frames.table import BoolArray, FloatArray, Frames, IntArray

#: In angstrom: no atom moves farther between near frames. Beyond, two forces do not determine the energy between.
FARTHEST = 0.7
#: Largest component of the strain between near frames.
LARGEST_STRAIN = 0.08
#: Fewest pairs that give a result, and most pairs that are used for each source.
FEWEST, MOST = 5, 400


@dataclass(frozen=True, eq=False)
class EnergyChanges:
    """Changes of the energy in eV between the frames of ``P`` pairs.

    :param energy: by the energies, shape (P,).
    :param forces: by the forces of the first frame, of the second, and their mean, shape (3, P).
    :param stress: the same by the stresses, shape (3, P); NaN where there are none.
    :param n_atoms: atoms of a frame, shape (P,).
    :param volume: volume of the first cell in angstrom^3, shape (P,).
    """

    energy: FloatArray
    forces: FloatArray
    stress: FloatArray
    n_atoms: IntArray
    volume: FloatArray


def energy_changes(frames: Frames) -> EnergyChanges:
    """Return the changes between the near frames of a source: those of the ``MOST`` nearest pairs.

    :param frames: labelled frames of one source.
    """
    ones, twos = _candidates(frames)
    if not len(ones):
        return EnergyChanges(np.zeros(0), np.zeros((3, 0)), np.zeros((3, 0)), np.zeros(0, dtype=np.int64), np.zeros(0))
    a, b = frames.select(ones), frames.select(twos)
    first, second = lattices_of(a), lattices_of(b)
    atom = a.frame_of_atom
    moved = np.einsum('ax,axi->ai', b.positions, np.linalg.inv(second)[atom])
    moved -= np.einsum('ax,axi->ai', a.positions, np.linalg.inv(first)[atom])
    moved -= np.where(a.pbc[atom], moved.round(), 0.0)
    moved = np.einsum('ai,aix->ax', moved, (0.5 * (first + second))[atom])
    drift = np.stack([np.bincount(atom, moved[:, axis], len(a)) for axis in range(3)], axis=1) / a.n_atoms[:, None]
    moved -= drift[atom]
    farthest = np.zeros(len(a))
    np.maximum.at(farthest, atom, np.linalg.norm(moved, axis=1))
    strain, turned = _strains(first, second, np.asarray(a.pbc.all(axis=1)))
    near = (farthest < FARTHEST) & (np.abs(strain).max(axis=(1, 2)) < LARGEST_STRAIN) & (turned < 1e-3)
    kept = np.flatnonzero(near)
    size = farthest + 3 * np.abs(strain).max(axis=(1, 2))
    kept = kept[np.argsort(size[kept], kind='stable')[:MOST]]
    ends = labels_of(a), labels_of(b)
    work = np.array([-np.bincount(atom, (forces * moved).sum(axis=1), len(a)) for _, forces, _ in ends])
    volumes = [np.abs(np.linalg.det(lattice)) for lattice in (first, second)]
    strained = np.array(
        [volume * (stress * strain).sum(axis=(1, 2)) for volume, (_, _, stress) in zip(volumes, ends, strict=True)]
    )
    return EnergyChanges(
        (ends[1][0] - ends[0][0])[kept],
        np.vstack([work, work.mean(axis=0)])[:, kept],
        np.vstack([strained, strained.mean(axis=0)])[:, kept],
        a.n_atoms[kept],
        volumes[0][kept],
    )


def labels_of(frames: Frames) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return energies (F,), forces (A, 3) and stresses (F, 3, 3) of labelled frames.

    :raises ValueError: if they are not labelled.
    """
    if frames.energy is None or frames.forces is None or frames.stress is None:
        raise ValueError('labelled frames are needed')
    return frames.energy, frames.forces, frames.stress


def _candidates(frames: Frames) -> tuple[IntArray, IntArray]:
    """Return pairs of frames with the same atoms in the same order, mostly such as follow each other."""
    groups: dict[bytes, list[int]] = {}
    for row, atoms in enumerate(frames.slices()):
        key = frames.pbc[row].tobytes() + frames.numbers[atoms].tobytes()
        groups.setdefault(key, []).append(row)
    ones: list[int] = []
    twos: list[int] = []
    # Many groups share what is looked at, but each has some.
    each = max(3 * FEWEST, 2 * MOST // max(1, len(groups)))
    for rows in groups.values():
        # As far apart in the list as the bound allows: a dozen rattled cells are compared each with each.
        chosen, reach = _blocks(rows, each)
        for block in chosen:
            for place, one in enumerate(block):
                for two in block[place + 1 : place + reach]:
                    ones.append(one)
                    twos.append(two)
        if len(ones) > 4 * MOST:
            break
    return np.array(ones, dtype=np.int64), np.array(twos, dtype=np.int64)


def _blocks(rows: list[int], wanted: int) -> tuple[list[list[int]], int]:
    """Return runs of rows, and how far apart two of a run may be, which makes about as many pairs as are wanted."""
    if len(rows) * (len(rows) - 1) // 2 <= wanted:
        return [rows], len(rows)
    if len(rows) <= wanted:
        return [rows], max(2, wanted // len(rows) + 1)
    # Evenly spread runs of six make fifteen pairs each.
    starts = np.linspace(0, len(rows) - 6, max(1, wanted // 15)).astype(int).tolist()
    return [rows[start : start + 6] for start in starts], 6


def _strains(first: FloatArray, second: FloatArray, periodic: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return the strain from one cell to another, seen from between, shape (P, 3, 3), and how much it is turned."""
    change = np.linalg.inv(first) @ second
    one = np.eye(3)
    strain = 0.5 * ((change - one) + (one - np.linalg.inv(change)))
    strain = np.where(periodic[:, None, None], strain, 0.0)
    swapped = strain.transpose(0, 2, 1)
    return 0.5 * (strain + swapped), np.abs(0.5 * (strain - swapped)).max(axis=(1, 2))
