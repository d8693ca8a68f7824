"""The state of a loop as its calls show it: a loop that was killed has no outputs, but what it called has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiida import orm
from aiida.common.links import LinkType

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.provenance.graph import CALLS
from aiida_pacemaker.sources.given import node_of
from aiida_pacemaker.sources.origin import has_labels
from aiida_pacemaker.sources.registry import all_sources
from aiida_pacemaker.workflows.loop.links import RETRY, LoopCall, LoopStep

#: Process label of the loop, as databases have it.
LOOP = 'PaceActiveLearningWorkChain'
#: Process labels of our own jobs that label, as databases have them.
LABELLING_JOBS = ('AseLabelCalculation',)
#: Steps that return the report.
_REPORTS = (LoopStep.REPORT, LoopStep.REPORT_SELECTION, LoopStep.REPORT_CALIBRATION)


@dataclass(frozen=True)
class LoopState:
    """State of a loop from which another run goes on. Results that the loop did not come to are None.

    :param dataset: the dataset as it is after the last merge.
    :param test_dataset: the test set as it is after the last merge.
    :param potential: the last potential.
    :param baseline: the baseline of all potentials.
    :param reference_energies: the energies that were pinned, in eV.
    :param config: config of all trainings, with what was fixed by the first dataset; None if nothing was.
    :param report: one row per generation.
    :param calibration: the errors by which gamma was chosen, so far.
    :param unlabelled: frames that were selected and whose labels have failed.
    :param pending_frames: frames that were selected and are not labelled and merged yet.
    :param unmerged_labels: labelled trajectories of these frames that are there but not merged.
    :param unread_results: results that a labeller has not made labels of yet: the labeller, with the trajectories by
        the frames that they are of.
    """

    dataset: PaceDatasetData | None
    test_dataset: PaceDatasetData | None
    potential: orm.Data | None
    baseline: orm.Dict | None
    reference_energies: orm.Dict | None
    config: orm.Dict | None
    report: orm.Dict | None
    calibration: orm.Dict | None
    unlabelled: PaceDatasetData | None
    pending_frames: PaceDatasetData | None
    unmerged_labels: list[orm.TrajectoryData]
    unread_results: list[tuple[orm.ProcessNode, dict[str, orm.TrajectoryData]]]


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


def state_of(loop: orm.WorkChainNode | int | str) -> LoopState:
    """Return the results of a loop so far.

    :param loop: a `PaceActiveLearningWorkChain`, best one that has ended, or its PK or uuid.
    :raises ValueError: if it is something else.
    """
    loop = loop_of(loop)
    links: list[Any] = loop.base.links.get_outgoing(link_type=CALLS).all()
    nodes: dict[str, Any] = {link.link_label: link.node for link in sorted(links, key=_age)}
    calls = {call: node for label, node in nodes.items() if (call := LoopCall.parse(label)) is not None}
    inputs = loop.base.links.get_incoming(link_type=LinkType.INPUT_WORK).nested()
    done = {call: node for call, node in calls.items() if node.is_finished_ok}

    def newest(*steps: LoopStep, output: str) -> Any:
        # Members of an ensemble are not the potential of the loop.
        found = [
            node for call, node in done.items() if call.step in steps and call.member is None and output in node.outputs
        ]
        return found[-1].outputs[output] if found else None

    def newest_or_given(*steps: LoopStep, output: str, name: str) -> Any:
        # A node may be false, as an empty `List` is.
        found = newest(*steps, output=output)
        return inputs.get(name) if found is None else found

    computed = newest(LoopStep.REFERENCES, output='result')
    references = newest_or_given(LoopStep.ATOMS, output='reference_energies', name='reference_energies')
    stage, pending = _pending(calls, done)
    labellers = {call: node for call, node in calls.items() if call.step in (LoopStep.LABEL, LoopStep.LABEL_TEST)}
    retried = LoopCall(RETRY, LoopStep.FRAMES) in calls
    return LoopState(
        dataset=newest_or_given(LoopStep.MERGE, output='dataset', name='dataset'),
        test_dataset=newest_or_given(LoopStep.MERGE_TEST, output='dataset', name='test_dataset'),
        potential=newest_or_given(LoopStep.TRAIN, output='potential', name='potential'),
        baseline=newest_or_given(LoopStep.BASELINE, output='result', name='baseline'),
        reference_energies=references if computed is None else computed,
        config=newest(LoopStep.CONFIG, output='result'),
        report=newest_or_given(*_REPORTS, output='result', name='previous_report'),
        calibration=newest_or_given(LoopStep.CALIBRATION, output='result', name='calibration'),
        unlabelled=newest(LoopStep.UNLABELLED, output='dataset'),
        pending_frames=pending if pending is not None or retried else inputs.get('unlabelled'),
        unmerged_labels=[
            label for call, node in labellers.items() if call.stage == stage for label in _labels_made_by(node)
        ],
        unread_results=[(node, found) for node in labellers.values() if (found := _unread(node))],
    )


def _age(link: Any) -> tuple[Any, ...]:
    """Return the sort key of calls: the time, since PKs of nodes from an archive are in no order."""
    return link.node.ctime, link.node.pk


def _pending(calls: dict[LoopCall, Any], done: dict[LoopCall, Any]) -> tuple[str | None, PaceDatasetData | None]:
    """Return the stage whose frames have not been labelled and merged to the end, and these frames."""
    outputs_of = {LoopStep.SELECT: 'selected', LoopStep.FRAMES: 'result'}
    for call in reversed(calls):
        if call.step not in outputs_of or call not in done:
            continue
        outputs, name = done[call].outputs, outputs_of[call.step]
        if LoopCall(call.stage, LoopStep.REPORT_SELECTION) in done or name not in outputs:
            return None, None
        return call.stage, outputs[name]
    return None, None


def _labels_made_by(labeller: orm.ProcessNode) -> list[orm.TrajectoryData]:
    """Return the labelled trajectories that a labeller has made, also if it has no outputs itself."""
    if 'trajectories' in labeller.outputs:
        return list(labeller.outputs.trajectories.values())
    jobs = [node for node in [labeller, *labeller.called_descendants] if isinstance(node, orm.CalculationNode)]
    # Our own jobs give labels that are right whenever they give any; a calculation of others has to have succeeded.
    trusted = [job for job in jobs if job.is_finished_ok or job.process_label in LABELLING_JOBS]
    made = [link.node for job in trusted for link in job.base.links.get_outgoing(link_type=LinkType.CREATE).all()]
    unread = [node for results in _results(labeller).values() for node in results]
    return [node for node in made if isinstance(node, orm.TrajectoryData) and has_labels(node) and node not in unread]


def labels_from_unread_results(state: LoopState) -> list[orm.TrajectoryData]:
    """Return labels, made now with provenance, of results that a stopped labeller had not read yet."""
    return [
        node
        for labeller, results in state.unread_results
        for source in all_sources()
        if source.results(labeller)
        for node in source.collect(labeller, results)
    ]


def _results(labeller: orm.ProcessNode) -> dict[str, list[orm.TrajectoryData]]:
    """Return the results of the jobs of a labeller that are no labels yet, by the frames that they are of."""
    return {frame: nodes for source in all_sources() for frame, nodes in source.results(labeller).items()}


def _unread(labeller: orm.ProcessNode) -> dict[str, orm.TrajectoryData]:
    """Return the results of a labeller that was stopped before it had made labels of them, by their frames."""
    if labeller.is_finished:
        return {}
    newest = {frame: nodes[-1] for frame, nodes in _results(labeller).items() if nodes}
    return {
        frame: node
        for frame, node in newest.items()
        if not node.base.links.get_outgoing(link_type=LinkType.INPUT_CALC).all()
    }
