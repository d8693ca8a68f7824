"""Whether the loop goes on: plain functions of what is known at the end of a generation."""

from __future__ import annotations

from enum import Enum
from typing import Any

from aiida_pacemaker.workflows.settings import LoopSettings


class StopReason(Enum):
    """Why a loop has ended, and what that means."""

    TARGET_REACHED = 'The errors on the test set are below the targets.'
    GAMMA_CONVERGED = 'No candidate has an extrapolation grade above the threshold: the pool is known.'
    POOL_EXHAUSTED = 'Every candidate of the pool is in the dataset.'
    NOTHING_SELECTED = 'No candidate would enlarge the active set.'
    NOTHING_NEW = 'All labelled frames were in the dataset already, as after a relaxation.'
    PLATEAU = 'The errors on the test set no longer improve.'
    BUDGET_SPENT = 'The budget of labels is spent.'
    MAX_GENERATIONS = 'The largest number of generations is reached.'


def decide(rows: list[dict[str, Any]], settings: LoopSettings, retried: int = 0) -> StopReason | None:
    """Return why the loop should stop, or None if it should go on.

    :param rows: one row per generation of this run, the last one with all but its selection; see `report.py`.
    :param retried: frames that were labelled before the first generation.
    :param settings: what the user asked for. Without a test set, targets and plateaus say nothing.
    """
    last = rows[-1]
    # In the order of what they say: the first that holds is the reason.
    verdicts = {
        StopReason.TARGET_REACHED: _target_reached(last, settings),
        StopReason.POOL_EXHAUSTED: last['n_unknown'] == 0,
        StopReason.GAMMA_CONVERGED: last['n_candidates'] == 0,
        StopReason.PLATEAU: _on_plateau(rows, settings),
        StopReason.BUDGET_SPENT: labels_left(rows, settings, retried) == 0,
        StopReason.MAX_GENERATIONS: len(rows) >= settings.max_generations,
    }
    return next((reason for reason, holds in verdicts.items() if holds), None)


def labels_left(rows: list[dict[str, Any]], settings: LoopSettings, retried: int = 0) -> int:
    """Return how many frames the next selection may take."""
    spent = retried + sum(row['n_selected'] for row in rows)
    left = settings.frames_per_generation
    return left if settings.label_budget is None else max(0, min(left, settings.label_budget - spent))


def _target_reached(row: dict[str, Any], settings: LoopSettings) -> bool:
    targets = {
        'test_rmse_energy': settings.target_rmse_energy,
        'test_rmse_forces': settings.target_rmse_forces,
    }
    wanted = {name: target for name, target in targets.items() if target is not None}
    return bool(wanted) and all(row[name] is not None and row[name] <= target for name, target in wanted.items())


def _on_plateau(rows: list[dict[str, Any]], settings: LoopSettings) -> bool:
    window = settings.plateau_generations
    errors = [row['test_rmse_forces'] for row in rows]
    if window is None or len(errors) <= window or None in errors:
        return False
    before = min(errors[:-window])
    return bool(min(errors[-window:]) > before * (1 - settings.plateau_tolerance))
