"""Label structures with an ASE calculator, with the Python that the calculator is installed in.

Reads `label.json`: where the calculator is imported from, its arguments, which properties are wanted, and the `.npz`
shards of the structures in order. Writes a line of JSON to `labels.jsonl` before and after each structure, so that
whatever stops the job costs no more than the structure that it was at; and at the very end `labels.json`, so that its
presence says that no structure was left out.
"""

import importlib
import json
import sys
import time
import traceback

import numpy as np
from ase.calculators.calculator import PropertyNotImplementedError
from journal import begin, write
from structures import read_structures
from summary import versions_with, write_summary

#: Strain of the finite differences. The error grows with its square, 1e-5 GPa here; the noise of the energies of a
#: program that iterates to self-consistency counts with its inverse, so that less would be worse.
STRAIN = 1e-4


class StressMissingError(Exception):
    """The calculator has no stress and none by finite differences was asked for."""


def label(atoms, calculator, with_stress, numerical_stress=False):
    """Return energy, forces (n, 3) and stress (3, 3) of one structure; the stress is None where it has no meaning."""
    atoms.calc = calculator
    energy = float(consistent_energy(atoms))
    forces = np.array(atoms.get_forces(), dtype=float)
    stress = None
    if with_stress and atoms.pbc.all():
        stress = stress_of(atoms, numerical_stress)
    if not all(np.isfinite(label).all() for label in (energy, forces, stress) if label is not None):
        raise ValueError('the calculator returned an energy, forces or a stress that are not finite')
    return {'energy': energy, 'forces': forces.tolist(), 'stress': None if stress is None else stress.tolist()}


def stress_of(atoms, numerical):
    """Return the stress (3, 3) by the calculator, or if it has none by finite differences, if these are wanted."""
    try:
        return np.array(atoms.get_stress(voigt=False), dtype=float)
    except NotImplementedError as exception:
        if not numerical:
            raise StressMissingError(
                'the calculator has no stress for this structure: `numerical_stress: true` makes one by finite '
                'differences, `stress: false` does without'
            ) from exception
    # ASE does this in one place or another, by its version, and in some with strains that are too small for noise.
    stress = np.zeros((3, 3))
    cell, volume = atoms.cell.array.copy(), atoms.get_volume()
    strained = atoms.copy()
    strained.calc = atoms.calc
    for row, column in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        energies = []
        for sign in (1, -1):
            deformation = np.eye(3)
            deformation[row, column] += sign * STRAIN / 2
            deformation[column, row] += sign * STRAIN / 2
            strained.set_cell(cell @ deformation, scale_atoms=True)
            energies.append(consistent_energy(strained))
        stress[row, column] = stress[column, row] = (energies[0] - energies[1]) / (2 * STRAIN * volume)
    return stress


def consistent_energy(atoms):
    """Return the energy whose derivatives the forces are: the free energy, if the calculator tells it apart."""
    if 'free_energy' in getattr(atoms.calc, 'implemented_properties', ()):
        try:
            return atoms.get_potential_energy(force_consistent=True)
        except PropertyNotImplementedError:
            # It could have had one, but not for this structure.
            pass
    return atoms.get_potential_energy()


def versions_of(module):
    """Return the versions of what affects the labels, that of the package of the calculator among them."""
    package = module.partition('.')[0]
    version = getattr(sys.modules.get(package), '__version__', None)
    return versions_with(**({} if version is None else {package: str(version)}))


def main():
    """Label all structures; one that fails does not keep the others from being labelled."""
    start = time.time()
    with open('label.json') as handle:
        request = json.load(handle)
    module, _, name = request['calculator'].partition(':')
    make_calculator = getattr(importlib.import_module(module), name)
    versions = versions_of(module)
    with open('labels.jsonl', 'a') as lines:
        done = begin(lines, 'frame')
        write(lines, {'versions': versions})
        for frame, atoms in enumerate(read_structures(request['shards'])):
            if frame in done:
                continue
            write(lines, {'begin': frame})
            try:
                # A calculator of its own for each structure: one that failed may be of no further use.
                calculator = make_calculator(**request['arguments'])
                result = label(atoms, calculator, request['stress'], request['numerical_stress'])
            except Exception as exception:  # whatever a calculator raises is the reason why this structure failed
                traceback.print_exc()
                result = {'reason': type(exception).__name__, 'message': str(exception)[:500]}
            write(lines, {'frame': frame, **result})
    write_summary('labels.json', start, versions)


if __name__ == '__main__':
    main()
