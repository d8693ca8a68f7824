"""Whether the loop goes on: plain functions of what is known at the end of a generation."""

from __future__ import annotations

from enum import Enum

from aiida_pacemaker.exploration.options import Reason
from aiida_pacemaker.workflows.loop.generations import GAMMA_KEYS, SIGMA_KEYS, GenerationRow
from aiida_pacemaker.workflows.loop.settings import LoopSettings


class StopReason(Enum):
    """Why a loop has ended, and what that means."""

    TARGET_REACHED = 'The errors on the test set are below the targets.'
    GAMMA_CONVERGED = 'The extrapolation grades are below the threshold: the pool, or what was explored, is known.'
    POOL_EXHAUSTED = 'Every candidate of the pool is in the dataset.'
    NOTHING_SELECTED = 'No candidate would enlarge the active set.'
    NOTHING_NEW = 'All labelled frames were in the dataset already, as after a relaxation.'
    UNCERTAINTY_CONVERGED = (
        'The error bars of the forces are below the target on the whole pool, or on all that explorations have kept.'
    )
    PLATEAU = 'The errors on the test set no longer improve.'
    BUDGET_SPENT = 'The budget of labels is spent.'
    CORE_HOURS_SPENT = 'The budget of core hours is spent.'
    MAX_GENERATIONS = 'The largest number of generations is reached.'


def decide(rows: list[GenerationRow], settings: LoopSettings, retried: int = 0) -> StopReason | None:
    """Return why the loop should stop, or None if it should go on.

    :param rows: one row per generation of this run, the last one with all but its selection; see `generations.py`.
    :param retried: frames that were labelled before the first generation.
    :param settings: what the user asked for. Without a test set, targets and plateaus say nothing.
    """
    last = rows[-1]
    # In the order of what they say: the first that holds is the reason.
    verdicts = {
        StopReason.TARGET_REACHED: _target_reached(last, settings),
        StopReason.POOL_EXHAUSTED: last['explored'] is None and last['n_unknown'] == 0,
        StopReason.GAMMA_CONVERGED: _gamma_converged(last, settings),
        StopReason.UNCERTAINTY_CONVERGED: _uncertainty_converged(last, settings),
        StopReason.PLATEAU: _on_plateau(rows, settings),
        StopReason.BUDGET_SPENT: labels_left(rows, settings, retried) == 0,
        StopReason.CORE_HOURS_SPENT: settings.core_hours_budget is not None
        and last['core_hours'] >= settings.core_hours_budget,
        StopReason.MAX_GENERATIONS: len(rows) >= settings.max_generations,
    }
    return next((reason for reason, holds in verdicts.items() if holds), None)


def labels_left(rows: list[GenerationRow], settings: LoopSettings, retried: int = 0) -> int:
    """Return how many frames the next selection may take."""
    spent = retried + sum(row['n_selected'] + row['n_set_aside'] for row in rows)
    left = settings.frames_per_generation
    return left if settings.label_budget is None else max(0, min(left, settings.label_budget - spent))


def split_labels(left: int, settings: LoopSettings) -> int:
    """Return how many of the frames that may be labelled are for the test set.

    :param left: see :func:`labels_left`.
    """
    if not settings.test_share or left < 2:
        return 0
    return min(left - 1, max(1, round(settings.test_share * left)))


def _gamma_converged(row: GenerationRow, settings: LoopSettings) -> bool:
    """Return whether the potential extrapolates on nothing that was evaluated."""
    if row.get('n_unseen'):
        # Whatever the quantile says: there is a candidate with interactions that the data never had.
        return False
    gamma, explored = row[GAMMA_KEYS[settings.gamma_quantile]], row['explored']
    known = gamma is not None and bool(gamma < settings.gamma_threshold)
    if explored is None:
        return known or row['n_candidates'] == 0
    return known and _explored_whole(row)


def _uncertainty_converged(row: GenerationRow, settings: LoopSettings) -> bool:
    """Return whether the error bars of the pool, or of what was explored, are small enough."""
    if settings.target_sigma_forces is None or row.get('n_unseen') or not _explored_whole(row):
        return False
    sigma = row.get(SIGMA_KEYS[settings.gamma_quantile])
    return sigma is not None and bool(sigma < settings.target_sigma_forces)


def _explored_whole(row: GenerationRow) -> bool:
    """Return whether all explorations, if there are any, have come to their end.

    One that was broken off, or lost with its job, has not seen what it was sent to see.
    """
    explored = row['explored']
    return explored is None or explored['reasons'] == {Reason.FINISHED.value: explored['n_planned']}


def _target_reached(row: GenerationRow, settings: LoopSettings) -> bool:
    targets = (
        (row['test_rmse_energy'], settings.target_rmse_energy),
        (row['test_rmse_forces'], settings.target_rmse_forces),
    )
    wanted = [(error, target) for error, target in targets if target is not None]
    return bool(wanted) and all(error is not None and error <= target for error, target in wanted)


def _on_plateau(rows: list[GenerationRow], settings: LoopSettings) -> bool:
    window = settings.plateau_generations
    errors: list[float] = []
    for row in rows:
        error = row['test_rmse_forces']
        # A test set that begins empty has no errors at first.
        errors = [] if error is None else [*errors, error]
    if window is None or len(errors) <= window:
        return False
    before = min(errors[:-window])
    return bool(min(errors[-window:]) > before * (1 - settings.plateau_tolerance))
