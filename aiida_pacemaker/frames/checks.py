"""Which frames cannot be trained on, and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from ase.data import chemical_symbols

from aiida_pacemaker.errors import FramesRefusedError
from aiida_pacemaker.frames.neighbours import face_distances, pair_blocks, searchable
from aiida_pacemaker.frames.table import BoolArray, FloatArray, Frames

#: In angstrom. The shortest bond there is, that of H2, is 0.74; what is closer than this is an accident (atoms listed
#: twice, wrong units), and the engine stops on it. Compressed dimers, which teach the repulsion, stay above.
MIN_DISTANCE = 0.5

#: Heaviest element with a name.
MAX_NUMBER = 118

#: In angstrom. At a tenth of a millimetre a position still tells 1e-10 angstrom; far beyond, it tells no neighbours.
MAX_LENGTH = 1e6
#: What no calculation gives, whatever its units: eV per atom (all electrons of element 118 have 1.5e6), eV/angstrom,
#: and eV/angstrom^3. What is merely odd is warned of, see `magnitudes`.
MAX_ENERGY, MAX_FORCE, MAX_STRESS = 1e8, 1e7, 1e6


class Reason(str, Enum):
    """Why a frame is refused, the most basic reason first."""

    EMPTY = 'empty'
    POSITIONS = 'positions_not_finite'
    FAR = 'positions_absurd'
    CELL = 'cell_not_finite'
    HUGE_CELL = 'cell_absurd'
    FLAT_CELL = 'cell_degenerate'
    ELEMENT = 'element_unknown'
    TOO_CLOSE = 'atoms_too_close'
    UNSEARCHABLE = 'neighbours_not_searchable'
    NO_NEIGHBOURS = 'no_neighbours'
    ENERGY = 'energy_not_finite'
    FORCES = 'forces_not_finite'
    STRESS = 'stress_not_finite'
    UNCONVERGED = 'not_converged'
    HUGE_ENERGY = 'energy_absurd'
    HUGE_FORCES = 'forces_absurd'
    HUGE_STRESS = 'stress_absurd'

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Refusal:
    """A frame that cannot be used.

    :param frame: position of the frame in the table that was checked.
    :param source: key of the source of the frame.
    :param step: position of the frame in its source.
    :param reason: why, as a code.
    :param message: what was found and what is needed.
    """

    frame: int
    source: str
    step: int
    reason: Reason
    message: str


def check(
    frames: Frames,
    *,
    elements: Collection[str] | None = None,
    min_distance: float = MIN_DISTANCE,
    cutoff: float | None = None,
    require_labels: bool = True,
    require_stress: bool = True,
) -> list[Refusal]:
    """Return one refusal for each frame that cannot be used, with the most basic reason.

    :param frames: ``F`` frames.
    :param elements: chemical symbols that may occur; all elements where None.
    :param min_distance: in angstrom; atoms closer than this are on top of each other.
    :param cutoff: in angstrom; where given, a frame in which no two atoms are closer is refused, since the engine drops
        such frames without a word.
    :param require_labels: whether energy and forces must be there; without, labels are not looked at.
    :param require_stress: whether frames that are periodic along all three axes must have a stress. A stress that is
        there must be finite in any case.
    """
    findings = _Findings(frames)
    _check_structure(findings, elements)
    _check_distances(findings, min_distance, cutoff)
    if require_labels:
        _check_labels(findings, require_stress)
    return findings.refusals()


def enforce(refusals: Sequence[Refusal], n_total: int, max_failed_fraction: float = 0.0, *, shown: int = 5) -> None:
    """Go on if few enough frames were refused.

    :param refusals: as returned by :func:`check`.
    :param n_total: number of frames that were checked.
    :param max_failed_fraction: refused frames that are tolerated, from 0 (none) to 1, as a fraction of ``n_total``.
    :param shown: how many refusals the message spells out.
    :raises FramesRefusedError: if there are more.
    :raises ValueError: if the fraction is not between 0 and 1.
    """
    if not 0.0 <= max_failed_fraction <= 1.0:
        raise ValueError(f'max_failed_fraction is {max_failed_fraction!r}, a number from 0 to 1 is needed')
    if len(refusals) <= max_failed_fraction * n_total:
        return
    lines = [
        f'{len(refusals)} of {n_total} frames cannot be used, and a fraction of {max_failed_fraction:g} is tolerated:'
    ]
    lines += [
        f'  frame {refusal.frame} (source {refusal.source}, step {refusal.step}): {refusal.message}'
        for refusal in refusals[:shown]
    ]
    if len(refusals) > shown:
        lines.append(f'  and {len(refusals) - shown} more')
    lines.append('Correct or remove these frames, or raise max_failed_fraction to leave them out.')
    raise FramesRefusedError('\n'.join(lines), refusals)


class _Findings:
    """The first finding of each frame."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.good: BoolArray = np.ones(len(frames), dtype=np.bool_)
        self._found: dict[int, tuple[Reason, str]] = {}

    def add(self, bad: BoolArray, reason: Reason, message: Callable[[int], str]) -> None:
        """Refuse the ``bad`` frames (a mask of shape (F,)) that were good up to now."""
        for frame in np.flatnonzero(bad & self.good).tolist():
            self._found[frame] = (reason, message(frame))
        self.good = self.good & ~bad

    def refusals(self) -> list[Refusal]:
        return [
            Refusal(frame, self.frames.source_of(frame), int(self.frames.step[frame]), *self._found[frame])
            for frame in sorted(self._found)
        ]


def _any_atom(frames: Frames, bad_atoms: BoolArray) -> BoolArray:
    """Tell which frames have at least one of the atoms, shape (F,)."""
    bad: BoolArray = np.bincount(frames.frame_of_atom, bad_atoms, minlength=len(frames)) > 0
    return bad


def _finite_rows(values: FloatArray) -> BoolArray:
    """Tell for which rows of an array all numbers are finite."""
    finite: BoolArray = np.asarray(np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
    return finite


def _any_above(values: FloatArray, bound: float) -> BoolArray:
    """Tell for which rows of an array a number is beyond a bound."""
    above: BoolArray = np.asarray((np.abs(values) > bound).any(axis=tuple(range(1, values.ndim))))
    return above


def _check_structure(findings: _Findings, elements: Collection[str] | None) -> None:
    frames = findings.frames
    findings.add(frames.n_atoms == 0, Reason.EMPTY, lambda _: 'there are no atoms, at least one is needed')
    bad = _any_atom(frames, ~_finite_rows(frames.positions))
    findings.add(bad, Reason.POSITIONS, lambda _: 'positions are not finite numbers')
    findings.add(
        _any_atom(frames, _any_above(frames.positions, MAX_LENGTH)),
        Reason.FAR,
        lambda frame: (
            f'an atom is {_largest_of(frames, frames.positions, frame):.3g} angstrom from the origin, at most '
            f'{MAX_LENGTH:g} are taken: check the units, and wrap the atoms into the cell'
        ),
    )
    finite_cell = _finite_rows(frames.cells)
    findings.add(~finite_cell, Reason.CELL, lambda _: 'the cell vectors are not finite numbers')
    findings.add(
        finite_cell & _any_above(frames.cells, MAX_LENGTH),
        Reason.HUGE_CELL,
        lambda frame: (
            f'a cell vector has a component of {np.abs(frames.cells[frame]).max():.3g} angstrom, at most '
            f'{MAX_LENGTH:g} are taken: check the units'
        ),
    )
    finite_cell &= findings.good
    # Relative to the longest vector, so that rounding in a flat cell does not make it pass.
    sound = np.where(finite_cell[:, None, None], frames.cells, 1.0)
    longest = np.linalg.norm(sound, axis=2).max(axis=1, initial=0.0)
    flat = np.zeros(len(frames), dtype=np.bool_)
    flat[finite_cell] = (face_distances(frames.select(finite_cell)).min(axis=1) <= 1e-6 * longest[finite_cell]) & (
        frames.pbc[finite_cell].any(axis=1)
    )
    findings.add(
        flat,
        Reason.FLAT_CELL,
        lambda frame: (
            f'the cell {frames.cells[frame].tolist()} has no volume along its periodic directions '
            f'{frames.pbc[frame].tolist()}: give the missing cell vectors or set pbc to false there'
        ),
    )
    known = (frames.numbers >= 1) & (frames.numbers <= MAX_NUMBER)
    if elements is None:
        needed = f'atomic numbers from 1 to {MAX_NUMBER} are needed'
    else:
        known &= np.isin(frames.numbers, [chemical_symbols.index(symbol) for symbol in elements])
        needed = f'only {", ".join(sorted(elements))} may occur'

    def strangers(frame: int) -> str:
        atoms = slice(frames.offsets[frame], frames.offsets[frame + 1])
        numbers = np.unique(frames.numbers[atoms][~known[atoms]]).tolist()
        names = [str(chemical_symbols[n]) if 1 <= n <= MAX_NUMBER else f'atomic number {n}' for n in numbers]
        return f'there is {", ".join(names)}: {needed}'

    findings.add(_any_atom(frames, ~known), Reason.ELEMENT, strangers)


def _nearest(frames: Frames, cutoff: float) -> FloatArray:
    """Return the shortest distance in each frame in angstrom, infinite where none is below the cutoff, shape (F,)."""
    nearest = np.full(len(frames), np.inf)
    for block in pair_blocks(frames, cutoff):
        np.minimum.at(nearest, block.frame, block.distance)
    return nearest


def _check_distances(findings: _Findings, min_distance: float, cutoff: float | None) -> None:
    frames = findings.frames
    reach = min_distance if cutoff is None else max(min_distance, cutoff)
    findings.add(
        ~searchable(frames, reach),
        Reason.UNSEARCHABLE,
        lambda frame: (
            f'neighbours within {reach:g} angstrom cannot be searched: the cell {frames.cells[frame].tolist()} is far '
            'smaller or more skewed than that, or the atoms are scattered over micrometres; check the units'
        ),
    )
    left = np.flatnonzero(findings.good)
    nearest = np.full(len(frames), np.inf)
    nearest[left] = _nearest(frames.select(left), min_distance)
    findings.add(
        nearest < min_distance,
        Reason.TOO_CLOSE,
        lambda frame: f'two atoms are {nearest[frame]:.4g} angstrom apart, at least {min_distance:g} is needed',
    )
    if cutoff is not None:
        # Almost every frame has a pair within a bond length; only the others are searched up to the cutoff.
        for radius in sorted({min(3.0, cutoff), cutoff}):
            lonely = np.flatnonzero(findings.good & np.isinf(nearest))
            nearest[lonely] = _nearest(frames.select(lonely), radius)
        findings.add(
            np.isinf(nearest),
            Reason.NO_NEIGHBOURS,
            lambda _: (
                f'no two atoms are closer than the cutoff of {cutoff:g} angstrom: the engine would drop the frame'
            ),
        )


def _check_labels(findings: _Findings, require_stress: bool) -> None:
    frames = findings.frames
    if frames.energy is None or frames.forces is None or frames.stress is None:
        findings.add(findings.good, Reason.ENERGY, lambda _: 'the frame has no labels, energy and forces are needed')
        return
    energy, stress = frames.energy, frames.stress
    findings.add(
        ~np.isfinite(energy),
        Reason.ENERGY,
        lambda frame: f'the energy is {energy[frame]}, a finite number of eV is needed',
    )
    bad = _any_atom(frames, ~_finite_rows(frames.forces))
    findings.add(
        bad, Reason.FORCES, lambda _: 'forces are missing or not finite, three per atom in eV/angstrom are needed'
    )
    absent: BoolArray = np.asarray(np.isnan(stress).all(axis=(1, 2)))
    optional: BoolArray = np.logical_or(not require_stress, ~frames.pbc.all(axis=1))
    findings.add(
        ~_finite_rows(stress) & ~(absent & optional),
        Reason.STRESS,
        lambda frame: (
            'the stress is missing: with `require_stress` it is needed for a frame that is periodic in three '
            'directions. No fit uses it: merge with `require_stress=False`, the default, to do without'
            if absent[frame]
            else f'the stress {stress[frame].tolist()} is not finite'
        ),
    )
    _check_bounds(findings, energy, frames.forces, stress)


def _check_bounds(findings: _Findings, energy: FloatArray, forces: FloatArray, stress: FloatArray) -> None:
    frames = findings.frames
    per_atom = np.abs(energy) / np.maximum(frames.n_atoms, 1)
    findings.add(
        per_atom > MAX_ENERGY,
        Reason.HUGE_ENERGY,
        lambda frame: f'the energy is {energy[frame]:.3g} eV, no more than {MAX_ENERGY:g} eV/atom are taken',
    )
    findings.add(
        _any_atom(frames, _any_above(forces, MAX_FORCE)),
        Reason.HUGE_FORCES,
        lambda frame: (
            f'a force is {_largest_of(frames, forces, frame):.3g} eV/angstrom, no more than {MAX_FORCE:g} are taken'
        ),
    )
    findings.add(
        _any_above(stress, MAX_STRESS),
        Reason.HUGE_STRESS,
        lambda frame: (
            f'the stress is {np.abs(stress[frame]).max():.3g} eV/angstrom^3, no more than {MAX_STRESS:g} are taken: '
            'is it in Pa?'
        ),
    )


def _largest_of(frames: Frames, values: FloatArray, frame: int) -> float:
    """Return the largest component of a column with one row per atom in a frame."""
    return float(np.abs(values[frames.offsets[frame] : frames.offsets[frame + 1]]).max())
