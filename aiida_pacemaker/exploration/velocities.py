"""Velocities of atoms at a temperature.

It needs nothing but NumPy: this file is also put beside the drivers, which run where this package is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]


def thermal_velocities(masses: FloatArray, thermal_energy: float, random: np.random.RandomState) -> FloatArray:
    """Draw velocities from the Maxwell-Boltzmann distribution, with zero total momentum, shape (n, 3).

    Their unit is the root of that of the energy over that of the masses: with eV and atomic mass units it is the unit
    of velocities of ASE. A single atom keeps its motion.

    :param masses: shape (n,).
    :param thermal_energy: Boltzmann's constant times the temperature.
    :param random: where the random numbers come from, three for each atom.
    """
    column = masses[:, None]
    velocities: FloatArray = random.standard_normal((len(masses), 3)) * np.sqrt(thermal_energy / column)
    if len(masses) > 1:
        velocities -= (column * velocities).sum(axis=0) / column.sum()
    return velocities
