"""The restart chain of training."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ProcessHandlerReport, ProcessSpec, process_handler, while_

from aiida_pacemaker.calculations.train import PaceTrainCalculation
from aiida_pacemaker.engine.config import parse_config
from aiida_pacemaker.workflows.functions import reduce_memory, remaining_epochs, stitch_curves, stitch_metrics
from aiida_pacemaker.workflows.restart import PaceRestartWorkChain


class PaceTrainBaseWorkChain(PaceRestartWorkChain):
    """Train a potential and carry on after what can be survived: walltime, kills, node failures, lack of memory.

    A stopped fit goes on from its newest interim potential for the iterations that are left, so that none is done
    twice. The learning curves of all legs are one.
    """

    _process_class = PaceTrainCalculation

    @classmethod
    def define(cls, spec: ProcessSpec) -> None:
        """Define inputs, outline and outputs."""
        super().define(spec)
        spec.expose_inputs(PaceTrainCalculation, namespace='pace')
        spec.expose_outputs(PaceTrainCalculation)
        spec.outline(
            cls.setup,
            while_(cls.should_run_process)(cls.run_process, cls.inspect_process),
            cls.results,
        )
        spec.exit_code(
            311,
            'ERROR_MEMORY_EXHAUSTED',
            message='The training ran out of memory with the smallest batches and one worker: ask for more memory.',
        )

    def setup(self) -> None:
        """Prepare the inputs of the first leg."""
        super().setup()
        self.ctx.inputs = self.exposed_inputs(PaceTrainCalculation, 'pace')
        self.ctx.legs = []

    def go_on_from(self, node: orm.CalcJobNode) -> str:
        """Set the inputs of the next leg to where a job stopped, and return what that means in words."""
        if 'interim_potential' not in node.outputs:
            return 'nothing had been fitted yet, start again'
        self.ctx.inputs['potential'] = node.outputs.interim_potential
        if 'learning_curves' in node.outputs:
            self.ctx.legs.append(node)
        fit = parse_config(self.ctx.inputs['config'].get_dict()).sections()['fit']
        if 'ladder_step' in fit:
            # A ladder that is continued as it is would begin again from nothing: its interim potential is extended.
            self.ctx.inputs['potential_mode'] = 'extend'
            return 'go on with the next step of the ladder'
        self.ctx.inputs['potential_mode'] = 'continue'
        if fit.get('fit_cycles', 1) > 1 or 'learning_curves' not in node.outputs:
            return 'go on from the interim potential'
        inputs = {'config': self.ctx.inputs['config'], 'learning_curves': node.outputs.learning_curves}
        if 'max_epochs' in self.ctx.inputs:
            inputs['max_epochs'] = self.ctx.inputs['max_epochs']
        self.ctx.inputs['max_epochs'] = remaining_epochs(**inputs)
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
            return ProcessHandlerReport(True, self.exit_codes.ERROR_MEMORY_EXHAUSTED)
        action = self.go_on_from(node)
        self.ctx.inputs['config'] = smaller
        self.report_action(node, f'{action}, with smaller batches and fewer workers')
        return ProcessHandlerReport(True)

    def get_outputs(self, node: orm.CalcJobNode) -> dict[str, Any]:
        """Return the outputs of the last job, with the learning curve and the cost of all legs."""
        outputs = dict(super().get_outputs(node))
        legs = self.ctx.legs if node in self.ctx.legs else [*self.ctx.legs, node]
        if len(legs) > 1 and 'learning_curves' in outputs:
            names = [f'leg_{index:02d}' for index in range(len(legs))]
            outputs['learning_curves'] = stitch_curves(
                **{name: leg.outputs.learning_curves for name, leg in zip(names, legs, strict=True)}
            )
            outputs['metrics'] = stitch_metrics(
                **{name: leg.outputs.metrics for name, leg in zip(names, legs, strict=True)}
            )
        return outputs
