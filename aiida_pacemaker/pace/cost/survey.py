"""What a fit asks of its frames, counted before it begins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from aiida_pacemaker.baseline.evaluation import evaluate
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.baseline.reference_energies import element_counts, reference_energy
from aiida_pacemaker.frames.neighbours import pair_blocks, searchable
from aiida_pacemaker.frames.table import FloatArray, Frames

#: Energies in eV/atom, less baseline and reference energies, outside of which the engine takes the reference energies
#: for wrong: seen in its log, "Some values of corrected energy ... are too extreme".
ENERGY_RANGE = (-20.0, 250.0)


@dataclass(frozen=True)
class Survey:
    """Numbers of a set of frames for one cutoff.

    :param n_frames: frames.
    :param atoms: atoms of each element.
    :param n_neighbours: neighbours of all atoms within the cutoff.
    :param shortest: shortest distance in angstrom, None if no two atoms are within the cutoff.
    :param isolated: positions of the frames in which no two atoms are within the cutoff.
    :param mixed: positions of the frames that are periodic along some directions only.
    :param unsearchable: positions of the frames whose neighbours cannot be listed at a sane cost.
    """

    n_frames: int
    atoms: Mapping[str, int]
    n_neighbours: int
    shortest: float | None
    isolated: tuple[int, ...]
    mixed: tuple[int, ...]
    unsearchable: tuple[int, ...]


def survey(frames: Frames, cutoff: float) -> Survey:
    """Count what there is in frames.

    :param frames: the frames.
    :param cutoff: of the neighbour lists, in angstrom.
    """
    good = searchable(frames, cutoff)
    neighbours = np.zeros(len(frames), dtype=np.int64)
    shortest = np.inf
    rows = np.flatnonzero(good)
    for block in pair_blocks(frames.select(good), cutoff):
        # Each pair is there once.
        neighbours[rows] += 2 * np.bincount(block.frame, minlength=len(rows))
        shortest = min(shortest, float(block.distance.min(initial=np.inf)))
    elements, counts = element_counts(frames)
    return Survey(
        n_frames=len(frames),
        atoms=dict(zip(elements, counts.sum(axis=0).astype(int).tolist(), strict=True)),
        n_neighbours=int(neighbours.sum()),
        shortest=None if np.isinf(shortest) else shortest,
        isolated=tuple(np.flatnonzero(good & (neighbours == 0)).tolist()),
        mixed=tuple(np.flatnonzero(frames.pbc.any(axis=1) & ~frames.pbc.all(axis=1)).tolist()),
        unsearchable=tuple(np.flatnonzero(~good).tolist()),
    )


def join(surveys: Iterable[Survey]) -> Survey:
    """Return the numbers of sets of frames that follow each other."""
    n_frames = n_neighbours = 0
    atoms: dict[str, int] = {}
    positions: dict[str, list[int]] = {'isolated': [], 'mixed': [], 'unsearchable': []}
    distances = []
    for part in surveys:
        for name, found in positions.items():
            found += [n_frames + position for position in getattr(part, name)]
        for element, count in part.atoms.items():
            atoms[element] = atoms.get(element, 0) + count
        if part.shortest is not None:
            distances.append(part.shortest)
        n_frames += part.n_frames
        n_neighbours += part.n_neighbours
    return Survey(
        n_frames,
        atoms,
        n_neighbours,
        min(distances, default=None),
        *(tuple(positions[name]) for name in ('isolated', 'mixed', 'unsearchable')),
    )


def corrected_energies(frames: Frames, baseline: DeltaBaseline, energies: Mapping[str, float]) -> FloatArray:
    """Return what the engine is to fit in eV/atom, shape (F,): baseline and atomic reference energies are subtracted.

    :param frames: labelled frames.
    :param baseline: as in the input of the fit.
    :param energies: atomic reference energy (E0) of each element in eV.
    :raises ValueError: if the frames are not labelled, or an element has no energy.
    """
    if frames.energy is None:
        raise ValueError('corrected energies need labelled frames')
    corrected: FloatArray = frames.energy - evaluate(baseline, frames).energy - reference_energy(frames, energies)
    return corrected / frames.n_atoms
