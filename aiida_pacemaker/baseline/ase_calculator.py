"""The baseline as a calculator of ASE, alone or added to one of ACE."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from aiida_pacemaker.baseline.ace_on_baseline import AceOnBaseline
from aiida_pacemaker.baseline.evaluation import evaluate
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.frames.table import FloatArray, Frames


class _Evaluated:
    """The subtracted terms of a baseline, for one structure at a time."""

    def __init__(self, baseline: DeltaBaseline) -> None:
        self._baseline = baseline

    def evaluate(self, atoms: Atoms) -> tuple[float, FloatArray, FloatArray | None]:
        terms = evaluate(self._baseline, one_frame(atoms))
        stress = terms.stress[0]
        return float(terms.energy[0]), terms.forces, stress if np.isfinite(stress).all() else None


class BaselineCalculator(AceOnBaseline):
    """Energy, forces and, where there are three cell vectors, stress of the subtracted terms of a baseline.

    :param baseline: the baseline.
    """

    def __init__(self, baseline: DeltaBaseline) -> None:
        super().__init__(None, _Evaluated(baseline))


def to_ase(baseline: DeltaBaseline, ace_calculator: BaseCalculator) -> BaseCalculator:
    """Return a calculator of ASE for the whole potential: that of ACE plus the baseline it was fitted on.

    Where ``ace_calculator`` reports extrapolation grades, ``results['gamma']`` of the sum has them.

    :param baseline: the baseline that was subtracted from the labels.
    :param ace_calculator: a calculator for the fitted ACE potential, such as ``pyace.PyACECalculator``. It is returned
        as it is where nothing was subtracted.
    """
    if not baseline.subtracted():
        return ace_calculator
    return AceOnBaseline(ace_calculator, _Evaluated(baseline))


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
