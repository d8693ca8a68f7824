"""What the jobs that fit a potential have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from aiida import orm
from aiida.engine import CalcJobProcessSpec
from aiida.orm import to_aiida_type

from aiida_pacemaker.calculations.base import LOOK_AND_REPEAT, PaceCalcJob
from aiida_pacemaker.calculations.checks.inputs import (
    all_of,
    validate_baseline,
    validate_config,
    validate_labelled,
    validate_reference_energies,
)
from aiida_pacemaker.calculations.checks.training import validate_training
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.pace.config.trainer_config import parse_config


class TrainingJob(PaceCalcJob):
    """Base of the jobs that fit a potential: what is fitted to what, and how good it is."""

    #: File of a potential that the fit takes something of.
    INITIAL: ClassVar[str] = 'initial_potential.yaml'
    METRICS: ClassVar[dict[str, str]] = {'train': 'metrics.txt', 'test': 'test_metrics.txt'}
    POTENTIAL: ClassVar[str] = 'output_potential.yaml'
    C_TILDE: ClassVar[str] = 'output_potential.yace'
    #: Files with the predictions for each set of frames.
    PREDICTIONS: ClassVar[dict[str, str]]
    #: The evaluators that the job has.
    EVALUATORS: ClassVar[tuple[str, ...]]

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input('dataset', valid_type=PaceDatasetData, validator=validate_labelled, help='The frames to fit.')
        spec.input(
            'test_dataset',
            valid_type=PaceDatasetData,
            required=False,
            validator=validate_labelled,
            help='Frames to follow the test error on; none of them may be in the dataset.',
        )
        spec.input(
            'config',
            valid_type=orm.Dict,
            serializer=to_aiida_type,
            validator=validate_config,
            help='What to fit and how: a `TrainerConfig`, short form, sections of the engine, or both.',
        )
        spec.input(
            'baseline',
            valid_type=orm.Dict,
            serializer=to_aiida_type,
            validator=validate_baseline,
            help='The short-range baseline (a `DeltaBaseline`): ZBL always, LJ optional.',
        )
        spec.input(
            'reference_energies',
            valid_type=orm.Dict,
            serializer=to_aiida_type,
            validator=validate_reference_energies,
            help='Atomic reference energy (E0) of each element in eV. Keep them the same in all generations.',
        )
        spec.input(
            'predict',
            valid_type=orm.Bool,
            serializer=to_aiida_type,
            default=lambda: orm.Bool(False),
            help='Whether all frames are predicted at the end (output `predictions`), and plotted by `pacemaker`.',
        )
        spec.inputs.validator = all_of(
            spec.inputs.validator, cls.validate_evaluator, validate_training, cls.validate_input
        )

        spec.output('potential', valid_type=PacePotentialData, required=False, help='The fitted potential.')
        spec.output(
            'learning_curves',
            valid_type=orm.ArrayData,
            required=False,
            help='The columns of the metrics, one row per iteration: arrays `train_<column>` and `test_<column>`.',
        )
        spec.output(
            'predictions',
            valid_type=orm.ArrayData,
            required=False,
            help='Energies (eV) and forces (eV/angstrom) as predicted by the engine, without those of the baseline and '
            'of the isolated atoms, in the order of the datasets: arrays `train_energy`, `train_forces`, '
            '`test_energy`, `test_forces`. They are NaN for frames that the engine has left out, whose positions are '
            'in `train_left_out` and `test_left_out`.',
        )

        spec.exit_code(
            311,
            'ERROR_POTENTIAL_INVALID',
            invalidates_cache=True,
            message='The potential that came back cannot be used: {reason}. ' + LOOK_AND_REPEAT,
        )
        spec.exit_code(
            312,
            'ERROR_METRICS_INVALID',
            invalidates_cache=True,
            message='A potential came back, but how good it is cannot be read from {reason}. Look at the files in the '
            'output `retrieved`.',
        )
        spec.exit_code(
            511,
            'ERROR_PREDICTIONS_MISSING',
            invalidates_cache=True,
            message='The potential was fitted but the predictions that `predict` asks for cannot be used: {reason}. '
            'The output `potential` is there without them: evaluate the dataset with it (`pacemaker.evaluate`).',
        )

    @classmethod
    def validate_evaluator(cls, inputs: Any, _: Any) -> str | None:
        """Check that the job has the evaluator of the config."""
        if 'config' not in inputs:
            return None
        evaluator = parse_config(inputs['config'].get_dict()).used_evaluator
        if evaluator in cls.EVALUATORS:
            return None
        return (
            f'the evaluator of the config is `{evaluator}`, and `{cls.PARSER}` has {" and ".join(cls.EVALUATORS)}: '
            f'set `evaluator: {cls.EVALUATORS[0]}`, or have `pacemaker.train.base` choose the job (and give it the '
            'code for that: the Python of the engine for `linear`, else `pacemaker`).'
        )

    @staticmethod
    def validate_input(inputs: Any, _: Any) -> str | None:
        """Check that the input of the program can be written."""
        raise NotImplementedError


def writes_weights(inputs: Any) -> bool:
    """Return whether the fit gets weights, those of the dataset, which take the place of a weighting policy.

    The engine puts the frames of both sets into one table, so that both files have the columns or neither has.
    """
    sections = parse_config(inputs['config'].get_dict()).sections()
    return bool(inputs['dataset'].weighted and not sections['data'].get('ignore_weights'))
