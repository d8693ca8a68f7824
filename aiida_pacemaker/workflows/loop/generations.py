"""The report of the loop as typed data: what is stored in the node `report`, read and written under these keys only."""

from __future__ import annotations

from typing import Any, Final, Literal, TypedDict

from aiida import orm


class Explored(TypedDict):
    """What became of the runs of an exploration."""

    #: Runs that ended, by whatever reason.
    n_runs: int
    #: Runs that were planned; those of jobs that were lost are among these only.
    n_planned: int
    #: How many runs ended for which reason: `aiida_pacemaker.exploration.options.Reason`.
    reasons: dict[str, int]


class LabelCounts(TypedDict):
    """What became of frames that were to be labelled."""

    #: Frames that were given to the labeller.
    n_given: int
    #: Frames that joined the dataset.
    n_added: int
    #: Frames without labels, or whose labels were refused.
    n_failed: int
    #: The failed frames, each with its `reason` and `message`; empty where the labeller itself failed.
    failures: list[dict[str, Any]]


class RetriedRow(LabelCounts):
    """What became of frames that an earlier run could not label."""

    #: Run that had them labelled.
    run: int


class _Labelled(TypedDict, total=False):
    # These keys are there once a generation has selected.

    #: Selected frames that have failed: `LabelCounts.failures`.
    failures: list[dict[str, Any]]
    #: The same of the frames for the test set, where there were any.
    failures_set_aside: list[dict[str, Any]]


class GenerationRow(_Labelled):
    """One generation of a loop.

    Rows that were written by an earlier version may lack keys that came later: read `n_unseen`, `gamma_n_unseen`,
    `unseen`, `quality`, `coverage` and those of sigma with `get`.
    """

    #: Run that the generation belongs to; a loop that continues another one has the next number.
    run: int
    #: Number of the generation, from 0 and counted on through all runs.
    generation: int
    #: Frames in the dataset that was trained on.
    n_frames: int
    #: Iterations of the fit.
    iterations: int
    #: How the fit ended: the output `stop_reason` of the training.
    fit_stop_reason: str
    #: Warnings of the fit.
    fit_warnings: list[str]
    #: Root mean square error of the energy on the training set in eV/atom.
    train_rmse_energy: float
    #: Root mean square error of the forces on the training set in eV/angstrom per component.
    train_rmse_forces: float
    #: Root mean square error of the stress on the training set in eV/angstrom^3 per component; None without stress.
    train_rmse_stress: float | None
    #: The same on the test set; None without one.
    test_rmse_energy: float | None
    #: The same on the test set; None without one.
    test_rmse_forces: float | None
    #: The same on the test set; None without one, or without stress.
    test_rmse_stress: float | None
    #: Median of the largest extrapolation grade of each frame, over the pool or all that was explored; None where it is
    #: infinite, or where there is none.
    gamma_median: float | None
    #: Its 90 % quantile.
    gamma_p90: float | None
    #: Its 99 % quantile.
    gamma_p99: float | None
    #: Its maximum.
    gamma_max: float | None
    #: Frames of the pool, or of all that was explored, with interactions that the data never had: gamma is infinite.
    gamma_n_unseen: int
    #: Median of the largest error bar (standard deviation) of the forces of each frame of the pool, or of those that
    #: explorations have kept, in eV/angstrom; None where it is infinite, or where there are none.
    sigma_median: float | None
    #: Its 90 % quantile.
    sigma_p90: float | None
    #: Its 99 % quantile.
    sigma_p99: float | None
    #: Its maximum.
    sigma_max: float | None
    #: Part of the force errors on the test set that are `within_1_sigma` and `within_2_sigma`; None without any.
    coverage: dict[str, float] | None
    #: What became of the exploration; None with a pool.
    explored: Explored | None
    #: Frames of the pool that are new: in neither dataset nor test set, and not failed in this run.
    n_unknown: int
    #: Those of them whose gamma is not below the threshold.
    n_candidates: int
    #: Those of the candidates with interactions that the data never had.
    n_unseen: int
    #: Interactions that the potential has functions for and the data never had, by name; None if that is not known.
    unseen: list[str] | None
    #: How good the potential is: `aiida_pacemaker.analysis.quality.judge`.
    quality: dict[str, Any] | None
    #: Frames that were selected to be trained on.
    n_selected: int
    #: Selected frames that joined the dataset.
    n_added: int
    #: Selected frames that did not, since their labels failed or were refused.
    n_failed: int
    #: Frames in the test set.
    n_test: int
    #: Frames that were selected for the test set.
    n_set_aside: int
    #: Core hours of all jobs of this run so far.
    core_hours: float


class TableRow(GenerationRow):
    """A row of :func:`aiida_pacemaker.workflows.loop.table.loop_table`."""

    #: Wall time of the generation in seconds, from its first process to its last one; None in earlier runs.
    seconds: float | None


class _Ended(TypedDict, total=False):
    #: What `stop_reason` means, in a sentence; once there is one.
    stop_message: str
    #: What became of the frames that were labelled last; once there were any.
    labels: LabelCounts


class Report(_Ended):
    """The content of the node `report`."""

    #: Number of the run, from 1.
    run: int
    #: Rows of all runs, oldest first.
    generations: list[GenerationRow]
    #: Thresholds of gamma that follow from the errors so far: `aiida_pacemaker.analysis.calibration.calibrate`.
    calibration: dict[str, Any] | None
    #: Frames of earlier runs that were labelled before the first generation, run by run.
    retried: list[RetriedRow]
    #: Name of the `StopReason`, None while the loop goes on.
    stop_reason: str | None


GammaQuantile = Literal['median', 'p90', 'p99', 'max']
GammaKey = Literal['gamma_median', 'gamma_p90', 'gamma_p99', 'gamma_max']
SigmaKey = Literal['sigma_median', 'sigma_p90', 'sigma_p99', 'sigma_max']
#: Key of each quantile of error bars.
SIGMA_KEYS: Final[dict[GammaQuantile, SigmaKey]] = {
    'median': 'sigma_median',
    'p90': 'sigma_p90',
    'p99': 'sigma_p99',
    'max': 'sigma_max',
}
#: Key of each quantile of gamma.
GAMMA_KEYS: Final[dict[GammaQuantile, GammaKey]] = {
    'median': 'gamma_median',
    'p90': 'gamma_p90',
    'p99': 'gamma_p99',
    'max': 'gamma_max',
}


def content_of(report: orm.Dict) -> Report:
    """Return what a report says."""
    content: Report = report.get_dict()
    return content


def last_row(report: orm.Dict) -> GenerationRow:
    """Return the row of the last generation.

    :raises IndexError: if there is none.
    """
    return content_of(report)['generations'][-1]


def rows_of_run(report: Report) -> list[GenerationRow]:
    """Return the rows of the run that a report belongs to, without those of earlier ones."""
    return [row for row in report['generations'] if row['run'] == report['run']]


def retried_in_run(report: Report) -> int:
    """Return how many frames the run that a report belongs to had labelled before its first generation."""
    return sum(entry['n_given'] for entry in report['retried'] if entry['run'] == report['run'])
