"""The restart chain of the active set."""

from __future__ import annotations

from aiida import orm
from aiida.engine import BaseRestartWorkChain, ProcessHandlerReport, ProcessSpec, process_handler, while_

from aiida_pacemaker.calculations.activeset import PaceActiveSetCalculation
from aiida_pacemaker.engine.options import ActiveSetOptions
from aiida_pacemaker.workflows.functions import with_all_atoms


class PaceActiveSetBaseWorkChain(BaseRestartWorkChain):
    """Build an active set, with all atoms where leaving out outliers turns out to be impossible.

    Atoms with large force errors are left out by default. That is not possible in batches, which large datasets fall
    into by themselves, and it may leave fewer atoms of an element than there are functions.
    """

    _process_class = PaceActiveSetCalculation

    @classmethod
    def define(cls, spec: ProcessSpec) -> None:
        """Define inputs, outline and outputs."""
        super().define(spec)
        spec.expose_inputs(PaceActiveSetCalculation, namespace='pace')
        spec.expose_outputs(PaceActiveSetCalculation)
        spec.outline(cls.setup, while_(cls.should_run_process)(cls.run_process, cls.inspect_process), cls.results)
        spec.exit_code(
            310,
            'ERROR_ACTIVE_SET_FAILED',
            message='The active set could not be built and another try would not help. The last job said: {reason}',
        )

    def setup(self) -> None:
        """Prepare the inputs of the first try."""
        super().setup()
        self.ctx.inputs = self.exposed_inputs(PaceActiveSetCalculation, 'pace')

    @process_handler(
        priority=600,
        exit_codes=[
            PaceActiveSetCalculation.exit_codes.ERROR_BATCHES_NEED_ALL_ATOMS,
            PaceActiveSetCalculation.exit_codes.ERROR_ENVIRONMENTS_INSUFFICIENT,
        ],
    )
    def handle_left_out_atoms(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Try again with all atoms."""
        options = self.ctx.inputs.get('options')
        if options is not None and ActiveSetOptions.model_validate(options.get_dict()).all_atoms:
            return None
        self.report(f'{node.process_label}<{node.pk}> ended with {node.exit_status}: {node.exit_message}')
        self.report('Action taken: try again with all atoms, whatever their force error')
        self.ctx.inputs['options'] = with_all_atoms() if options is None else with_all_atoms(options)
        return ProcessHandlerReport(True)

    @process_handler(priority=100)
    def handle_unrecoverable(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Give up at once where the same inputs would fail again."""
        if not node.is_failed:
            return None
        reason = f'[{node.exit_status}] {node.exit_message}'
        return ProcessHandlerReport(True, self.exit_codes.ERROR_ACTIVE_SET_FAILED.format(reason=reason))
