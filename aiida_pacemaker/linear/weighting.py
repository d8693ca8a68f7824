"""What counts how much: weights of rows, in physical words or in those of Pacemaker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

import numpy as np

from .equations import FloatArray

#: Weights that come with the data: of the energy of a frame, and of the forces of each of its atoms.
Given = Optional[tuple[float, FloatArray]]


def formula_of(atoms: Any) -> str:
    """Return the reduced formula of a structure, such as `MgO`, by which energies of reference are named."""
    return str(atoms.symbols.formula.reduce()[0].format('hill'))


@dataclass(frozen=True)
class Physical:
    """Weights in physical words: the sum over frames of ``w (ratio^2 de^2 + |dF|^2 + virial^2 dv^2)``.

    ``de`` is the error of the energy in eV/atom, ``dF`` those of all force components in eV/angstrom and ``dv`` those
    of the six virial components (stress times volume) in eV/atom. ``w = 1 / (e - reference + scale)^2``, times the
    weights of frames and atoms that come with the data: high energies count less.

    :param ratio: an error of 1 meV/atom counts as much as one of `ratio` meV/angstrom.
    :param scale: energy above the reference in eV/atom that halves the weight's root; None for equal weights.
    :param reference: energy in eV/atom of the lowest frame, atomic reference energies subtracted.
    :param virial: an error of 1 meV/atom in a virial counts as much as one of `virial` meV/angstrom; 0: not fitted.
    """

    ratio: float = 10.0
    scale: float | None = 1.0
    reference: float = 0.0
    virial: float = 1.0

    def of_frame(
        self, energy: float, forces: FloatArray, formula: str = '', given: Given = None
    ) -> tuple[float, FloatArray]:
        """Return the weight of an energy, and those of the forces of each atom.

        :param energy: in eV/atom, atomic reference energies subtracted.
        :param forces: in eV/angstrom, shape (n, 3).
        :param formula: of the structure, as of :func:`formula_of`.
        :param given: weights that come with the data, by which those of the energy are multiplied.
        """
        weight = 1.0 if self.scale is None else (self.scale / (max(energy - self.reference, 0.0) + self.scale)) ** 2
        if given is None:
            return weight, np.full(len(forces), weight)
        return weight * given[0], weight * given[1]

    def leaves_out(self, energy: float, formula: str) -> bool:
        """Return whether a frame of this energy in eV/atom is no part of the fit: none."""
        return False

    def scales(self, sums: Mapping[str, float], counts: Mapping[str, int]) -> dict[str, float]:
        """Return what the rows of each kind are multiplied with, by which the mean weight of frames is 1.

        :param sums: by kind, of the weights of rows.
        :param counts: by kind, of rows.
        """
        mean = sums['energy'] / max(counts['energy'], 1)
        root = 1.0 if mean <= 0 else 1.0 / np.sqrt(mean)
        return {'energy': self.ratio * root, 'forces': root, 'virial': self.virial * root}


@dataclass(frozen=True)
class Pacemaker:
    """The loss of Pacemaker: ``(1 - kappa) sum w_E de^2 + kappa sum w_F |dF|^2``; each kind of weights has the sum 1.

    :param kappa: weight of the forces, 0 to 1.
    :param offsets: ``DE`` (eV/atom) and ``DF`` of the energy-based weights ``1 / (e - reference + DE)^2`` and, for the
        forces of an atom, that over ``|F|^2 + DF``; None for equal weights. Their signs do not count.
    :param reference: zero of energy in eV/atom of the energy-based weights: one, or one for each reduced formula, as
        of :func:`.hull.hull_energies`.
    :param upper: frames at this energy above the reference, in eV/atom, or higher are left out.
    """

    kappa: float
    offsets: tuple[float, float] | None = None
    reference: float | Mapping[str, float] = 0.0
    upper: float | None = None

    def of_frame(
        self, energy: float, forces: FloatArray, formula: str = '', given: Given = None
    ) -> tuple[float, FloatArray]:
        """Return the weight of an energy, and those of the forces of each atom, as :meth:`Physical.of_frame`.

        Weights that come with the data take the place of all others, as they do in Pacemaker.
        """
        if given is not None:
            return float(given[0]), np.asarray(given[1], dtype=float)
        if self.offsets is None:
            return 1.0, np.ones(len(forces))
        weight = 1.0 / (self._above(energy, formula) + abs(self.offsets[0])) ** 2
        return weight, weight / (np.sum(forces**2, axis=1) + abs(self.offsets[1]))

    def leaves_out(self, energy: float, formula: str) -> bool:
        """Return whether a frame of this energy in eV/atom, without weights of its own, is no part of the fit."""
        return self.offsets is not None and self.upper is not None and self._above(energy, formula) >= self.upper

    def _above(self, energy: float, formula: str) -> float:
        """Return how far an energy is above the reference, in eV/atom."""
        return energy - (self.reference[formula] if isinstance(self.reference, Mapping) else self.reference)

    def scales(self, sums: Mapping[str, float], counts: Mapping[str, int]) -> dict[str, float]:
        """Return what the rows of each kind are multiplied with, as :meth:`Physical.scales`."""
        # The weight of an atom is that of each of its three components.
        totals = sums['energy'], sums['forces'] / 3
        shares = 1.0 - self.kappa, self.kappa
        energy, forces = (np.sqrt(share / total) if total > 0 else 0.0 for share, total in zip(shares, totals))
        return {'energy': float(energy), 'forces': float(forces), 'virial': 0.0}


Weighting = Union[Physical, Pacemaker]


def loss_of(factor: FloatArray, coefficients: FloatArray) -> float:
    """Return the sum of the squares of weighted residuals.

    :param factor: triangular factor of all equations, as of :meth:`Equations.factor`.
    """
    residual = factor @ np.append(coefficients, -1.0)
    return float(residual @ residual)
