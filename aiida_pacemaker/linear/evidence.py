"""Regularised least squares whose strengths follow from the data.

Each group of functions has one prior variance; it and the noise are those that make the data most likely (evidence
maximisation: MacKay, Neural Computation 4 (1992) 415; Bishop, Pattern Recognition and Machine Learning, 3.5). All on
triangular factors: no normal equations, nothing is inverted that is not regularised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dtpqrt, dtrtri

from .coefficients import Coefficients
from .equations import FloatArray, triangle

#: Rounds of the fixed-point iteration, and the relative change at which it ends.
ROUNDS, TOLERANCE = 200, 1e-3
#: Smallest noise in eV/angstrom: no label is more precise.
NOISE_FLOOR = 1e-3
#: Columns smaller than this part of the largest are taken for zero: elements and pairs that the data do not have.
NEGLIGIBLE = 1e-12
#: Columns that LAPACK takes together.
BLOCK = 32
#: Smallest square of a noise that is not estimated.
SMALLEST = 1e-100


@dataclass(frozen=True)
class Solution(Coefficients):
    """Coefficients that solve the equations; the root of their covariance is upper triangular, or that of a ridge.

    :param noise: standard deviation of a residual of weight 1, in eV/angstrom.
    :param precisions: inverse prior variance of each group, for scaled columns.
    :param effective: number of parameters that the data determine.
    :param rounds: how many rounds were needed.
    """

    noise: float
    precisions: FloatArray
    effective: float
    rounds: int


def solve_evidence(
    factor: FloatArray,
    n_rows: int,
    groups: npt.NDArray[np.intp],
    *,
    floor: float = NOISE_FLOOR,
) -> Solution:
    """Return the most likely coefficients, with prior variances and noise by the evidence.

    :param factor: triangular factor of all equations, the last column the right-hand side, shape (at most K + 1, K+1).
    :param n_rows: number of the equations that have a weight.
    :param groups: for each column the group whose prior variance it has, shape (K,), counted from 0.
    :param floor: smallest noise, in the unit of the right-hand side.
    :raises ValueError: if the data say nothing about any coefficient.
    """
    n_columns = len(groups)
    norms = np.sqrt(np.sum(factor[:, :n_columns] ** 2, axis=0))
    largest = float(norms.max(initial=0.0))
    used = np.flatnonzero(norms > NEGLIGIBLE * largest)
    if not len(used):
        raise ValueError('no function differs from zero on the data: there is nothing to fit')
    scale = np.sqrt(n_rows) / norms[used]
    square_factor = _square(factor, used, scale)
    of_group, n_groups = groups[used], int(groups.max()) + 1
    sizes = np.bincount(of_group, minlength=n_groups)
    square = max(float(np.sum(factor[:, n_columns] ** 2)) / n_rows, floor**2)
    precisions = np.full(n_groups, len(used) / square)
    noise = max(np.sqrt(0.01 * square), floor)
    rounds = 0
    while rounds < ROUNDS:
        rounds += 1
        x, root = _posterior(square_factor, noise, precisions[of_group])
        variances = np.sum(root**2, axis=1)
        determined = sizes - precisions * np.bincount(of_group, variances, n_groups)
        determined = np.clip(determined, 1e-10, None)
        squares = np.bincount(of_group, x**2, n_groups)
        residual = square_factor @ np.append(x, -1.0)
        before = np.append(np.log(precisions[sizes > 0]), 2 * np.log(noise))
        with np.errstate(divide='ignore'):
            precisions = np.where(sizes > 0, np.clip(determined / squares, 1e-15 / square, 1e15 / square), precisions)
        freedom = max(n_rows - float(determined[sizes > 0].sum()), 1.0)
        noise = max(float(np.sqrt(residual @ residual / freedom)), floor)
        change = np.abs(np.append(np.log(precisions[sizes > 0]), 2 * np.log(noise)) - before)
        if change.max() < TOLERANCE:
            break
    x, root = _posterior(square_factor, noise, precisions[of_group])
    coefficients = np.zeros(n_columns)
    coefficients[used] = x * scale
    determined = sizes - precisions * np.bincount(of_group, np.sum(root**2, axis=1), n_groups)
    return Solution(coefficients, used, scale, root, noise, precisions, float(determined[sizes > 0].sum()), rounds)


def solve_fixed(factor: FloatArray, n_rows: int, groups: npt.NDArray[np.intp], like: Solution) -> Solution:
    """Return the most likely coefficients with the prior variances and the noise of another solution.

    The scaling of the columns is also that of the other, so that the prior is the same. Without any prior it is the
    solution of least norm.
    """
    if not like.precisions.any():
        return solve_ridge(factor, n_rows, 0.0)
    n_columns = len(groups)
    square_factor = _square(factor, like.used, like.scale)
    x, root = _posterior(square_factor, like.noise, like.precisions[groups[like.used]])
    coefficients = np.zeros(n_columns)
    coefficients[like.used] = x * like.scale
    return Solution(coefficients, like.used, like.scale, root, like.noise, like.precisions, like.effective, 0)


def solve_ridge(factor: FloatArray, n_rows: int, penalty: float) -> Solution:
    """Return the minimum of the sum of squares plus `penalty` times that of the coefficients, as of Pacemaker.

    Without a penalty it is the solution of least norm.

    :param n_rows: number of the equations that have a weight.
    :raises ValueError: if the data say nothing about any coefficient.
    """
    n_columns = factor.shape[1] - 1
    rows, target = factor[:, :n_columns], factor[:, n_columns]
    used = np.flatnonzero(np.any(rows != 0, axis=0))
    if not len(used):
        raise ValueError('no function differs from zero on the data: there is nothing to fit')
    left, values, right = np.linalg.svd(rows[:, used], full_matrices=False)
    strengths = values**2 + penalty
    # Of smaller ones nothing is known but rounding (as in numpy.linalg.lstsq).
    kept = values > np.finfo(float).eps * max(rows.shape) * values[0]
    filtered = np.where(kept, values / np.where(strengths > 0, strengths, 1.0), 0.0)
    x = right.T @ (filtered * (left.T @ target))
    residual = rows[:, used] @ x - target
    effective = float(np.sum(values[kept] * filtered[kept]))
    # Not zero, of which everything else is a multiple.
    noise = max(float(np.sqrt(residual @ residual / max(n_rows - effective, 1.0))), float(np.sqrt(SMALLEST)))
    # Least norm: what the data do not say stays at zero, and its variance is not known.
    root = right.T * np.where(kept, noise / np.sqrt(np.where(strengths > 0, strengths, 1.0)), 0.0)
    coefficients = np.zeros(n_columns)
    coefficients[used] = x
    return Solution(coefficients, used, np.ones(len(used)), root, noise, np.array([penalty / noise**2]), effective, 0)


def _square(factor: FloatArray, used: npt.NDArray[np.intp], scale: FloatArray) -> FloatArray:
    """Return the triangular factor of scaled columns and the right-hand side, shape (U + 1, U + 1)."""
    found = triangle(np.column_stack([factor[:, used] * scale, factor[:, -1]]))
    square = np.zeros((len(used) + 1, len(used) + 1))
    square[: len(found)] = found
    return square


def _posterior(factor: FloatArray, noise: float, precisions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean, and the inverse of the triangular factor, whose square is the covariance.

    :param factor: triangular, of all equations, the last column the right-hand side, shape (U + 1, U + 1).
    :param precisions: inverse prior variances, shape (U,).
    """
    n_columns = len(precisions)
    prior = np.zeros((n_columns, n_columns + 1), order='F')
    np.fill_diagonal(prior, np.sqrt(precisions))
    # The QR decomposition of one triangle on the other, which is a fifth of the work of one that does not know it.
    block = min(BLOCK, n_columns + 1)
    both, _, _, _ = dtpqrt(n_columns, block, np.asfortranarray(factor / noise), prior, overwrite_a=1, overwrite_b=1)
    root, _ = dtrtri(both[:n_columns, :n_columns])
    root = np.triu(root)
    return root @ both[:n_columns, n_columns], root
