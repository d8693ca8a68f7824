"""Which structures are worth a label: what the posterior says before, against the posterior with their labels."""

from __future__ import annotations

import numpy as np
import pytest
from linear_cases import basis_of, emt_frame, equations_of, labelled, rows_of, scales_of

from aiida_pacemaker.linear.evidence import solve_evidence, solve_fixed
from aiida_pacemaker.linear.selecting import choose, factor_of, information, variance_taken, with_rows
from aiida_pacemaker.linear.weighting import Physical

pytestmark = pytest.mark.engine

WEIGHTING = Physical(scale=None)
#: Displacements in angstrom of the candidates: five times the same, then others.
DISPLACEMENTS = (0.05,) * 5 + (0.1, 0.15, 0.2, 0.25, 0.3)


@pytest.fixture(scope='module')
def fitted():
    """Return a fit of 32 functions to six frames of Cu by EMT, and the rows of candidates as they would enter it."""
    basis = basis_of(('Cu',), 6)
    known = rows_of(basis, labelled([emt_frame(seed, 'Cu', (2, 1, 1), 0.05) for seed in range(6)]), WEIGHTING)
    images = [emt_frame(100 + seed, 'Cu', (2, 1, 1), size) for seed, size in enumerate(DISPLACEMENTS)]
    candidates = rows_of(basis, labelled(images), WEIGHTING)
    equations = equations_of(basis.n_functions, known)
    scales, groups = scales_of(WEIGHTING, equations), basis.groups('order_degree')
    solution = solve_evidence(equations.factor(scales), equations.n_rows, groups)

    def posterior_with(*positions):
        """Return the solution with the labels of candidates, of the same prior and noise."""
        more = equations_of(basis.n_functions, [*known, *(candidates[position] for position in positions)])
        return solve_fixed(more.factor(scales), more.n_rows, groups, solution)

    return solution, [frame.scaled(scales)[:, :-1] for frame in candidates], posterior_with


def log_volume(coefficients):
    """Return half the logarithm of the determinant of a covariance."""
    return np.linalg.slogdet(coefficients.root)[1]


def test_worth_is_what_the_labels_will_say(fitted):
    """Information and variance taken, without the labels, are those of the posterior of a fit to the labels."""
    solution, rows, posterior_with = fitted
    spreads = solution.project(factor_of(rows.__getitem__, len(rows), 32))
    for position in (0, 9):
        after = posterior_with(position)
        gained = log_volume(solution) - log_volume(after)
        assert information(rows[position], solution, solution.noise) == pytest.approx(gained, rel=1e-6)
        taken = sum(np.sum(solution.spread(one) ** 2 - after.spread(one) ** 2) for one in rows)
        assert variance_taken(rows[position], solution, solution.noise, spreads) == pytest.approx(taken, rel=1e-6)
        updated = with_rows(rows[position], solution, solution.noise)
        for one in rows:
            assert np.allclose(updated.spread(one), after.spread(one), rtol=1e-5, atol=0)


@pytest.mark.parametrize('by', ['information', 'variance'])
@pytest.mark.parametrize('per_atom', [False, True])
def test_greedy_choice(by, per_atom, fitted):
    """The choice is that of computing the worth of every candidate again after each; of information, few are."""
    solution, rows, posterior_with = fitted
    costs = np.arange(1.0, 1.0 + len(rows)) if per_atom else np.ones(len(rows))
    calls = []

    def rows_of_candidate(position):
        calls.append(position)
        return rows[position]

    factor = factor_of(rows.__getitem__, len(rows), 32) if by == 'variance' else None
    chosen = choose(rows_of_candidate, costs, solution, solution.noise, 4, factor)

    def total(*positions):
        after = posterior_with(*positions) if positions else solution
        if by == 'information':
            return log_volume(solution) - log_volume(after)
        before = sum(np.sum(solution.spread(one) ** 2) for one in rows)
        return 1 - sum(np.sum(after.spread(one) ** 2) for one in rows) / before

    expected = []
    for one in chosen:
        left = [position for position in range(len(rows)) if position not in expected]
        gains = [total(*expected, position) - total(*expected) for position in left]
        best = int(np.argmax(gains / costs[left]))
        assert one.position == left[best]
        assert one.gain == pytest.approx(gains[best], rel=1e-5, abs=1e-9)
        expected.append(one.position)
    assert by == 'variance' or len(calls) < 3 * len(rows)


def test_the_same_structure_twice(fitted):
    """What a copy adds to the first one is little, less than another one that says less at first."""
    solution, rows, _ = fitted
    twice = [rows[7], rows[7], rows[8]]
    chosen = choose(twice.__getitem__, np.ones(3), solution, solution.noise, 3)
    assert [one.position for one in chosen] == [0, 2, 1]
    assert chosen[2].gain < 0.5 * chosen[0].gain
    assert information(rows[8], solution, solution.noise) < chosen[0].gain


def test_fewer_candidates_than_wanted(fitted):
    """All are chosen, in their order of worth; of none, none is."""
    solution, rows, _ = fitted
    assert len(choose(rows.__getitem__, np.ones(3), solution, solution.noise, 20)) == 3
    assert choose(rows.__getitem__, [], solution, solution.noise, 20) == []


def test_factor_of_the_candidates(fitted):
    """The factor says of sums of squares what all rows say."""
    _, rows, _ = fitted
    factor, every = factor_of(rows.__getitem__, len(rows), 32), np.concatenate(rows)
    assert factor.shape == (32, 32)
    vector = np.random.default_rng(0).normal(size=32)
    assert np.linalg.norm(factor @ vector) == pytest.approx(np.linalg.norm(every @ vector), rel=1e-12)
