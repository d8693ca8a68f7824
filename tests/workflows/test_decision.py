"""When the loop ends."""

from __future__ import annotations

import pytest

from aiida_pacemaker.workflows.loop.decision import StopReason, decide, labels_left, split_labels
from aiida_pacemaker.workflows.loop.settings import LoopSettings


def row(**changes):
    return {
        'n_unknown': 10,
        'n_candidates': 5,
        'n_selected': 0,
        'n_set_aside': 0,
        'gamma_p90': 4.0,
        'gamma_p99': 5.0,
        'gamma_max': 20.0,
        'explored': None,
        'core_hours': 1.5,
        'test_rmse_energy': 0.02,
        'test_rmse_forces': 0.5,
        **changes,
    }


@pytest.mark.parametrize(
    ('changes', 'settings', 'reason'),
    [
        ({}, {}, None),
        ({'n_unknown': 0, 'n_candidates': 0}, {}, StopReason.POOL_EXHAUSTED),
        ({'n_candidates': 0}, {}, StopReason.GAMMA_CONVERGED),
        ({}, {'target_rmse_energy': 0.03}, StopReason.TARGET_REACHED),
        ({}, {'target_rmse_energy': 0.03, 'target_rmse_forces': 0.4}, None),
        ({}, {'target_rmse_energy': 0.03, 'target_rmse_forces': 0.6}, StopReason.TARGET_REACHED),
        ({'test_rmse_energy': None}, {'target_rmse_energy': 0.03}, None),
        ({'n_candidates': 0}, {'target_rmse_energy': 0.03}, StopReason.TARGET_REACHED),
        ({}, {'label_budget': 0}, StopReason.BUDGET_SPENT),
        ({}, {'core_hours_budget': 1.5}, StopReason.CORE_HOURS_SPENT),
        ({}, {'core_hours_budget': 1.6}, None),
        ({}, {'max_generations': 1}, StopReason.MAX_GENERATIONS),
        ({}, {'gamma_threshold': 6.0, 'gamma_quantile': 'p99'}, StopReason.GAMMA_CONVERGED),
        ({}, {'gamma_threshold': 6.0}, None),
        # Error bars of the pool in eV/angstrom, where the potential has them.
        ({'sigma_max': 0.04}, {'target_sigma_forces': 0.05}, StopReason.UNCERTAINTY_CONVERGED),
        ({'sigma_max': 0.06, 'sigma_p90': 0.04}, {'target_sigma_forces': 0.05}, None),
        (
            {'sigma_max': 0.06, 'sigma_p90': 0.04},
            {'target_sigma_forces': 0.05, 'gamma_quantile': 'p90', 'gamma_threshold': 1e-3},
            StopReason.UNCERTAINTY_CONVERGED,
        ),
        ({'sigma_max': None}, {'target_sigma_forces': 0.05}, None),
        ({}, {'target_sigma_forces': 0.05}, None),
        ({'sigma_max': 0.04, 'n_unseen': 1}, {'target_sigma_forces': 0.05}, None),
        # Interactions that the data never had: gamma is infinite, whatever the quantile says.
        ({'gamma_max': None, 'gamma_n_unseen': 1, 'n_unseen': 1}, {'gamma_threshold': 30.0}, None),
        ({'gamma_max': None, 'n_unseen': 1}, {'gamma_threshold': 6.0, 'gamma_quantile': 'p99'}, None),
    ],
)
def test_reason(changes, settings, reason):
    assert decide([row(**changes)], LoopSettings(**settings)) is reason


def test_plateau_needs_that_many_generations_without_improvement():
    settings = LoopSettings(plateau_generations=2, plateau_tolerance=0.02)
    errors = [1.0, 0.5, 0.495]
    rows = [row(test_rmse_forces=error) for error in errors]
    assert decide(rows, settings) is None
    assert decide([*rows, row(test_rmse_forces=0.51)], settings) is StopReason.PLATEAU
    assert decide([*rows, row(test_rmse_forces=0.40)], settings) is None


def explored(**reasons):
    return {'n_runs': sum(reasons.values()), 'n_planned': 4, 'reasons': reasons}


@pytest.mark.parametrize(
    ('changes', 'settings', 'reason'),
    [
        # Nothing was kept because all is known.
        ({'explored': explored(finished=4), 'gamma_max': 1.2, 'n_unknown': 0}, {}, StopReason.GAMMA_CONVERGED),
        # A run that was broken off has not seen all.
        ({'explored': explored(finished=3, atoms_too_close=1), 'gamma_max': 1.2, 'n_unknown': 0}, {}, None),
        # Nothing was kept because it was all too far away.
        ({'explored': explored(seed_beyond_gamma_high=4), 'n_unknown': 0, 'n_candidates': 0}, {}, None),
        ({'explored': explored(finished=4)}, {}, None),
        ({'explored': explored(finished=4), 'gamma_max': None}, {}, None),
        # A job was lost, and its run with it.
        ({'explored': explored(finished=3), 'gamma_max': 1.2, 'n_unknown': 0}, {}, None),
        (
            {'explored': explored(finished=4)},
            {'gamma_quantile': 'p99', 'gamma_threshold': 6.0},
            StopReason.GAMMA_CONVERGED,
        ),
        (
            {'explored': explored(finished=4), 'sigma_max': 0.04},
            {'target_sigma_forces': 0.05},
            StopReason.UNCERTAINTY_CONVERGED,
        ),
        ({'explored': explored(finished=3, atoms_too_close=1), 'sigma_max': 0.04}, {'target_sigma_forces': 0.05}, None),
        ({'explored': explored(finished=3), 'sigma_max': 0.04}, {'target_sigma_forces': 0.05}, None),
    ],
)
def test_exploration_converges_only_when_it_has_come_to_its_end(changes, settings, reason):
    assert decide([row(**changes)], LoopSettings(**settings)) is reason


def test_a_test_set_that_begins_empty_has_a_plateau_too():
    settings = LoopSettings(plateau_generations=1)
    rows = [row(test_rmse_forces=error) for error in (None, 1.0, 1.0)]
    assert decide(rows[:2], settings) is None
    assert decide(rows, settings) is StopReason.PLATEAU


def test_what_is_set_aside_counts_as_labelled():
    settings = LoopSettings(frames_per_generation=20, label_budget=30, test_share=0.2)
    left = labels_left([row(n_selected=12, n_set_aside=3), row()], settings)
    assert left == 15
    assert split_labels(left, settings) == 3
    assert split_labels(2, settings) == 1
    assert split_labels(1, settings) == 0
    assert split_labels(20, LoopSettings()) == 0


def test_budget_limits_what_is_selected():
    settings = LoopSettings(frames_per_generation=20, label_budget=30)
    assert labels_left([row()], settings) == 20
    assert labels_left([row(n_selected=20), row()], settings) == 10
    assert labels_left([row(n_selected=20), row(n_selected=10), row()], settings) == 0


def test_every_reason_says_what_it_means():
    assert all(reason.value.endswith('.') for reason in StopReason)
