"""The restart chain of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessHandlerReport, ProcessSpec, process_handler
from aiida.orm import to_aiida_type

from aiida_pacemaker._aiida.processes import job_class_of
from aiida_pacemaker.calculations.fit_linear import PaceLinearFitCalculation, refuse_monitors, workers_of
from aiida_pacemaker.calculations.train import PaceTrainCalculation
from aiida_pacemaker.calculations.training_job import TrainingJob
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.workflows.base.functions import (
    reduce_memory,
    remaining_cycles,
    remaining_epochs,
    stitch_curves,
    stitch_metrics,
    strengthen_regularisation,
)
from aiida_pacemaker.workflows.base.jobs import own_inputs
from aiida_pacemaker.workflows.base.restart import PaceRestartWorkChain

#: The job of each evaluator that `pacemaker` does not have.
JOBS: dict[str, type[TrainingJob]] = {'linear': PaceLinearFitCalculation}
#: Inputs of a training that a linear fit cannot use, and why.
NOT_LINEAR = {
    'initial_potentials': 'its coefficients are solved for anew',
    'max_epochs': 'it has no iterations',
    'yace_code': 'it makes the `.yace` itself',
}
#: How often a fit that diverges is tried again, each time with a stronger regularisation.
REGULARISATIONS = 2


def job_of(inputs: Mapping[str, Any]) -> type[TrainingJob]:
    """Return the class of the job that fits, by the evaluator of the config.

    :param inputs: those of the job.
    """
    if 'config' not in inputs:
        return PaceTrainCalculation
    return JOBS.get(parse_config(inputs['config'].get_dict()).used_evaluator, PaceTrainCalculation)


def check_linear(inputs: Mapping[str, Any]) -> str | None:
    """Return which input of a training a linear fit cannot use."""
    for name, reason in NOT_LINEAR.items():
        if inputs.get(name):
            return f'`{name}` is for fits by `pacemaker`, and the evaluator is linear: {reason}. Leave it out.'
    if 'potential_mode' in inputs and inputs['potential_mode'].value != 'continue':
        return (
            f'`potential_mode` is `{inputs["potential_mode"].value}`, and the evaluator is linear: it takes the '
            'functions of a `potential` as they are, and solves for all coefficients anew. Leave it out.'
        )
    return refuse_monitors(inputs.get('monitors'), None)


def validate_job(inputs: Any, port: Any) -> str | None:
    """Check the inputs of a training as those of the job that its evaluator needs."""
    job = job_of(inputs)
    if job is PaceLinearFitCalculation and (problem := check_linear(inputs)):
        return problem
    validator: Any = job.spec().inputs.validator
    refusal: str | None = validator(own_inputs(job, inputs, (PaceTrainCalculation, *JOBS.values())), port)
    return refusal


class PaceTrainBaseWorkChain(PaceRestartWorkChain):
    """Train a potential, with restarts after walltime, kills, lack of memory and divergence.

    The job is that of the evaluator of the config: `pacemaker.train.linear` for `linear`, else `pacemaker.train`.

    A stopped fit goes on from its newest usable interim potential for the iterations that are left, so that none is
    done twice; the seed stays the same. The learning curves of all legs are one. A linear fit begins again, with the
    equations that it has kept. Any other failure ends the chain at once, with the message and the outputs of the job.
    """

    _process_class = PaceTrainCalculation

    @classmethod
    def define(cls, spec: ProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        job_inputs: Any = spec.inputs['pace']
        job_inputs.validator = validate_job
        spec.input(
            'require_convergence',
            valid_type=orm.Bool,
            serializer=to_aiida_type,
            default=lambda: orm.Bool(False),
            help='Whether a fit that ends because all its iterations are done (`stop_reason` is `maxiter`) is a failure'
            ' (`ERROR_NOT_CONVERGED`). The potential is an output all the same.',
        )
        spec.exit_code(
            311,
            'ERROR_MEMORY_EXHAUSTED',
            message='The training ran out of memory, and there is nothing left to make smaller: {found}. Ask for more '
            'memory, or take a smaller basis or the optimizer L-BFGS-B; continue from the output `interim_potential` '
            'where it is there.',
        )
        spec.exit_code(
            312,
            'ERROR_FIT_DIVERGED',
            message='The fit diverges {when}. The last good potential, where there is one, is the output '
            '`interim_potential`. The last job said: {problem}',
        )
        spec.exit_code(
            313,
            'ERROR_NOT_CONVERGED',
            message='The fit has used up what it was allowed, in {iterations} iterations, and is not converged, as '
            '`require_convergence` asks for. Continue from the output `potential`, with more iterations '
            '(`max_epochs`).',
        )

    @classmethod
    def expose_job(cls, spec: ProcessSpec) -> None:
        """Make the ports of the job those of the chain: of either job, the outputs."""
        for job in JOBS.values():
            spec.expose_outputs(job)
        super().expose_job(spec)

    @property
    def process_class(self) -> type[TrainingJob]:
        """The class of the job; AiiDA also asks for it before there are inputs."""
        return job_of((self.inputs or {}).get('pace', {}))

    def job_inputs(self) -> AttributeDict:
        """Return the inputs of the first job."""
        inputs = self.exposed_inputs(job_class_of(type(self)), 'pace')
        return AttributeDict(own_inputs(self.process_class, inputs, (PaceTrainCalculation, *JOBS.values())))

    def setup(self) -> None:
        """Prepare the inputs of the first leg."""
        super().setup()
        self.ctx.legs = []
        self.ctx.newest = None
        self.ctx.strengths = []

    def go_on_from(self, node: orm.CalcJobNode) -> str:
        """Set the inputs of the next leg to where a job stopped, and return what that means in words."""
        if self.process_class is PaceLinearFitCalculation:
            return 'run it again, with the equations that it has kept'
        # A job can be stopped after the fit: in its predictions or in the conversion.
        newest = next((label for label in ('interim_potential', 'potential') if label in node.outputs), None)
        if newest is None:
            return 'go on from where it began, for it has left no usable potential'
        self.ctx.newest = self.ctx.inputs['potential'] = node.outputs[newest]
        # All of these are in it.
        self.ctx.inputs.pop('initial_potentials', None)
        if 'learning_curves' in node.outputs:
            self.ctx.legs.append(node)
        fit = parse_config(self.ctx.inputs['config'].get_dict()).sections()['fit']
        if 'ladder_step' in fit:
            # A ladder that is continued as it is would begin again from nothing: its interim potential is extended.
            self.ctx.inputs['potential_mode'] = 'extend'
            return 'go on with the next step of the ladder'
        self.ctx.inputs['potential_mode'] = 'continue'
        if 'learning_curves' not in node.outputs:
            return 'go on from the interim potential'
        progress = {'config': self.ctx.inputs['config'], 'learning_curves': node.outputs.learning_curves}
        if fit.get('fit_cycles', 1) > 1:
            self.ctx.inputs['config'] = remaining_cycles(**progress)
            left = self.ctx.inputs['config']['fit']['fit_cycles']
            if left > 1:
                return f'go on from the interim potential with {left} fit cycles'
        if 'max_epochs' in self.ctx.inputs:
            progress['max_epochs'] = self.ctx.inputs['max_epochs']
        self.ctx.inputs['max_epochs'] = remaining_epochs(**progress)
        return f'go on from the interim potential for {self.ctx.inputs["max_epochs"].value} iterations'

    @process_handler(
        priority=600,
        exit_codes=[
            PaceTrainCalculation.exit_codes.ERROR_SCHEDULER_OUT_OF_WALLTIME,
            PaceTrainCalculation.exit_codes.ERROR_SCHEDULER_NODE_FAILURE,
            PaceTrainCalculation.exit_codes.ERROR_FIT_INTERRUPTED,
            PaceTrainCalculation.exit_codes.ERROR_KILLED,
        ],
    )
    def handle_interrupted(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """Go on from the newest interim potential."""
        self.report_action(node, self.go_on_from(node))
        return ProcessHandlerReport(True)

    @process_handler(
        priority=590,
        exit_codes=[
            PaceTrainCalculation.exit_codes.ERROR_SCHEDULER_OUT_OF_MEMORY,
            PaceTrainCalculation.exit_codes.ERROR_MEMORY_EXHAUSTED,
        ],
    )
    def handle_out_of_memory(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """Go on with smaller batches or fewer workers."""
        if self.process_class is PaceLinearFitCalculation and workers_of(self.ctx.inputs) == 1:
            return ProcessHandlerReport(True, self.exit_codes.ERROR_MEMORY_EXHAUSTED.format(found='n_workers 1'))
        smaller = reduce_memory(self.ctx.inputs['config'])
        if smaller.get_dict() == self.ctx.inputs['config'].get_dict():
            backend = parse_config(smaller.get_dict()).sections()['backend']
            keys = [key for key in ('evaluator', 'batch_size', 'n_workers') if key in backend]
            found = ', '.join(f'{key} {backend[key]}' for key in keys)
            return ProcessHandlerReport(True, self.exit_codes.ERROR_MEMORY_EXHAUSTED.format(found=found))
        self.ctx.inputs['config'] = smaller
        self.report_action(node, f'{self.go_on_from(node)}, with smaller batches or fewer workers')
        return ProcessHandlerReport(True)

    @process_handler(priority=580, exit_codes=PaceTrainCalculation.exit_codes.ERROR_FIT_DIVERGED)
    def handle_diverged(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """Go back to the last good potential, with a stronger regularisation."""
        curves = node.outputs.learning_curves if 'learning_curves' in node.outputs else None
        hopeless = curves is not None and not np.isfinite(curves.get_array('train_loss')[0])
        if hopeless or len(self.ctx.strengths) == REGULARISATIONS:
            strengths = ' and '.join(f'{strength:g}' for strength in self.ctx.strengths)
            when = (
                'before its first iteration, which no regularisation helps'
                if hopeless
                else f'also with a stronger regularisation (`fit.loss.L2_coeffs` of {strengths})'
            )
            self.report_action(node, 'none, give up')
            exit_code = self.exit_codes.ERROR_FIT_DIVERGED.format(when=when, problem=node.exit_message)
            return ProcessHandlerReport(True, exit_code)
        action = self.go_on_from(node)
        self.ctx.inputs['config'] = strengthen_regularisation(self.ctx.inputs['config'])
        strength = self.ctx.inputs['config']['fit']['loss']['L2_coeffs']
        self.ctx.strengths = [*self.ctx.strengths, strength]
        self.report_action(node, f'{action}, with fit.loss.L2_coeffs of {strength:g}')
        return ProcessHandlerReport(True)

    def get_outputs(self, node: orm.CalcJobNode) -> dict[str, Any]:
        """Return the outputs of the last job, with the learning curve and the cost of all legs."""
        outputs = dict(super().get_outputs(node))
        legs = [leg for leg in self.ctx.legs if leg.pk != node.pk]
        legs += [node] if 'learning_curves' in outputs else []
        if legs and legs != [node]:
            names = [f'leg_{index:02d}' for index in range(len(legs))]
            outputs['learning_curves'] = stitch_curves(
                **{name: leg.outputs.learning_curves for name, leg in zip(names, legs, strict=True)}
            )
            outputs['metrics'] = stitch_metrics(
                **{name: leg.outputs.metrics for name, leg in zip(names, legs, strict=True)}
            )
            outputs['stop_reason'] = legs[-1].outputs.stop_reason
        if self.ctx.newest is not None and not {'potential', 'interim_potential'} & set(outputs):
            # The last leg has left nothing to go on from, but those before it have.
            outputs['interim_potential'] = self.ctx.newest
        return outputs

    def results(self) -> ExitCode | None:
        """Attach the outputs, and judge how the fit has ended."""
        exit_code: ExitCode | None = super().results()
        if exit_code is not None and exit_code.status:
            return exit_code
        if self.inputs.require_convergence.value and self.outputs['stop_reason'].value == 'maxiter':
            return self.exit_codes.ERROR_NOT_CONVERGED.format(iterations=self.outputs['metrics']['iterations'])
        return exit_code
