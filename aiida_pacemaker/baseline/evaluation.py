"""Energies, forces and stresses of a baseline for many structures at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.baseline.pair_terms import PairTerm
from aiida_pacemaker.frames.neighbours import Pairs, pair_blocks
from aiida_pacemaker.frames.table import FloatArray, Frames, IntArray


@dataclass(frozen=True, eq=False)
class BaselineTerms:
    """The part of the labels that the baseline accounts for.

    :param energy: energies in eV, shape (F,).
    :param forces: forces in eV/angstrom, shape (A, 3).
    :param stress: stress in eV/angstrom^3 with the sign of ASE (tension positive), shape (F, 3, 3); NaN in frames
        that do not have three cell vectors, which have no volume.
    """

    energy: FloatArray
    forces: FloatArray
    stress: FloatArray


def evaluate(baseline: DeltaBaseline, frames: Frames) -> BaselineTerms:
    """Return what the subtracted terms of a baseline contribute to each frame; labels are not needed.

    :param baseline: the baseline; in ``core`` mode only its LJ part counts.
    :param frames: the structures.
    :raises ValueError: if two atoms are at the same place, if the pairs of a frame cannot be searched, or if the
        baseline lacks a pair of elements.
    """
    terms = [PairTerm(plain) for plain in baseline.plain_terms(frames.elements)]
    cutoff = max((term.cutoff for term in terms), default=0.0)
    offsets = frames.offsets
    energy, forces, virial = np.zeros(len(frames)), np.zeros_like(frames.positions), np.zeros((len(frames), 3, 3))
    for near in pair_blocks(frames, cutoff) if terms else ():
        _refuse_coincident_atoms(frames, near)
        pair_energy, slope = _pair_terms(terms, frames, near)
        on_first = (slope / near.distance)[:, np.newaxis] * near.vector
        # A block holds whole frames: only their rows of the columns are touched.
        block = slice(int(near.frame[0]), int(near.frame[-1]) + 1)
        atoms = slice(int(offsets[block.start]), int(offsets[block.stop]))
        energy[block] += _sum_rows(near.frame, pair_energy, block)
        for row in range(3):
            forces[atoms, row] += _sum_rows(near.first, on_first[:, row], atoms)
            forces[atoms, row] -= _sum_rows(near.second, on_first[:, row], atoms)
            for column in range(row, 3):
                virial[block, row, column] += _sum_rows(near.frame, on_first[:, row] * near.vector[:, column], block)
                virial[block, column, row] = virial[block, row, column]
    volume = np.abs(np.linalg.det(frames.cells))
    volume[volume == 0] = np.nan
    return BaselineTerms(energy=energy, forces=forces, stress=virial / volume[:, np.newaxis, np.newaxis])


def subtract(baseline: DeltaBaseline, frames: Frames) -> Frames:
    """Return the same frames with the labels that are left for a potential to learn.

    A frame without a stress label (NaN) has none afterwards either.

    :param baseline: the baseline to subtract.
    :param frames: labelled frames; they are not changed.
    :raises ValueError: if the frames are not labelled, or as in ``evaluate``.
    """
    if frames.energy is None or frames.forces is None or frames.stress is None:
        raise ValueError(
            'the frames have no labels to take a baseline from; label them first, or use `evaluate` for '
            'the baseline alone'
        )
    terms = evaluate(baseline, frames)
    return frames.with_labels(
        energy=frames.energy - terms.energy,
        forces=frames.forces - terms.forces,
        stress=frames.stress - terms.stress,
    )


def _pair_terms(terms: Sequence[PairTerm], frames: Frames, near: Pairs) -> tuple[FloatArray, FloatArray]:
    """Return the energy of each pair in eV and its derivative by the distance in eV/angstrom, both of shape (P,)."""
    energy, slope = np.zeros_like(near.distance), np.zeros_like(near.distance)
    for term in terms:
        inside = np.flatnonzero(near.distance < term.cutoff)
        numbers = (frames.numbers[rows[inside]] for rows in (near.first, near.second))
        of_term = term.evaluate(near.distance[inside], *numbers)
        energy[inside] += of_term[0]
        slope[inside] += of_term[1]
    return energy, slope


def _sum_rows(rows: IntArray, values: FloatArray, within: slice) -> FloatArray:
    """Add up the values of each row of a range, shape (stop - start,)."""
    sums: FloatArray = np.bincount(rows - within.start, values, within.stop - within.start).astype(np.float64)
    return sums


def _refuse_coincident_atoms(frames: Frames, near: Pairs) -> None:
    at_zero = np.flatnonzero(near.distance == 0)
    if len(at_zero):
        frame = int(near.frame[at_zero[0]])
        start = int(frames.offsets[frame])
        first, second = int(near.first[at_zero[0]]) - start, int(near.second[at_zero[0]]) - start
        raise ValueError(
            f'atoms {first} and {second} of step {int(frames.step[frame])} of source {frames.source_of(frame)!r} are '
            f'at the same place, where the baseline is infinite; remove the frame'
        )
