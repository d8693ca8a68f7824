"""The baseline of a run, with a list of pairs that is good for many steps: put beside the drivers that move atoms."""

import numpy as np
from ase.neighborlist import neighbor_list
from pair_terms import PairTerm

#: In angstrom: how much farther than the baseline reaches pairs are listed, so that the list is good for many steps.
SKIN = 0.5


class ListedBaseline:
    """The terms of a baseline, with a list of pairs that is made anew when atoms or cell have moved too far.

    :param terms: plain data, as `PairTerm` takes them.
    """

    def __init__(self, terms):
        self.terms = [PairTerm(term) for term in terms]
        self.cutoff = max((term.cutoff for term in self.terms), default=0.0)
        self.listed = None

    def evaluate(self, atoms):
        """Return energy in eV, forces in eV/angstrom and stress in eV/angstrom^3, None without three cell vectors.

        :raises ValueError: if two atoms are at the same place.
        """
        forces, virial = np.zeros((len(atoms), 3)), np.zeros((3, 3))
        volume = atoms.get_volume() if atoms.cell.rank == 3 else None
        if not self.terms:
            return 0.0, forces, None if volume is None else virial
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
        stress = None if volume is None else 0.5 * (virial + virial.T) / volume
        return 0.5 * float(energy.sum()), forces, stress

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
