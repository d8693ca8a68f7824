"""The formulas of the pair terms: ZBL, switched as in LAMMPS, and Lennard-Jones 12-6, switched off at short range.

It needs nothing but NumPy: this file is also put beside the drivers, which run where this package is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    IntArray = npt.NDArray[np.int64]

#: Coulomb energy of two elementary charges at one angstrom in eV: ``qqr2e`` of the metal units of LAMMPS.
COULOMB = 14.399645
#: Length in angstrom of which the screening length is made, and the exponent of the atomic numbers in it.
SCREENING_LENGTH, SCREENING_EXPONENT = 0.46850, 0.23
#: Weights and inverse decay lengths (per screening length) of the four terms of the universal screening function.
WEIGHTS = np.array([0.02817, 0.28022, 0.50986, 0.18175])
DECAYS = np.array([0.20162, 0.40290, 0.94229, 3.19980])
#: Atomic numbers are below this.
N_NUMBERS = 119
#: What of a pair goes into its energy, by the kind of the term; in angstrom, but for epsilon (eV).
PARAMETERS = {'zbl': ('inner', 'outer'), 'lj': ('epsilon', 'sigma', 'cutoff', 'off', 'on')}


class PairTerm:
    """A term of a baseline, ready for many pairs.

    :param plain: plain data: the ``kind`` of the term (``zbl`` or ``lj``), its ``pairs``, each with the atomic
        ``numbers`` and the ``PARAMETERS`` of its kind, and for LJ whether it is to ``shift``.
    """

    def __init__(self, plain: dict[str, Any]) -> None:
        self.kind = plain['kind']
        self.shift = plain.get('shift', False)
        self.cutoff = max(pair['outer' if self.kind == 'zbl' else 'cutoff'] for pair in plain['pairs'])
        self._tables = _tables(plain['pairs'], PARAMETERS[self.kind])

    def evaluate(self, distance: FloatArray, first: IntArray, second: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return the energy of each pair in eV and its derivative by the distance in eV/angstrom, both of shape (P,).

        :param distance: distances in angstrom, greater than zero, shape (P,).
        :param first: atomic numbers of the first atoms, shape (P,).
        :param second: atomic numbers of the second atoms, shape (P,).
        """
        parameters = self._tables[:, first, second]
        if self.kind == 'zbl':
            return zbl(distance, first.astype(np.float64), second.astype(np.float64), *parameters)
        epsilon, sigma, cutoff, off, on = parameters
        return lj(distance, epsilon, sigma, cutoff, self.shift, off, on)


def _tables(pairs: Sequence[dict[str, Any]], names: tuple[str, ...]) -> FloatArray:
    """Return the parameters by the atomic numbers of both atoms, shape (N, Z, Z); NaN where there are none."""
    tables = np.full((len(names), N_NUMBERS, N_NUMBERS), np.nan)
    for pair in pairs:
        first, second = pair['numbers']
        tables[:, first, second] = tables[:, second, first] = [pair[name] for name in names]
    return tables


def zbl(
    distance: FloatArray, first: FloatArray, second: FloatArray, inner: FloatArray | float, outer: FloatArray | float
) -> tuple[FloatArray, FloatArray]:
    """Return the energy of each pair in eV and its derivative by the distance in eV/angstrom, both of shape (P,).

    The energy is ``Z1 Z2 e^2 / r phi(r / a) + S(r)`` with the constants of J. F. Ziegler, J. P. Biersack and
    U. Littmark, The Stopping and Range of Ions in Matter, Pergamon (1985). ``S`` is the switching function of
    ``pair_style zbl`` (https://docs.lammps.org/pair_zbl.html): a constant up to ``inner``, a polynomial that takes
    energy, force and curvature to zero at ``outer``, and nothing is left beyond.

    The energy decreases with the distance all the way to ``outer``, whatever the cutoffs are. Proof: the screened
    Coulomb energy ``E`` is completely monotone (a sum of ``exp(-kr)/r``), hence ``E'(r) <= E'(c) - (c - r) E''(c)`` for
    ``r < c``. With the width ``w`` and ``x = (r - inner)/w`` the polynomial makes of that a slope of at most
    ``E'(c) (1 - x)^2 (1 + 2x) - w E''(c) (1 - x)^2 (1 + x)``, which is negative for ``x < 1``.

    :param distance: distances in angstrom, greater than zero, shape (P,).
    :param first: atomic numbers of the first atoms, shape (P,).
    :param second: atomic numbers of the second atoms, shape (P,).
    :param inner: distance in angstrom where the switching begins, of all pairs or of each, shape (P,).
    :param outer: distance in angstrom from where on the energy is zero, likewise.
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
    distance: FloatArray,
    epsilon: FloatArray,
    sigma: FloatArray,
    cutoff: FloatArray,
    shift: bool,
    off: FloatArray | float = 0.0,
    on: FloatArray | float = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """Return the energy of each pair in eV and its derivative by the distance in eV/angstrom, both of shape (P,).

    The energy is ``s(x) 4 epsilon ((sigma / r)^12 - (sigma / r)^6)`` below the cutoff and zero beyond
    (https://docs.lammps.org/pair_lj.html). The force jumps at the cutoff; the energy does unless it is shifted. It is
    switched by ``s(x) = x^5 (126 - 420 x + 540 x^2 - 315 x^3 + 70 x^4)`` with ``x = (r - off) / (on - off)``, zero up
    to ``off`` and one from ``on``. Four derivatives of ``s`` vanish at both ends: two make energy, force and curvature
    continuous, and with the others a table of LAMMPS has the force to 1e-9.

    :param distance: distances in angstrom, greater than zero, shape (P,).
    :param epsilon: depth of the well in eV, shape (P,).
    :param sigma: distance in angstrom where the energy is zero, shape (P,).
    :param cutoff: distance in angstrom from where on the energy is zero, shape (P,).
    :param shift: whether the energy is shifted to be zero at the cutoff (``pair_modify shift yes``).
    :param off: distance in angstrom up to which the energy is zero, of all pairs or of each, shape (P,).
    :param on: distance in angstrom from where on the energy is that of LJ, likewise; where it is not beyond ``off``,
        nothing is switched.
    """
    switched = np.broadcast_to(np.greater(on, off), distance.shape)
    width = np.where(switched, np.subtract(on, off), 1.0)
    x = np.where(switched, np.clip((distance - off) / width, 0.0, 1.0), 1.0)
    inside = (distance < cutoff) & (x > 0)
    # Where it is off the energy may be beyond all numbers.
    sixth = (sigma / np.where(inside, distance, sigma)) ** 6
    energy = 4 * epsilon * sixth * (sixth - 1)
    if shift:
        at_cutoff = (sigma / cutoff) ** 6
        energy = energy - 4 * epsilon * at_cutoff * (at_cutoff - 1)
    slope = -24 * epsilon * sixth * (2 * sixth - 1) / distance
    share = x**5 * (126 + x * (-420 + x * (540 + x * (-315 + 70 * x))))
    growth = 630 * (x * (1 - x)) ** 4 / width
    energy, slope = share * energy, share * slope + growth * energy
    return np.where(inside, energy, 0.0), np.where(inside, slope, 0.0)
