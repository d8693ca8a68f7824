"""The active-learning loop in pool mode."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessSpec, ToContext, if_, while_

from aiida_pacemaker.calculations.datasets import (
    default_baseline,
    exclude_datasets,
    find_candidates,
    fit_reference_energies,
    merge,
    merge_options,
)
from aiida_pacemaker.calculations.labelling import frames_without_labels
from aiida_pacemaker.calculations.validation import options_of
from aiida_pacemaker.engine.options import SelectOptions
from aiida_pacemaker.workflows.activeset_base import PaceActiveSetBaseWorkChain
from aiida_pacemaker.workflows.builders import LoopBuilders
from aiida_pacemaker.workflows.decision import labels_left
from aiida_pacemaker.workflows.evaluate_base import PaceEvaluateBaseWorkChain
from aiida_pacemaker.workflows.labelling import labeller_from
from aiida_pacemaker.workflows.ports import LoopPorts, given
from aiida_pacemaker.workflows.report import (
    baseline_of,
    begin_report,
    reference_energies_of,
    report_fit,
    report_retry,
    report_selection,
    retried_in_run,
    rows_of_run,
    stop_reason_of,
)
from aiida_pacemaker.workflows.resuming import ResumingWorkChain
from aiida_pacemaker.workflows.select_base import PaceSelectBaseWorkChain
from aiida_pacemaker.workflows.settings import LoopSettings
from aiida_pacemaker.workflows.train_base import PaceTrainBaseWorkChain


class PaceActiveLearningWorkChain(LoopPorts, LoopBuilders, ResumingWorkChain):
    """Train, find out what the potential does not know, label the most informative of it, and begin again.

    Each generation trains a potential on the dataset (a short baseline taken off, reference energies pinned), builds
    its active set, grades the pool, leaves out what is known, selects by D-optimality, labels and merges. The loop says
    why it has ended in the output `stop_reason`, and keeps what it has whenever it fails.
    """

    @classmethod
    def define(cls, spec: ProcessSpec) -> None:
        """Define inputs, outline and outputs."""
        super().define(spec)
        cls.define_inputs(spec)
        cls.define_outputs(spec)
        spec.outline(
            cls.setup,
            cls.merge_initial,
            cls.pin_references,
            if_(cls.should_retry)(
                cls.begin_retry,
                if_(cls.should_label)(cls.run_label, cls.inspect_label, cls.merge_retried),
            ),
            while_(cls.should_go_on)(
                cls.begin_generation,
                cls.run_train,
                cls.inspect_train,
                cls.run_activeset,
                cls.inspect_activeset,
                cls.run_evaluate,
                cls.inspect_evaluate,
                if_(cls.should_go_on)(
                    cls.run_select,
                    cls.inspect_select,
                    if_(cls.should_label)(cls.run_label, cls.inspect_label),
                    cls.merge_selected,
                ),
            ),
            cls.results,
        )

    # Setting up.

    def setup(self) -> None:
        """Set the state of the loop to that of its inputs."""
        self.ctx.settings = LoopSettings.model_validate(self.inputs.settings.get_dict())
        self.ctx.stage = 'initial'
        self.ctx.report = self.call('report', begin_report, **given(previous=self.inputs.get('previous_report')))
        self.ctx.dataset = self.inputs.get('dataset')
        self.ctx.potential = self.inputs.get('potential')
        self.ctx.training_folder = None
        #: Frames that were selected in this run and have no labels.
        self.ctx.unlabelled = None
        rows = self.ctx.report['generations']
        self.ctx.generation = rows[-1]['generation'] + 1 if rows else 0

    def merge_initial(self) -> ExitCode | None:
        """Make the first dataset."""
        initial = dict(self.inputs.get('initial', {}))
        if initial:
            outputs, node = self.join(initial, max_failed_fraction=self.ctx.settings.max_failed_fraction)
            if not node.is_finished_ok:
                return self.exit_codes.ERROR_INITIAL_FRAMES_REFUSED.format(reason=node.exit_message)
            self.ctx.dataset = outputs['dataset']
        if 'test_dataset' in self.inputs:
            count = int(np.isin(self.inputs.test_dataset.get_hashes(), self.ctx.dataset.get_hashes()).sum())
            if count:
                return self.exit_codes.ERROR_TEST_FRAMES_IN_DATASET.format(count=count)
        return None

    def pin_references(self) -> None:
        """Settle the baseline and the reference energies of all generations."""
        potential = self.ctx.potential
        if 'baseline' in self.inputs:
            self.ctx.baseline = self.inputs.baseline
        elif potential is not None:
            self.ctx.baseline = self.call('baseline', baseline_of, potential=potential)
        else:
            lj = orm.Bool(self.ctx.settings.lj)
            self.ctx.baseline = self.call('baseline', default_baseline, dataset=self.ctx.dataset, lj=lj)
        if 'reference_energies' in self.inputs:
            self.ctx.reference_energies = self.inputs.reference_energies
        elif potential is not None:
            self.ctx.reference_energies = self.call('references', reference_energies_of, potential=potential)
        else:
            self.ctx.reference_energies = self.call(
                'references', fit_reference_energies, dataset=self.ctx.dataset, baseline=self.ctx.baseline
            )

    # Labels that an earlier run did not get.

    def should_retry(self) -> bool:
        """Return whether an earlier run has left frames without labels."""
        return 'unlabelled' in self.inputs

    def begin_retry(self) -> None:
        """Leave out the frames that have labels by now."""
        self.ctx.stage = 'retry'
        left, node = self.run_once(
            exclude_datasets, dataset=self.inputs.unlabelled, known=self.ctx.dataset, metadata=self.labels('frames')
        )
        self.ctx.selected = left if node.is_finished_ok else None

    def merge_retried(self) -> ExitCode | None:
        """Add what has labels now."""
        return self.add(report_retry, selected=self.ctx.selected)

    # A generation begins, if there is no reason to stop.

    def should_go_on(self) -> bool:
        """Return whether the report says nothing of an end."""
        return self.ctx.report['stop_reason'] is None

    def begin_generation(self) -> None:
        """Set the label of all that is called from now on."""
        self.ctx.stage = f'generation_{self.ctx.generation:02d}'

    # Training.

    def run_train(self) -> ToContext | ExitCode:
        """Train on the dataset, from the last potential if there is one."""
        inputs = self.prepare(PaceTrainBaseWorkChain, 'train')
        settings: LoopSettings = self.ctx.settings
        first = self.ctx.potential is None
        inputs.pace.update(
            dataset=self.ctx.dataset,
            baseline=self.ctx.baseline,
            reference_energies=self.ctx.reference_energies,
            max_epochs=orm.Int(settings.first_epochs if first else settings.later_epochs),
            **given(
                test_dataset=self.inputs.get('test_dataset'),
                potential=self.ctx.potential,
                parent_folder=self.ctx.training_folder,
            ),
        )
        return self.launch('train', PaceTrainBaseWorkChain, inputs)

    def inspect_train(self) -> ExitCode | None:
        """Keep the potential and where it was trained."""
        if complaint := self.complaint('train', self.exit_codes.ERROR_TRAINING_FAILED):
            return complaint
        self.ctx.potential = self.ctx.train.outputs.potential
        self.ctx.training_folder = self.ctx.train.outputs.remote_folder
        return None

    # Active set.

    def run_activeset(self) -> ToContext | ExitCode:
        """Build the active set from the data where the training left them."""
        inputs = self.prepare(PaceActiveSetBaseWorkChain, 'activeset')
        inputs.pace.update(potential=self.ctx.potential, parent_folder=self.ctx.training_folder)
        return self.launch('activeset', PaceActiveSetBaseWorkChain, inputs)

    def inspect_activeset(self) -> ExitCode | None:
        """Keep the active set."""
        if complaint := self.complaint('activeset', self.exit_codes.ERROR_ACTIVE_SET_FAILED):
            return complaint
        self.ctx.active_set = self.ctx.activeset.outputs.active_set
        return None

    # Evaluation.

    def run_evaluate(self) -> ToContext | ExitCode:
        """Evaluate the potential on all that is there, in one job."""
        inputs = self.prepare(PaceEvaluateBaseWorkChain, 'evaluate')
        inputs.pace.update(
            potential=self.ctx.potential,
            active_set=self.ctx.active_set,
            datasets={
                'train': self.ctx.dataset,
                'pool': self.inputs.pool,
                **given(test=self.inputs.get('test_dataset')),
            },
        )
        return self.launch('evaluate', PaceEvaluateBaseWorkChain, inputs)

    def inspect_evaluate(self) -> ExitCode | None:
        """Find what the potential does not know, and judge whether that is reason to go on."""
        if complaint := self.complaint('evaluate', self.exit_codes.ERROR_EVALUATION_FAILED):
            return complaint
        found = self.call(
            'candidates',
            find_candidates,
            pool=self.inputs.pool,
            evaluation=self.ctx.evaluate.outputs.evaluations.pool,
            gamma_threshold=orm.Float(self.ctx.settings.gamma_threshold),
            dataset=self.ctx.dataset,
            # What could not be labelled would fail again.
            **given(test=self.inputs.get('test_dataset'), unlabelled=self.ctx.unlabelled),
        )
        self.ctx.candidates = found.get('candidates')
        self.ctx.report = self.call(
            'report',
            report_fit,
            report=self.ctx.report,
            settings=self.inputs.settings,
            generation=orm.Int(self.ctx.generation),
            dataset=self.ctx.dataset,
            metrics=self.ctx.train.outputs.metrics,
            errors=self.ctx.evaluate.outputs.errors,
            candidates=found['report'],
        )
        row = self.ctx.report['generations'][-1]
        self.report(
            f'generation {self.ctx.generation}: {row["n_frames"]} frames, test errors '
            f'{_shown(row["test_rmse_energy"])} eV/atom and {_shown(row["test_rmse_forces"])} eV/Å, largest gamma '
            f'{row["gamma_max"]:.1f}, {row["n_candidates"]} of {row["n_unknown"]} new candidates above the threshold'
        )
        return None

    # Selection.

    def run_select(self) -> ToContext | ExitCode:
        """Choose the most informative candidates."""
        inputs = self.prepare(PaceSelectBaseWorkChain, 'select')
        options = options_of(SelectOptions, inputs.pace)
        content = self.ctx.report.get_dict()
        left = labels_left(rows_of_run(content), self.ctx.settings, retried_in_run(content))
        options = options.model_copy(update={'max_structures': min(left, options.max_structures or left)})
        inputs.pace.update(
            potential=self.ctx.potential,
            active_set=self.ctx.active_set,
            candidates={'pool': self.ctx.candidates},
            options=orm.Dict(options.model_dump(mode='json', exclude_none=True)),
        )
        return self.launch('select', PaceSelectBaseWorkChain, inputs)

    def inspect_select(self) -> ExitCode | None:
        """Keep what was selected."""
        if complaint := self.complaint('select', self.exit_codes.ERROR_SELECTION_FAILED):
            return complaint
        self.ctx.selected = self.ctx.select.outputs.selected if 'selected' in self.ctx.select.outputs else None
        self.ctx.failures = None
        self.ctx.labelled = {} if self.ctx.selected is None else {'selected': self.ctx.selected}
        return None

    # Labelling.

    def should_label(self) -> bool:
        """Return whether there are selected frames without labels."""
        return self.ctx.selected is not None and not self.ctx.selected.labelled

    def run_label(self) -> ToContext | ExitCode:
        """Hand the selected frames to the labeller."""
        process_class = labeller_from(self.inputs.label.entry_point.value)
        metadata = {**self.inputs.label.get('metadata', {}), **self.labels('label')}
        inputs = {**self.inputs.label.get('inputs', {}), 'dataset': self.ctx.selected, 'metadata': metadata}
        return self.launch('label', process_class, inputs)

    def inspect_label(self) -> None:
        """Keep the labelled trajectories, also those of a labeller that failed on others."""
        node = self.ctx.label
        self.ctx.labelled = dict(node.outputs.trajectories) if 'trajectories' in node.outputs else {}
        self.ctx.failures = node.outputs.failures if 'failures' in node.outputs else None

    # Merging.

    def merge_selected(self) -> ExitCode | None:
        """Make the dataset of the next generation."""
        self.ctx.generation += 1
        return self.add(report_selection, selection=self.ctx.select.outputs.output_parameters)

    def add(self, report: Any, **inputs: Any) -> ExitCode | None:
        """Add labelled frames to the dataset; those that failed are judged when the good ones are safe in it.

        :param report: the calculation function that reports it, with its inputs.
        """
        merged = None
        if self.ctx.labelled:
            outputs, node = self.join(self.ctx.labelled, generation=self.ctx.generation, max_failed_fraction=1.0)
            if not node.is_finished_ok:
                self.attach()
                return self.exit_codes.ERROR_MERGE_FAILED.format(stage=self.stage, reason=node.exit_message)
            self.ctx.dataset, merged = outputs['dataset'], outputs['report']
        self.ctx.report = self.call(
            'report_selection',
            report,
            report=self.ctx.report,
            **inputs,
            **given(merged=merged, failures=self.ctx.failures),
        )
        counts = self.ctx.report['labels']
        if not counts['n_failed']:
            return None
        missing = self.call(
            'unlabelled',
            frames_without_labels,
            selected=self.ctx.selected,
            dataset=self.ctx.dataset,
            **given(earlier=self.ctx.unlabelled),
        )
        self.ctx.unlabelled = missing.get('dataset', self.ctx.unlabelled)
        first = counts['failures'][0] if counts['failures'] else None
        reason = _fate(self.ctx.label) if first is None else f'{first["reason"]}: {first["message"]}'
        self.report(f'{counts["n_failed"]} of {counts["n_given"]} frames have no labels, the first of them: {reason}')
        if counts['n_added'] and counts['n_failed'] <= self.ctx.settings.max_failed_fraction * counts['n_given']:
            return None
        self.attach()
        code = self.exit_codes.ERROR_LABELS_FAILED if counts['n_added'] else self.exit_codes.ERROR_LABELLING_FAILED
        return code.format(stage=self.stage, count=counts['n_failed'], total=counts['n_given'], reason=reason)

    # The end.

    def results(self) -> None:
        """Attach the outputs and say why the loop has ended."""
        self.report(f'{self.ctx.report["stop_reason"]}: {self.ctx.report["stop_message"]}')
        self.attach()
        self.out('stop_reason', self.call('stop_reason', stop_reason_of, report=self.ctx.report))

    def attach(self) -> None:
        """Attach what there is by now: all that a later run needs to go on from here."""
        for name in ('dataset', 'potential', 'active_set', 'baseline', 'reference_energies', 'report', 'unlabelled'):
            if self.ctx.get(name) is not None:
                self.out(name, self.ctx[name])

    def on_terminated(self) -> None:
        """Clean the remote folders if asked to."""
        super().on_terminated()
        if self.inputs.clean_workdir.value:
            for node in self.node.called_descendants:
                if isinstance(node, orm.CalcJobNode):
                    node.outputs.remote_folder._clean()

    # Helpers.

    @property
    def stage(self) -> str:
        """Where the loop is, in words."""
        name, _, number = self.ctx.stage.partition('_')
        return f'{name} {int(number)}' if number else str(name)

    def labels(self, step: str) -> dict[str, str]:
        """Return the labels of a process and of the link to it, which no other process of the loop has."""
        return {'call_link_label': f'{self.ctx.stage}_{step}', 'label': f'{self.stage}: {step}'}

    def call(self, step: str, function: Any, **inputs: Any) -> Any:
        """Return the output of a calculation function that cannot fail, or a mapping of its outputs."""
        outputs, _ = self.run_once(function, **inputs, metadata=self.labels(step))
        return outputs

    def join(self, sources: dict[str, Any], **options: Any) -> tuple[Any, orm.ProcessNode]:
        """Merge labelled frames into the dataset."""
        return self.run_once(
            merge,
            options=merge_options(sources, require_stress=self.ctx.settings.require_stress, **options),
            **given(base=self.ctx.dataset),
            **sources,
            metadata=self.labels('merge'),
        )

    def prepare(self, process_class: Any, step: str) -> AttributeDict:
        """Return the exposed inputs of a sub process, with its labels."""
        inputs = AttributeDict(self.exposed_inputs(process_class, step))
        inputs.setdefault('metadata', {}).update(self.labels(step))
        return inputs

    def launch(self, name: str, process_class: Any, inputs: dict[str, Any]) -> ToContext | ExitCode:
        """Submit a sub process, or return the exit code for inputs that it refuses."""
        try:
            return ToContext(**{name: self.submit(process_class, **inputs)})
        except ValueError as exception:
            self.attach()
            return self.exit_codes.ERROR_INPUTS_REFUSED.format(step=name, stage=self.stage, reason=str(exception))

    def complaint(self, name: str, exit_code: ExitCode) -> ExitCode | None:
        """Return the exit code for a sub process that has failed, None if it has not; what there is gets attached."""
        node = self.ctx[name]
        if node.is_finished_ok:
            return None
        self.attach()
        return exit_code.format(stage=self.stage, reason=_fate(node))


def _fate(node: orm.ProcessNode) -> str:
    """Return how a process has ended."""
    state = '' if node.process_state is None else node.process_state.value
    return f'{node.process_label}<{node.pk}> {state} [{node.exit_status}] {node.exit_message}'


def _shown(error: float | None) -> str:
    return 'no' if error is None else f'{error:.4f}'
