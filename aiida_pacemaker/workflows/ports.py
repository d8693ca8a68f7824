"""Inputs, outputs and exit codes of the active-learning loop, and how protocols fill them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder, ProcessSpec
from aiida.orm import to_aiida_type

from aiida_pacemaker.calculations.base import RESOURCES
from aiida_pacemaker.calculations.validation import validate_baseline, validate_labelled, validator_for
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.engine.config import parse_config
from aiida_pacemaker.workflows.activeset_base import PaceActiveSetBaseWorkChain
from aiida_pacemaker.workflows.evaluate_base import PaceEvaluateBaseWorkChain
from aiida_pacemaker.workflows.protocols import ProtocolMixin
from aiida_pacemaker.workflows.select_base import PaceSelectBaseWorkChain
from aiida_pacemaker.workflows.settings import LoopSettings
from aiida_pacemaker.workflows.train_base import PaceTrainBaseWorkChain

#: Inputs of the training that the loop provides itself.
PROVIDED = (
    'dataset',
    'test_dataset',
    'baseline',
    'reference_energies',
    'potential',
    'potential_mode',
    'max_epochs',
    'parent_folder',
)


def validate_loop(inputs: Any, _: Any) -> str | None:
    """Check that there is something to begin with, and that selected frames can be labelled."""
    if 'pool' not in inputs:
        return None
    if 'dataset' not in inputs and not inputs.get('initial'):
        return 'there is nothing to begin with: give `initial` trajectories, or a `dataset` of an earlier run'
    if not inputs['pool'].labelled and 'entry_point' not in inputs.get('label', {}):
        return 'the pool is not labelled: give a labeller (`label.entry_point`, `label.inputs`)'
    if 'unlabelled' in inputs and 'entry_point' not in inputs.get('label', {}):
        return 'there are `unlabelled` frames of an earlier run: give a labeller (`label.entry_point`, `label.inputs`)'
    if 'previous_report' in inputs and 'generations' not in inputs['previous_report'].get_dict():
        return '`previous_report` is not the report of an earlier run of this loop'
    return None


class LoopPorts(ProtocolMixin):
    """The ports of the loop, and a builder that a protocol has filled in."""

    PROTOCOL_FILE = 'active_learning.yaml'

    @classmethod
    def define_inputs(cls, spec: ProcessSpec) -> None:
        """Define what the loop takes."""
        spec.expose_inputs(
            PaceTrainBaseWorkChain,
            namespace='train',
            exclude=('clean_workdir', *(f'pace.{name}' for name in PROVIDED)),
            namespace_options={'help': 'The training job: code, config and options.'},
        )
        spec.expose_inputs(
            PaceActiveSetBaseWorkChain,
            namespace='activeset',
            exclude=('clean_workdir', 'pace.potential', 'pace.dataset', 'pace.parent_folder'),
            namespace_options={'help': 'The active-set job: code and options.'},
        )
        spec.expose_inputs(
            PaceEvaluateBaseWorkChain,
            namespace='evaluate',
            exclude=('clean_workdir', 'pace.potential', 'pace.active_set', 'pace.datasets'),
            namespace_options={'help': 'The evaluation job: code (the Python of the engine) and options.'},
        )
        spec.expose_inputs(
            PaceSelectBaseWorkChain,
            namespace='select',
            exclude=('clean_workdir', 'pace.potential', 'pace.active_set', 'pace.candidates'),
            namespace_options={'help': 'The selection job: code and options.'},
        )
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
        spec.input('pool', valid_type=PaceDatasetData, help='The candidates; labelled, or unlabelled with a labeller.')
        spec.input(
            'test_dataset',
            valid_type=PaceDatasetData,
            required=False,
            validator=validate_labelled,
            help='The frozen test set: never trained on, and never selected from the pool.',
        )
        spec.input(
            'unlabelled',
            valid_type=PaceDatasetData,
            required=False,
            help='Frames that an earlier run selected and could not label (its output `unlabelled`): the labeller gets '
            'those that are not in the dataset before the first generation.',
        )
        spec.input('potential', valid_type=PacePotentialData, required=False, help='Potential to continue from.')
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
            'elements of the dataset.',
        )
        spec.input(
            'reference_energies',
            valid_type=orm.Dict,
            serializer=to_aiida_type,
            required=False,
            help='Energy of the isolated atom of each element in eV; by default those of `potential`, or fitted once '
            'to the first dataset. They stay the same in all generations.',
        )
        spec.input(
            'settings',
            valid_type=orm.Dict,
            serializer=to_aiida_type,
            default=lambda: orm.Dict({}),
            validator=validator_for(LoopSettings),
            help='When the loop goes on and what it takes: `LoopSettings`.',
        )
        spec.input_namespace('label', help='Who labels what is selected from an unlabelled pool.')
        spec.input(
            'label.entry_point',
            valid_type=orm.Str,
            serializer=to_aiida_type,
            required=False,
            help='Entry point of the labeller, for an unlabelled pool.',
        )
        spec.input_namespace(
            'label.inputs',
            dynamic=True,
            required=False,
            help='Inputs of the labeller, all but its `dataset`.',
        )
        spec.input(
            'label.metadata',
            valid_type=dict,
            non_db=True,
            required=False,
            help='Metadata of the labeller, such as the options of a job.',
        )
        spec.input(
            'clean_workdir',
            valid_type=orm.Bool,
            serializer=to_aiida_type,
            default=lambda: orm.Bool(False),
            help='Whether the remote folders of all jobs are emptied at the end.',
        )
        spec.inputs.validator = validate_loop

    @classmethod
    def define_outputs(cls, spec: ProcessSpec) -> None:
        """Define what the loop gives, and how it fails."""
        spec.output('dataset', valid_type=PaceDatasetData, required=False, help='The dataset as it is at the end.')
        spec.output('potential', valid_type=PacePotentialData, required=False, help='The last potential.')
        spec.output('active_set', valid_type=PaceActiveSetData, required=False, help='Its active set.')
        spec.output('baseline', valid_type=orm.Dict, required=False, help='The baseline of all potentials.')
        spec.output('reference_energies', valid_type=orm.Dict, required=False, help='The energies that were pinned.')
        spec.output('report', valid_type=orm.Dict, required=False, help='One row per generation.')
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
            message='The initial frames could not be merged: {reason}',
        )
        spec.exit_code(
            211,
            'ERROR_TEST_FRAMES_IN_DATASET',
            message='{count} frames of the test set are in the initial dataset too, so that its errors would say '
            'nothing. Take them out of either with `exclude_frames`.',
        )
        spec.exit_code(410, 'ERROR_TRAINING_FAILED', message='The training failed in {stage}: {reason}')
        spec.exit_code(411, 'ERROR_ACTIVE_SET_FAILED', message='The active set failed in {stage}: {reason}')
        spec.exit_code(412, 'ERROR_EVALUATION_FAILED', message='The evaluation failed in {stage}: {reason}')
        spec.exit_code(413, 'ERROR_SELECTION_FAILED', message='The selection failed in {stage}: {reason}')
        spec.exit_code(
            414,
            'ERROR_LABELLING_FAILED',
            message='None of the {total} frames selected in {stage} could be labelled; of the first it was said: '
            '{reason}. Repair the labeller and continue from the outputs (`get_builder_from_run`): the frames are in '
            'the output `unlabelled`.',
        )
        spec.exit_code(
            415,
            'ERROR_LABELS_FAILED',
            message='{count} of {total} frames selected in {stage} could not be labelled or were refused, more than '
            '`max_failed_fraction` allows. They are in the output `unlabelled` and the others in `dataset`: raise the '
            'fraction, or repair the labeller, and continue from the outputs (`get_builder_from_run`). The first of '
            'them: {reason}',
        )
        spec.exit_code(
            416, 'ERROR_MERGE_FAILED', message='The labelled frames could not be merged in {stage}: {reason}'
        )
        spec.exit_code(
            417,
            'ERROR_INPUTS_REFUSED',
            message='The inputs of `{step}` in {stage} were refused, nothing was submitted: {reason}',
        )

    @classmethod
    def get_builder_from_protocol(
        cls,
        *,
        pacemaker: orm.AbstractCode,
        pace_activeset: orm.AbstractCode,
        pace_select: orm.AbstractCode,
        python: orm.AbstractCode,
        pool: PaceDatasetData,
        pace_yaml2yace: orm.AbstractCode | None = None,
        initial: Sequence[orm.Data] = (),
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        **inputs: Any,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol, to be changed or run as it is.

        :param pacemaker: code for training; the others are those for the active set, the selection, the evaluation (the
            Python of the engine) and, for a `.yace` with each potential, the conversion.
        :param pool: the candidates.
        :param initial: labelled trajectories, files and datasets to begin with.
        :param protocol: one of :meth:`get_available_protocols`.
        :param overrides: `config`, `settings`, `activeset` or `select` (their options) in place of those of the
            protocol, key by key.
        :param options: options of all jobs, such as `resources` and `max_wallclock_seconds`.
        :param inputs: further inputs of the work chain: `dataset`, `test_dataset`, `potential`, `baseline`, ...
        :raises ConfigError: if the config is not valid with these overrides.
        """
        defaults = cls.get_protocol_inputs(protocol, overrides)
        config = defaults['config']
        if 'elements' not in config:
            nodes = [pool, *(inputs[name] for name in ('dataset', 'test_dataset') if name in inputs), *initial]
            config['elements'] = sorted({element for node in nodes for element in _elements(node)})
        job = {'options': {'resources': RESOURCES, **(options or {})}}
        builder: ProcessBuilder = cls.get_builder()  # type: ignore[attr-defined]
        builder.train = {
            'pace': {
                'code': pacemaker,
                'config': orm.Dict(parse_config(config).to_dict()),
                'metadata': job,
                **given(yace_code=pace_yaml2yace),
            }
        }
        builder.activeset = {'pace': {'code': pace_activeset, 'metadata': job}}
        builder.select = {'pace': {'code': pace_select, 'metadata': job}}
        if defaults['activeset']:
            builder.activeset['pace']['options'] = orm.Dict(defaults['activeset'])
        if defaults['select']:
            builder.select['pace']['options'] = orm.Dict(defaults['select'])
        builder.evaluate = {'pace': {'code': python, 'metadata': job}}
        builder.settings = orm.Dict(LoopSettings.model_validate(defaults['settings']).model_dump(mode='json'))
        builder.pool = pool
        builder.initial = {f'source_{index:04d}': node for index, node in enumerate(initial)}
        for name, value in inputs.items():
            setattr(builder, name, value)
        return builder


def _elements(node: orm.Data) -> list[str]:
    """Return the elements of a source, as far as they can be told without reading it."""
    if isinstance(node, PaceDatasetData):
        return node.elements
    return list(node.symbols) if isinstance(node, orm.TrajectoryData) else []


def given(**inputs: Any) -> dict[str, Any]:
    """Return the inputs that are not None."""
    return {name: value for name, value in inputs.items() if value is not None}
