"""Whether energies, forces and stresses belong together, as far as the frames themselves can tell.

Between two near frames of the same atoms the energy changes by

    dE = -1/2 (F1 + F2) . dx + 1/2 (V1 s1 + V2 s2) : e

with the displacements ``dx`` of the atoms in the cell and the strain ``e`` of the cell (the trapezoidal rule, which is
exact where the energy is harmonic). So pairs of near frames tell the sign and the scale of forces and stresses, and the
energies of cells of several sizes tell whether they are of the cell or per atom. What is the same factor in all labels,
such as kcal/mol with kcal/mol/angstrom, no frames can tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from aiida_pacemaker.frames.composition import composition
from aiida_pacemaker.frames.energy_changes import FEWEST, EnergyChanges, energy_changes, labels_of
from aiida_pacemaker.frames.magnitudes import least_deviations_fit
from aiida_pacemaker.frames.table import BoolArray, FloatArray, Frames, IntArray
from aiida_pacemaker.frames.unit_factors import FORCE_FACTORS, STRESS_FACTORS, has_meaning, meanings

#: In eV. Smaller changes of the energy are noise of a calculation.
NOISE = 1e-3
#: Pairs that are needed to contradict a label where atoms and cells change together. What belongs to the other label is
#: fitted then, and of four frames, which make six pairs, one in thirty sets would be refused without a fault.
FEWEST_MIXED = 15
#: What a clear answer needs: the correlation of what was found with what was expected, and the share of pairs whose
#: ratio is within a half of the median ratio.
CORRELATION, AGREEMENT = 0.9, 0.75
#: A ratio of the two up to the first factor is as it should be. Up to the second it may be due to frames that are too
#: far apart, unless the changes of energy lie outside what the labels of the two frames say, or are larger than these
#: say in so many pairs and so much alike that distance is no reason. Between frames far apart the forces are those of
#: the steep walls at both ends: they say too much. On frames of MgO and of copper, in molecular dynamics up to 2,500 K
#: and with displacements up to 0.25 angstrom, the ratio was between 0.69 and 1.01.
FINE, WRONG = 1.5, 3.0
#: The correlation of such pairs; there have to be ``FEWEST_MIXED`` of them.
ALIKE = 0.97
#: Share of the pairs that have to lie outside.
OUTSIDE = 0.75


class Verdict(str, Enum):
    """Result of a test of labels."""

    CONSISTENT = 'consistent'
    CONTRADICTION = 'contradiction'
    UNKNOWN = 'cannot be told'


@dataclass(frozen=True)
class Finding:
    """Result of the test of one label by the frames of one source.

    :param label: `forces`, `stress` or `energy`.
    :param verdict: what was found.
    :param text: what it rests on, for people.
    :param ratio: of the changes of the energies to those by the label, where that is clear.
    """

    label: str
    verdict: Verdict
    text: str
    ratio: float = 1.0


def examine(frames: Frames) -> list[Finding]:
    """Test forces, stresses and energies of the frames of one source against each other.

    :param frames: labelled frames that passed the checks.
    """
    if frames.energy is None or frames.forces is None or frames.stress is None:
        return []
    pairs = energy_changes(frames)
    return [_of_forces(pairs), _of_stress(pairs), _of_sizes(frames)]


def _of_forces(pairs: EnergyChanges) -> Finding:
    energy, strained = pairs.energy, np.nan_to_num(pairs.stress)
    use = np.abs(pairs.forces).max(axis=0) > NOISE
    pure = use & (np.abs(strained).max(axis=0) <= 0.05 * np.abs(pairs.forces).max(axis=0))
    mixed = bool(pure.sum() < FEWEST)
    if mixed:
        energy = energy - _share(pairs, use)[1] * strained[2]
    else:
        use = pure
    return _with_enough(mixed, use, _judge('forces', energy, pairs.forces, use, pairs.n_atoms, FORCE_FACTORS, 3.0))


def _of_stress(pairs: EnergyChanges) -> Finding:
    if not len(pairs.energy) or np.isnan(pairs.stress).all():
        return Finding('stress', Verdict.UNKNOWN, 'there are no near frames with a stress')
    energy, moved = pairs.energy, np.abs(pairs.forces).max(axis=0)
    use = np.isfinite(pairs.stress[2]) & (np.abs(np.nan_to_num(pairs.stress)).max(axis=0) > NOISE)
    pure = use & (moved <= np.maximum(0.05 * np.abs(energy), 0.1 * NOISE))
    mixed = bool(pure.sum() < FEWEST)
    if mixed:
        energy = energy - _share(pairs, use)[0] * pairs.forces[2]
    else:
        use = pure
    volume = float(np.median(pairs.volume[use])) if use.any() else 1.0
    factors = {**STRESS_FACTORS, 'virials in eV, to be divided by minus the volume': -1.0 / volume}
    return _with_enough(mixed, use, _judge('stress', energy, pairs.stress, use, pairs.n_atoms, factors, 20.0))


def _with_enough(mixed: bool, use: BoolArray, finding: Finding) -> Finding:
    """Return a finding, or that nothing can be told where it contradicts a label by too few pairs."""
    if finding.verdict is not Verdict.CONTRADICTION or not mixed or use.sum() >= FEWEST_MIXED:
        return finding
    text = f'atoms and cells change together in {use.sum()} pairs of near frames, {FEWEST_MIXED} are needed'
    return Finding(finding.label, Verdict.UNKNOWN, text)


def _share(pairs: EnergyChanges, use: BoolArray) -> FloatArray:
    """Return by what forces and stresses have to be multiplied to give the changes of the energy together."""
    said = np.stack([pairs.forces[2], np.nan_to_num(pairs.stress[2])], axis=1)[use]
    scale = np.maximum(np.abs(said).max(axis=0, initial=0.0), 1e-300)
    return np.asarray(least_deviations_fit(said / scale, pairs.energy[use]) / scale)


def _judge(
    label: str,
    energy: FloatArray,
    said: FloatArray,
    use: BoolArray,
    n_atoms: IntArray,
    factors: Mapping[str, float],
    spread: float,
) -> Finding:
    """Compare changes of the energy with those by another label.

    That they agree, or have opposite signs, may be said of all pairs. That their scales differ has to hold for those
    alone between whose frames the slope of the energy cannot have changed much.

    :param energy: shape (P,).
    :param said: by the label at the first frame, at the second, and their mean, shape (3, P).
    :param use: which pairs to compare, shape (P,).
    :param factors: what ratios mean.
    :param spread: largest ratio of the changes by the labels of the two frames of such a pair.
    """
    finding = _compare(label, energy, said, use, n_atoms, factors)
    if finding.verdict is Verdict.CONSISTENT or (finding.verdict is Verdict.CONTRADICTION and finding.ratio < 0):
        return finding
    size = np.abs(said[:2])
    even = use & (size.max(axis=0) <= spread * size.min(axis=0))
    return _compare(label, energy, said, even, n_atoms, factors)


def _compare(
    label: str,
    energy: FloatArray,
    said: FloatArray,
    use: BoolArray,
    n_atoms: IntArray,
    factors: Mapping[str, float],
) -> Finding:
    use = use & np.asarray(np.abs(said[2]) > 0.25 * (np.median(np.abs(said[2][use])) if use.any() else 0.0))
    energy, said, n_atoms = energy[use], said[:, use], n_atoms[use]
    mean = said[2]
    if len(mean) < FEWEST:
        what = 'near frames of the same atoms' if label == 'forces' else 'near frames with strains between them'
        return Finding(label, Verdict.UNKNOWN, f'there are {len(mean)} pairs of {what}, {FEWEST} are needed')
    ratio, correlation, clear = _statistics(mean, energy)
    n_pairs = f'{len(mean)} pairs of near frames'
    if not clear:
        return Finding(
            label,
            Verdict.UNKNOWN,
            f'energies and {label} do not go together in {n_pairs} (correlation {correlation:.2f})',
        )
    says = 'says' if label == 'stress' else 'say'
    found = f'energies change by {ratio:.3g} times what the {label} {says} ({n_pairs}, correlation {correlation:.3f})'
    if 1 / FINE <= ratio <= FINE:
        return Finding(label, Verdict.CONSISTENT, found)
    alike = correlation > ALIKE and len(mean) >= FEWEST_MIXED
    # Where no unit explains it, distance does: stresses of hot frames at either side of their minimum are small sums.
    too_large = ratio > FINE and alike and has_meaning(ratio, factors)
    if 1 / WRONG <= ratio <= WRONG and not too_large and not _outside(energy, said):
        return Finding(label, Verdict.UNKNOWN, f'{found}; the frames are too far apart to tell')
    more = dict(factors)
    per_atom = _statistics(mean, energy * n_atoms)
    if per_atom[2] and abs(abs(per_atom[0]) - 1) < 0.15:
        more = {'energies per atom, where those of the cell are needed': abs(ratio), **more}
    return Finding(label, Verdict.CONTRADICTION, f'{found}: {meanings(label, ratio, more)}', ratio)


def _statistics(expected: FloatArray, found: FloatArray) -> tuple[float, float, bool]:
    """Return the median ratio, the correlation about the origin, and whether the two tell a clear story."""
    ratios = found / expected
    ratio = float(np.median(ratios))
    norm = float(np.sqrt((expected**2).sum() * (found**2).sum()))
    if norm == 0.0 or ratio == 0.0:
        return 0.0, 0.0, False
    correlation = float((expected * found).sum()) / norm
    agreeing = float((np.abs(ratios / ratio - 1) < 0.5).mean())
    return ratio, correlation, abs(correlation) > CORRELATION and agreeing >= AGREEMENT and ratio * correlation > 0


def _outside(energy: FloatArray, said: FloatArray) -> bool:
    """Tell whether most changes lie outside what is between the labels of the two frames.

    Where the slope of the energy grows or falls all the way, its change is between those by the labels of the two ends,
    however far they are apart.
    """
    low, high = said[:2].min(axis=0), said[:2].max(axis=0)
    margin = 0.1 * np.abs(said[2])
    return bool(((energy < low - margin) | (energy > high + margin)).mean() > OUTSIDE)


def _of_sizes(frames: Frames) -> Finding:
    """Compare the energies of cells of one material, of one density and of several sizes."""
    energy, forces, _ = labels_of(frames)
    periodic: BoolArray = np.asarray(frames.pbc.all(axis=1))
    volume = np.abs(np.linalg.det(np.where(periodic[:, None, None], frames.cells, np.eye(3)))) / frames.n_atoms
    pull = np.bincount(frames.frame_of_atom, np.linalg.norm(forces, axis=1), len(frames)) / frames.n_atoms
    formula = _formulas(frames)
    per_atom = energy / frames.n_atoms
    told = wrong = small_energies = 0
    example = ''
    for kind in np.unique(formula[periodic]).tolist():
        rows = np.flatnonzero(periodic & (formula == kind))
        # The calmest frame of each size.
        sizes = np.unique(frames.n_atoms[rows])
        of_size = [rows[frames.n_atoms[rows] == size] for size in sizes.tolist()]
        calmest = [int(part[pull[part].argmin()]) for part in of_size]
        for small, large in _size_pairs(calmest, frames.n_atoms):
            if abs(volume[large] / volume[small] - 1) > 0.1:
                continue
            # What rattling adds to an energy: half the force times a typical displacement.
            allowed = 0.1 + 0.3 * max(pull[small], pull[large])
            if max(abs(energy[small]), abs(energy[large])) <= 3 * allowed:
                small_energies += 1
                continue
            if abs(per_atom[large] - per_atom[small]) <= 3 * allowed:
                told += 1
            elif abs(energy[large] - energy[small]) <= allowed:
                told += 1
                wrong += 1
                example = (
                    f'{frames.n_atoms[small]} atoms have {energy[small]:.6g} eV and {frames.n_atoms[large]} atoms of '
                    f'the same material {energy[large]:.6g} eV'
                )
    if not told:
        why = (
            'the energies of cells of one material in two sizes are too near zero to tell'
            if small_energies
            else 'there are no cells of one material in two sizes'
        )
        return Finding('energy', Verdict.UNKNOWN, why)
    if 2 * wrong > told:
        return Finding(
            'energy',
            Verdict.CONTRADICTION,
            f'{example}: these are energies per atom, where those of the cell are needed: '
            'multiply them by the number of atoms',
        )
    return Finding('energy', Verdict.CONSISTENT, f'they grow with the number of atoms ({told} pairs of sizes)')


def _size_pairs(rows: list[int], n_atoms: IntArray) -> Iterator[tuple[int, int]]:
    """Iterate over pairs of frames of which one is at least twice as large, no more than a hundred."""
    rows = rows[:: max(1, len(rows) // 10)]
    for position, small in enumerate(rows):
        for large in rows[position + 1 :]:
            if n_atoms[large] >= 2 * n_atoms[small]:
                yield small, large


def _formulas(frames: Frames) -> IntArray:
    """Return a number for each frame that is the same for all frames of one formula unit, shape (F,)."""
    _, counts = composition(frames)
    units = counts // np.gcd.reduce(counts, axis=1)[:, None]
    return np.asarray(np.unique(units, axis=0, return_inverse=True)[1].reshape(-1), dtype=np.int64)
