"""The default parameters of the Lennard-Jones potential, whose formula is in `pair_terms`."""

from __future__ import annotations

from aiida_pacemaker.baseline.elements import covalent_radius

#: The default depth of the well in eV: that of argon, 120 K (A. Rahman, Phys. Rev. 136, A405 (1964)), rounded.
EPSILON = 0.01
#: The default cutoff in units of sigma, where 1.6 % of the depth is left.
CUTOFF_IN_SIGMA = 2.5
#: Where it is switched on, in units of sigma: between its zero and its minimum, so that it never repels.
OFF_IN_SIGMA, ON_IN_SIGMA = 1.0, 2 ** (1 / 6)


def default_switch(sigma: float) -> tuple[float, float]:
    """Return the distances in angstrom up to which LJ is off, and from where on it is whole.

    Between its zero and its minimum LJ attracts. Switched on there it is a shallow well and nothing else: what repels
    at short range is ZBL, to which the twelfth power would add 1e7 eV at half an angstrom.

    :param sigma: distance in angstrom where the energy is zero.
    """
    return round(OFF_IN_SIGMA * sigma, 4), round(ON_IN_SIGMA * sigma, 4)


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
    sigma = (covalent_radius(first) + covalent_radius(second)) / ON_IN_SIGMA
    return EPSILON, round(sigma, 4), round(CUTOFF_IN_SIGMA * sigma, 4)
