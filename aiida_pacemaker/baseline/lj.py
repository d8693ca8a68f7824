"""The Lennard-Jones 12-6 potential, as ``pair_style lj/cut`` of LAMMPS has it."""

from __future__ import annotations

import numpy as np

from aiida_pacemaker.baseline.elements import covalent_radius
from aiida_pacemaker.frames.table import FloatArray

#: The default depth of the well in eV: that of argon, 120 K (A. Rahman, Phys. Rev. 136, A405 (1964)), rounded.
EPSILON = 0.01
#: The default cutoff in units of sigma, where 1.6 % of the depth is left.
CUTOFF_IN_SIGMA = 2.5


def default_pair(first: str, second: str) -> tuple[float, float, float]:
    """Return epsilon in eV, sigma and the cutoff in angstrom that follow from the elements alone.

    The minimum ``2^(1/6) sigma`` sits at the sum of the covalent radii (Cordero et al. 2008). Van der Waals parameters
    of a general force field, such as UFF, put it farther out: at the length of a chemical bond they give repulsions of
    up to kiloelectronvolts, which the fitted difference would have to take back. The depth is one for all pairs and
    small next to a bond, that of a van der Waals well. Both are a choice of this package and no published force field:
    where the long-range attraction matters, give the pairs explicitly.

    :param first: chemical symbol of one element.
    :param second: chemical symbol of the other.
    :raises ValueError: if the covalent radius of one is not known.
    """
    sigma = (covalent_radius(first) + covalent_radius(second)) / 2 ** (1 / 6)
    return EPSILON, round(sigma, 4), round(CUTOFF_IN_SIGMA * sigma, 4)


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
