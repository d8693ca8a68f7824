"""What the restart chains have in common."""

from __future__ import annotations

from aiida import orm
from aiida.engine import BaseRestartWorkChain, ExitCode, ProcessHandlerReport, ProcessSpec, process_handler


class PaceRestartWorkChain(BaseRestartWorkChain):
    """Base of the restart chains: gives up at once where another try is useless, and loses no output."""

    @classmethod
    def define(cls, spec: ProcessSpec) -> None:
        """Define how a chain fails."""
        super().define(spec)
        spec.exit_code(
            310,
            'ERROR_UNRECOVERABLE',
            message='The last job failed, and another try would end the same way: {reason}',
        )

    def inspect_process(self) -> ExitCode | None:
        """Let the handlers deal with the last job; if the chain ends there, what the job has made is kept."""
        exit_code = super().inspect_process()
        if exit_code is not None and exit_code.status:
            self._attach_outputs(self.ctx.children[self.ctx.iteration - 1])
        return exit_code

    def report_action(self, node: orm.CalcJobNode, action: str) -> None:
        """Say what happened and what is done about it."""
        self.report(f'{node.process_label}<{node.pk}> ended with {node.exit_status}: {node.exit_message}')
        self.report(f'Action taken: {action}')

    @process_handler(priority=100)
    def handle_unrecoverable(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Give up where no other handler has anything to change."""
        if not node.is_failed:
            return None
        self.report_action(node, 'none, another try would end the same way')
        reason = f'[{node.exit_status}] {node.exit_message}'
        return ProcessHandlerReport(True, self.exit_codes.ERROR_UNRECOVERABLE.format(reason=reason))
