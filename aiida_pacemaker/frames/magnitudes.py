"""Labels whose size is out of all reason for their units: nothing is refused for it, but somebody should look."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from aiida_pacemaker.frames.composition import composition
from aiida_pacemaker.frames.table import BoolArray, FloatArray, Frames, IntArray

#: In eV/angstrom^3, which is 801 GPa: more than twice the pressure at the centre of the Earth.
ODD_STRESS = 5.0
#: In eV/angstrom: two atoms that nearly touch.
ODD_FORCE = 200.0
#: In eV/atom, from what the other frames of the composition have: atoms that nearly touch, or another code, other
#: pseudopotentials, other units.
ODD_ENERGY = 100.0
#: The energy of all electrons of an atom is about -20.9 eV times Z to the power of 7/3 (L. H. Thomas and E. Fermi; for
#: uranium 4 % below the relativistic value); no label is lower than one and a half times that.
THOMAS_FERMI, LOWEST = 20.92, 1.5
#: Frames beyond the number of elements without which nothing can be said to be far from the rest.
FEWEST = 3


class Label(str, Enum):
    """Which label is odd."""

    ENERGY = 'energy'
    LOW_ENERGY = 'energy below that of all electrons'
    FORCES = 'forces'
    STRESS = 'stress'


@dataclass(frozen=True)
class Oddity:
    """Frames of one source with an odd label.

    :param source: label of the source.
    :param label: which label.
    :param n_frames: number of frames.
    :param frame: position in its source of the frame with the largest value.
    :param value: that value, in eV/atom, eV/angstrom or eV/angstrom^3.
    """

    source: str
    label: Label
    n_frames: int
    frame: int
    value: float

    def text(self) -> str:
        """Return what was found and what it may mean, for people."""
        frames = f'{self.n_frames} frame{"s" if self.n_frames > 1 else ""} of `{self.source}`'
        where = f'{{}} in frame {self.frame}'.format
        if self.label is Label.STRESS:
            return (
                f'{frames} have stresses above {ODD_STRESS:g} eV/angstrom^3 (801 GPa), the largest is '
                f'{where(f"{self.value:.4g} eV/angstrom^3")}: are they in kbar, GPa or bar, or virials (eV)?'
            )
        if self.label is Label.FORCES:
            return (
                f'{frames} have forces above {ODD_FORCE:g} eV/angstrom, the largest is '
                f'{where(f"{self.value:.4g} eV/angstrom")}: atoms that almost touch, or forces in kJ/mol/angstrom, '
                'kcal/mol/angstrom or meV/angstrom? Leave such frames out with `filter_frames(max_force=...)`'
            )
        if self.label is Label.LOW_ENERGY:
            return (
                f'{frames} have energies below those of all electrons of their atoms, the lowest is '
                f'{where(f"{self.value:.6g} eV/atom")}: are they in meV, kcal/mol or kJ/mol?'
            )
        return (
            f'{frames} have energies more than {ODD_ENERGY:g} eV/atom from what the other frames suggest, the '
            f'farthest is {where(f"{self.value:.6g} eV/atom")}: another code, other pseudopotentials or other units '
            '(hartree, Ry, kJ/mol), or atoms that almost touch? Leave such frames out with '
            '`filter_frames(energy_per_atom=...)`'
        )


def odd_labels(frames: Frames, good: BoolArray, source: str, first: int = 0) -> list[Oddity]:
    """Return the frames of one source whose forces or stresses are odd, or whose energy no atom could have.

    :param frames: labelled frames.
    :param good: which of them are looked at, shape (F,).
    :param source: label of the source.
    :param first: position in the source of the first frame.
    """
    places = first + np.flatnonzero(good)
    frames = frames.select(good)
    if frames.energy is None or frames.forces is None or frames.stress is None or not len(frames):
        return []
    per_atom: FloatArray = frames.energy / np.maximum(frames.n_atoms, 1)
    force = np.zeros(len(frames))
    np.maximum.at(force, frames.frame_of_atom, np.linalg.norm(frames.forces, axis=1))
    stress = np.nan_to_num(np.abs(frames.stress), nan=0.0).max(axis=(1, 2))
    electrons = np.bincount(frames.frame_of_atom, frames.numbers ** (7 / 3), minlength=len(frames))
    low = frames.energy < -LOWEST * THOMAS_FERMI * electrons
    found = [
        _oddity(source, Label.STRESS, stress > ODD_STRESS, stress, places),
        _oddity(source, Label.FORCES, force > ODD_FORCE, force, places),
        _oddity(source, Label.LOW_ENERGY, low, per_atom, places),
    ]
    return [oddity for oddity in found if oddity is not None]


class EnergyBook:
    """The energies per atom of all frames, to tell which are far from what the composition of the frame suggests."""

    def __init__(self) -> None:
        self._parts: list[tuple[str | None, IntArray, IntArray, FloatArray, FloatArray]] = []

    def enter(self, frames: Frames, good: BoolArray, source: str | None, first: int = 0) -> None:
        """Note the energies of frames of a source.

        :param frames: labelled frames.
        :param good: which of them are looked at, shape (F,).
        :param source: label of the source; None for frames that others are compared with only.
        :param first: position in the source of the first frame.
        """
        places = first + np.flatnonzero(good)
        frames = frames.select(good)
        if frames.energy is None or not len(frames):
            return
        numbers, counts = composition(frames)
        sizes = np.maximum(frames.n_atoms, 1)
        self._parts.append((source, places, numbers, counts / sizes[:, None], frames.energy / sizes))

    def odd(self) -> list[Oddity]:
        """Return the frames of each source whose energies are far from an energy per atom of each element.

        That is fitted to all frames by the smallest sum of absolute deviations, which for one composition is the
        median: a few frames of another kind do not move it.
        """
        if not self._parts:
            return []
        numbers = np.unique(np.concatenate([part[2] for part in self._parts]))
        energy = np.concatenate([part[4] for part in self._parts])
        if len(energy) < len(numbers) + FEWEST - 1:
            return []
        shares = np.zeros((len(energy), len(numbers)))
        start = 0
        for _, _, own, counts, values in self._parts:
            shares[start : start + len(values), np.searchsorted(numbers, own)] = counts
            start += len(values)
        off = np.abs(energy - shares @ least_deviations_fit(shares, energy))
        found, start = [], 0
        for source, places, _, _, values in self._parts:
            rows = slice(start, start + len(values))
            start += len(values)
            if source is not None:
                oddity = _oddity(source, Label.ENERGY, off[rows] > ODD_ENERGY, values, places, by=off[rows])
                found += [] if oddity is None else [oddity]
        return joined(found)


def least_deviations_fit(matrix: FloatArray, values: FloatArray, *, rounds: int = 30) -> FloatArray:
    """Return the coefficients with the smallest sum of absolute deviations, by reweighted least squares.

    :param matrix: shape (rows, coefficients).
    :param values: what its rows times the coefficients should be, in eV, shape (rows,).
    """
    weights = np.ones(len(values))
    solution = np.zeros(matrix.shape[1])
    for _ in range(rounds):
        roots = np.sqrt(weights)
        solution[:] = np.linalg.lstsq(matrix * roots[:, None], values * roots, rcond=None)[0]
        weights = 1.0 / np.maximum(np.abs(values - matrix @ solution), 1e-2)
    return solution


def _oddity(
    source: str, label: Label, odd: BoolArray, values: FloatArray, places: IntArray, by: FloatArray | None = None
) -> Oddity | None:
    if not odd.any():
        return None
    size = np.where(odd, np.abs(values) if by is None else by, -1.0)
    worst = int(size.argmax())
    return Oddity(source, label, int(odd.sum()), int(places[worst]), float(values[worst]))


def joined(oddities: list[Oddity]) -> list[Oddity]:
    """Return one oddity for each source and label."""
    joined: dict[tuple[str, Label], Oddity] = {}
    for one in oddities:
        known = joined.get((one.source, one.label))
        if known is None:
            joined[one.source, one.label] = one
        else:
            worst = max(known, one, key=lambda oddity: abs(oddity.value))
            joined[one.source, one.label] = Oddity(
                one.source, one.label, known.n_frames + one.n_frames, worst.frame, worst.value
            )
    return list(joined.values())
