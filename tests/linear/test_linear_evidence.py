"""Regularised least squares: digits, and data that say little or nothing."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from ase import Atoms
from linear_cases import basis_of, emt_frame, equations_of, error_of, labelled, rows_of, scales_of
from scipy.linalg import cho_factor, cho_solve

from aiida_pacemaker.linear.evidence import NOISE_FLOOR, solve_evidence, solve_fixed, solve_ridge
from aiida_pacemaker.linear.rows import Label
from aiida_pacemaker.linear.validation import cross_validate, leave_one_out
from aiida_pacemaker.linear.weighting import Pacemaker, Physical, loss_of

WEIGHTING = Physical(scale=None)


@pytest.fixture(scope='module')
def copper():
    """Return 73 functions, and the equations of 60 frames of 16 atoms of Cu by EMT."""
    basis = basis_of(('Cu',), 8)
    frames = [emt_frame(seed, 'Cu', (2, 2, 1), 0.1) for seed in range(60)]
    return basis, rows_of(basis, labelled(frames), WEIGHTING)


def solved(basis, frames, weighting=WEIGHTING, prior='order_degree', **options):
    """Return the equations, their scales, the groups of functions and the solution."""
    equations = equations_of(basis.n_functions, frames)
    scales, groups = scales_of(weighting, equations), basis.groups(prior)
    n_rows = sum(count for kind, count in equations.weighted.items() if scales[kind] > 0)
    return equations, scales, groups, solve_evidence(equations.factor(scales), n_rows, groups, **options)


@pytest.mark.engine
@pytest.mark.parametrize('prior', ['order_degree', 'order'])
def test_no_digits_are_lost(prior, copper):
    """Energies that were left out within 3 meV/atom; coefficients to 1e-8 with the rows in any order.

    With the same prior, coefficients by the normal equations are off by some percent, differently in each order, and
    with the inverse of their matrix the energies are worse by a factor of more than five.
    """
    basis, frames = copper
    assert basis.n_functions == 73
    train, held_out = frames[:40], frames[40:]
    equations, scales, groups, solution = solved(basis, train, prior=prior)
    assert error_of(solution.coefficients, held_out, 'energy') < 1e-3
    assert error_of(solution.coefficients, held_out, 'forces') < 5e-3
    rows = np.concatenate([frame.scaled(scales) for frame in train])
    used, size = solution.used, np.linalg.norm(solution.coefficients)
    differences, errors = {'qr': [], 'cholesky': []}, []
    for seed in range(3):
        shuffled = rows[np.random.default_rng(seed).permutation(len(rows))]
        matrix, target = shuffled[:, used] * solution.scale / solution.noise, shuffled[:, -1] / solution.noise
        normal = matrix.T @ matrix + np.diag(solution.precisions[groups[used]])
        right = matrix.T @ target
        # Some are not positive definite in double precision: then there is no answer at all.
        cholesky = np.full(basis.n_functions, np.inf)
        with suppress(np.linalg.LinAlgError):
            cholesky[used] = cho_solve(cho_factor(normal), right) * solution.scale
        qr = solve_fixed(np.linalg.qr(shuffled, mode='r'), equations.n_rows, groups, solution).coefficients
        for name, coefficients in (('qr', qr), ('cholesky', cholesky)):
            differences[name].append(np.linalg.norm(coefficients - solution.coefficients) / size)
        inverse = np.zeros(basis.n_functions)
        inverse[used] = np.linalg.inv(normal) @ right * solution.scale
        errors.append(error_of(inverse, held_out, 'energy'))
    assert max(differences['qr']) < 1e-8
    assert min(differences['cholesky']) > 1e-4
    assert max(errors) > 5 * error_of(solution.coefficients, held_out, 'energy')


@pytest.mark.engine
def test_more_functions_than_equations(copper):
    basis, frames = copper
    (atoms,) = [emt_frame(0, 'Cu', (1, 1, 1), 0.1)]
    few = rows_of(basis, labelled([atoms]), WEIGHTING)
    assert few[0].n_rows < basis.n_functions
    equations, scales, groups, solution = solved(basis, few)
    assert np.isfinite(solution.coefficients).all()
    assert solution.effective < few[0].n_rows
    # It says less of others, and knows that.
    assert solution.spread(frames[0].rows['forces']).mean() > 2 * solution.spread(few[0].rows['forces']).mean()
    assert cross_validate(equations, scales, groups, solution) is None
    (one,) = leave_one_out(equations, scales, solution)
    assert np.isfinite([one.energy, one.forces, one.leverage]).all()


@pytest.mark.engine
def test_equal_frames_are_as_one_of_their_weight(copper):
    basis, frames = copper
    twice = [one for frame in frames[:6] for one in (frame, frame)]
    equations, scales, groups, solution = solved(basis, twice)
    assert np.isfinite(solution.coefficients).all()
    assert error_of(solution.coefficients, frames[40:], 'forces') < 0.05
    held_out = cross_validate(equations, scales, groups, solution)
    # A twin that was not left out would make errors those of the training.
    assert held_out.rmse('forces') > 1.5 * error_of(solution.coefficients, frames[:6], 'forces')


@pytest.mark.engine
@pytest.mark.parametrize('fit', ['evidence', 'ridge', 'least norm'])
def test_what_the_data_do_not_say_is_zero(fit):
    """An element without a frame: no column of rounding is blown up."""
    basis = basis_of(('Al', 'Cu'), 5)
    frames = [emt_frame(seed, 'Cu', (1, 1, 1), 0.1) for seed in range(8)]
    isolated = Atoms('Al', cell=[20, 20, 20], pbc=True)
    structures = [*labelled(frames), (isolated, Label('isolated', 0.0, np.zeros((1, 3)), np.zeros((3, 3))))]
    equations = equations_of(basis.n_functions, rows_of(basis, structures, WEIGHTING, virial=True))
    factor = equations.factor(scales_of(WEIGHTING, equations))
    if fit == 'evidence':
        solution = solve_evidence(factor, equations.n_rows, basis.groups('order_degree'))
    else:
        solution = solve_ridge(factor, equations.n_rows, 1e-8 if fit == 'ridge' else 0.0)
    there = np.array([centre == 'Cu' for centre in basis.centres])
    # Functions of Cu with neighbours of Al are not there either.
    norms = np.sqrt(np.sum(factor[:, :-1] ** 2, axis=0))
    assert not norms[~there].any()
    assert 0 < np.count_nonzero(norms) < there.sum()
    assert np.isfinite(solution.coefficients).all()
    assert not solution.coefficients[norms == 0].any()
    assert np.abs(solution.coefficients[norms > 0]).min() > 0
    rows = rows_of(basis, labelled([emt_frame(9, 'AlCu', (1, 1, 1))]), WEIGHTING)[0].rows['forces']
    assert np.isfinite(solution.spread(rows)).all()


@pytest.mark.engine
@pytest.mark.parametrize('energy', [True, False], ids=['energies', 'forces'])
def test_one_kind_without_weight(energy, copper):
    """A weight of zero is no equation, for either kind; pacemaker's kappa at both ends likewise."""
    basis, _ = copper
    structures = labelled([emt_frame(seed, 'Cu', (2, 2, 1), 0.1) for seed in range(20)])
    weights = (1.0, np.zeros(16)) if energy else (0.0, np.ones(16))
    given = [(atoms, Label(one.key, one.energy, one.forces, None, weights)) for atoms, one in structures]
    rows = rows_of(basis, given, WEIGHTING)
    equations, scales, groups, solution = solved(basis, rows)
    assert np.isfinite(solution.coefficients).all()
    kind = 'energy' if energy else 'forces'
    assert error_of(solution.coefficients, rows, kind) < (0.03 if energy else 5e-3)
    errors = leave_one_out(equations, scales, solution)
    other = [one.forces if energy else one.energy for one in errors]
    assert np.isnan(other).all()
    assert np.isfinite([one.energy if energy else one.forces for one in errors]).all()
    held_out = cross_validate(equations, scales, groups, solution)
    assert np.isfinite([held_out.rmse('energy'), held_out.rmse('forces')]).all()

    pacemaker = Pacemaker(0.0 if energy else 1.0)
    equations = equations_of(basis.n_functions, rows_of(basis, structures, pacemaker))
    scales = scales_of(pacemaker, equations)
    assert (scales['energy'] > 0, scales['forces'] > 0) == (energy, not energy)
    solution = solve_ridge(equations.factor(scales), equations.n_rows, 1e-8)
    assert np.isfinite(solution.coefficients).all()


@pytest.mark.engine
@pytest.mark.parametrize('ridge', [True, False], ids=['ridge', 'evidence'])
def test_labels_that_are_all_zero(ridge, copper):
    basis, frames = copper
    zero = [(emt_frame(s, 'Cu', (1, 1, 1)), Label(str(s), 0.0, np.zeros((4, 3)))) for s in range(4)]
    rows = rows_of(basis, zero, WEIGHTING)
    equations, scales, groups, solution = solved(basis, rows)
    if ridge:
        solution = solve_ridge(equations.factor(scales), equations.n_rows, 1e-8)
    assert not solution.coefficients.any()
    assert np.isfinite(solution.spread(frames[0].rows['forces'])).all()
    assert all(np.isfinite([one.energy, one.forces]).all() for one in leave_one_out(equations, scales, solution))
    held_out = cross_validate(equations, scales, basis.groups('order') * 0 if ridge else groups, solution)
    assert held_out.rmse('forces') == 0
    if not ridge:
        assert solution.noise == NOISE_FLOOR
        assert np.isfinite(solution.precisions).all()


def test_nothing_to_fit():
    for factor in (np.zeros((0, 6)), np.zeros((3, 6)), np.eye(6)[5:]):
        with pytest.raises(ValueError, match='there is nothing to fit'):
            solve_evidence(factor, 3, np.zeros(5, dtype=int))
        with pytest.raises(ValueError, match='there is nothing to fit'):
            solve_ridge(factor, 3, 1e-8)


def made_up(n_rows=200, n_columns=8, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_rows, n_columns))
    true = np.where(np.arange(n_columns) < n_columns // 2, rng.normal(size=n_columns), 0.0)
    return np.column_stack([rows, rows @ true + noise * rng.normal(size=n_rows)]), true


def test_the_noise_and_the_prior_are_those_of_the_data():
    rows, true = made_up(2000)
    groups = np.repeat([0, 1], 4)
    solution = solve_evidence(np.linalg.qr(rows, mode='r'), len(rows), groups)
    assert solution.noise == pytest.approx(0.1, rel=0.05)
    # The second group has no coefficients: it is held at zero.
    assert solution.precisions[1] > 100 * solution.precisions[0]
    np.testing.assert_allclose(solution.coefficients, true, atol=0.01)
    spread = solution.spread(np.eye(8))
    assert np.abs(solution.coefficients - true).max() < 4 * spread.max()
    assert 3 < solution.effective < 8


def test_the_noise_has_a_floor():
    rows, true = made_up(noise=0.0)
    factor = np.linalg.qr(rows, mode='r')
    solution = solve_evidence(factor, len(rows), np.repeat([0, 1], 4))
    assert solution.noise == NOISE_FLOOR
    np.testing.assert_allclose(solution.coefficients, true, atol=1e-3)
    exact = solve_evidence(factor, len(rows), np.repeat([0, 1], 4), floor=1e-9)
    np.testing.assert_allclose(exact.coefficients, true, atol=1e-8)


def test_a_group_that_the_data_do_not_determine():
    """Labels are noise: the group goes to zero, without infinities, and its empty neighbour has no say."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 7))
    rows[:, 3] = 0.0
    solution = solve_evidence(np.linalg.qr(rows, mode='r'), 50, np.array([0, 0, 0, 1, 2, 2]))
    assert np.isfinite(solution.coefficients).all()
    assert np.isfinite(solution.precisions).all()
    assert solution.coefficients[3] == 0
    assert solution.noise == pytest.approx(1.0, rel=0.3)


def test_columns_of_any_size_give_the_same_predictions():
    rows, _ = made_up()
    groups = np.repeat([0, 1], 4)
    factors = np.append(10.0 ** np.linspace(-5, 5, 8), 1.0)
    one = solve_evidence(np.linalg.qr(rows, mode='r'), len(rows), groups)
    other = solve_evidence(np.linalg.qr(rows * factors, mode='r'), len(rows), groups)
    np.testing.assert_allclose(other.coefficients * factors[:-1], one.coefficients, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize('penalty', [1e-3, 1e-8, 0.0])
def test_the_ridge_is_the_minimum_of_its_loss(penalty):
    rows, _ = made_up(20, 8)
    rows[:, 5] = rows[:, 4]
    factor = np.linalg.qr(rows, mode='r')
    solution = solve_ridge(factor, len(rows), penalty)
    best = loss_of(factor, solution.coefficients) + penalty * solution.coefficients @ solution.coefficients
    for seed in range(20):
        other = solution.coefficients + 1e-4 * np.random.default_rng(seed).normal(size=8)
        assert best < loss_of(factor, other) + penalty * other @ other
    # Of equal columns, each has half.
    assert solution.coefficients[4] == pytest.approx(solution.coefficients[5])
    np.testing.assert_allclose(
        solution.coefficients,
        np.linalg.lstsq(np.vstack([rows[:, :-1], np.sqrt(penalty) * np.eye(8)]), np.append(rows[:, -1], np.zeros(8)))[
            0
        ],
        rtol=1e-5,
    )
    again = solve_fixed(factor, len(rows), np.zeros(8, dtype=int), solution)
    np.testing.assert_allclose(again.coefficients, solution.coefficients, rtol=1e-5)
