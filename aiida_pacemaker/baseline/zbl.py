"""The universal repulsion of screened nuclei of Ziegler, Biersack and Littmark (ZBL), switched as in LAMMPS."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from aiida_pacemaker.baseline.elements import covalent_radius
from aiida_pacemaker.frames.table import FloatArray

#: Coulomb energy of two elementary charges at one angstrom in eV: ``qqr2e`` of the metal units of LAMMPS.
COULOMB = 14.399645
#: Length in angstrom of which the screening length is made, and the exponent of the atomic numbers in it.
SCREENING_LENGTH, SCREENING_EXPONENT = 0.46850, 0.23
#: Weights and inverse decay lengths (per screening length) of the four terms of the universal screening function.
WEIGHTS = np.array([0.02817, 0.28022, 0.50986, 0.18175])
DECAYS = np.array([0.20162, 0.40290, 0.94229, 3.19980])

#: The default outer cutoff, as part of the bond length that the two smallest atoms would have.
OUTER_FRACTION = 0.7
#: The default inner cutoff, as part of the outer one.
INNER_FRACTION = 0.5


def default_cutoffs(elements: Iterable[str]) -> tuple[float, float]:
    """Return the inner and the outer cutoff in angstrom that follow from the elements alone.

    The cutoffs are the same for all pairs, as LAMMPS needs them, so the two smallest atoms decide: the outer cutoff is
    0.7 times the sum of their covalent radii. That is below the bond lengths of the elements' diatomic molecules and
    the nearest-neighbour distances of their cubic and hexagonal crystals as tabulated in ``ase.data`` (the closest is
    N2, at 0.77 of that sum) and of alpha uranium (0.702): the baseline acts where atoms collide and is zero where they
    bond. The inner cutoff is half of the outer one, which leaves the switching function room to be smooth. Beside a
    small atom the pairs of large ones could do with more: give the cutoffs explicitly where they matter.

    :param elements: chemical symbols.
    :raises ValueError: if there are none, or if the covalent radius of one is not known.
    """
    radii = [covalent_radius(symbol) for symbol in elements]
    if not radii:
        raise ValueError('there are no elements to take the ZBL cutoffs from; give at least one chemical symbol')
    outer = round(OUTER_FRACTION * 2 * min(radii), 3)
    return round(INNER_FRACTION * outer, 3), outer


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
