"""What a loop has got by its end, however it ended: one that was killed has no outputs, but what it called has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from aiida import orm
from aiida.common.links import LinkType

from aiida_pacemaker.calculations.given_sources import node_of
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.sources.registry import all_sources, has_labels

#: Links to what a work chain has called.
CALLS = (LinkType.CALL_CALC, LinkType.CALL_WORK)
#: Process label of the loop.
LOOP = 'PaceActiveLearningWorkChain'
_REPORTS = ('begin_report', 'report_fit', 'report_selection', 'report_calibration', 'report_retry')


@dataclass(frozen=True)
class Remains:
    """What another run needs to go on. What the loop did not come to is None.

    :param dataset: the dataset as it is after the last merge.
    :param test_dataset: the test set as it is after the last merge.
    :param potential: the last potential.
    :param baseline: the baseline of all potentials.
    :param reference_energies: the energies that were pinned, in eV.
    :param report: one row per generation.
    :param calibration: the errors by which gamma was chosen, so far.
    :param unlabelled: frames that were selected and whose labels have failed.
    :param owed: frames that were selected and are not labelled and merged yet.
    :param delivered: labelled trajectories of these frames that are there but not merged.
    :param uncollected: results that a labeller has not made labels of yet: the labeller, with the trajectories by the
        frames that they are of.
    """

    dataset: PaceDatasetData | None
    test_dataset: PaceDatasetData | None
    potential: PacePotentialData | None
    baseline: orm.Dict | None
    reference_energies: orm.Dict | None
    report: orm.Dict | None
    calibration: orm.Dict | None
    unlabelled: PaceDatasetData | None
    owed: PaceDatasetData | None
    delivered: list[orm.TrajectoryData]
    uncollected: list[tuple[orm.ProcessNode, dict[str, orm.TrajectoryData]]]


def loop_of(given: Any, name: str = 'loop') -> orm.WorkChainNode:
    """Return the node of a loop that was given itself, or by its PK or uuid.

    :param name: of the argument, for the message.
    :raises ValueError: if it is something else.
    """
    advice = f': `verdi process list -a -L {LOOP}` lists the loops'
    node = node_of(given, orm.WorkChainNode, name, advice)
    if node.process_label != LOOP:
        raise ValueError(f'{node.process_label}<{node.pk}> is no {LOOP}{advice}')
    return node


def remains_of(loop: orm.WorkChainNode | int | str) -> Remains:
    """Return what a loop has got by now.

    :param loop: a `PaceActiveLearningWorkChain`, best one that has ended, or its PK or uuid.
    :raises ValueError: if it is something else.
    """
    loop = loop_of(loop)
    links: list[Any] = loop.base.links.get_outgoing(link_type=CALLS).all()
    calls: dict[str, Any] = {link.link_label: link.node for link in sorted(links, key=_age)}
    inputs = loop.base.links.get_incoming(link_type=LinkType.INPUT_WORK).nested()
    done = {label: node for label, node in calls.items() if node.is_finished_ok}

    def newest(*process_labels: str, output: str, step: str | None = None) -> Any:
        found = [
            node
            for label, node in done.items()
            if node.process_label in process_labels and output in node.outputs and step in (None, _step_of(label))
        ]
        return found[-1].outputs[output] if found else None

    stage, owed = _owed(calls, done)
    labellers = {label: node for label, node in calls.items() if _step_of(label) in ('label', 'label_test')}
    owing = [node for label, node in labellers.items() if stage is not None and label.startswith(f'{stage}_')]
    return Remains(
        dataset=newest('merge', step='merge', output='dataset') or inputs.get('dataset'),
        test_dataset=newest('merge', step='merge_test', output='dataset') or inputs.get('test_dataset'),
        # Members of an ensemble are trained by the same work chain.
        potential=newest('PaceTrainBaseWorkChain', step='train', output='potential') or inputs.get('potential'),
        baseline=newest('baseline_of', 'default_baseline', output='result') or inputs.get('baseline'),
        reference_energies=newest('reference_energies_of', 'fit_reference_energies', output='result')
        or newest('PaceReferenceEnergiesWorkChain', output='reference_energies')
        or inputs.get('reference_energies'),
        report=newest(*_REPORTS, output='result') or inputs.get('previous_report'),
        calibration=newest('calibrate', output='result') or inputs.get('calibration'),
        unlabelled=newest('frames_without_labels', output='dataset'),
        owed=owed if owed is not None or 'retry_frames' in calls else inputs.get('unlabelled'),
        delivered=[node for labeller in owing for node in _delivered(labeller)],
        uncollected=[(one, found) for one in labellers.values() if (found := _uncollected(one))],
    )


def _age(link: Any) -> tuple[Any, ...]:
    """Return what puts calls in their order; that of the pks is lost where they were imported from an archive."""
    return link.node.ctime, link.node.pk


def _step_of(label: str) -> str:
    """Return the step of a call without the stage that it belongs to."""
    return re.sub(r'^(generation_\d+|[a-z]+)_', '', label, count=1)


def _owed(calls: dict[str, Any], done: dict[str, Any]) -> tuple[str | None, PaceDatasetData | None]:
    """Return the stage whose frames have not been labelled and merged to the end, and these frames."""
    for label in reversed(calls):
        stage, _, step = label.rpartition('_')
        if step not in ('select', 'frames') or label not in done:
            continue
        outputs = done[label].outputs
        name = 'selected' if step == 'select' else 'result'
        if f'{stage}_report_selection' in done or name not in outputs:
            return None, None
        return stage, outputs[name]
    return None, None


def _delivered(labeller: orm.ProcessNode) -> list[orm.TrajectoryData]:
    """Return the labelled trajectories that a labeller has made, also if it has no outputs itself."""
    if 'trajectories' in labeller.outputs:
        return list(labeller.outputs.trajectories.values())
    jobs = [node for node in [labeller, *labeller.called_descendants] if isinstance(node, orm.CalculationNode)]
    # Our own jobs give labels that are right whenever they give any; a calculation of others has to have succeeded.
    trusted = [job for job in jobs if job.is_finished_ok or job.process_label == 'AseLabelCalculation']
    made = [link.node for job in trusted for link in job.base.links.get_outgoing(link_type=LinkType.CREATE).all()]
    collected = [node for results in _results(labeller).values() for node in results]
    return [
        node for node in made if isinstance(node, orm.TrajectoryData) and has_labels(node) and node not in collected
    ]


def collected_labels(remains: Remains) -> list[orm.TrajectoryData]:
    """Return the labels of results that were paid for when their labeller was stopped, made now with provenance."""
    return [
        node
        for labeller, results in remains.uncollected
        for source in all_sources()
        if source.results(labeller)
        for node in source.collect(labeller, results)
    ]


def _results(labeller: orm.ProcessNode) -> dict[str, list[orm.TrajectoryData]]:
    """Return what the jobs of a labeller have given that is no label yet, by the frames that it is of."""
    return {frame: nodes for source in all_sources() for frame, nodes in source.results(labeller).items()}


def _uncollected(labeller: orm.ProcessNode) -> dict[str, orm.TrajectoryData]:
    """Return the results of a labeller that was stopped before it had made labels of them, by their frames."""
    if labeller.is_finished:
        return {}
    newest = {frame: nodes[-1] for frame, nodes in _results(labeller).items() if nodes}
    return {
        frame: node
        for frame, node in newest.items()
        if not node.base.links.get_outgoing(link_type=LinkType.INPUT_CALC).all()
    }
