"""Error bars of a linear fit: standard deviations of energies and forces by its posterior, calibrated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyace
from ase.neighborlist import neighbor_list

from .basis import Basis
from .equations import FloatArray
from .rows import RowMaker
from .saving import take_back_repulsion
from .weighting import Physical

#: Relative difference of coefficients that are written to a file and read again.
ROUNDED = 1e-9


@dataclass(frozen=True)
class Posterior:
    """How uncertain the coefficients of a fit are, as its job brings it back.

    :param coefficients: shape (K,).
    :param used: positions of the coefficients that the data determine, shape (U,).
    :param scale: of each of these, shape (U,).
    :param root: the covariance of these is that of ``scale * (root @ n)`` for standard normal ``n``, shape (U, R).
    :param calibration: factor and offset of the energies (offset in eV/atom), then of the forces (eV/angstrom): the
        variance is ``factor^2 spread^2 + offset^2``; NaN where it is not known. Shape (2, 2).
    """

    coefficients: FloatArray
    used: Any
    scale: FloatArray
    root: FloatArray
    calibration: FloatArray

    @classmethod
    def load(cls, path: str) -> Posterior:
        """Read an archive of arrays, without pickles."""
        with np.load(path, allow_pickle=False) as content:
            return cls(*(content[name] for name in ('coefficients', 'used', 'scale', 'root', 'calibration')))

    def spread(self, rows: FloatArray) -> FloatArray:
        """Return the standard deviation of each row by the posterior alone, shape (M,).

        :param rows: shape (M, K).
        """
        projected = (rows[:, self.used] * self.scale) @ self.root
        result: FloatArray = np.sqrt(np.einsum('ij,ij->i', projected, projected))
        return result


class ErrorBars:
    """Standard deviations of what a potential predicts.

    :param potential: name of its B-basis file.
    :param posterior: of its fit.
    :raises ValueError: if they do not belong together.
    """

    def __init__(self, potential: str, posterior: Posterior) -> None:
        configuration = pyace.BBasisConfiguration(potential)
        self._cores = cores_of(configuration)
        # The functions themselves: below the data, where ZBL takes their place, they would have no spread at all.
        take_back_repulsion(configuration)
        basis = Basis.of_configuration(configuration)
        found = np.array(basis.functions.basis_coeffs)
        if found.shape != posterior.coefficients.shape or not np.allclose(
            found, posterior.coefficients, rtol=ROUNDED, atol=ROUNDED * float(np.abs(found).max(initial=0.0))
        ):
            raise ValueError('the posterior is not that of the potential: their coefficients differ')
        self._posterior = posterior
        self._rows = RowMaker(basis, Physical())

    def of(self, atoms: Any) -> tuple[float, FloatArray]:
        """Return the standard deviation of the energy in eV, and of a force component of each atom in eV/angstrom.

        That of an atom is the root mean square over its three components. It is infinite for atoms that are closer to
        another than the functions reach: nothing is known there but ZBL.

        :param atoms: a structure with a right-handed cell.
        :returns: the second of shape (n,).
        """
        terms = self._rows.terms_of(atoms)
        (energy_factor, energy_offset), (factor, offset) = self._posterior.calibration
        energy = self._posterior.spread(terms.rows['energy'])[0]
        forces = self._posterior.spread(terms.rows['forces']).reshape(-1, 3)
        sigma = np.sqrt(np.mean((factor * forces) ** 2 + offset**2, axis=1))
        if self._cores:
            sigma[np.unique(neighbor_list('i', atoms, self._cores))] = np.inf
        of_energy = float(np.hypot(energy_factor * energy, energy_offset)) * len(atoms)
        # Not calibrated where there were too few frames.
        return of_energy if np.isfinite(of_energy) else np.inf, sigma


def cores_of(configuration: Any) -> dict[tuple[str, str], float]:
    """Return where ZBL takes the place of the functions: distances in angstrom by pairs of elements."""
    cores = {}
    for block in configuration.funcspecs_blocks:
        names = block.block_name.split()
        if len(names) <= 2 and block.inner_cutoff_type == 'zbl' and block.r_in > 0:
            cores[names[0], names[-1]] = float(block.r_in)
    return cores
