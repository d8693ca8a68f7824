"""Draws of the coefficients of a linear potential from the posterior of its fit: members of an ensemble."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from aiida_pacemaker.errors import PotentialFileError
from aiida_pacemaker.pace.densities import FUNCTION
from aiida_pacemaker.pace.output.potentials import read_potential, strip_fit_cycles

FloatArray = npt.NDArray[np.float64]

#: Relative difference of a coefficient and of what was read of its file.
_ROUNDED = 1e-12


def draw_coefficients(
    coefficients: FloatArray,
    used: npt.NDArray[np.intp],
    scale: FloatArray,
    root: FloatArray,
    *,
    factor: float,
    seed: int,
) -> FloatArray:
    """Return coefficients drawn from the posterior of a linear fit, shape (K,).

    :param coefficients: its mean, shape (K,).
    :param used: positions of the coefficients that the data determine, shape (U,). All others stay.
    :param scale: of each of these, shape (U,).
    :param root: a root of the covariance of `coefficients[used] / scale`, shape (U, R).
    :param factor: that the standard deviations are multiplied by.
    :param seed: of the random numbers (PCG64 of NumPy).
    """
    normal = np.random.default_rng(seed).standard_normal(root.shape[1])
    drawn: FloatArray = coefficients.copy()
    drawn[used] += factor * scale * (root @ normal)
    return drawn


def with_coefficients(content: bytes, before: FloatArray, after: FloatArray) -> bytes:
    """Return a B-basis potential of one density with other coefficients; all else stays.

    The engine has them in another order than the file, so each is found by its value.

    :param content: the content of the ``.yaml``, as the engine writes it.
    :param before: the coefficients of the potential in any order, shape (K,).
    :param after: what takes the place of each, shape (K,).
    :raises PotentialFileError: if the coefficients of the potential are others, or if two that are equal become
        different ones.
    """
    lines = strip_fit_cycles(content.decode()).splitlines(keepends=True)
    places = {number: found for number, line in enumerate(lines) if (found := FUNCTION.match(line))}
    if read_potential(content).n_functions != len(places):
        raise PotentialFileError(
            'its functions are not written as the engine writes those of one density, one a line: read it with '
            'pyace.BBasisConfiguration and save it'
        )
    values = np.array([float(found[3]) for found in places.values()])
    if len(values) != len(before):
        raise PotentialFileError(f'it has {len(values)} coefficients, and the posterior {len(before)}')
    order, theirs = np.argsort(values, kind='stable'), np.argsort(before, kind='stable')
    tolerance = _ROUNDED * np.abs(before[theirs])
    if not (np.abs(values[order] - before[theirs]) <= tolerance).all():
        raise PotentialFileError('the posterior is not that of the potential: their coefficients differ')
    twins = np.diff(before[theirs]) <= tolerance[1:]
    if (twins & (np.diff(after[theirs]) != 0)).any():
        raise PotentialFileError('two of its coefficients are equal, so it is not known which is which')
    drawn = np.empty(len(values))
    drawn[order] = after[theirs]
    for (number, found), value in zip(places.items(), drawn.tolist(), strict=True):
        lines[number] = f'{found[1]}{value:.17g}{found[4]}'
    return ''.join(lines).encode()
