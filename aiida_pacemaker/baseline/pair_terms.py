"""The formulas of the pair terms: ZBL, switched as in LAMMPS, and Lennard-Jones 12-6, as ``pair_style lj/cut`` has it.

It needs nothing but NumPy: this file is also put beside the drivers, which run where this package is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

#: Coulomb energy of two elementary charges at one angstrom in eV: ``qqr2e`` of the metal units of LAMMPS.
COULOMB = 14.399645
#: Length in angstrom of which the screening length is made, and the exponent of the atomic numbers in it.
SCREENING_LENGTH, SCREENING_EXPONENT = 0.46850, 0.23
#: Weights and inverse decay lengths (per screening length) of the four terms of the universal screening function.
WEIGHTS = np.array([0.02817, 0.28022, 0.50986, 0.18175])
DECAYS = np.array([0.20162, 0.40290, 0.94229, 3.19980])


def zbl(
    distance: FloatArray, first: FloatArray, second: FloatArray, inner: float, outer: float
) -> tuple[FloatArray, FloatArray]:
    """Return the energy of each pair in eV and its derivative by the distance in eV/angstrom, both of shape (P,).

    The energy is ``Z1 Z2 e^2 / r phi(r / a) + S(r)`` with the constants of J. F. Ziegler, J. P. Biersack and
    U. Littmark, The Stopping and Range of Ions in Matter, Pergamon (1985). ``S`` is the switching function of
    ``pair_style zbl`` (https://docs.lammps.org/pair_zbl.html): a constant up to ``inner``, a polynomial that takes
    energy, force and curvature to zero at ``outer``, and nothing is left beyond.

    :param distance: distances in angstrom, greater than zero, shape (P,).
    :param first: atomic numbers of the first atoms, shape (P,).
    :param second: atomic numbers of the second atoms, shape (P,).
    :param inner: distance in angstrom where the switching begins.
    :param outer: distance in angstrom from where on the energy is zero.
    """
    energy, slope, _ = _screened(distance, first, second)
    end, end_slope, end_curvature = _screened(np.full_like(distance, outer), first, second)
    width = outer - inner
    cubic = (width * end_curvature - 3 * end_slope) / width**2
    quartic = (2 * end_slope - width * end_curvature) / width**3
    constant = -end + width / 2 * end_slope - width**2 / 12 * end_curvature
    depth = np.clip(distance - inner, 0, None)
    energy = energy + constant + depth**3 * (cubic / 3 + quartic / 4 * depth)
    slope = slope + depth**2 * (cubic + quartic * depth)
    inside = distance < outer
    return np.where(inside, energy, 0.0), np.where(inside, slope, 0.0)


def _screened(distance: FloatArray, first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the energy without switching and its first and second derivative by the distance, each of shape (P,)."""
    screening = SCREENING_LENGTH / (first**SCREENING_EXPONENT + second**SCREENING_EXPONENT)
    rates = DECAYS / screening[:, np.newaxis]
    terms = WEIGHTS * np.exp(-rates * distance[:, np.newaxis])
    phi, phi_slope, phi_curvature = terms.sum(axis=1), -(terms * rates).sum(axis=1), (terms * rates**2).sum(axis=1)
    charge = COULOMB * first * second / distance
    return (
        charge * phi,
        charge * (phi_slope - phi / distance),
        charge * (phi_curvature - 2 * phi_slope / distance + 2 * phi / distance**2),
    )


def lj(
    distance: FloatArray, epsilon: FloatArray, sigma: FloatArray, cutoff: FloatArray, shift: bool
) -> tuple[FloatArray, FloatArray]:
    """Return the energy of each pair in eV and its derivative by the distance in eV/angstrom, both of shape (P,).

    The energy is ``4 epsilon ((sigma / r)^12 - (sigma / r)^6)`` below the cutoff and zero beyond
    (https://docs.lammps.org/pair_lj.html). The force jumps at the cutoff; the energy does unless it is shifted.

    :param distance: distances in angstrom, greater than zero, shape (P,).
    :param epsilon: depth of the well in eV, shape (P,).
    :param sigma: distance in angstrom where the energy is zero, shape (P,).
    :param cutoff: distance in angstrom from where on the energy is zero, shape (P,).
    :param shift: whether the energy is shifted to be zero at the cutoff (``pair_modify shift yes``).
    """
    sixth = (sigma / distance) ** 6
    energy = 4 * epsilon * sixth * (sixth - 1)
    if shift:
        at_cutoff = (sigma / cutoff) ** 6
        energy = energy - 4 * epsilon * at_cutoff * (at_cutoff - 1)
    slope = -24 * epsilon * sixth * (2 * sixth - 1) / distance
    inside = distance < cutoff
    return np.where(inside, energy, 0.0), np.where(inside, slope, 0.0)
