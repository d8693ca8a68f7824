"""The restart chain of training."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import BaseRestartWorkChain, ProcessHandlerReport, ProcessSpec, process_handler, while_

from aiida_pacemaker.calculations.train import PaceTrainCalculation
from aiida_pacemaker.workflows.functions import reduce_memory, remaining_epochs, stitch_legs


class PaceTrainBaseWorkChain(BaseRestartWorkChain):
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
            cls.stitch,
            cls.results,
        )
        spec.exit_code(
            310,
            'ERROR_TRAINING_FAILED',
            message='The training failed and another try would not help. The last job said: {reason}',
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

    def report_action(self, node: orm.CalcJobNode, action: str) -> None:
        """Say what happened and what is done about it."""
        self.report(f'{node.process_label}<{node.pk}> ended with {node.exit_status}: {node.exit_message}')
        self.report(f'Action taken: {action}')

    def go_on_from(self, node: orm.CalcJobNode) -> str:
        """Set the inputs of the next leg to where a job stopped, and return what that means in words."""
        if 'interim_potential' not in node.outputs:
            return 'nothing had been fitted yet, start again'
        self.ctx.inputs['potential'] = node.outputs.interim_potential
        if 'learning_curves' in node.outputs:
            self.ctx.legs.append(node)
            inputs = {'config': self.ctx.inputs['config'], 'learning_curves': node.outputs.learning_curves}
            if 'max_epochs' in self.ctx.inputs:
                inputs['max_epochs'] = self.ctx.inputs['max_epochs']
            self.ctx.inputs['max_epochs'] = remaining_epochs(**inputs)
        # A ladder that is continued as it is would begin again from nothing: its interim potential is extended.
        ladder = 'ladder_step' in self.ctx.inputs['config'].get_dict().get('fit', {})
        self.ctx.inputs['potential_mode'] = 'extend' if ladder else 'continue'
        return f'go on from the interim potential for {self.ctx.inputs["max_epochs"].value} iterations'

    @process_handler(
        priority=600,
        exit_codes=[
            PaceTrainCalculation.exit_codes.ERROR_SCHEDULER_OUT_OF_WALLTIME,
            PaceTrainCalculation.exit_codes.ERROR_SCHEDULER_NODE_FAILURE,
            PaceTrainCalculation.exit_codes.ERROR_FIT_INTERRUPTED,
        ],
    )
    def handle_interrupted(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """Go on from the newest interim potential."""
        self.report_action(node, self.go_on_from(node))
        return ProcessHandlerReport(True)

    @process_handler(priority=590, exit_codes=PaceTrainCalculation.exit_codes.ERROR_SCHEDULER_OUT_OF_MEMORY)
    def handle_out_of_memory(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """Go on with smaller batches or fewer workers."""
        smaller = reduce_memory(self.ctx.inputs['config'])
        if smaller.get_dict() == self.ctx.inputs['config'].get_dict():
            return ProcessHandlerReport(True, self.exit_codes.ERROR_MEMORY_EXHAUSTED)
        action = self.go_on_from(node)
        self.ctx.inputs['config'] = smaller
        self.report_action(node, f'{action}, with smaller batches and fewer workers')
        return ProcessHandlerReport(True)

    @process_handler(priority=100)
    def handle_unrecoverable(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Give up at once where the same inputs would fail again."""
        if node.is_failed:
            self.report_action(node, 'none: another try would end the same way')
            return ProcessHandlerReport(
                True, self.exit_codes.ERROR_TRAINING_FAILED.format(reason=f'[{node.exit_status}] {node.exit_message}')
            )
        return None

    def stitch(self) -> None:
        """Make one learning curve of those of all legs."""
        last = self.ctx.children[self.ctx.iteration - 1]
        if self.ctx.legs and 'learning_curves' in last.outputs:
            legs = {
                f'leg_{index:02d}': node.outputs.learning_curves for index, node in enumerate([*self.ctx.legs, last])
            }
            self.ctx.learning_curves = stitch_legs(**legs)

    def get_outputs(self, node: orm.CalcJobNode) -> dict[str, Any]:
        """Return the outputs of the last job, with the learning curve of all legs."""
        outputs = dict(super().get_outputs(node))
        if 'learning_curves' in self.ctx:
            outputs['learning_curves'] = self.ctx.learning_curves
        return outputs
