"""The restart chain of training."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, ProcessHandlerReport, ProcessSpec, process_handler
from aiida.orm import to_aiida_type

from aiida_pacemaker.calculations.train import PaceTrainCalculation
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.workflows.base.functions import (
    reduce_memory,
    remaining_cycles,
    remaining_epochs,
    stitch_curves,
    stitch_metrics,
    strengthen_regularisation,
)
from aiida_pacemaker.workflows.base.restart import PaceRestartWorkChain

#: How often a fit that diverges is tried again, each time with a stronger regularisation.
REGULARISATIONS = 2


class PaceTrainBaseWorkChain(PaceRestartWorkChain):
    """Train a potential, with restarts after walltime, kills, lack of memory and divergence.

    A stopped fit goes on from its newest usable interim potential for the iterations that are left, so that none is
    done twice; the seed stays the same. The learning curves of all legs are one. Any other failure ends the chain at
    once, with the message and the outputs of the job.
    """

    _process_class = PaceTrainCalculation

    @classmethod
    def define(cls, spec: ProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
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

    def setup(self) -> None:
        """Prepare the inputs of the first leg."""
        super().setup()
        self.ctx.legs = []
        self.ctx.newest = None
        self.ctx.strengths = []

    def go_on_from(self, node: orm.CalcJobNode) -> str:
        """Set the inputs of the next leg to where a job stopped, and return what that means in words."""
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
