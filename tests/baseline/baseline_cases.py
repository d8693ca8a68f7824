"""Structures for the tests of the baseline."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from aiida_pacemaker.frames.table import Frames


def frames_of(*structures: Atoms) -> Frames:
    """Return structures of ASE as unlabelled frames."""
    count = len(structures)
    return Frames(
        n_atoms=np.array([len(atoms) for atoms in structures], dtype=np.int64),
        numbers=np.concatenate([atoms.numbers for atoms in structures]).astype(np.int64),
        positions=np.concatenate([atoms.positions for atoms in structures]),
        cells=np.array([atoms.cell[:] for atoms in structures]),
        pbc=np.array([atoms.pbc for atoms in structures]),
        energy=None,
        forces=None,
        stress=None,
        source_keys=('test',),
        source=np.zeros(count, dtype=np.int64),
        step=np.arange(count, dtype=np.int64),
        generation=np.zeros(count, dtype=np.int64),
    )


def random_atoms(seed: int, symbols: str, length: float, shortest: float) -> Atoms:
    """Return atoms at random places of a skewed periodic cell, no two of them closer than ``shortest`` angstrom."""
    rng = np.random.default_rng(seed)
    skew = np.tril(rng.uniform(-0.3, 0.3, (3, 3)), -1)
    cell = length * (np.diag(rng.uniform(0.9, 1.1, 3)) + skew)
    for _ in range(1000):
        atoms = Atoms(symbols, scaled_positions=rng.random((len(Atoms(symbols)), 3)), cell=cell, pbc=True)
        distances = atoms.get_all_distances(mic=True)
        if (distances[np.triu_indices(len(atoms), 1)] > shortest).all():
            return atoms
    raise AssertionError(f'{symbols} do not fit into a cell of {length} angstrom')
