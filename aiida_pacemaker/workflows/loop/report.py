"""The report of the loop: one row per generation, and why it ended. Calculation functions, so it has an origin."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_pacemaker.analysis.agreement import disagreement
from aiida_pacemaker.analysis.quality import judge
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.option_errors import parse_options
from aiida_pacemaker.workflows.loop.decision import StopReason, decide
from aiida_pacemaker.workflows.loop.generations import (
    Explored,
    GenerationRow,
    LabelCounts,
    Report,
    content_of,
    retried_in_run,
    rows_of_run,
)
from aiida_pacemaker.workflows.loop.settings import LoopSettings


@calcfunction
def begin_report(previous: orm.Dict | None = None) -> orm.Dict:
    """Return a report without generations of this run, after those of an earlier one, if there is one."""
    earlier = None if previous is None else content_of(previous)
    generations = [] if earlier is None else earlier['generations']
    content: Report = {
        'run': 1 + max((row['run'] for row in generations), default=0),
        'generations': generations,
        'calibration': None if earlier is None else earlier.get('calibration'),
        'retried': [] if earlier is None else earlier.get('retried', []),
        'stop_reason': None,
    }
    return orm.Dict(content)


@calcfunction
def report_fit(
    report: orm.Dict,
    settings: orm.Dict,
    generation: orm.Int,
    dataset: PaceDatasetData,
    metrics: orm.Dict,
    errors: orm.Dict,
    core_hours: orm.Float,
    candidates: orm.Dict | None = None,
    exploration: orm.Dict | None = None,
) -> orm.Dict:
    """Return the report with the row of a generation whose potential has been evaluated, and whether to stop there.

    :param metrics: the output of the training job.
    :param errors: the output of the evaluation job for the datasets `train` and, as far as they are there, `pool` and
        `test`.
    :param core_hours: what the jobs of this run have cost by now.
    :param candidates: the report of :func:`find_candidates`, if there was anything to look at.
    :param exploration: the report of the explorer, if there is one. The grades are those of all that it came across,
        which says more of what the potential knows than those of the structures that were kept.
    """
    content = content_of(report)
    fit, evaluated = metrics.get_dict(), errors.get_dict()['datasets']
    train, test = evaluated['train'], evaluated.get('test', {})
    gamma = _grades(evaluated, exploration)
    # Of what an explorer has come across, those that it has kept have error bars, if they were evaluated.
    sigma = evaluated.get('pool', {}).get('sigma', {})
    row: GenerationRow = {
        'run': content['run'],
        'generation': generation.value,
        'n_frames': dataset.n_frames,
        'iterations': fit['iterations'],
        'fit_stop_reason': fit['stop_reason'],
        'fit_warnings': [*fit['warnings'], *_disagreements(fit, train)],
        'train_rmse_energy': train['rmse_energy'],
        'train_rmse_forces': train['rmse_forces'],
        'train_rmse_stress': train['rmse_stress'],
        'test_rmse_energy': test.get('rmse_energy'),
        'test_rmse_forces': test.get('rmse_forces'),
        'test_rmse_stress': test.get('rmse_stress'),
        'gamma_median': gamma.get('median'),
        'gamma_p90': gamma.get('p90'),
        'gamma_p99': gamma.get('p99'),
        'gamma_max': gamma.get('max'),
        # An explorer need not know of infinite ones.
        'gamma_n_unseen': gamma.get('n_unseen', 0),
        'sigma_median': sigma.get('median'),
        'sigma_p90': sigma.get('p90'),
        'sigma_p99': sigma.get('p99'),
        'sigma_max': sigma.get('max'),
        'coverage': test.get('coverage'),
        'explored': None if exploration is None else _explored(exploration.get_dict()),
        'n_unknown': 0 if candidates is None else candidates['n_unknown'],
        'n_candidates': 0 if candidates is None else candidates['n_candidates'],
        'n_unseen': 0 if candidates is None else candidates['n_unseen'],
        'unseen': errors.get_dict().get('unseen'),
        'quality': judge(train, test or None),
        'n_selected': 0,
        'n_added': 0,
        'n_failed': 0,
        'n_test': test.get('n_frames', 0),
        'n_set_aside': 0,
        'core_hours': core_hours.value,
    }
    return orm.Dict(_judged({**content, 'generations': [*content['generations'], row]}, settings))


def _disagreements(fit: dict[str, Any], evaluated: dict[str, Any]) -> list[str]:
    said = disagreement(fit, evaluated)
    return [] if said is None else [said]


@calcfunction
def report_selection(
    report: orm.Dict,
    selection: orm.Dict,
    merged: orm.Dict | None = None,
    failures: orm.Dict | None = None,
    held_out: PaceDatasetData | None = None,
    merged_test: orm.Dict | None = None,
    failures_test: orm.Dict | None = None,
) -> orm.Dict:
    """Return the report with what was selected and labelled in its last generation.

    :param selection: the output of the selection job.
    :param merged: the report of the merge, if there was anything to merge.
    :param failures: the output of the labeller, if there was one.
    :param held_out: the frames that were kept for the test set, if there are any; what became of them as for the
        selected ones.
    """
    content = content_of(report)
    labels = _labels(selection['n_selected'], merged, failures)
    row = content['generations'][-1]
    row['n_added'] = labels['n_added']
    row['n_failed'] = labels['n_failed']
    row['failures'] = labels['failures']
    row['n_selected'] = labels['n_given']
    if held_out is not None:
        tested = _labels(held_out.n_frames, merged_test, failures_test)
        row['n_set_aside'] = tested['n_given']
        row['failures_set_aside'] = tested['failures']
    content['labels'] = labels
    if not labels['n_given']:
        return orm.Dict(_stopped(content, StopReason.NOTHING_SELECTED))
    if not labels['n_added'] and not labels['n_failed']:
        return orm.Dict(_stopped(content, StopReason.NOTHING_NEW))
    return orm.Dict(content)


@calcfunction
def report_retry(
    report: orm.Dict,
    selected: PaceDatasetData,
    merged: orm.Dict | None = None,
    failures: orm.Dict | None = None,
) -> orm.Dict:
    """Return the report with what became of frames that an earlier run could not label.

    :param selected: these frames; the others as for :func:`report_selection`.
    """
    content = content_of(report)
    labels = _labels(selected.n_frames, merged, failures)
    return orm.Dict({**content, 'retried': [*content['retried'], {'run': content['run'], **labels}], 'labels': labels})


def _labels(n_given: int, merged: orm.Dict | None, failures: orm.Dict | None) -> LabelCounts:
    """Return what became of frames that were to be labelled."""
    refused = [] if merged is None else merged['refused']
    failed = [] if failures is None else failures['failures']
    return {
        'n_given': n_given,
        'n_added': 0 if merged is None else merged['n_added'],
        # Nothing to merge and no reasons: the labeller itself has failed.
        'n_failed': len(refused) + len(failed) if merged is not None or failed else n_given,
        'failures': [*failed, *refused],
    }


@calcfunction
def report_calibration(report: orm.Dict, calibration: orm.Dict) -> orm.Dict:
    """Return the report with the calibration of gamma so far."""
    said = {key: value for key, value in calibration.get_dict().items() if key not in ('points', 'curve')}
    return orm.Dict({**content_of(report), 'calibration': said})


@calcfunction
def stop_reason_of(report: orm.Dict) -> orm.Str:
    """Return why the loop has ended."""
    return orm.Str(report['stop_reason'])


def _grades(evaluated: dict[str, Any], exploration: orm.Dict | None) -> dict[str, Any]:
    """Return the quantiles of gamma by their names, and how many are infinite: there is no number for it in JSON."""
    if exploration is None:
        return evaluated['pool']['gamma']
    # An exploration of which no run came to its first check has none.
    return exploration['gamma'] or {}


def _explored(exploration: dict[str, Any]) -> Explored:
    """Return what became of the runs of an exploration; those of jobs that were lost were planned only."""
    n_runs = exploration['n_runs']
    return {'n_runs': n_runs, 'n_planned': exploration.get('n_planned', n_runs), 'reasons': exploration['reasons']}


def _judged(content: Report, settings: orm.Dict) -> Report:
    loop_settings = parse_options(LoopSettings, settings.get_dict())
    reason = decide(rows_of_run(content), loop_settings, retried_in_run(content))
    return content if reason is None else _stopped(content, reason)


def _stopped(content: Report, reason: StopReason) -> Report:
    return {**content, 'stop_reason': reason.name, 'stop_message': reason.value}
