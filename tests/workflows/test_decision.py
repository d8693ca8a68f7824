"""When the loop ends."""

from __future__ import annotations

import pytest

from aiida_pacemaker.workflows.decision import StopReason, decide, labels_left
from aiida_pacemaker.workflows.settings import LoopSettings


def row(**changes):
    return {
        'n_unknown': 10,
        'n_candidates': 5,
        'n_selected': 0,
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
        ({}, {'max_generations': 1}, StopReason.MAX_GENERATIONS),
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


def test_budget_limits_what_is_selected():
    settings = LoopSettings(frames_per_generation=20, label_budget=30)
    assert labels_left([row()], settings) == 20
    assert labels_left([row(n_selected=20), row()], settings) == 10
    assert labels_left([row(n_selected=20), row(n_selected=10), row()], settings) == 0


def test_every_reason_says_what_it_means():
    assert all(reason.value.endswith('.') for reason in StopReason)
