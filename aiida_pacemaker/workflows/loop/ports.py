"""Inputs, outputs and exit codes of the active-learning loop, and how protocols fill them in."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ProcessSpec
from aiida.orm import to_aiida_type

from aiida_pacemaker.calculations.checks.inputs import validate_baseline, validate_labelled, validator_for
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.workflows.engines import PACEMAKER, engine_called, validate_engine
from aiida_pacemaker.workflows.loop.checks import validate_loop
from aiida_pacemaker.workflows.loop.engine import define_steps, define_types
from aiida_pacemaker.workflows.loop.settings import LoopSettings
from aiida_pacemaker.workflows.plugins import EXPLORER, LABELLER

#: What to do when a loop has failed.
GO_ON = 'What there is so far is in the outputs: repair what is wrong and go on with `get_builder_from_run`.'


class LoopPorts:
    """The ports of the loop."""

    @classmethod
    def define_inputs(cls, spec: ProcessSpec) -> None:
        """Define what the loop takes."""
        spec.input(
            'engine',
            valid_type=orm.Str,
            serializer=to_aiida_type,
            default=lambda: orm.Str(PACEMAKER),
            validator=validate_engine,
            help='What trains, grades and selects: an entry point of the group `pacemaker.engines`. `train`, '
            '`activeset`, `evaluate` and `select` have the inputs of its processes.',
        )
        define_steps(spec, engine_called(PACEMAKER))
        spec.input_namespace(
            'initial',
            valid_type=(orm.TrajectoryData, orm.SinglefileData, PaceDatasetData),
            dynamic=True,
            required=False,
            help='Labelled trajectories, files and datasets to begin with.',
        )
        spec.input(
            'dataset',
            valid_type=PaceDatasetData,
            required=False,
            validator=validate_labelled,
            help='Dataset to continue from; what is in `initial` is merged into it.',
        )
        spec.input(
            'pool',
            valid_type=PaceDatasetData,
            required=False,
            help='The candidates; labelled, or unlabelled with a labeller. Without a pool an explorer finds them.',
        )
        cls.define_plugins(spec)
        spec.input(
            'test_dataset',
            valid_type=PaceDatasetData,
            required=False,
            validator=validate_labelled,
            help='The frozen test set: never trained on, and never selected. What `settings.test_share` sets aside is '
            'added to it.',
        )
        spec.input(
            'unlabelled',
            valid_type=PaceDatasetData,
            required=False,
            help='Frames that an earlier run selected and could not label (its output `unlabelled`): the labeller gets '
            'those that are not in the dataset before the first generation.',
        )
        spec.input('potential', valid_type=orm.Data, required=False, help='Potential to continue from.')
        spec.input(
            'previous_report',
            valid_type=orm.Dict,
            required=False,
            help='Report of the run that is continued; the report of this run begins with it.',
        )
        spec.input(
            'baseline',
            valid_type=orm.Dict,
            serializer=to_aiida_type,
            required=False,
            validator=validate_baseline,
            help='The short-range baseline; by default that of `potential`, or ZBL (and LJ, see `settings.lj`) for the '
            'elements and the shortest distances of the dataset.',
        )
        spec.input(
            'reference_energies',
            valid_type=orm.Dict,
            serializer=to_aiida_type,
            required=False,
            help='Atomic reference energy (E0) of each element in eV; by default those of `potential`, or fitted '
            'once to the first dataset. They stay the same in all generations.',
        )
        spec.input(
            'settings',
            valid_type=orm.Dict,
            serializer=to_aiida_type,
            default=lambda: orm.Dict({}),
            validator=validator_for(LoopSettings),
            help='When the loop goes on and what it takes: `LoopSettings`.',
        )
        spec.input(
            'calibration',
            valid_type=orm.Dict,
            required=False,
            help='Output `calibration` of the run that is continued; that of this run adds to it.',
        )
        spec.input(
            'clean_workdir',
            valid_type=orm.Bool,
            serializer=to_aiida_type,
            default=lambda: orm.Bool(False),
            help='Whether the remote folders of all jobs of a generation are emptied when it is done. Those of one in '
            'which something has failed stay.',
        )
        spec.inputs.validator = validate_loop

    @classmethod
    def define_plugins(cls, spec: ProcessSpec) -> None:
        """Define who finds candidates and who labels them: any process, chosen by its entry point."""
        EXPLORER.define_ports(spec, help='Who finds candidates, where there is no pool.')
        LABELLER.define_ports(spec, help='Who labels candidates that have no labels.')
        spec.input(
            'explore.initial_structures',
            valid_type=PaceDatasetData,
            required=False,
            help='Structures to begin from in each generation; without them `settings.seed_frames` of the dataset.',
        )

    @classmethod
    def define_outputs(cls, spec: ProcessSpec) -> None:
        """Define what the loop gives, and how it fails."""
        spec.output('dataset', valid_type=PaceDatasetData, required=False, help='The dataset as it is at the end.')
        spec.output(
            'test_dataset', valid_type=PaceDatasetData, required=False, help='The test set as it is at the end.'
        )
        spec.output('potential', valid_type=orm.Data, required=False, help='The last potential.')
        spec.output('active_set', valid_type=orm.Data, required=False, help='Its active set.')
        spec.output('baseline', valid_type=orm.Dict, required=False, help='The baseline of all potentials.')
        spec.output('reference_energies', valid_type=orm.Dict, required=False, help='The energies that were pinned.')
        spec.output('report', valid_type=orm.Dict, required=False, help='One row per generation.')
        spec.output(
            'calibration',
            valid_type=orm.Dict,
            required=False,
            help='The errors of all frames that were labelled, before they were trained on, with the gamma (and the '
            'spread of the ensemble) that they were chosen by, and the thresholds of gamma that follow.',
        )
        spec.output(
            'unlabelled',
            valid_type=PaceDatasetData,
            required=False,
            help='Frames that were selected and are not in the dataset, since their labels failed or were refused.',
        )
        spec.output('stop_reason', valid_type=orm.Str, required=False, help='Why the loop has ended.')
        spec.exit_code(
            210,
            'ERROR_INITIAL_FRAMES_REFUSED',
            message='The initial frames cannot be used: {reason}',
        )
        spec.exit_code(
            211,
            'ERROR_TEST_FRAMES_IN_DATASET',
            message='{count} frames of the test set are in the initial dataset too, so that its errors would say '
            'nothing. Take them out of either with `exclude_frames`.',
        )
        spec.exit_code(410, 'ERROR_TRAINING_FAILED', message='The training failed in {stage}: {reason} ' + GO_ON)
        spec.exit_code(411, 'ERROR_ACTIVE_SET_FAILED', message='The active set failed in {stage}: {reason} ' + GO_ON)
        spec.exit_code(412, 'ERROR_EVALUATION_FAILED', message='The evaluation failed in {stage}: {reason} ' + GO_ON)
        spec.exit_code(413, 'ERROR_SELECTION_FAILED', message='The selection failed in {stage}: {reason} ' + GO_ON)
        spec.exit_code(
            414,
            'ERROR_LABELLING_FAILED',
            message='None of the {total} frames selected in {stage} could be labelled; of the first it was said: '
            '{reason}. Repair the labeller and go on with `get_builder_from_run`: the frames are in the output '
            '`unlabelled`.',
        )
        spec.exit_code(
            415,
            'ERROR_LABELS_FAILED',
            message='{count} of {total} frames selected in {stage} could not be labelled or were refused, more than '
            '`max_failed_fraction` allows. They are in the output `unlabelled` and the others in `dataset`: raise the '
            'fraction, or repair the labeller, and go on with `get_builder_from_run`. The first of them: {reason}',
        )
        spec.exit_code(
            416, 'ERROR_MERGE_FAILED', message='The labelled frames could not be merged in {stage}: {reason} ' + GO_ON
        )
        spec.exit_code(
            417,
            'ERROR_INPUTS_REFUSED',
            message='The inputs of `{step}` in {stage} were refused, nothing was submitted: {reason} ' + GO_ON,
        )
        spec.exit_code(418, 'ERROR_EXPLORATION_FAILED', message='The exploration failed in {stage}: {reason} ' + GO_ON)
        spec.exit_code(
            419,
            'ERROR_EXPLORATION_STUCK',
            message='The exploration in {stage} found nothing to label, but the potential is not good enough to be '
            'called known: its runs ended by {reasons}. Begin from other structures, at a lower temperature or with '
            'smaller displacements, or raise `gamma_high`. ' + GO_ON,
        )
        spec.exit_code(
            420,
            'ERROR_ATOMS_FAILED',
            message='The isolated atoms have no energies that can be used: {reason} Repair the labeller, or give '
            '`reference_energies`.',
        )
        define_types(spec, engine_called(PACEMAKER))


def given(**inputs: Any) -> dict[str, Any]:
    """Return the inputs that are not None."""
    return {name: value for name, value in inputs.items() if value is not None}
