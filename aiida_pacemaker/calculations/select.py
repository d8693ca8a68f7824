"""The selection job: `pace_select`."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from aiida import orm
from aiida.common import CalcInfo
from aiida.common.datastructures import CodeRunMode
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.orm import to_aiida_type

from aiida_pacemaker.calculations.base import LOOK_AND_REPEAT, PaceCalcJob
from aiida_pacemaker.calculations.checks.inputs import all_of, on_one_computer, options_of, validator_for
from aiida_pacemaker.calculations.checks.memory import check_selection_memory
from aiida_pacemaker.calculations.staging import Staging
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.pace.config.options import SelectOptions


def validate_select(inputs: Any, _: Any) -> str | None:
    """Check that the candidates can be compared by the potential and its active set."""
    if 'potential' not in inputs or 'candidates' not in inputs:
        return None
    if not inputs['candidates']:
        return 'there is nothing to select from: give at least one set of `candidates`'
    if len({dataset.labelled for dataset in inputs['candidates'].values()}) > 1:
        return 'some candidates are labelled and others are not: select from one kind at a time'
    problem = check_elements(inputs['potential'], inputs['candidates'], inputs.get('active_set'))
    if problem is not None:
        return problem
    if 'python' in inputs and 'code' in inputs and not on_one_computer(inputs['python'], inputs['code'].computer):
        return (
            f'`python` is on the computer {inputs["python"].computer.label} but the code on '
            f'{inputs["code"].computer.label}: give the Python of the engine there, or leave it out'
        )
    options = options_of(SelectOptions, inputs)
    return check_selection_memory(inputs, options)


def check_elements(
    potential: PacePotentialData, datasets: dict[str, PaceDatasetData], active_set: PaceActiveSetData | None
) -> str | None:
    """Return which elements of datasets a potential or its active set do not know."""
    for label, dataset in datasets.items():
        unknown = sorted(set(dataset.elements) - set(potential.elements))
        if unknown:
            return f'`{label}` has {", ".join(unknown)}, which the potential does not describe: filter those frames'
    if active_set is not None and set(active_set.elements) != set(potential.elements):
        return f'the active set is for {active_set.elements} but the potential for {potential.elements}'
    if active_set is not None and active_set.kind != 'linear':
        return 'a `full` active set cannot be used here: build a `linear` one'
    return None


class PaceSelectCalculation(PaceCalcJob):
    """Choose the most informative candidates with `pace_select` (D-optimality, MaxVol).

    Selected are the frames that enlarge the active set most, whatever their gamma: some are selected even of the data
    that the active set was built from. Leave out frames with a gamma below the threshold first.
    """

    POTENTIAL: ClassVar[str] = 'potential.yaml'
    ACTIVE_SET: ClassVar[str] = 'potential.asi'
    SELECTED: ClassVar[str] = 'selected.pkl.gz'
    DRIVER: ClassVar[str] = 'gather.py'

    PROGRAM = 'pace_select'
    PARSER = 'pacemaker.select'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input('potential', valid_type=PacePotentialData, help='The potential that defines the descriptors.')
        spec.input_namespace(
            'candidates',
            valid_type=PaceDatasetData,
            dynamic=True,
            help='The sets of structures to choose from, labelled or not.',
        )
        spec.input(
            'active_set',
            valid_type=PaceActiveSetData,
            required=False,
            help='What the candidates have to add to; without it they are only compared with each other.',
        )
        spec.input(
            'options',
            valid_type=orm.Dict,
            serializer=to_aiida_type,
            required=False,
            validator=validator_for(SelectOptions),
            help='How many are selected and how: `SelectOptions`.',
        )
        spec.input(
            'pool',
            valid_type=PaceDatasetData,
            required=False,
            help='What the candidates were taken from: if the computer has its structures, as after an evaluation of '
            'all of it, the candidates are taken from these instead of sent. Needs `python`.',
        )
        spec.input(
            'python',
            valid_type=orm.AbstractCode,
            required=False,
            help='Code of the Python that the engine is installed in, which takes candidates from the `pool`.',
        )
        spec.inputs.validator = all_of(spec.inputs.validator, validate_select)
        spec.output(
            'selected',
            valid_type=PaceDatasetData,
            required=False,
            help='The selected frames, the most informative first; not there if nothing was selected.',
        )
        spec.output(
            'indices',
            valid_type=orm.ArrayData,
            required=False,
            help='For each candidate set, the positions of its selected frames, in the order of their rank.',
        )
        spec.output(
            'output_parameters', valid_type=orm.Dict, required=False, help='Numbers of candidates and of selected.'
        )
        spec.exit_code(
            311,
            'ERROR_SELECTION_INVALID',
            invalidates_cache=True,
            message='The selection cannot be used: {reason}. ' + LOOK_AND_REPEAT,
        )

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
