"""The labelling job: any ASE calculator, many frames at once."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

from aiida import orm
from aiida.common import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.orm import to_aiida_type
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from aiida_pacemaker.calculations.base import PaceCalcJob
from aiida_pacemaker.calculations.checks.inputs import validator_for
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.option_errors import parse_options

#: Reasons of frames that have not failed, but to whose end the job did not come.
INTERRUPTED, RUNNING = 'interrupted', 'running'

IMPORT_PATH = re.compile(r'[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*')


class AseCalculator(BaseModel):
    """Which ASE calculator labels the frames."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    calculator: str = Field(description='Where the calculator is imported from: `module.path:Name`.')
    arguments: dict[str, Any] = Field(default_factory=dict, description='Arguments that it is made with.')
    not_affecting_energy: list[str] = Field(
        default_factory=list,
        description='Names of arguments that do not affect the energies, such as commands and folders: they are not '
        'part of the level of theory.',
    )
    stress: bool = Field(default=True, description='Whether periodic frames get a stress.')
    numerical_stress: bool = Field(
        default=False,
        description='Whether a stress that the calculator does not have is made by central finite differences: '
        'twelve more energies per frame.',
    )

    def identity(self) -> dict[str, Any]:
        """Return the arguments that are part of the level of theory."""
        return {name: value for name, value in self.arguments.items() if name not in self.not_affecting_energy}

    @field_validator('calculator')
    @classmethod
    def _importable(cls, value: str) -> str:
        if IMPORT_PATH.fullmatch(value) is None:
            raise ValueError('needed: `module.path:Name`, as in `ase.calculators.emt:EMT`')
        return value

    @model_validator(mode='after')
    def _one_wish(self) -> AseCalculator:
        if self.numerical_stress and not self.stress:
            raise ValueError('`numerical_stress` asks for a stress and `stress: false` for none: leave one of them out')
        return self


class AseLabelCalculation(PaceCalcJob):
    """Label frames with an ASE calculator that is imported on the computer.

    The code is the Python interpreter that the calculator is installed in. Frames that fail are reported with their
    reason; the others are labelled all the same. A job that is stopped keeps the labels that it has.
    """

    DRIVER: ClassVar[str] = 'label_ase.py'
    REQUEST: ClassVar[str] = 'label.json'
    LABELS: ClassVar[str] = 'labels.jsonl'
    SUMMARY: ClassVar[str] = 'labels.json'

    PROGRAM = 'python'
    STAGED = False
    PARSER = 'pacemaker.label.ase'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input('dataset', valid_type=PaceDatasetData, help='The frames to label; labels they have are not used.')
        spec.input(
            'calculator',
            valid_type=orm.Dict,
            serializer=to_aiida_type,
            validator=validator_for(AseCalculator),
            help='The calculator: `AseCalculator`.',
        )
        spec.output_namespace(
            'trajectories',
            valid_type=orm.TrajectoryData,
            dynamic=True,
            help='The labelled frames, one trajectory per composition, with the arrays `energy` (eV), `forces` '
            '(eV/angstrom) and `stress` (eV/angstrom^3, sign of ASE).',
        )
        spec.output(
            'failures',
            valid_type=orm.Dict,
            required=False,
            help='The frames without labels, with their reasons; `interrupted` if the job did not come to them, and '
            '`running` if it was stopped at them.',
        )
        spec.exit_code(
            411,
            'ERROR_LABELS_INTERRUPTED',
            invalidates_cache=True,
            message='The job was stopped from outside with {missing} of {count} frames still to label. The labels of '
            'the others are in the outputs; the work chain `pacemaker.label.ase` goes on with the rest by itself.',
        )
        spec.exit_code(
            510,
            'ERROR_ALL_LABELS_FAILED',
            invalidates_cache=True,
            message='None of {count} frames could be labelled; of the first it was said "{reason}". {advice}',
        )

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the inputs of the driver."""
        dataset: PaceDatasetData = self.inputs.dataset
        # The labels are kept as they came: whatever becomes of their parsing, they have been paid for.
        info = self.calc_info(
            [self.code_info(self.inputs.code, [self.DRIVER])],
            retrieve=[self.STDOUT, self.STDERR, self.LABELS, self.SUMMARY],
        )
        names = [shard['name'] for shard in dataset.shards]
        info.local_copy_list += [(dataset.uuid, dataset.shard_path(name), name) for name in names]
        calculator = parse_options(AseCalculator, self.inputs.calculator.get_dict())
        # Which arguments affect the energies is of no use to the driver.
        request = calculator.model_dump(mode='json', exclude={'not_affecting_energy'})
        self.insert_drivers(folder, self.DRIVER, 'structures.py', 'journal.py', 'summary.py')
        with folder.open(self.REQUEST, 'w') as handle:
            json.dump({**request, 'shards': names}, handle, indent=1)
        return info
