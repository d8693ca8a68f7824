"""The equations of a structure: energy, forces and virial of each basis function, by the engine."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from pyace import ACEBBasisSet, ACEBEvaluator, ACECalculator
from pyace.atomicenvironment import aseatoms_to_atomicenvironment
from pyace.catomicenvironment import ACEAtomicEnvironment

from .basis import Basis
from .equations import FloatArray, FrameRows
from .weighting import Weighting, formula_of

#: Components of a symmetric tensor in the order of Voigt: xx, yy, zz, yz, xz, xy.
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True)
class Label:
    """What a structure is fitted to; the baseline and atomic reference energies are subtracted.

    :param key: content hash of the structure.
    :param energy: in eV.
    :param forces: in eV/angstrom, shape (n, 3).
    :param stress: in eV/angstrom^3 with the sign of ASE, shape (3, 3); None if it has none.
    :param weights: that come with the data, of the energy, and of the forces of each atom; None if there are none.
    """

    key: str
    energy: float
    forces: FloatArray
    stress: FloatArray | None = None
    weights: tuple[float, FloatArray] | None = None


@dataclass(frozen=True)
class Terms:
    """What functions contribute to energy per atom (eV), forces (eV/angstrom) and virials per atom (eV).

    :param rows: by kind, for coefficients of 1: (1, K), (3 n, K) and (6, K).
    :param constant: by kind, what the potential is without any coefficient: (1,), (3 n,) and (6,).
    :param nearest: shortest distance in angstrom of each pair of elements, by their numbers.
    """

    rows: dict[str, FloatArray]
    constant: dict[str, FloatArray]
    nearest: dict[tuple[int, int], float]


class RowMaker:
    """Computes equations. One for each process: an evaluator that two threads use gives wrong numbers.

    :param basis: the functions.
    :param weighting: of the rows.
    :param virial: whether the stresses of structures that have one are fitted.
    """

    def __init__(self, basis: Basis, weighting: Weighting, *, virial: bool = False) -> None:
        self.basis = basis
        self.weighting = weighting
        self.virial = virial
        # What the potential is without any coefficient, such as a repulsion of cores, is no part of what is fitted. The
        # evaluator has the coefficients of the functions that it was given, also where they are changed afterwards.
        self._functions = ACEBBasisSet(basis.functions.to_BBasisConfiguration())
        self._functions.basis_coeffs = [0.0] * basis.n_functions
        # All have to live as long as they are used: the engine does not see to it.
        self._evaluator = ACEBEvaluator(self._functions)
        self._calculator = ACECalculator(self._evaluator)

    def equations_of(self, atoms: Any, label: Label) -> FrameRows:
        """Return the equations of a structure with a right-handed cell.

        :raises ValueError: or RuntimeError: if the engine cannot list its neighbours, or if a number is not finite.
        """
        n_atoms = len(atoms)
        stress = label.stress if self.virial and atoms.pbc.all() else None
        found = self.terms_of(atoms, virial=stress is not None)
        weight, force_weights = self.weighting.of_frame(
            label.energy / n_atoms, label.forces, formula_of(atoms), label.weights
        )
        targets = {'energy': np.array([label.energy / n_atoms]), 'forces': label.forces.ravel()}
        weights = {'energy': np.array([weight]), 'forces': np.repeat(force_weights, 3)}
        if stress is not None:
            targets['virial'] = np.array([stress[place] for place in VOIGT]) * atoms.get_volume() / n_atoms
            weights['virial'] = np.full(6, weight)
        rows = {
            kind: np.column_stack([found.rows[kind], target - found.constant[kind]]) for kind, target in targets.items()
        }
        if not all(np.isfinite(part).all() for parts in (rows, weights) for part in parts.values()):
            raise ValueError(f'the equations of the structure {label.key} are not finite')
        return FrameRows(label.key, rows, weights, n_atoms, found.nearest)

    def terms_of(self, atoms: Any, *, virial: bool = False) -> Terms:
        """Return what each function contributes to energy, forces and virial of a structure.

        The virial is the stress times the volume. It is the sum of outer products of forces and positions over all
        atoms and their periodic images, each of which is moved on its own: the images are given to the engine as atoms
        without neighbours, which have no energy themselves.
        """
        functions = self._functions
        environment = aseatoms_to_atomicenvironment(
            atoms, cutoff=functions.cutoffmax, elements_mapper_dict=functions.elements_to_index_map
        )
        n_atoms = len(atoms)
        origins = np.array(environment.origins)
        distances = environment.get_minimal_nn_distance_per_bond()
        nearest = {pair: float(distance) for pair, distance in distances.items() if pair[0] <= pair[1]}
        if virial:
            environment = _with_images(environment)
        calculator = self._calculator
        calculator.compute(environment, compute_projections=True, compute_b_grad=True)
        energies = self._energies(environment.species_type, calculator.projections, n_atoms)
        rows = {'energy': energies[None, :]}
        constant = {'energy': np.array([float(calculator.energy) / n_atoms])}
        # Forces on atoms (and images), of each function.
        prefactors = np.repeat(self.basis.prefactors, np.diff(self.basis.starts))
        forces = _forces_of(calculator, len(prefactors)) * prefactors[:, None]
        constant_forces = np.asarray(calculator.forces, dtype=float)
        if virial:
            positions = np.array(environment.x)
            tensor = positions.T @ forces.reshape(len(forces), -1)
            rows['virial'] = _symmetric(tensor.reshape(3, -1, 3).transpose(0, 2, 1)) / -n_atoms
            constant['virial'] = _symmetric(positions.T @ constant_forces) / -n_atoms
            forces = _folded(forces, origins, n_atoms)
            constant_forces = _folded(constant_forces, origins, n_atoms)
        rows['forces'] = forces.transpose(0, 2, 1).reshape(3 * n_atoms, -1)
        constant['forces'] = constant_forces.ravel()
        return Terms(rows, constant, nearest)

    def cores_of(self, atoms: Any) -> dict[int, float]:
        """Return the largest energy in eV that an atom of each element, by its number, has without any coefficient."""
        functions = self._functions
        environment = aseatoms_to_atomicenvironment(
            atoms, cutoff=functions.cutoffmax, elements_mapper_dict=functions.elements_to_index_map
        )
        self._calculator.compute(environment)
        found: dict[int, float] = {}
        for kind, energy in zip(environment.species_type[: len(atoms)], self._calculator.energies):
            found[kind] = max(float(energy), found.get(kind, float(energy)))
        return found

    def _energies(self, species: Sequence[int], projections: Any, n_atoms: int) -> FloatArray:
        energy = np.zeros(self.basis.n_functions)
        prefactors = self.basis.prefactors
        for index in range(n_atoms):
            kind, start = species[index], self.basis.starts[species[index]]
            one = np.asarray(projections[index])
            energy[start : start + len(one)] += prefactors[kind] * one
        return energy / n_atoms


def _symmetric(tensor: FloatArray) -> FloatArray:
    """Return the six components of the symmetric part of a tensor, in the order of Voigt."""
    return np.array([(tensor[a, b] + tensor[b, a]) / 2 for a, b in VOIGT])


def _folded(forces: FloatArray, origins: Any, n_atoms: int) -> FloatArray:
    """Return forces on atoms from those on atoms and images."""
    belongs = np.zeros((n_atoms, len(forces)))
    belongs[origins, np.arange(len(forces))] = 1.0
    result: FloatArray = (belongs @ forces.reshape(len(forces), -1)).reshape(n_atoms, *forces.shape[1:])
    return result


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for cycles of references; a block of its own, not to be nested."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _forces_of(calculator: Any, n_functions: int) -> FloatArray:
    """Return the forces of each function, shape (atoms, functions, 3).

    The engine gives lists of lists, as many as atoms times functions. Looking for cycles in them, which Python does
    again and again while they are made, takes longer than all else.
    """
    with _no_collection():
        flat = chain.from_iterable(chain.from_iterable(calculator.forces_bfuncs))
        return np.fromiter(flat, dtype=float).reshape(-1, n_functions, 3)


def _with_images(environment: Any) -> Any:
    """Return the environment of the same atoms where the images are atoms too, none of which has neighbours."""
    n_all = environment.n_atoms_extended
    result = ACEAtomicEnvironment()
    result.x = environment.x
    result.species_type = environment.species_type
    result.origins = list(range(n_all))
    result.neighbour_list = list(environment.neighbour_list) + [[]] * (n_all - environment.n_atoms_real)
    return result
