"""What the restart chains have in common."""

from __future__ import annotations

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import (
    CalcJob,
    ExitCode,
    ProcessHandlerReport,
    ProcessSpec,
    process_handler,
    while_,
)

from aiida_pacemaker._aiida.processes import RestartWorkChain, job_class_of
from aiida_pacemaker.calculations.base import FILES_LOST, STATUS
from aiida_pacemaker.pace.output.failures import Failure
from aiida_pacemaker.workflows.base.resuming import ResumingWorkChain

#: How a job ends that was lost through no fault of its inputs: it died without a word, with the node it ran on, or with
#: the worker that was about to attach its folder, or its files were not whole when it began.
LOST = {
    STATUS[Failure.ERROR_JOB_DIED],
    STATUS[Failure.ERROR_KILLED],
    CalcJob.exit_codes.ERROR_SCHEDULER_NODE_FAILURE.status,
    CalcJob.exit_codes.ERROR_MISSING_OUTPUT.status,
    FILES_LOST,
    # The next job finds what of it is in the cache to be damaged, and the one after that has it sent again.
    STATUS[Failure.ERROR_DATASET_DAMAGED],
}


class PaceRestartWorkChain(ResumingWorkChain, RestartWorkChain):
    """Base of the restart chains: repeats lost jobs, gives up at once where a repeat is useless, keeps all outputs.

    The inputs of the job, `_process_class`, are in the namespace `pace`; its outputs are those of the chain.
    """

    @classmethod
    def define(cls, spec: ProcessSpec) -> None:
        """Define inputs, outline, outputs, and how a chain fails."""
        super().define(spec)
        cls.expose_job(spec)
        spec.outline(cls.setup, while_(cls.should_run_process)(cls.run_process, cls.inspect_process), cls.results)
        spec.exit_code(
            310,
            'ERROR_UNRECOVERABLE',
            message='The last job failed, and another try would end the same way: {reason}',
        )

    @classmethod
    def expose_job(cls, spec: ProcessSpec) -> None:
        """Make the ports of the job those of the chain."""
        job = job_class_of(cls)
        if job is not None:
            spec.expose_inputs(job, namespace='pace')
            spec.expose_outputs(job)

    def setup(self) -> None:
        """Prepare the inputs of the first try."""
        super().setup()
        self.ctx.inputs = self.job_inputs()

    def job_inputs(self) -> AttributeDict:
        """Return the inputs of the first job."""
        return self.exposed_inputs(self.process_class, 'pace')

    def inspect_process(self) -> ExitCode | None:
        """Let the handlers deal with the last job; if the chain ends there, what the job has made is kept."""
        exit_code = super().inspect_process()
        if exit_code is None or not exit_code.status:
            return exit_code
        node = self.ctx.children[self.ctx.iteration - 1]
        self.attach_outputs(node)
        if exit_code == self.exit_codes.ERROR_MAXIMUM_ITERATIONS_EXCEEDED:
            message = (
                f'{self.ctx.iteration} jobs in a row have not come to an end and `max_iterations` allows no more. The '
                f'last one ended with [{node.exit_status}] {node.exit_message}'
            )
            return ExitCode(exit_code.status, message)
        return exit_code

    def report_action(self, node: orm.CalcJobNode, action: str) -> None:
        """Say what happened and what is done about it."""
        self.report(f'{node.process_label}<{node.pk}> ended with {node.exit_status}: {node.exit_message}')
        self.report(f'Action taken: {action}')

    @process_handler(priority=200)
    def handle_lost(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Repeat a job that was lost for a reason outside of its program."""
        if node.exit_status not in LOST:
            return None
        self.report_action(node, 'run it again')
        return ProcessHandlerReport(True)

    @process_handler(priority=100)
    def handle_unrecoverable(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Give up where no other handler has anything to change."""
        if not node.is_failed:
            return None
        self.report_action(node, 'none, another try would end the same way')
        reason = f'[{node.exit_status}] {node.exit_message}'
        return ProcessHandlerReport(True, self.exit_codes.ERROR_UNRECOVERABLE.format(reason=reason))
