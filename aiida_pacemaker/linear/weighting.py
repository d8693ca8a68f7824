"""What counts how much: weights of rows, in physical words or in those of Pacemaker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

import numpy as np

from .equations import Equations, FloatArray


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

    def of_frame(self, energy: float, forces: FloatArray) -> tuple[float, FloatArray]:
        """Return the weight of an energy, and those of the forces of each atom.

        :param energy: in eV/atom, atomic reference energies subtracted.
        :param forces: in eV/angstrom, shape (n, 3).
        """
        weight = 1.0 if self.scale is None else (self.scale / (max(energy - self.reference, 0.0) + self.scale)) ** 2
        return weight, np.full(len(forces), weight)

    def scales(self, equations: Equations) -> dict[str, float]:
        """Return what the rows of each kind are multiplied with, by which the mean weight of frames is 1."""
        mean = equations.weights['energy'] / max(equations.counts['energy'], 1)
        root = 1.0 if mean <= 0 else 1.0 / np.sqrt(mean)
        return {'energy': self.ratio * root, 'forces': root, 'virial': self.virial * root}


@dataclass(frozen=True)
class Pacemaker:
    """The loss of Pacemaker: ``(1 - kappa) sum w_E de^2 + kappa sum w_F |dF|^2``; each kind of weights has the sum 1.

    :param kappa: weight of the forces, 0 to 1.
    :param offsets: ``DE`` (eV/atom) and ``DF`` of the energy-based weights ``1 / (e - reference + DE)^2`` and, for the
        forces of an atom, that over ``|F|^2 + DF``; None for equal weights.
    :param reference: zero of energy in eV/atom of the energy-based weights.
    """

    kappa: float
    offsets: tuple[float, float] | None = None
    reference: float = 0.0

    def of_frame(self, energy: float, forces: FloatArray) -> tuple[float, FloatArray]:
        """Return the weight of an energy, and those of the forces of each atom, as :meth:`Physical.of_frame`."""
        if self.offsets is None:
            return 1.0, np.ones(len(forces))
        weight = 1.0 / (energy - self.reference + self.offsets[0]) ** 2
        return weight, weight / (np.sum(forces**2, axis=1) + self.offsets[1])

    def scales(self, equations: Equations) -> dict[str, float]:
        """Return what the rows of each kind are multiplied with."""
        # The weight of an atom is that of each of its three components.
        sums = equations.weights['energy'], equations.weights['forces'] / 3
        shares = 1.0 - self.kappa, self.kappa
        energy, forces = (np.sqrt(share / total) if total > 0 else 0.0 for share, total in zip(shares, sums))
        return {'energy': float(energy), 'forces': float(forces), 'virial': 0.0}


Weighting = Union[Physical, Pacemaker]


def loss_of(factor: FloatArray, coefficients: FloatArray) -> float:
    """Return the sum of the squares of weighted residuals.

    :param factor: triangular factor of all equations, as of :meth:`Equations.factor`.
    """
    residual = factor @ np.append(coefficients, -1.0)
    return float(residual @ residual)
