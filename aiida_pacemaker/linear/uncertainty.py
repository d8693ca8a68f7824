"""Error bars of a linear fit: standard deviations of energies and forces by its posterior, calibrated."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyace
from ase.neighborlist import neighbor_list

from .basis import Basis
from .coefficients import Coefficients
from .equations import FloatArray
from .repulsion import pair_of, take_back_repulsion
from .rows import RowMaker
from .validation import calibrated
from .weighting import Physical

#: Relative difference of coefficients that are written to a file and read again.
ROUNDED = 1e-9


@dataclass(frozen=True)
class Posterior(Coefficients):
    """How uncertain the coefficients of a fit are, as its job brings it back.

    :param calibration: factor and offset of the energies (offset in eV/atom), then of the forces (eV/angstrom), see
        :func:`.validation.calibrated`; NaN where it is not known. Shape (2, 2).
    """

    calibration: FloatArray

    @classmethod
    def load(cls, path: str) -> Posterior:
        """Read an archive of arrays, without pickles."""
        with np.load(path, allow_pickle=False) as content:
            return cls(*(content[field.name] for field in fields(cls)))


class ErrorBars:
    """Standard deviations of what a potential predicts.

    :param potential: name of its B-basis file.
    :param posterior: of its fit.
    :raises ValueError: if they do not belong together.
    """

    def __init__(self, potential: str, posterior: Posterior) -> None:
        configuration = pyace.BBasisConfiguration(potential)
        self._cores = cores_of(configuration)
        self._posterior = posterior
        self._rows = RowMaker(fitted_basis(configuration, posterior), Physical())

    def of(self, atoms: Any) -> tuple[float, FloatArray]:
        """Return the standard deviation of the energy in eV, and of a force component of each atom in eV/angstrom.

        That of an atom is the root mean square over its three components. It is infinite for atoms that are closer to
        another than the functions reach: nothing is known there but ZBL.

        :param atoms: a structure with a right-handed cell.
        :returns: the second of shape (n,).
        """
        terms = self._rows.terms_of(atoms)
        of_energies, of_forces = self._posterior.calibration
        energy = float(calibrated(self._posterior.spread(terms.rows['energy']), *of_energies)[0]) * len(atoms)
        forces = calibrated(self._posterior.spread(terms.rows['forces']), *of_forces).reshape(-1, 3)
        sigma = np.sqrt(np.mean(forces**2, axis=1))
        if self._cores:
            sigma[np.unique(neighbor_list('i', atoms, self._cores))] = np.inf
        # Not calibrated where there were too few frames.
        return energy if np.isfinite(energy) else np.inf, sigma


def fitted_basis(configuration: Any, posterior: Posterior) -> Basis:
    """Return the functions that were fitted: below the data too, where ZBL takes their place.

    There they would have no spread at all, and labels would say nothing.

    :param configuration: the `BBasisConfiguration` of the potential, whose repulsion is taken back.
    :raises ValueError: if the posterior is not that of the potential.
    """
    take_back_repulsion(configuration)
    basis = Basis.of_configuration(configuration)
    found = np.array(basis.functions.basis_coeffs)
    if found.shape != posterior.coefficients.shape or not np.allclose(
        found, posterior.coefficients, rtol=ROUNDED, atol=ROUNDED * float(np.abs(found).max(initial=0.0))
    ):
        raise ValueError('the posterior is not that of the potential: their coefficients differ')
    return basis


def cores_of(configuration: Any) -> dict[tuple[str, str], float]:
    """Return where ZBL takes the place of the functions: distances in angstrom by pairs of elements."""
    cores = {}
    for block in configuration.funcspecs_blocks:
        pair = pair_of(block)
        if pair is not None and block.inner_cutoff_type == 'zbl' and block.r_in > 0:
            cores[pair] = float(block.r_in)
    return cores
