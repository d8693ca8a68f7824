"""The evaluation job: energies, forces, stresses and gamma of whole datasets."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from aiida import orm
from aiida.common import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.orm import to_aiida_type

from aiida_pacemaker import linear
from aiida_pacemaker.calculations.base import LOOK_AND_REPEAT, PaceCalcJob
from aiida_pacemaker.calculations.checks.inputs import all_of
from aiida_pacemaker.calculations.posteriors import archive_of, validate_posterior
from aiida_pacemaker.calculations.selection_job import check_elements
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.drivers.linear_files import POSTERIOR
from aiida_pacemaker.frames import handedness


def validate_evaluate(inputs: Any, _: Any) -> str | None:
    """Check that the potential describes the datasets."""
    if 'potential' not in inputs or 'datasets' not in inputs:
        return None
    if not inputs['datasets']:
        return 'there is nothing to evaluate: give at least one of `datasets`'
    if 'error_bars' in inputs:
        if 'posterior' not in inputs:
            return '`error_bars` follow from a `posterior`: give the output of the training, or leave them out'
        unknown = sorted(set(inputs['error_bars'].get_list()) - set(inputs['datasets']))
        if unknown:
            return f'`error_bars` has {", ".join(unknown)}, and `datasets` has {", ".join(sorted(inputs["datasets"]))}'
    return check_elements(inputs['potential'], inputs['datasets'], inputs.get('active_set'))


class PaceEvaluateCalculation(PaceCalcJob):
    """Evaluate a potential, its baseline included, on datasets; with an active set also gamma of each atom.

    The code is the Python interpreter that the engine is installed in. The structures are read from the files of the
    training where the computer has them, and what comes back are plain arrays.
    """

    DRIVER: ClassVar[str] = 'evaluate.py'
    REQUEST: ClassVar[str] = 'evaluate.json'
    SUMMARY: ClassVar[str] = 'evaluation.json'
    POTENTIAL: ClassVar[str] = 'potential.yaml'
    ACTIVE_SET: ClassVar[str] = 'potential.asi'
    POSTERIOR: ClassVar[str] = 'posterior.npz'

    PROGRAM = 'evaluate.py'
    PARSER = 'pacemaker.evaluate'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input('potential', valid_type=PacePotentialData, help='The potential to evaluate.')
        spec.input_namespace(
            'datasets', valid_type=PaceDatasetData, dynamic=True, help='The sets of structures, labelled or not.'
        )
        spec.input('active_set', valid_type=PaceActiveSetData, required=False, help='What gamma is measured against.')
        spec.input(
            'posterior',
            valid_type=orm.ArrayData,
            required=False,
            validator=validate_posterior,
            help='The output `posterior` of the exact linear fit of the potential: gives error bars.',
        )
        spec.input(
            'error_bars',
            valid_type=orm.List,
            serializer=to_aiida_type,
            required=False,
            help='Names of the datasets that get error bars, which take several times as long as all else; by default '
            'all, if there is a `posterior`.',
        )
        spec.inputs.validator = all_of(spec.inputs.validator, validate_evaluate)
        spec.output_namespace(
            'evaluations',
            valid_type=orm.ArrayData,
            dynamic=True,
            help='For each dataset the arrays `energy` (F,) in eV, `forces` (A, 3) in eV/angstrom, `stress` (F, 3, 3) '
            'in eV/angstrom^3 with the sign of ASE, all comparable with labels; with an active set also `gamma` (A,) '
            'and `gamma_max` (F,), infinite for interactions that the data of the active set never had; with a '
            'posterior the standard deviations `sigma_energy` (F,) in eV, `sigma_forces` (A,) in eV/angstrom per '
            'component and `sigma_max` (F,), the largest of a frame. They are infinite where the potential is nothing '
            'but its repulsion, and for interactions without data. Those of energies order errors weakly.',
        )
        spec.output(
            'errors',
            valid_type=orm.Dict,
            required=False,
            help='For each labelled dataset the errors against its labels and how far these spread (`spread_energy` in '
            'eV/atom beyond composition, `spread_forces` in eV/angstrom), and for each one quantiles of gamma (None '
            'where they are infinite) and how many frames have an infinite one, `n_unseen`; with an active set the '
            'interactions that its data never had, `unseen`, and `warnings`. With a posterior also quantiles of '
            '`sigma_max` in `sigma`, and in `coverage` which part of the force errors is within one and two standard '
            'deviations (0.68 and 0.95 if these are right).',
        )
        spec.exit_code(
            311,
            'ERROR_EVALUATION_INVALID',
            invalidates_cache=True,
            message='The evaluation cannot be used: {reason}. ' + LOOK_AND_REPEAT,
        )

    @staticmethod
    def with_error_bars(inputs: Any) -> list[str]:
        """Return the names of the datasets that get error bars."""
        if 'posterior' not in inputs:
            return []
        return sorted(inputs['error_bars'].get_list() if 'error_bars' in inputs else inputs['datasets'])

    @staticmethod
    def output_of(label: str) -> str:
        """Return the name of the file with the results for one dataset."""
        return f'evaluation_{label}.npz'

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the inputs of the driver."""
        potential: PacePotentialData = self.inputs.potential
        info = self.calc_info(
            [self.code_info(self.inputs.code, [self.DRIVER])], retrieve=[self.STDOUT, self.STDERR, self.SUMMARY]
        )
        request: dict[str, Any] = {
            'potential': self.POTENTIAL,
            'active_set': None,
            'posterior': self.POSTERIOR if 'posterior' in self.inputs else None,
            'error_bars': self.with_error_bars(self.inputs),
            'datasets': {},
        }
        with self.stage(folder, info) as staging:
            staging.potential(potential, self.POTENTIAL)
            if 'active_set' in self.inputs:
                staging.active_set(self.inputs.active_set, self.ACTIVE_SET)
                request['active_set'] = self.ACTIVE_SET
            if 'posterior' in self.inputs:
                staging.content(archive_of(self.inputs.posterior, POSTERIOR), self.POSTERIOR)
                self.insert_package(folder, linear)
            for label, dataset in sorted(self.inputs.datasets.items()):
                request['datasets'][label] = staging.partial_labels(dataset, potential.baseline)
                info.retrieve_temporary_list.append(self.output_of(label))
        self.insert_drivers(folder, self.DRIVER, 'summary.py', 'tables.py')
        self.insert_modules(folder, [handedness])
        with folder.open(self.REQUEST, 'w') as handle:
            json.dump(request, handle, indent=1)
        return info
