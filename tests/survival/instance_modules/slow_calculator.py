"""A slow calculator that writes in a file which frames it has begun and calculated."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones


class SlowCalculator(Calculator):
    """Lennard-Jones, slowly.

    :param seconds: what a frame takes.
    :param log: file that gets a line when a frame is begun and when it is done.
    """

    implemented_properties: ClassVar[list[str]] = ['energy', 'forces', 'stress']

    def __init__(self, seconds: float, log: str) -> None:
        super().__init__()
        self._seconds = seconds
        self._log = Path(log)

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ('energy',), system_changes: Any = all_changes
    ) -> None:
        """Calculate, and write so in the file."""
        super().calculate(atoms, properties, system_changes)
        self._note('begun')
        time.sleep(self._seconds)
        copy = self.atoms.copy()
        copy.calc = LennardJones(sigma=2.3, epsilon=0.4, rc=4.5, smooth=True)
        self.results = {'energy': copy.get_potential_energy(), 'forces': copy.get_forces(), 'stress': copy.get_stress()}
        self._note('done')

    def _note(self, event: str) -> None:
        with self._log.open('a') as handle:
            handle.write(f'{event} {self.atoms.positions.sum():.9f} {os.getpid()}\n')
