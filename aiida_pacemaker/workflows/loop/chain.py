"""The active-learning loop."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ExitCode, ProcessSpec, ToContext, if_, while_

from aiida_pacemaker.calculations.functions.datasets import find_candidates
from aiida_pacemaker.calculations.functions.drawing import hold_out
from aiida_pacemaker.calculations.functions.references import default_baseline, fit_reference_energies
from aiida_pacemaker.frames.theory import LevelOfTheory, differences
from aiida_pacemaker.option_errors import parse_options
from aiida_pacemaker.provenance.costs import core_hours
from aiida_pacemaker.sources.known_frames import shared_frames
from aiida_pacemaker.workflows.base.cleaning import clean_folders
from aiida_pacemaker.workflows.loop.builders import LoopBuilders
from aiida_pacemaker.workflows.loop.calibration import calibrate
from aiida_pacemaker.workflows.loop.decision import labels_left, split_labels
from aiida_pacemaker.workflows.loop.ensemble import LoopEnsemble
from aiida_pacemaker.workflows.loop.exploring import LoopExploring
from aiida_pacemaker.workflows.loop.generations import (
    GenerationRow,
    content_of,
    last_row,
    retried_in_run,
    rows_of_run,
)
from aiida_pacemaker.workflows.loop.labels import LoopLabels
from aiida_pacemaker.workflows.loop.links import INITIAL, LoopStep, generation_stage
from aiida_pacemaker.workflows.loop.ports import LoopPorts, given
from aiida_pacemaker.workflows.loop.report import (
    begin_report,
    report_calibration,
    report_fit,
    stop_reason_of,
)
from aiida_pacemaker.workflows.loop.settings import LoopSettings
from aiida_pacemaker.workflows.loop.table import quality_lines, shown_gamma
from aiida_pacemaker.workflows.reference_energies import PaceReferenceEnergiesWorkChain


class PaceActiveLearningWorkChain(LoopPorts, LoopBuilders, LoopExploring, LoopLabels, LoopEnsemble):
    """Train, find configurations on which the potential extrapolates, label the most informative ones, and repeat.

    Each generation trains a potential on the dataset (short-range baseline subtracted, atomic reference energies
    fixed), builds its active set, explores with it (or takes a pool), computes the extrapolation grades, leaves out
    frames below the threshold, selects by D-optimality, labels and merges. The output `stop_reason` says why the loop
    has ended. A loop that fails returns what it has.
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
            if_(cls.should_label_atoms)(cls.run_atoms, cls.inspect_atoms),
            cls.pin_references,
            cls.pin_config,
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
                if_(cls.should_explore)(cls.run_explore, cls.inspect_explore),
                cls.run_evaluate,
                cls.inspect_evaluate,
                if_(cls.should_go_on)(
                    cls.run_select,
                    cls.inspect_select,
                    if_(cls.should_label)(cls.run_label, cls.inspect_label),
                    cls.merge_selected,
                    cls.run_calibrate,
                ),
                cls.clean,
            ),
            cls.results,
        )

    # Setting up.

    def setup(self) -> None:
        """Set the state of the loop to that of its inputs."""
        self.ctx.settings = parse_options(LoopSettings, self.inputs.settings.get_dict())
        self.ctx.stage = INITIAL
        self.ctx.report = self.call(LoopStep.REPORT, begin_report, **given(previous=self.inputs.get('previous_report')))
        for name in ('dataset', 'test_dataset', 'pool', 'potential', 'calibration'):
            self.ctx[name] = self.inputs.get(name)
        self.ctx.reference_energies = self.inputs.get('reference_energies')
        self.ctx.exploration = self.ctx.grades = None
        self.ctx.members = {}
        self.ctx.unlabelled = None
        rows = content_of(self.ctx.report)['generations']
        self.ctx.generation = rows[-1]['generation'] + 1 if rows else 0

    def merge_initial(self) -> ExitCode | None:
        """Make the first dataset."""
        initial = dict(self.inputs.get('initial', {}))
        if initial:
            fraction = self.ctx.settings.max_failed_fraction
            outputs, node = self.merge_into(LoopStep.MERGE, self.ctx.dataset, initial, max_failed_fraction=fraction)
            if not node.is_finished_ok:
                return self.exit_codes.ERROR_INITIAL_FRAMES_REFUSED.format(reason=node.exit_message)
            self.ctx.dataset = outputs['dataset']
            self.report_warnings(outputs['report'])
        if self.ctx.test_dataset is not None:
            count = int(shared_frames(self.ctx.test_dataset, {'dataset': self.ctx.dataset}).sum())
            if count:
                return self.exit_codes.ERROR_TEST_FRAMES_IN_DATASET.format(count=count)
        return None

    def should_label_atoms(self) -> bool:
        """Return whether the energies of the isolated atoms are to be computed, and are not known yet."""
        wanted = bool(self.ctx.settings.isolated_atoms)
        return wanted and self.ctx.reference_energies is None and self.ctx.potential is None

    def run_atoms(self) -> ToContext | ExitCode:
        """Have the isolated atoms labelled as all frames are going to be."""
        config = self.engine.config_in(self.inputs)
        elements = self.ctx.dataset.elements if config is None else config.elements
        inputs = {
            'elements': orm.List(sorted(elements)),
            'label': self.inputs.label,
            'metadata': self.metadata_for(LoopStep.ATOMS),
        }
        return self.launch(LoopStep.ATOMS, PaceReferenceEnergiesWorkChain, inputs)

    def inspect_atoms(self) -> ExitCode | None:
        """Keep the energies of the isolated atoms."""
        if problem := self.check_finished(LoopStep.ATOMS, self.exit_codes.ERROR_ATOMS_FAILED):
            return problem
        outputs = self.ctx.atoms.outputs
        self.ctx.reference_energies = outputs.reference_energies
        if 'level_of_theory' not in outputs:
            return None
        level = LevelOfTheory.model_validate(outputs.level_of_theory.get_dict())
        found = {text for of_data in self.ctx.dataset.levels.values() for text in differences(of_data, level)}
        if not found:
            return None
        reason = f'the level of theory of the atoms is not that of the dataset: {"; ".join(sorted(found))}'
        self.report(reason)
        if self.ctx.settings.mixed_levels == 'warn':
            return None
        self.attach()
        return self.exit_codes.ERROR_ATOMS_FAILED.format(reason=f'{reason}.')

    def pin_references(self) -> ExitCode | None:
        """Fix the baseline and the reference energies for all generations."""
        potential = self.ctx.potential
        if 'baseline' in self.inputs:
            self.ctx.baseline = self.inputs.baseline
        elif potential is not None:
            self.ctx.baseline = self.call(LoopStep.BASELINE, self.engine.baseline_of, potential=potential)
        else:
            lj = orm.Bool(self.ctx.settings.lj)
            # What is in the pool may be labelled later, and the baseline has to be good for that too.
            later = given(pool=self.ctx.pool, test=self.ctx.test_dataset)
            mode = orm.Str(self.engine.baseline_mode(self.inputs))
            inputs = {'dataset': self.ctx.dataset, 'lj': lj, 'mode': mode, **later}
            inputs['metadata'] = self.metadata_for(LoopStep.BASELINE)
            self.ctx.baseline, node = self.run_once(default_baseline, **inputs)
            if not node.is_finished_ok:
                return self.exit_codes.ERROR_INITIAL_FRAMES_REFUSED.format(reason=node.exit_message)
        if self.ctx.reference_energies is not None:
            return None
        if potential is not None:
            self.ctx.reference_energies = self.call(
                LoopStep.REFERENCES, self.engine.reference_energies_of, potential=potential
            )
        else:
            self.ctx.reference_energies = self.call(
                LoopStep.REFERENCES, fit_reference_energies, dataset=self.ctx.dataset, baseline=self.ctx.baseline
            )
        return None

    def pin_config(self) -> None:
        """Fix what the config leaves to the dataset and all generations are to have in common."""
        self.ctx.config = None
        if self.engine.leaves_open(self.inputs):
            self.ctx.config = self.call(
                LoopStep.CONFIG,
                self.engine.pin_config,
                config=self.engine.place_in(self.inputs, 'train')['config'],
                dataset=self.ctx.dataset,
                baseline=self.ctx.baseline,
                reference_energies=self.ctx.reference_energies,
            )

    # A generation begins, if there is no reason to stop.

    def should_go_on(self) -> bool:
        """Return whether the report has no stop reason yet."""
        return content_of(self.ctx.report)['stop_reason'] is None

    def begin_generation(self) -> None:
        """Set the stage, with which the labels of all further calls begin."""
        self.ctx.stage = generation_stage(self.ctx.generation)

    # Training.

    def run_train(self) -> ToContext | ExitCode:
        """Train on the dataset, from the last potential if there is one."""
        settings: LoopSettings = self.ctx.settings
        first = self.ctx.potential is None
        inputs = self.prepare(
            'train',
            LoopStep.TRAIN,
            dataset=self.ctx.dataset,
            baseline=self.ctx.baseline,
            reference_energies=self.ctx.reference_energies,
            max_epochs=orm.Int(settings.iterations(first=first)),
            **given(test_dataset=self.ctx.test_dataset, potential=self.ctx.potential, config=self.ctx.config),
        )
        if problem := self.engine.check_active_set(self.engine.place_in({'train': inputs}, 'train')):
            self.attach()
            return self.exit_codes.ERROR_INPUTS_REFUSED.format(
                step=LoopStep.ACTIVESET.value, stage=self.stage, reason=problem
            )
        training = self.launch(LoopStep.TRAIN, self.engine.process('train'), inputs)
        return training if isinstance(training, ExitCode) else ToContext(**training, **self.member_trainings())

    def inspect_train(self) -> ExitCode | None:
        """Keep the potential and where it was trained."""
        if problem := self.check_finished(LoopStep.TRAIN, self.exit_codes.ERROR_TRAINING_FAILED):
            return problem
        self.ctx.potential = self.ctx.train.outputs.potential
        outputs = self.ctx.train.outputs
        self.ctx.training_folder = outputs.remote_folder if 'remote_folder' in outputs else None
        self.ctx.posterior = outputs.posterior if 'posterior' in outputs else None
        self.inspect_members()
        return None

    # Active set.

    def run_activeset(self) -> ToContext | ExitCode:
        """Build the active set from the data of the training, where it left them if possible."""
        inputs = self.prepare(
            'activeset',
            LoopStep.ACTIVESET,
            potential=self.ctx.potential,
            dataset=self.ctx.dataset,
            **given(parent_folder=self.ctx.training_folder),
        )
        return self.launch(LoopStep.ACTIVESET, self.engine.process('activeset'), inputs)

    def inspect_activeset(self) -> ExitCode | None:
        """Keep the active set."""
        if problem := self.check_finished(LoopStep.ACTIVESET, self.exit_codes.ERROR_ACTIVE_SET_FAILED):
            return problem
        self.ctx.active_set = self.ctx.activeset.outputs.active_set
        outputs = self.ctx.activeset.outputs
        parameters = outputs.output_parameters.get_dict() if 'output_parameters' in outputs else {}
        for warning in parameters.get('warnings', []):
            self.report(f'{self.stage}: {warning}')
        return None

    # Evaluation.

    def run_evaluate(self) -> ToContext | ExitCode:
        """Evaluate the potential on the dataset, the test set and the candidates in one job.

        Candidates that the explorer has energies, forces and gamma of are left out.
        """
        pool = self.ctx.pool if self.ctx.grades is None else None
        inputs = self.prepare(
            'evaluate',
            LoopStep.EVALUATE,
            potential=self.ctx.potential,
            active_set=self.ctx.active_set,
            datasets={'train': self.ctx.dataset, **given(pool=pool, test=self.ctx.test_dataset)},
            **given(posterior=self.ctx.posterior),
        )
        evaluation = self.launch(LoopStep.EVALUATE, self.engine.process('evaluate'), inputs)
        if isinstance(evaluation, ExitCode):
            return evaluation
        return ToContext(**evaluation, **self.member_evaluations(self.ctx.pool))

    def inspect_evaluate(self) -> ExitCode | None:
        """Find the frames on which the potential extrapolates, and decide whether the loop goes on."""
        if problem := self.check_finished(LoopStep.EVALUATE, self.exit_codes.ERROR_EVALUATION_FAILED):
            return problem
        self.inspect_member_evaluations()
        found = self.find_candidates()
        self.ctx.candidates = found.get('candidates')
        self.ctx.report = self.call(
            LoopStep.REPORT,
            report_fit,
            report=self.ctx.report,
            settings=self.inputs.settings,
            generation=orm.Int(self.ctx.generation),
            dataset=self.ctx.dataset,
            metrics=self.ctx.train.outputs.metrics,
            errors=self.ctx.evaluate.outputs.errors,
            core_hours=orm.Float(core_hours(self.node)['total']),
            **given(candidates=found.get('report'), exploration=self.ctx.exploration),
        )
        row = last_row(self.ctx.report)
        self.report(
            f'generation {self.ctx.generation}: {row["n_frames"]} frames, {_shown_errors(row)}, largest gamma '
            f'{shown_gamma(row, "gamma_max")}, {row["n_candidates"]} of {row["n_unknown"]} new candidates above the '
            f'threshold{_unseen_too(row)}'
        )
        return self.stuck()

    @property
    def pool_evaluation(self) -> Any:
        """Energies, forces and gamma of the pool: those of the explorer that found it, or of the evaluation."""
        return self.ctx.evaluate.outputs.evaluations.pool if self.ctx.grades is None else self.ctx.grades

    def find_candidates(self) -> Any:
        """Return the frames of the pool or of the exploration on which the potential extrapolates, None without any."""
        if self.ctx.pool is None:
            return {}
        return self.call(
            LoopStep.CANDIDATES,
            find_candidates,
            pool=self.ctx.pool,
            evaluation=self.pool_evaluation,
            gamma_threshold=orm.Float(self.ctx.settings.gamma_threshold),
            dataset=self.ctx.dataset,
            # What could not be labelled would fail again.
            **given(test=self.ctx.test_dataset, unlabelled=self.ctx.unlabelled),
        )

    # Selection.

    def run_select(self) -> ToContext | ExitCode:
        """Choose the most informative candidates; some that are drawn at random are kept for the test set."""
        settings: LoopSettings = self.ctx.settings
        content = content_of(self.ctx.report)
        left = labels_left(rows_of_run(content), settings, retried_in_run(content))
        self.ctx.held_out = self.ctx.merged_test = self.ctx.failures_test = None
        if count := split_labels(left, settings):
            seed = orm.Int(settings.exploration_seed + self.ctx.generation)
            parts = self.call(
                LoopStep.HOLD_OUT, hold_out, candidates=self.ctx.candidates, count=orm.Int(count), seed=seed
            )
            self.ctx.candidates, self.ctx.held_out = parts['candidates'], parts.get('test')
            left -= 0 if self.ctx.held_out is None else self.ctx.held_out.n_frames
        inputs = self.prepare(
            'select',
            LoopStep.SELECT,
            potential=self.ctx.potential,
            active_set=self.ctx.active_set,
            candidates={'pool': self.ctx.candidates},
            pool=self.ctx.pool,
            max_structures=orm.Int(left),
            **given(posterior=self.ctx.posterior),
        )
        return self.launch(LoopStep.SELECT, self.engine.process('select'), inputs)

    def inspect_select(self) -> ExitCode | None:
        """Keep what was selected; if the candidates are labelled, these are the labels."""
        if problem := self.check_finished(LoopStep.SELECT, self.exit_codes.ERROR_SELECTION_FAILED):
            return problem
        self.ctx.selected = self.ctx.select.outputs.selected if 'selected' in self.ctx.select.outputs else None
        self.ctx.failures = None
        self.ctx.labelled = {} if self.ctx.selected is None else {'selected': self.ctx.selected}
        self.ctx.labelled_test = {} if self.ctx.held_out is None else {'held_out': self.ctx.held_out}
        return None

    # Calibration of gamma.

    def run_calibrate(self) -> None:
        """Calibrate gamma, and the force spread, by the errors on the frames that have labels now."""
        self.ctx.calibration = self.call(
            LoopStep.CALIBRATION,
            calibrate,
            candidates=self.ctx.pool,
            evaluation=self.pool_evaluation,
            dataset=self.ctx.dataset,
            generation=orm.Int(self.ctx.generation),
            **given(test=self.ctx.test_dataset, previous=self.ctx.calibration),
            **self.ctx.member_evaluations,
        )
        self.ctx.report = self.call(
            LoopStep.REPORT_CALIBRATION, report_calibration, report=self.ctx.report, calibration=self.ctx.calibration
        )
        self.report(f'{self.stage}: {" ".join(self.ctx.calibration["text"])}')

    # The end.

    def results(self) -> None:
        """Attach the outputs and say why the loop has ended."""
        content = content_of(self.ctx.report)
        self.report(f'{content["stop_reason"]}: {content["stop_message"]}')
        for line in quality_lines(content['generations']):
            self.report(line)
        self.attach()
        self.out('stop_reason', self.call(LoopStep.STOP_REASON, stop_reason_of, report=self.ctx.report))

    def clean(self) -> None:
        """Clean the remote folders if asked to: a generation needs nothing of the folders of an earlier one."""
        if self.inputs.clean_workdir.value:
            clean_folders(self)


def _unseen_too(row: GenerationRow) -> str:
    return f', {row["n_unseen"]} of them with interactions that the data never had' if row['n_unseen'] else ''


def _shown_errors(row: GenerationRow) -> str:
    """Return the errors of a generation: on the test set or, without one, on what was fitted."""
    if row['test_rmse_energy'] is None:
        errors = f'{row["train_rmse_energy"]:.4f} eV/atom and {row["train_rmse_forces"]:.4f} eV/Å'
        return f'train errors {errors} (there is no test set)'
    return f'test errors {row["test_rmse_energy"]:.4f} eV/atom and {row["test_rmse_forces"]:.4f} eV/Å'
