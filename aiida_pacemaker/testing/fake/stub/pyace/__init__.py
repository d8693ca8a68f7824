"""Stands in for the module of the engine, for the scripts that run with the engine's own Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from aiida_pacemaker.baseline.ace_on_baseline import VOIGT
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.testing.fake import reporting
from aiida_pacemaker.testing.fake.basis import load
from aiida_pacemaker.testing.fake.physics import (
    check_elements,
    coefficients,
    describe,
    gamma,
    load_active_set,
    projections_of,
)

__all__ = ['PyACECalculator', '__version__']

__version__ = reporting.VERSION


class PyACECalculator(Calculator):
    """ASE calculator of a potential of the fake engine: energy, forces, stress and, with an active set, gamma.

    :param basis_set: the B-basis file.
    """

    implemented_properties = ['energy', 'free_energy', 'forces', 'stress', 'gamma']  # noqa: RUF012 - as ASE declares it

    def __init__(self, basis_set: str, **parameters: Any) -> None:
        super().__init__(**parameters)  # type: ignore[no-untyped-call]
        self.potential = load(Path(basis_set))
        self.active_set: dict[str, Any] = {}

    def set_active_set(self, filename: str) -> None:
        """Read the inverted active set that gamma is measured against."""
        self.active_set = dict(load_active_set(Path(filename)))

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Calculate all properties at once, as ASE asks for it."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        if self.atoms is None:
            raise ValueError('there are no atoms to calculate; attach the calculator to some with `atoms.calc = ...`')
        frames = _frames(self.atoms)
        if frames.pbc.all() and np.linalg.det(frames.cells[0]) < 0:
            raise RuntimeError('Extreme shape of unit cell')
        check_elements(self.potential, frames)
        description, values = describe(self.potential, frames), coefficients(self.potential)
        energy = float((description.values @ values).sum())
        self.results = {'energy': energy, 'free_energy': energy, 'forces': description.forces @ values}
        if frames.pbc.all():
            volume = abs(np.linalg.det(frames.cells[0]))
            self.results['stress'] = (description.virials[0] @ values / volume)[VOIGT]
        if self.active_set:
            grades = np.zeros(len(frames.numbers))
            for element, matrix in self.active_set.items():
                rows, members = projections_of(description, frames, element)
                grades[members] = gamma(rows, matrix)
            self.results['gamma'] = grades


def _frames(atoms: Atoms) -> Frames:
    """Return one structure as a table."""
    return Frames(
        n_atoms=np.array([len(atoms)]),
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.positions.astype(np.float64),
        cells=np.array(atoms.cell[:], dtype=np.float64)[None],
        pbc=np.array(atoms.pbc, dtype=np.bool_)[None],
        energy=None,
        forces=None,
        stress=None,
        source_keys=('atoms',),
        source=np.zeros(1, dtype=np.int64),
        step=np.zeros(1, dtype=np.int64),
        generation=np.zeros(1, dtype=np.int64),
    )
