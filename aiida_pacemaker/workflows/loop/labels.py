"""The steps of the loop that label frames and merge them, and judge what has failed."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ExitCode, ToContext

from aiida_pacemaker.calculations.functions.datasets import exclude_datasets
from aiida_pacemaker.calculations.functions.labelling import frames_without_labels
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.workflows.loop.generations import LabelCounts, content_of
from aiida_pacemaker.workflows.loop.links import RETRY, LoopStep
from aiida_pacemaker.workflows.loop.ports import given
from aiida_pacemaker.workflows.loop.report import report_retry, report_selection
from aiida_pacemaker.workflows.loop.steps import LoopSteps, describe_failure
from aiida_pacemaker.workflows.plugins import process_from


class LoopLabels(LoopSteps):
    """Labelling of the selected frames and of those held out for the test set."""

    # Labels that an earlier run did not get.

    def should_retry(self) -> bool:
        """Return whether an earlier run has left frames without labels."""
        return 'unlabelled' in self.inputs

    def begin_retry(self) -> None:
        """Leave out the frames that have labels by now."""
        self.ctx.stage = RETRY
        left, node = self.run_once(
            exclude_datasets,
            dataset=self.inputs.unlabelled,
            known=self.ctx.dataset,
            metadata=self.metadata_for(LoopStep.FRAMES),
        )
        self.ctx.selected = left if node.is_finished_ok else None
        self.ctx.held_out = None

    def merge_retried(self) -> ExitCode | None:
        """Add what has labels now."""
        return self.merge_labels(report_retry, selected=self.ctx.selected)

    # Labelling.

    def should_label(self) -> bool:
        """Return whether there are frames without labels."""
        return any(frames is not None and not frames.labelled for frames in (self.ctx.selected, self.ctx.held_out))

    def run_label(self) -> ToContext | ExitCode:
        """Hand the selected frames to the labeller, and those for the test set to a second run of it."""
        process_class = process_from(self.inputs.label.entry_point.value)
        self.ctx.label = self.ctx.label_test = None
        awaited: ToContext = ToContext()
        for step, frames in ((LoopStep.LABEL, self.ctx.selected), (LoopStep.LABEL_TEST, self.ctx.held_out)):
            if frames is None:
                continue
            launched = self.launch(step, process_class, self.plugged_in('label', step, dataset=frames))
            if isinstance(launched, ExitCode):
                return launched
            awaited.update(launched)
        return awaited

    def inspect_label(self) -> None:
        """Keep the labelled trajectories, also those of a labeller that failed on others."""
        self.ctx.labelled, self.ctx.failures = _labels_of(self.ctx.label)
        self.ctx.labelled_test, self.ctx.failures_test = _labels_of(self.ctx.label_test)

    # Merging.

    def merge_selected(self) -> ExitCode | None:
        """Make the dataset and the test set of the next generation."""
        self.ctx.generation += 1
        if self.ctx.held_out is not None:
            self.merge_test(self.ctx.held_out)
        return self.merge_labels(
            report_selection,
            selection=self.ctx.select.outputs.output_parameters,
            **given(held_out=self.ctx.held_out, failures_test=self.ctx.failures_test, merged_test=self.ctx.merged_test),
        )

    def merge_test(self, frames: PaceDatasetData) -> None:
        """Add to the test set what was held out for it and could be labelled.

        :param frames: what was held out.
        """
        if not self.ctx.labelled_test:
            self.report(f'none of the {frames.n_frames} frames for the test set has labels')
            return
        outputs, node = self.merge_into(
            LoopStep.MERGE_TEST,
            self.ctx.test_dataset,
            self.ctx.labelled_test,
            generation=self.ctx.generation,
            max_failed_fraction=1.0,
        )
        if node.is_finished_ok:
            self.ctx.test_dataset, self.ctx.merged_test = outputs['dataset'], outputs['report']
        else:
            self.report(f'the frames for the test set could not be merged: {node.exit_message}')

    def merge_labels(self, report_function: Any, **inputs: Any) -> ExitCode | None:
        """Add labelled frames to the dataset; then judge how many failed.

        :param report_function: the calculation function that writes the row of the report.
        :param inputs: those of this function, but the report itself, what was merged and what failed.
        """
        merged = None
        if self.ctx.labelled:
            outputs, node = self.merge_into(
                LoopStep.MERGE,
                self.ctx.dataset,
                self.ctx.labelled,
                generation=self.ctx.generation,
                max_failed_fraction=1.0,
            )
            if not node.is_finished_ok:
                self.attach()
                return self.exit_codes.ERROR_MERGE_FAILED.format(stage=self.stage, reason=node.exit_message)
            self.ctx.dataset, merged = outputs['dataset'], outputs['report']
            self.report_warnings(merged)
        self.ctx.report = self.call(
            LoopStep.REPORT_SELECTION,
            report_function,
            report=self.ctx.report,
            **inputs,
            **given(merged=merged, failures=self.ctx.failures),
        )
        return self.judge_labels(content_of(self.ctx.report)['labels'])

    def judge_labels(self, counts: LabelCounts) -> ExitCode | None:
        """Return the exit code if too many labels are missing, None if few enough are."""
        if not counts['n_failed']:
            return None
        missing = self.call(
            LoopStep.UNLABELLED,
            frames_without_labels,
            selected=self.ctx.selected,
            dataset=self.ctx.dataset,
            **given(earlier=self.ctx.unlabelled),
        )
        self.ctx.unlabelled = missing.get('dataset', self.ctx.unlabelled)
        first = counts['failures'][0] if counts['failures'] else None
        if first is not None:
            reason = f'{first["reason"]}: {first["message"]}'
        else:
            # The labeller itself has failed.
            reason = 'no labeller' if self.ctx.label is None else describe_failure(self.ctx.label)
        self.report(f'{counts["n_failed"]} of {counts["n_given"]} frames have no labels, the first of them: {reason}')
        if counts['n_added'] and counts['n_failed'] <= self.ctx.settings.max_failed_fraction * counts['n_given']:
            return None
        self.attach()
        code = self.exit_codes.ERROR_LABELS_FAILED if counts['n_added'] else self.exit_codes.ERROR_LABELLING_FAILED
        return code.format(stage=self.stage, count=counts['n_failed'], total=counts['n_given'], reason=reason)

    def report_warnings(self, merged: orm.Dict) -> None:
        """Say what a merge warns of, such as labels of unknown or of different levels of theory."""
        for warning in merged.get_dict().get('warnings', []):
            self.report(f'{self.stage}: {warning}')


def _labels_of(labeller: orm.ProcessNode | None) -> tuple[dict[str, orm.TrajectoryData], orm.Dict | None]:
    """Return what a labeller has labelled, and what it says of the rest."""
    if labeller is None:
        return {}, None
    outputs = labeller.outputs
    return (
        dict(outputs.trajectories) if 'trajectories' in outputs else {},
        outputs.failures if 'failures' in outputs else None,
    )
