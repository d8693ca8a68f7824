"""What the jobs that choose candidates have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from aiida import orm
from aiida.engine import CalcJobProcessSpec
from aiida.orm import to_aiida_type

from aiida_pacemaker.calculations.base import LOOK_AND_REPEAT, PaceCalcJob
from aiida_pacemaker.calculations.checks.inputs import all_of, options_of, validator_for
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.pace.config.options import SelectOptions


def validate_candidates(inputs: Any, _: Any) -> str | None:
    """Check that the potential and its active set describe the candidates."""
    if 'potential' not in inputs or 'candidates' not in inputs:
        return None
    if not inputs['candidates']:
        return 'there is nothing to select from: give at least one set of `candidates`'
    if len({dataset.labelled for dataset in inputs['candidates'].values()}) > 1:
        return 'some candidates are labelled and others are not: select from one kind at a time'
    return check_elements(inputs['potential'], inputs['candidates'], inputs.get('active_set'))


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


class SelectionJob(PaceCalcJob):
    """Base of the jobs that choose candidates: what they are given, and what they give."""

    POTENTIAL: ClassVar[str] = 'potential.yaml'
    #: The method of the options that the job has.
    METHOD: ClassVar[str]

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
            help='What the data of the potential span. By it, candidates with interactions that they never had come '
            'first, and `pace_select` counts what candidates add to it; without it, that only compares them with each '
            'other.',
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
            'all of it, the candidates are taken from these instead of sent. `pacemaker.select` needs `python` for it.',
        )
        spec.inputs.validator = all_of(spec.inputs.validator, cls.validate_method, validate_candidates)
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
            'output_parameters',
            valid_type=orm.Dict,
            required=False,
            help='Numbers of candidates and of selected. By the posterior also `gains`: for each selected frame the '
            'part of the variance of all candidates that its label takes away beside those before it, None for '
            'frames that come first because of interactions that the data never had.',
        )
        spec.exit_code(
            311,
            'ERROR_SELECTION_INVALID',
            invalidates_cache=True,
            message='The selection cannot be used: {reason}. ' + LOOK_AND_REPEAT,
        )

    @classmethod
    def validate_method(cls, inputs: Any, _: Any) -> str | None:
        """Check that the job has the method of the options."""
        method = options_of(SelectOptions, inputs).method
        if method == cls.METHOD:
            return None
        return (
            f'the method of the options is `{method}`, and `{cls.PARSER}` has `{cls.METHOD}`: set `method: '
            f'{cls.METHOD}`, or have `pacemaker.select.base` choose the job (and give it the code for that: the Python '
            'of the engine for `posterior`, else `pace_select`)'
        )
