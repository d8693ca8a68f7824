"""Which structures are worth a label, by the posterior of a linear fit.

A structure that is labelled adds its rows X to the equations. With a normal posterior of covariance S and noise of one
size, what is known afterwards does not depend on what the labels turn out to be, and neither do these two measures of
their worth (MacKay, Neural Computation 4 (1992) 590; Chaloner and Verdinelli, Statistical Science 10 (1995) 273):

- information about the coefficients, ``1/2 log det(1 + X S X^T / noise^2)`` (Bayesian D-optimality). What several
  structures say together is submodular, so that the greedy choice has at least 63 % of the largest value (Nemhauser et
  al., Math. Program. 14 (1978) 265).
- what they take from the variance of predictions, ``trace G (S - S')`` with G = P^T P of the rows P of all candidates
  and S' the covariance afterwards (Bayesian A-optimality of the predictions, also called I- or V-optimality).

Most structures are worth less when others are labelled. So a value that was computed before is an upper bound, and few
are computed again (Minoux, in Optimization Techniques, Lecture Notes in Control and Information Sciences 7 (1978) 234).
For information that is exact; for variance, where exceptions are possible, the choice is then nearly the greedy one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

import numpy as np
from scipy.linalg import cho_solve, cholesky, qr, solve_triangular

from .coefficients import Coefficients
from .equations import FloatArray, triangle

#: Returns the rows of a candidate by its position, as they would enter the fit: times the roots of their weights and
#: the scales of their kinds, shape (M, K).
RowsOf = Callable[[int], FloatArray]


@dataclass(frozen=True)
class Chosen:
    """A structure that is worth a label.

    :param position: among the candidates.
    :param gain: beside those that were chosen before it: information in nats, or the part of the variance of all
        candidates that it takes away.
    """

    position: int
    gain: float


def factor_of(rows_of: RowsOf, n_candidates: int, n_columns: int) -> FloatArray:
    """Return the triangular factor of the rows of all candidates, few of which are in memory at a time."""
    factor = np.zeros((0, n_columns))
    waiting: list[FloatArray] = []
    for position in range(n_candidates):
        waiting.append(rows_of(position))
        if sum(map(len, waiting)) > 2 * n_columns:
            factor, waiting = triangle(factor, *waiting), []
    return triangle(factor, *waiting)


def information(rows: FloatArray, known: Coefficients, noise: float) -> float:
    """Return what labels say about the coefficients, in nats.

    :param rows: as of :data:`RowsOf`.
    :param noise: standard deviation of a residual of weight 1, in eV/angstrom.
    """
    projected = known.project(rows) / noise
    if len(projected) > projected.shape[1]:
        projected = projected.T
    return float(np.sum(np.log(np.diag(_factor(projected)))))


def variance_taken(rows: FloatArray, known: Coefficients, noise: float, spreads: FloatArray) -> float:
    """Return what labels take from the sum of the variances of weighted predictions, in (eV/angstrom)^2.

    :param rows: as of :data:`RowsOf`.
    :param spreads: the rows of the predictions, or their triangular factor, in the directions of the root
        (:meth:`.Coefficients.project`).
    """
    projected = known.project(rows) / noise
    # With the covariance root root^T before and root (1 + Z^T Z)^-1 root^T afterwards.
    solved = cho_solve((_factor(projected), True), projected @ spreads.T, check_finite=False)
    return float(np.sum(solved * (projected @ spreads.T)))


def with_rows(rows: FloatArray, known: Coefficients, noise: float) -> Coefficients:
    """Return what is known when rows are labelled; the coefficients are still those of before.

    :param rows: as of :data:`RowsOf`.
    """
    projected = known.project(rows) / noise
    # The triangular factor of 1 + Z^T Z by that of 1 on Z, which loses no digits.
    (factor,) = qr(np.concatenate([np.eye(projected.shape[1]), projected]), mode='r', check_finite=False)
    root = solve_triangular(factor[: projected.shape[1]], known.root.T, trans='T', check_finite=False).T
    return replace(known, root=root)


def choose(
    rows_of: RowsOf,
    costs: Iterable[float],
    known: Coefficients,
    noise: float,
    most: int,
    factor: FloatArray | None = None,
) -> list[Chosen]:
    """Return the candidates whose labels are worth most for what they cost, the best first.

    Greedy: each is worth most beside those before it.

    :param rows_of: is called for all candidates in order, and then again for those that may be the next one; no rows
        are kept.
    :param costs: of each candidate: 1 for all, or numbers of atoms.
    :param known: the coefficients of the fit with their covariance.
    :param noise: standard deviation of a residual of weight 1, in eV/angstrom.
    :param most: how many are chosen, at most.
    :param factor: triangular factor of the rows of all candidates (:func:`factor_of`), by whose variance they are
        chosen; without it by information.
    """
    by_position = list(costs)
    spreads = None if factor is None else known.project(factor)
    whole = 1.0 if spreads is None else max(float(np.sum(spreads**2)), np.finfo(float).tiny)

    def gain_of(position: int) -> float:
        if spreads is None:
            return information(rows_of(position), known, noise)
        return variance_taken(rows_of(position), known, noise, spreads) / whole

    # Worth per cost with its sign turned, position, worth, and how many had been chosen when it was computed.
    heap = []
    for position, cost in enumerate(by_position):
        gain = gain_of(position)
        heap.append((-gain / cost, position, gain, 0))
    heapify(heap)
    chosen: list[Chosen] = []
    while heap and len(chosen) < most:
        _, position, gain, when = heappop(heap)
        if when < len(chosen):
            gain = gain_of(position)
            heappush(heap, (-gain / by_position[position], position, gain, len(chosen)))
            continue
        chosen.append(Chosen(position, gain))
        if len(chosen) < most:
            known = with_rows(rows_of(position), known, noise)
            spreads = None if factor is None else known.project(factor)
    return chosen


def _factor(projected: FloatArray) -> FloatArray:
    """Return the lower triangular factor of ``1 + Z Z^T``."""
    factor: FloatArray = cholesky(
        np.eye(len(projected)) + projected @ projected.T, lower=True, overwrite_a=True, check_finite=False
    )
    return factor
