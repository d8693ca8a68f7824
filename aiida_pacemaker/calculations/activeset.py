"""The active-set job: `pace_activeset`."""

from __future__ import annotations

from typing import Any, ClassVar

from aiida import orm
from aiida.common import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.orm import to_aiida_type

from aiida_pacemaker.calculations.base import LOOK_AND_REPEAT, PARENT_FILES_LOST, PaceCalcJob
from aiida_pacemaker.calculations.checks.inputs import (
    all_of,
    on_one_computer,
    options_of,
    validate_labelled,
    validate_parent,
    validator_for,
)
from aiida_pacemaker.calculations.checks.memory import check_active_set_memory
from aiida_pacemaker.calculations.checks.training import check_counts
from aiida_pacemaker.calculations.fit_linear import PaceLinearFitCalculation
from aiida_pacemaker.calculations.staging import trained_on
from aiida_pacemaker.calculations.train import PaceTrainCalculation
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.pace.config.options import ActiveSetOptions

#: Process type of the trainings that leave no data for an active set.
LINEAR_FIT = PaceLinearFitCalculation.build_process_type()


def validate_activeset(inputs: Any, _: Any) -> str | None:
    """Check that there is one source of data and that the potential describes it."""
    if 'potential' not in inputs:
        return None
    if ('parent_folder' in inputs) == ('dataset' in inputs):
        return (
            'give either `parent_folder` (the remote folder of the training, whose data are read where they are) or '
            '`dataset`, and not both'
        )
    if 'dataset' in inputs:
        dataset = inputs['dataset']
        if problem := _check_dataset(dataset, inputs['potential']):
            return problem
    elif inputs['parent_folder'].is_cleaned:
        return '`parent_folder` has been cleaned, the data of the training are gone: give the `dataset` instead'
    elif not _has_data(inputs['parent_folder']):
        return '`parent_folder` is that of a linear fit, which leaves no data there: give the `dataset` instead'
    else:
        dataset = trained_on(inputs['parent_folder'])
    options = options_of(ActiveSetOptions, inputs)
    return None if dataset is None else check_active_set_memory(inputs, dataset, options)


def _check_dataset(dataset: PaceDatasetData, potential: PacePotentialData) -> str | None:
    """Return what keeps the active set of a potential from being built from a dataset."""
    in_data, in_potential = set(dataset.elements), set(potential.elements)
    if in_data - in_potential:
        return f'the dataset has {", ".join(sorted(in_data - in_potential))}, which the potential does not describe'
    if in_potential - in_data:
        return (
            f'the potential describes {", ".join(sorted(in_potential - in_data))}, which no frame of the dataset has: '
            'add frames that have it.'
        )
    return check_counts(potential.n_functions_per_element, dataset, potential.cutoff)


def data_of_training(folder: orm.RemoteData, dataset: PaceDatasetData, code: orm.AbstractCode) -> dict[str, orm.Data]:
    """Return the input by which an active set is built from the data of a training.

    The folder of the training, if it has left them there, is not cleaned and on the computer of the code; otherwise the
    dataset, whose tables may be in the cache of that computer.
    """
    if folder.is_cleaned or not _has_data(folder) or not on_one_computer(code, folder.computer):
        return {'dataset': dataset}
    return {'parent_folder': folder}


def _has_data(folder: orm.RemoteData) -> bool:
    """Return whether the job that a folder belongs to leaves the data that it has fitted; a linear fit does not."""
    creator = folder.creator
    return not (isinstance(creator, orm.CalcJobNode) and creator.process_type == LINEAR_FIT)


class PaceActiveSetCalculation(PaceCalcJob):
    """Build the active set of a potential with `pace_activeset` (D-optimality, MaxVol)."""

    POTENTIAL: ClassVar[str] = 'potential.yaml'
    #: The program derives the name of its output from that of the potential.
    ACTIVE_SET: ClassVar[dict[str, str]] = {'linear': 'potential.asi', 'full': 'potential.asi.nonlinear'}

    PROGRAM = 'pace_activeset'
    PARSER = 'pacemaker.activeset'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input('potential', valid_type=PacePotentialData, help='The potential whose active set is wanted.')
        spec.input(
            'dataset',
            valid_type=PaceDatasetData,
            required=False,
            validator=validate_labelled,
            help='The frames to take atomic environments from; the forces are needed to leave out outliers.',
        )
        spec.input(
            'parent_folder',
            valid_type=orm.RemoteData,
            required=False,
            help='Remote folder of the training job: its data are read where they are.',
        )
        spec.input(
            'options',
            valid_type=orm.Dict,
            serializer=to_aiida_type,
            required=False,
            validator=validator_for(ActiveSetOptions),
            help='How the active set is built: `ActiveSetOptions`.',
        )
        spec.inputs.validator = all_of(spec.inputs.validator, validate_activeset, validate_parent)
        spec.output('active_set', valid_type=PaceActiveSetData, required=False, help='The inverted active set.')
        spec.output(
            'output_parameters',
            valid_type=orm.Dict,
            required=False,
            help='Per element: environments considered, basis functions, and the largest gamma at the end; '
            '`unseen`, the interactions that the data never had (None if the data are not known), and `warnings`.',
        )
        spec.exit_code(
            311,
            'ERROR_ACTIVE_SET_INVALID',
            invalidates_cache=True,
            message='The active set cannot be used: {reason}. ' + LOOK_AND_REPEAT,
        )
        spec.exit_code(
            PARENT_FILES_LOST,
            'ERROR_PARENT_FILES_LOST',
            invalidates_cache=True,
            message='The folder of the earlier job does not hold what is needed of it: {files}. Give the dataset '
            'instead of `parent_folder`.',
        )

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the inputs of the engine."""
        options = options_of(ActiveSetOptions, self.inputs)
        potential: PacePotentialData = self.inputs.potential
        result = self.ACTIVE_SET[options.kind]
        info = self.calc_info([], retrieve=[self.STDOUT, self.STDERR, result])
        with self.stage(folder, info) as staging:
            staging.potential(potential, self.POTENTIAL)
            if 'dataset' in self.inputs:
                files = staging.labels(self.inputs.dataset, potential.baseline)
            else:
                files = [PaceTrainCalculation.FITTING_DATA]
                staging.from_folder(self.inputs.parent_folder, files[0])
            staging.keep(result)
        sources = [argument for name in files for argument in ('-d', name)]
        info.codes_info.append(self.code_info(self.inputs.code, [*sources, *options.arguments(), self.POTENTIAL]))
        return info
