"""Label structures with an ASE calculator, with the Python that the calculator is installed in.

Reads `label.json`: where the calculator is imported from, its arguments, which properties are wanted, and the `.npz`
shards of the structures in order. Writes `labels.npz` with one row per structure (NaN where it failed), without
pickles, and at the very end `labels.json` with the failures and their reasons.
"""

import importlib
import json
import sys
import time
import traceback

import ase
import numpy as np
from structures import read_structures


def label(atoms, calculator, with_stress):
    """Return energy, forces (n, 3) and stress (3, 3) of one structure; the stress is NaN where it has no meaning."""
    atoms.calc = calculator
    energy = float(atoms.get_potential_energy())
    forces = np.array(atoms.get_forces(), dtype=float)
    stress = np.full((3, 3), np.nan)
    if with_stress and atoms.pbc.all():
        stress = np.array(atoms.get_stress(voigt=False), dtype=float)
    if not (np.isfinite(energy) and np.isfinite(forces).all()):
        raise ValueError('the calculator returned an energy or forces that are not finite')
    return energy, forces, stress


def main():
    """Label all structures; one that fails does not keep the others from being labelled."""
    start = time.time()
    with open('label.json') as handle:
        request = json.load(handle)
    module, _, name = request['calculator'].partition(':')
    make_calculator = getattr(importlib.import_module(module), name)
    energies, forces, stresses, failures = [], [], [], []  # type: ignore[var-annotated]
    for atoms in read_structures(request['shards']):
        try:
            # A calculator of its own for each structure: one that failed may be of no further use.
            result = label(atoms, make_calculator(**request['arguments']), request['stress'])
        except Exception as exception:  # whatever a calculator raises is the reason why this structure failed
            traceback.print_exc()
            failures.append(
                {'frame': len(energies), 'reason': type(exception).__name__, 'message': str(exception)[:500]}
            )
            result = np.nan, np.full((len(atoms), 3), np.nan), np.full((3, 3), np.nan)
        energies.append(result[0])
        forces.append(result[1])
        stresses.append(result[2])
    np.savez(
        'labels.npz',
        energy=np.array(energies, dtype=float),
        forces=np.concatenate(forces),
        stress=np.array(stresses, dtype=float),
    )
    summary = {
        'failures': failures,
        'seconds': time.time() - start,
        'versions': {'ase': ase.__version__, 'numpy': np.__version__, 'python': sys.version.split()[0]},
    }
    with open('labels.json', 'w') as handle:
        json.dump(summary, handle)


if __name__ == '__main__':
    main()
