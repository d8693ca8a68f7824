"""A whole potential as one calculator of ASE: ACE plus the baseline that was subtracted from its labels.

It needs nothing but NumPy and ASE: this file is also put beside the drivers, which run where this package is not
installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ase.calculators.calculator import BaseCalculator, Calculator, all_changes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from ase import Atoms

    FloatArray = npt.NDArray[np.float64]

#: Rows and columns of the stress in the order of ASE: xx, yy, zz, yz, xz, xy.
VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


class Baseline(Protocol):
    """What is added to ACE."""

    def evaluate(self, atoms: Atoms) -> tuple[float, FloatArray, FloatArray | None]:
        """Return energy in eV, forces in eV/angstrom and stress in eV/angstrom^3, None without three cell vectors."""


class AceOnBaseline(Calculator):
    """Energy, forces and, where there are three cell vectors, stress of ACE and its baseline, and the grades of ACE.

    :param ace: the calculator of ACE alone.
    :param baseline: the baseline.
    """

    implemented_properties = ['energy', 'free_energy', 'forces', 'stress']  # noqa: RUF012 - as ASE declares it

    def __init__(self, ace: BaseCalculator, baseline: Baseline) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ace = ace
        self.baseline = baseline

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Calculate all properties at once, as ASE asks for it.

        :raises ValueError: if there are no atoms, or if two atoms are at the same place.
        """
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise ValueError('there are no atoms to calculate; attach the calculator to some with `atoms.calc = ...`')
        wanted = ['energy', 'forces', 'stress'] if atoms.cell.rank == 3 else ['energy', 'forces']
        self.ace.calculate(atoms, [name for name in wanted if name in self.ace.implemented_properties], all_changes)
        of_ace = self.ace.results
        energy, forces, stress = self.baseline.evaluate(atoms)
        energy += float(of_ace['energy'])
        self.results = {'energy': energy, 'free_energy': energy, 'forces': forces + of_ace['forces']}
        if stress is not None and 'stress' in of_ace:
            self.results['stress'] = of_ace['stress'] + stress[VOIGT]
        if 'gamma' in of_ace:
            self.results['gamma'] = of_ace['gamma']
