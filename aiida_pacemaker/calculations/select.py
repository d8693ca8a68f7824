"""The selection job: `pace_select`."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from aiida import orm
from aiida.common import CalcInfo
from aiida.common.datastructures import CodeRunMode
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec

from aiida_pacemaker.calculations.checks.inputs import all_of, on_one_computer, options_of
from aiida_pacemaker.calculations.checks.memory import check_selection_memory
from aiida_pacemaker.calculations.selection_job import SelectionJob
from aiida_pacemaker.calculations.staging import Staging
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.pace.config.options import SelectOptions


def validate_select(inputs: Any, _: Any) -> str | None:
    """Check the code that takes candidates from the pool, and the memory."""
    if 'potential' not in inputs or 'candidates' not in inputs:
        return None
    if 'python' in inputs and 'code' in inputs and not on_one_computer(inputs['python'], inputs['code'].computer):
        return (
            f'`python` is on the computer {inputs["python"].computer.label} but the code on '
            f'{inputs["code"].computer.label}: give the Python of the engine there, or leave it out'
        )
    return check_selection_memory(inputs, options_of(SelectOptions, inputs))


class PaceSelectCalculation(SelectionJob):
    """Choose the most informative candidates with `pace_select` (D-optimality, MaxVol).

    Selected are the frames that enlarge the active set most, whatever their gamma: some are selected even of the data
    that the active set was built from. Leave out frames with a gamma below the threshold first.
    """

    ACTIVE_SET: ClassVar[str] = 'potential.asi'
    SELECTED: ClassVar[str] = 'selected.pkl.gz'
    DRIVER: ClassVar[str] = 'gather.py'

    PROGRAM = 'pace_select'
    PARSER = 'pacemaker.select'
    METHOD = 'maxvol'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input(
            'python',
            valid_type=orm.AbstractCode,
            required=False,
            help='Code of the Python that the engine is installed in, which takes candidates from the `pool`.',
        )
        spec.inputs.validator = all_of(spec.inputs.validator, validate_select)

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the inputs of the engine."""
        options = options_of(SelectOptions, self.inputs)
        potential: PacePotentialData = self.inputs.potential
        info = self.calc_info([], retrieve=[self.STDOUT, self.STDERR])
        info.retrieve_temporary_list.append(self.SELECTED)
        arguments = ['-p', self.POTENTIAL]
        with self.stage(folder, info) as staging:
            staging.potential(potential, self.POTENTIAL)
            if 'active_set' in self.inputs:
                staging.active_set(self.inputs.active_set, self.ACTIVE_SET)
                arguments += ['-a', self.ACTIVE_SET]
            arguments += ['-o', self.SELECTED, *options.arguments()]
            for label, dataset in sorted(self.inputs.candidates.items()):
                arguments += self.candidate_files(label, dataset, folder, staging, info)
        info.codes_info.append(self.code_info(self.inputs.code, arguments))
        return info

    def candidate_files(
        self, label: str, dataset: PaceDatasetData, folder: Folder, staging: Staging, info: Any
    ) -> list[str]:
        """Provide candidates, from what the computer has of the pool if possible; return the names of their files."""
        rows = None
        if 'pool' in self.inputs and 'python' in self.inputs:
            rows = staging.rows_of(dataset, self.inputs.pool, self.inputs.potential.baseline)
        if rows is None:
            return staging.structures(dataset)
        result, request = f'candidates_{label}.pckl.gzip', f'candidates_{label}.json'
        with folder.open(request, 'w') as handle:
            json.dump({**rows._asdict(), 'result': result}, handle)
        self.insert_drivers(folder, self.DRIVER, 'tables.py')
        code = self.code_info(self.inputs.python, [self.DRIVER, request])
        code.stdout_name, code.stderr_name = f'candidates_{label}.out', f'candidates_{label}.err'
        info.codes_info.append(code)
        info.codes_run_mode = CodeRunMode.SERIAL
        info.retrieve_list.append(code.stderr_name)
        return [result]
