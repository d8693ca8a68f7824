"""The restart chain of the selection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ProcessSpec

from aiida_pacemaker._aiida.processes import job_class_of
from aiida_pacemaker.calculations.checks.inputs import options_of
from aiida_pacemaker.calculations.select import PaceSelectCalculation
from aiida_pacemaker.calculations.select_posterior import PaceSelectPosteriorCalculation
from aiida_pacemaker.calculations.selection_job import SelectionJob
from aiida_pacemaker.pace.config.options import SelectOptions
from aiida_pacemaker.workflows.base.jobs import own_inputs
from aiida_pacemaker.workflows.base.restart import PaceRestartWorkChain

#: The job of each method.
JOBS: dict[str, type[SelectionJob]] = {'maxvol': PaceSelectCalculation, 'posterior': PaceSelectPosteriorCalculation}


def job_of(inputs: Mapping[str, Any]) -> type[SelectionJob]:
    """Return the class of the job that selects, by the method of the options.

    :param inputs: those of the job.
    """
    return JOBS[options_of(SelectOptions, inputs).method]


def validate_job(inputs: Any, port: Any) -> str | None:
    """Check the inputs of a selection as those of the job that its method needs."""
    job = job_of(inputs)
    if job is PaceSelectCalculation and 'posterior' in inputs:
        return '`posterior` is for the method posterior, and the method is maxvol: set `method: posterior` in `options`'
    if job is PaceSelectPosteriorCalculation and 'posterior' not in inputs and 'potential' in inputs:
        return (
            '`posterior` is missing, by which the method posterior selects: give the output `posterior` of the exact '
            'linear fit of the potential, or set `method: maxvol`'
        )
    validator: Any = job.spec().inputs.validator
    refusal: str | None = validator(own_inputs(job, inputs, JOBS.values()), port)
    return refusal


class PaceSelectBaseWorkChain(PaceRestartWorkChain):
    """Choose the candidates that are worth most, again if the job was lost.

    The job is that of the method: `pacemaker.select.posterior` for `posterior`, else `pacemaker.select`.
    """

    _process_class = PaceSelectCalculation

    @classmethod
    def define(cls, spec: ProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        job_inputs: Any = spec.inputs['pace']
        job_inputs.validator = validate_job
        port: Any = PaceSelectPosteriorCalculation.spec().inputs['posterior']
        spec.input(
            'pace.posterior', valid_type=port.valid_type, required=False, validator=port.validator, help=port.help
        )

    @classmethod
    def expose_job(cls, spec: ProcessSpec) -> None:
        """Make the ports of the job those of the chain: of either job, the outputs."""
        spec.expose_outputs(PaceSelectPosteriorCalculation)
        super().expose_job(spec)

    @property
    def process_class(self) -> type[SelectionJob]:
        """The class of the job; AiiDA also asks for it before there are inputs."""
        return job_of((self.inputs or {}).get('pace', {}))

    def job_inputs(self) -> AttributeDict:
        """Return the inputs of the first job."""
        inputs = self.exposed_inputs(job_class_of(type(self)), 'pace')
        if 'posterior' in self.inputs['pace']:
            inputs['posterior'] = self.inputs['pace']['posterior']
        return AttributeDict(own_inputs(self.process_class, inputs, JOBS.values()))
