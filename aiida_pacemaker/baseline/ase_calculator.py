"""The baseline added to a calculator of ACE, as one of ASE."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from aiida_pacemaker.baseline.ace_on_baseline import AceOnBaseline
from aiida_pacemaker.baseline.evaluation import evaluate
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.frames.table import FloatArray, Frames


class EvaluatedBaseline:
    """The subtracted terms of a baseline, for one structure at a time.

    :param baseline: the baseline.
    """

    def __init__(self, baseline: DeltaBaseline) -> None:
        self._baseline = baseline

    def evaluate(self, atoms: Atoms) -> tuple[float, FloatArray, FloatArray | None]:
        """Return energy in eV, forces in eV/angstrom and stress in eV/angstrom^3, None without three cell vectors.

        :raises ValueError: if two atoms are at the same place, or if the LJ baseline lacks a pair of elements.
        """
        terms = evaluate(self._baseline, one_frame(atoms))
        stress = terms.stress[0]
        return float(terms.energy[0]), terms.forces, stress if np.isfinite(stress).all() else None


def to_ase(baseline: DeltaBaseline, ace_calculator: BaseCalculator) -> BaseCalculator:
    """Return a calculator of ASE for the whole potential: that of ACE plus the baseline it was fitted on.

    Where ``ace_calculator`` reports extrapolation grades, ``results['gamma']`` of the sum has them.

    :param baseline: the baseline that was subtracted from the labels.
    :param ace_calculator: a calculator for the fitted ACE potential, such as ``pyace.PyACECalculator``. It is returned
        as it is where nothing was subtracted.
    """
    if not baseline.subtracted():
        return ace_calculator
    return AceOnBaseline(ace_calculator, EvaluatedBaseline(baseline))


def one_frame(atoms: Atoms) -> Frames:
    """Return a structure as a table of one frame without labels."""
    nothing = np.zeros(1, dtype=np.int64)
    return Frames(
        n_atoms=np.array([len(atoms)], dtype=np.int64),
        numbers=np.asarray(atoms.numbers, dtype=np.int64),
        positions=np.asarray(atoms.positions, dtype=np.float64),
        cells=np.asarray(atoms.cell[:], dtype=np.float64)[np.newaxis],
        pbc=np.asarray(atoms.pbc, dtype=np.bool_)[np.newaxis],
        energy=None,
        forces=None,
        stress=None,
        source_keys=('atoms',),
        source=nothing,
        step=nothing,
        generation=nothing,
    )
