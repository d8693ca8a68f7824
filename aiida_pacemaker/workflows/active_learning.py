"""The active-learning loop in pool mode."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessSpec, ToContext, WorkChain, if_, while_

from aiida_pacemaker.calculations.datasets import (
    default_baseline,
    find_candidates,
    fit_reference_energies,
    merge,
    merge_options,
)
from aiida_pacemaker.calculations.evaluate import PaceEvaluateCalculation
from aiida_pacemaker.calculations.select import PaceSelectCalculation
from aiida_pacemaker.engine.options import SelectOptions
from aiida_pacemaker.workflows.activeset_base import PaceActiveSetBaseWorkChain
from aiida_pacemaker.workflows.decision import labels_left
from aiida_pacemaker.workflows.labelling import labeller_from
from aiida_pacemaker.workflows.ports import LoopPorts, given
from aiida_pacemaker.workflows.report import (
    baseline_of,
    begin_report,
    reference_energies_of,
    report_fit,
    report_selection,
    rows_of_run,
    stop_reason_of,
)
from aiida_pacemaker.workflows.settings import LoopSettings
from aiida_pacemaker.workflows.train_base import PaceTrainBaseWorkChain


class PaceActiveLearningWorkChain(LoopPorts, WorkChain):
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
            while_(cls.should_go_on)(
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
                    cls.merge_labelled,
                ),
            ),
            cls.results,
        )

    # Setting up.

    def setup(self) -> None:
        """Set the state of the loop to that of its inputs."""
        self.ctx.settings = LoopSettings.model_validate(self.inputs.settings.get_dict())
        self.ctx.report = begin_report(**given(previous=self.inputs.get('previous_report')))
        self.ctx.dataset = self.inputs.get('dataset')
        self.ctx.potential = self.inputs.get('potential')
        self.ctx.training_folder = None
        rows = self.ctx.report['generations']
        self.ctx.generation = rows[-1]['generation'] + 1 if rows else 0

    def merge_initial(self) -> ExitCode | None:
        """Make the first dataset."""
        initial = dict(self.inputs.get('initial', {}))
        if initial:
            outputs, node = merge.run_get_node(
                options=merge_options(
                    initial,
                    max_failed_fraction=self.ctx.settings.max_failed_fraction,
                    require_stress=self.ctx.settings.require_stress,
                ),
                **given(base=self.ctx.dataset),
                **initial,
                metadata={'call_link_label': 'merge_initial', 'label': 'initial frames: merge'},
            )
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
            self.ctx.baseline = baseline_of(potential)
        else:
            self.ctx.baseline = default_baseline(self.ctx.dataset, orm.Bool(self.ctx.settings.lj))
        if 'reference_energies' in self.inputs:
            self.ctx.reference_energies = self.inputs.reference_energies
        elif potential is not None:
            self.ctx.reference_energies = reference_energies_of(potential)
        else:
            self.ctx.reference_energies = fit_reference_energies(self.ctx.dataset, self.ctx.baseline)

    def should_go_on(self) -> bool:
        """Return whether the report says nothing of an end."""
        return self.ctx.report['stop_reason'] is None

    # Training.

    def run_train(self) -> ToContext:
        """Train on the dataset, from the last potential if there is one."""
        inputs = self.prepare(PaceTrainBaseWorkChain, 'train', 'train')
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
        return ToContext(train=self.submit(PaceTrainBaseWorkChain, **inputs))

    def inspect_train(self) -> ExitCode | None:
        """Keep the potential and where it was trained."""
        if complaint := self.complaint('train', self.exit_codes.ERROR_TRAINING_FAILED):
            return complaint
        self.ctx.potential = self.ctx.train.outputs.potential
        self.ctx.training_folder = self.ctx.train.outputs.remote_folder
        return None

    # Active set.

    def run_activeset(self) -> ToContext:
        """Build the active set from the data where the training left them."""
        inputs = self.prepare(PaceActiveSetBaseWorkChain, 'activeset', 'activeset')
        inputs.pace.update(potential=self.ctx.potential, parent_folder=self.ctx.training_folder)
        return ToContext(activeset=self.submit(PaceActiveSetBaseWorkChain, **inputs))

    def inspect_activeset(self) -> ExitCode | None:
        """Keep the active set."""
        if complaint := self.complaint('activeset', self.exit_codes.ERROR_ACTIVE_SET_FAILED):
            return complaint
        self.ctx.active_set = self.ctx.activeset.outputs.active_set
        return None

    # Evaluation.

    def run_evaluate(self) -> ToContext:
        """Evaluate the potential on all that is there, in one job."""
        inputs = self.prepare(PaceEvaluateCalculation, 'evaluate', 'evaluate')
        inputs.update(
            potential=self.ctx.potential,
            active_set=self.ctx.active_set,
            datasets={
                'train': self.ctx.dataset,
                'pool': self.inputs.pool,
                **given(test=self.inputs.get('test_dataset')),
            },
        )
        return ToContext(evaluate=self.submit(PaceEvaluateCalculation, **inputs))

    def inspect_evaluate(self) -> ExitCode | None:
        """Find what the potential does not know, and judge whether that is reason to go on."""
        if complaint := self.complaint('evaluate', self.exit_codes.ERROR_EVALUATION_FAILED):
            return complaint
        found = find_candidates(
            self.inputs.pool,
            self.ctx.evaluate.outputs.evaluations.pool,
            orm.Float(self.ctx.settings.gamma_threshold),
            dataset=self.ctx.dataset,
            **given(test=self.inputs.get('test_dataset')),
            metadata={'call_link_label': self.link('candidates'), 'label': self.label('candidates')},
        )
        self.ctx.candidates = found.get('candidates')
        self.ctx.report = report_fit(
            self.ctx.report,
            self.inputs.settings,
            orm.Int(self.ctx.generation),
            self.ctx.dataset,
            self.ctx.train.outputs.metrics,
            self.ctx.evaluate.outputs.errors,
            found['report'],
            metadata={'call_link_label': self.link('report'), 'label': self.label('report')},
        )
        row = self.ctx.report['generations'][-1]
        self.report(
            f'generation {self.ctx.generation}: {row["n_frames"]} frames, test errors '
            f'{_shown(row["test_rmse_energy"])} eV/atom and {_shown(row["test_rmse_forces"])} eV/Å, largest gamma '
            f'{row["gamma_max"]:.1f}, {row["n_candidates"]} of {row["n_unknown"]} new candidates above the threshold'
        )
        return None

    # Selection.

    def run_select(self) -> ToContext:
        """Choose the most informative candidates."""
        inputs = self.prepare(PaceSelectCalculation, 'select', 'select')
        options = SelectOptions.model_validate(inputs.options.get_dict() if 'options' in inputs else {})
        left = labels_left(rows_of_run(self.ctx.report.get_dict()), self.ctx.settings)
        options = options.model_copy(update={'max_structures': min(left, options.max_structures or left)})
        inputs.update(
            potential=self.ctx.potential,
            active_set=self.ctx.active_set,
            candidates={'pool': self.ctx.candidates},
            options=orm.Dict(options.model_dump(mode='json', exclude_none=True)),
        )
        return ToContext(select=self.submit(PaceSelectCalculation, **inputs))

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

    def run_label(self) -> ToContext:
        """Hand the selected frames to the labeller."""
        process_class = labeller_from(self.inputs.label.entry_point.value)
        metadata = {
            **self.inputs.label.get('metadata', {}),
            'call_link_label': self.link('label'),
            'label': self.label('label'),
        }
        inputs = {**self.inputs.label.get('inputs', {}), 'dataset': self.ctx.selected, 'metadata': metadata}
        return ToContext(label=self.submit(process_class, **inputs))

    def inspect_label(self) -> ExitCode | None:
        """Keep the labelled trajectories, also those of a labeller that failed on others."""
        node = self.ctx.label
        self.ctx.labelled = dict(node.outputs.trajectories) if 'trajectories' in node.outputs else {}
        self.ctx.failures = node.outputs.failures if 'failures' in node.outputs else None
        if not node.is_finished_ok and not self.ctx.labelled:
            return self.complaint('label', self.exit_codes.ERROR_LABELLING_FAILED)
        return None

    # Merging.

    def merge_labelled(self) -> ExitCode | None:
        """Make the dataset of the next generation; frames that failed are judged when the good ones are safe in it."""
        merged = None
        if self.ctx.labelled:
            outputs, node = merge.run_get_node(
                options=merge_options(
                    self.ctx.labelled,
                    generation=self.ctx.generation + 1,
                    max_failed_fraction=1.0,
                    require_stress=self.ctx.settings.require_stress,
                ),
                base=self.ctx.dataset,
                **self.ctx.labelled,
                metadata={'call_link_label': self.link('merge'), 'label': self.label('merge')},
            )
            if not node.is_finished_ok:
                self.attach()
                return self.exit_codes.ERROR_MERGE_FAILED.format(
                    generation=self.ctx.generation, reason=node.exit_message
                )
            self.ctx.dataset, merged = outputs['dataset'], outputs['report']
        self.ctx.report = report_selection(
            self.ctx.report,
            self.ctx.select.outputs.output_parameters,
            **given(merged=merged, failures=self.ctx.failures),
            metadata={'call_link_label': self.link('report_selection'), 'label': self.label('report')},
        )
        row = self.ctx.report['generations'][-1]
        if row['n_failed'] > self.ctx.settings.max_failed_fraction * row['n_selected']:
            self.attach()
            return self.exit_codes.ERROR_LABELS_FAILED.format(
                generation=self.ctx.generation,
                count=row['n_failed'],
                total=row['n_selected'],
                reason=row['failures'][0]['message'],
            )
        self.ctx.generation += 1
        return None

    # The end.

    def results(self) -> None:
        """Attach the outputs and say why the loop has ended."""
        self.report(f'{self.ctx.report["stop_reason"]}: {self.ctx.report["stop_message"]}')
        self.attach()
        self.out('stop_reason', stop_reason_of(self.ctx.report))

    def attach(self) -> None:
        """Attach what there is by now: all that a later run needs to go on from here."""
        for name in ('dataset', 'potential', 'active_set', 'baseline', 'reference_energies', 'report'):
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

    def prepare(self, process_class: Any, namespace: str, step: str) -> AttributeDict:
        """Return the exposed inputs of a sub process, labelled by generation and step."""
        inputs = AttributeDict(self.exposed_inputs(process_class, namespace))
        inputs.setdefault('metadata', {}).update(call_link_label=self.link(step), label=self.label(step))
        return inputs

    def link(self, step: str) -> str:
        """Return the label of the link to a process of this generation."""
        return f'generation_{self.ctx.generation:02d}_{step}'

    def label(self, step: str) -> str:
        """Return the label of a process of this generation."""
        return f'generation {self.ctx.generation}: {step}'

    def complaint(self, name: str, exit_code: ExitCode) -> ExitCode | None:
        """Return the exit code for a sub process that has failed, None if it has not; what there is gets attached."""
        node = self.ctx[name]
        if node.is_finished_ok:
            return None
        self.attach()
        reason = f'{node.process_label}<{node.pk}> {node.process_state.value} [{node.exit_status}] {node.exit_message}'
        return exit_code.format(generation=self.ctx.generation, reason=reason)


def _shown(error: float | None) -> str:
    return 'no' if error is None else f'{error:.4f}'
