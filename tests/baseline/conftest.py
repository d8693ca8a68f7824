"""LAMMPS as an independent reference for energies, forces and stresses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

#: Pressure in bar of one eV/angstrom^3: `nktv2p` of the metal units of LAMMPS.
BAR = 1.6021765e6


@dataclass
class Reference:
    energy: float
    energies: np.ndarray
    forces: np.ndarray
    stress: np.ndarray


@pytest.fixture
def lammps(tmp_path: Path) -> Callable[[Atoms, Sequence[str], str], Reference]:
    """Return a function that runs LAMMPS on lower-triangular cells with the given pair lines."""
    beside = Path(sys.executable).with_name('lmp')
    program = str(beside) if beside.exists() else shutil.which('lmp')
    assert program, 'there is no `lmp`: install the `tests` extra, which has LAMMPS'

    def run(atoms: Atoms, elements: Sequence[str], lines: str) -> Reference:
        cell, dump = atoms.cell[:], tmp_path / 'dump'
        assert np.allclose(cell, np.tril(cell))
        data = [
            '',
            '',
            f'{len(atoms)} atoms',
            f'{len(elements)} atom types',
            *(f'0 {cell[axis, axis]:.17g} {name}lo {name}hi' for axis, name in enumerate('xyz')),
            f'{cell[1, 0]:.17g} {cell[2, 0]:.17g} {cell[2, 1]:.17g} xy xz yz',
            '',
            'Masses',
            '',
            *(f'{type_} {atomic_masses[atomic_numbers[name]]}' for type_, name in enumerate(elements, start=1)),
            '',
            'Atoms # atomic',
            '',
        ]
        for number, atom in enumerate(atoms, start=1):
            x, y, z = atom.position
            data.append(f'{number} {elements.index(atom.symbol) + 1} {x:.17g} {y:.17g} {z:.17g}')
        (tmp_path / 'data').write_text('\n'.join(data) + '\n')
        boundary = ' '.join('p' if periodic else 'f' for periodic in atoms.pbc)
        commands = f"""\
units metal
atom_style atomic
boundary {boundary}
read_data data
{lines}
compute energies all pe/atom
thermo_style custom step pe pxx pyy pzz pyz pxz pxy
thermo_modify format float %20.15g
dump forces all custom 1 {dump.name} id c_energies fx fy fz
dump_modify forces sort id format float %20.15g
run 0
"""
        (tmp_path / 'in').write_text(commands)
        process = subprocess.run(
            [program, '-in', 'in', '-log', 'none'],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        printed = process.stdout.splitlines()
        row = next(number for number, line in enumerate(printed) if line.split()[:2] == ['Step', 'PotEng'])
        thermo = [float(word) for word in printed[row + 1].split()]
        columns = np.loadtxt(dump, skiprows=9, ndmin=2)
        xx, yy, zz, yz, xz, xy = -np.array(thermo[2:]) / BAR
        stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        return Reference(energy=thermo[1], energies=columns[:, 1], forces=columns[:, 2:], stress=stress)

    return run
