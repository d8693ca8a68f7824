"""What a baseline costs the fit where it reaches into the data.

``python benchmarks/baseline.py`` fits the 100 frames of MgO in ``examples`` on five baselines and prints the errors of
frames that were held out: no baseline, the default of this package, ZBL that is switched off from 1.9 to 2.2 angstrom,
and both of these with an uncut Lennard-Jones potential. All else is the same. The basis is linear, so the least squares
are solved exactly, by a singular value decomposition: the errors do not depend on how far a minimiser came. They are
means over five draws of 17 frames.

The design matrix is made with python-ace, which `pip install '.[engine]'` brings.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
from pyace import ACEBBasisSet, create_multispecies_basis_config
from pyace.linearacefit import LinearACEDataset

from aiida_pacemaker.baseline.distances import shortest_distances
from aiida_pacemaker.baseline.evaluation import subtract
from aiida_pacemaker.baseline.lj import default_pair
from aiida_pacemaker.baseline.model import DeltaBaseline, LJBaseline, LJPair, ZBLBaseline
from aiida_pacemaker.baseline.reference_energies import reference_energy
from aiida_pacemaker.frames.ase_io import from_atoms, to_atoms
from aiida_pacemaker.frames.table import FloatArray, Frames
from aiida_pacemaker.pace.config.trainer_config import parse_config

STRUCTURES = Path(__file__).parents[1] / 'examples' / 'mgo-lda.extxyz'
#: Isolated atoms at the settings of the data, in eV: see README.md beside the structures.
ENERGIES = {'Mg': -27.441497613508435, 'O': -426.11747912713093}
ELEMENTS = tuple(sorted(ENERGIES))
CONFIG = {
    'elements': list(ELEMENTS),
    'evaluator': 'pyace',
    'max_deg': 6,
    'max_order': 2,
    'potential': {
        'bonds': {
            'ALL': {
                'radbase': 'ChebExpCos',
                'radparameters': [5.25],
                'rcut': 5.5,
                'dcut': 0.01,
                'NameOfCutoffFunction': 'cos',
            }
        }
    },
}
#: An error of 1 meV/atom weighs as much as one of this many meV/angstrom.
RATIO = 10.0
#: Singular values below this part of the largest are left out: they are beyond what the data say.
CUT = 1e-10
DRAWS, HELD_OUT = 5, 17


def baselines(frames: Frames) -> dict[str, DeltaBaseline]:
    """Return the baselines by what the table calls them."""
    default = DeltaBaseline.for_elements(ELEMENTS, shortest=shortest_distances(frames, 3.0))
    wide = ZBLBaseline(inner=1.9, outer=2.2)
    pairs = []
    for elements in combinations_with_replacement(ELEMENTS, 2):
        epsilon, sigma, cutoff = default_pair(*elements)
        pairs.append(LJPair(elements=elements, epsilon=epsilon, sigma=sigma, cutoff=cutoff, off=None, on=None))
    uncut = LJBaseline(pairs=pairs)
    return {
        'none': DeltaBaseline(mode='none'),
        'default (below the data)': default,
        'default and uncut LJ': default.model_copy(update={'lj': uncut}),
        'ZBL to 2.2 angstrom': DeltaBaseline(zbl=wide),
        'ZBL to 2.2 angstrom and uncut LJ': DeltaBaseline(zbl=wide, lj=uncut),
    }


def design(basis: ACEBBasisSet, frames: Frames) -> FloatArray:
    """Return the design matrix: a row of energy per atom for each frame, then three of forces for each atom."""
    data = LinearACEDataset(basis, pd.DataFrame({'ase_atoms': to_atoms(frames.without_labels())}))
    matrix: FloatArray = data.get_design_matrix(max_workers=1)
    return matrix


def targets(frames: Frames, baseline: DeltaBaseline) -> FloatArray:
    """Return what is fitted, row by row as in the design matrix: eV/atom, then eV/angstrom."""
    left = subtract(baseline, frames)
    energy = left.energy - reference_energy(frames, ENERGIES)
    return np.concatenate([energy / frames.n_atoms, left.forces.ravel()])


def errors(matrix: FloatArray, target: FloatArray, frames: Frames) -> FloatArray:
    """Return the errors of held-out frames in meV/atom and meV/angstrom, means over the draws."""
    count = len(frames)
    of_energy = np.arange(len(target)) < count
    weights = np.where(of_energy, RATIO, 1.0)
    frame_of_row = np.concatenate([np.arange(count), np.repeat(frames.frame_of_atom, 3)])
    found = []
    for seed in range(DRAWS):
        held_out = np.isin(frame_of_row, np.random.default_rng(seed).permutation(count)[:HELD_OUT])
        left, values, right = np.linalg.svd((matrix * weights[:, None])[~held_out], full_matrices=False)
        keep = values > CUT * values[0]
        solution = right[keep].T @ ((left[:, keep].T @ (target * weights)[~held_out]) / values[keep])
        wrong = matrix @ solution - target
        found.append([np.sqrt(np.mean(wrong[held_out & part] ** 2)) for part in (of_energy, ~of_energy)])
    mean: FloatArray = 1e3 * np.mean(found, axis=0)
    return mean


def main() -> None:
    frames = from_atoms(ase.io.read(STRUCTURES, ':'), STRUCTURES.name)
    potential = parse_config(CONFIG).sections()['potential']
    basis = ACEBBasisSet(create_multispecies_basis_config(potential))
    matrix = design(basis, frames)
    print(f'{len(frames)} frames of MgO, {HELD_OUT} of them held out, {matrix.shape[1]} functions\n')
    print(f'{"baseline":34}{"meV/atom":>10}{"meV/angstrom":>14}')
    for name, baseline in baselines(frames).items():
        energy, forces = errors(matrix, targets(frames, baseline), frames)
        print(f'{name:34}{energy:10.1f}{forces:14.0f}')


if __name__ == '__main__':
    main()
