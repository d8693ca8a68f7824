"""The baseline as a calculator of ASE, alone or added to one of ACE."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator, all_changes
from ase.calculators.mixing import SumCalculator

from aiida_pacemaker.baseline.evaluation import evaluate
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.frames.table import Frames

#: Rows and columns of the stress in the order of ASE: xx, yy, zz, yz, xz, xy.
VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


class BaselineCalculator(Calculator):
    """Energy, forces and, where there are three cell vectors, stress of the subtracted terms of a baseline.

    :param baseline: the baseline.
    """

    implemented_properties = ['energy', 'free_energy', 'forces', 'stress']  # noqa: RUF012 - as ASE declares it

    def __init__(self, baseline: DeltaBaseline) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.baseline = baseline

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Calculate all properties at once, as ASE asks for it.

        :raises ValueError: if two atoms are at the same place, or if the LJ baseline lacks a pair of elements.
        """
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        if self.atoms is None:
            raise ValueError('there are no atoms to calculate; attach the calculator to some with `atoms.calc = ...`')
        terms = evaluate(self.baseline, one_frame(self.atoms))
        energy = float(terms.energy[0])
        self.results = {'energy': energy, 'free_energy': energy, 'forces': terms.forces}
        if np.isfinite(terms.stress).all():
            self.results['stress'] = terms.stress[0][VOIGT]


class _AceOnBaseline(SumCalculator):
    """The sum of ACE and its baseline, with the extrapolation grades of ACE, to which a baseline adds nothing."""

    def __init__(self, ace: BaseCalculator, baseline: BaselineCalculator) -> None:
        super().__init__([ace, baseline])  # type: ignore[no-untyped-call]
        self.ace = ace

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str]) -> None:
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        if 'gamma' in self.ace.results:
            self.results['gamma'] = self.ace.results['gamma']


def to_ase(baseline: DeltaBaseline, ace_calculator: BaseCalculator) -> BaseCalculator:
    """Return a calculator of ASE for the whole potential: that of ACE plus the baseline it was fitted on.

    Where ``ace_calculator`` reports extrapolation grades, ``results['gamma']`` of the sum has them.

    :param baseline: the baseline that was subtracted from the labels.
    :param ace_calculator: a calculator for the fitted ACE potential, such as ``pyace.PyACECalculator``. It is returned
        as it is where nothing was subtracted.
    """
    if not baseline.subtracted():
        return ace_calculator
    return _AceOnBaseline(ace_calculator, BaselineCalculator(baseline))


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
