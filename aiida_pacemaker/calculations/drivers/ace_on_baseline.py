"""The whole potential as one ASE calculator, ACE and its baseline: put beside the drivers that move atoms."""

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list
from pair_terms import PairTerm
from structures import right_handed

#: In angstrom: how much farther than the baseline reaches pairs are listed, so that the list is good for many steps.
SKIN = 0.5

#: Rows and columns of the stress in the order of ASE: xx, yy, zz, yz, xz, xy.
VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


class AceOnBaseline(Calculator):
    """Energy, forces and, where there are three cell vectors, stress of ACE and the terms of its baseline.

    :param ace: the calculator of ACE alone.
    :param terms: the terms that were taken off the labels, as plain data.
    """

    implemented_properties = ['energy', 'free_energy', 'forces', 'stress']  # noqa: RUF012 - as ASE declares it

    def __init__(self, ace, terms):
        super().__init__()
        self.ace = ace
        self.baseline = Baseline(terms)

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        """Calculate all properties at once, as ASE asks for it."""
        super().calculate(atoms, properties, system_changes)
        self.ace.calculate(right_handed(atoms), ['energy', 'forces', 'stress'], all_changes)
        energy, forces, virial = self.baseline.evaluate(atoms)
        energy += float(self.ace.results['energy'])
        self.results = {'energy': energy, 'free_energy': energy, 'forces': forces + self.ace.results['forces']}
        if 'stress' in self.ace.results and atoms.cell.rank == 3:
            self.results['stress'] = self.ace.results['stress'] + virial[VOIGT] / atoms.get_volume()


class Baseline:
    """The terms of a baseline, with a list of pairs that is made anew when atoms or cell have moved too far.

    :param terms: plain data, as `PairTerm` takes them.
    """

    def __init__(self, terms):
        self.terms = [PairTerm(term) for term in terms]
        self.cutoff = max((term.cutoff for term in self.terms), default=0.0)
        self.listed = None

    def evaluate(self, atoms):
        """Return the energy in eV, the forces in eV/angstrom and the virial, which is stress times volume, in eV.

        :raises ValueError: if two atoms are at the same place.
        """
        forces, virial = np.zeros((len(atoms), 3)), np.zeros((3, 3))
        if not self.terms:
            return 0.0, forces, virial
        first, second, shift = self.pairs(atoms)
        vector = atoms.positions[second] - atoms.positions[first] + shift @ np.asarray(atoms.cell)
        distance = np.sqrt((vector**2).sum(axis=1))
        near = distance < self.cutoff
        first, second, vector, distance = first[near], second[near], vector[near], distance[near]
        if not distance.all():
            raise ValueError('two atoms are at the same place, where the baseline is infinite')
        energy, slope = np.zeros(len(distance)), np.zeros(len(distance))
        for term in self.terms:
            terms = term.evaluate(distance, atoms.numbers[first], atoms.numbers[second])
            energy += terms[0]
            slope += terms[1]
        # Each pair is listed from both of its ends.
        pull = (slope / distance)[:, None] * vector
        for axis in range(3):
            forces[:, axis] = np.bincount(first, pull[:, axis], len(atoms))
        virial = 0.5 * pull.T @ vector
        return 0.5 * float(energy.sum()), forces, 0.5 * (virial + virial.T)

    def pairs(self, atoms):
        """Return both atoms of each pair that may be near, and how many cell vectors lie between them."""
        if self.listed is None or not self._still_good(atoms):
            self.listed = neighbor_list('ijS', atoms, self.cutoff + SKIN)
            self.listed_for = atoms.copy()
        return self.listed

    def _still_good(self, atoms):
        """Tell whether no pair that is not listed can have come within the cutoff.

        The cell and with it all atoms are deformed; beyond that, each atom has moved by itself.
        """
        old = self.listed_for
        if not (np.array_equal(old.numbers, atoms.numbers) and np.array_equal(old.pbc, atoms.pbc)):
            return False
        deformation = np.linalg.inv(old.cell.complete()) @ atoms.cell.complete()
        moved = np.sqrt(((atoms.positions - old.positions @ deformation) ** 2).sum(axis=1)).max()
        shrunk = np.linalg.svd(deformation, compute_uv=False).min()
        return (self.cutoff + SKIN) * shrunk - 2 * moved > self.cutoff
