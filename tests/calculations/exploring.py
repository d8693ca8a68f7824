"""A potential of the fake engine and what to explore from, for the tests of explorations."""

from __future__ import annotations

import numpy as np
from ase.build import bulk, molecule

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import from_atoms

#: Short runs in which something happens: many checks, a window of gamma that is crossed.
OPTIONS = {
    'ensemble': 'nve',
    'temperature': 600.0,
    'n_steps': 20,
    'check_every': 5,
    'spacing': 5,
    'gamma_low': 0.0,
    'gamma_high': 1e6,
}


def rocksalt(count: int = 1) -> PaceDatasetData:
    """Return a dataset of cells of MgO that differ in their volume."""
    images = [bulk('MgO', 'rocksalt', a=4.25 + 0.05 * index, cubic=True) for index in range(count)]
    return PaceDatasetData(from_atoms(images, 'rocksalt'))


def water() -> PaceDatasetData:
    """Return a dataset of a molecule without periods, of elements that the potential knows."""
    atoms = molecule('H2O')
    atoms.numbers = np.where(atoms.numbers == 1, 12, 8)
    atoms.positions *= 1.8
    return PaceDatasetData(from_atoms([atoms], 'molecule'))
