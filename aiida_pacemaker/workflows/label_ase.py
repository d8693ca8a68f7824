"""The labeller that calls any ASE calculator, as a restart chain."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ProcessHandlerReport, ProcessSpec, process_handler
from aiida.orm import to_aiida_type

from aiida_pacemaker.calculations.base import RESOURCES
from aiida_pacemaker.calculations.checks.inputs import all_of
from aiida_pacemaker.calculations.checks.launch import check_mpi
from aiida_pacemaker.calculations.functions.labelling import interrupted_frames, join_failures
from aiida_pacemaker.calculations.label_ase import AseLabelCalculation
from aiida_pacemaker.workflows.base.restart import PaceRestartWorkChain


def validate_launch(inputs: Any, _: Any) -> str | None:
    """Check that the code can be launched as is asked for."""
    options = inputs['options'].get_dict() if 'options' in inputs else {}
    return check_mpi(inputs, options)


class AseLabelWorkChain(PaceRestartWorkChain):
    """Label frames with an ASE calculator; a job that was stopped is followed by one with the frames that are left.

    No frame is labelled twice. One that a job was stopped at is the last of the next job, so that a frame which brings
    down its job does not keep the others from being labelled.
    """

    _process_class = AseLabelCalculation

    @classmethod
    def expose_job(cls, spec: ProcessSpec) -> None:
        """Take what every labeller takes, and what is said of the calculator."""
        spec.expose_inputs(AseLabelCalculation, include=('dataset', 'code', 'calculator'))
        spec.expose_outputs(AseLabelCalculation, include=('trajectories', 'failures'))
        spec.input(
            'options',
            valid_type=orm.Dict,
            serializer=to_aiida_type,
            default=lambda: orm.Dict({'resources': RESOURCES}),
            help='Options of the jobs, such as `resources` and `max_wallclock_seconds`.',
        )
        spec.inputs.validator = all_of(spec.inputs.validator, validate_launch)
        # A job that reaches its walltime is nothing unusual where labels are expensive.
        spec.inputs['max_iterations'].default = lambda: orm.Int(20)

    def job_inputs(self) -> AttributeDict:
        """Return the inputs of the first job."""
        inputs = AttributeDict(self.exposed_inputs(AseLabelCalculation))
        inputs.metadata = {'options': {'resources': RESOURCES, **self.inputs.options.get_dict()}}
        return inputs

    @process_handler(priority=600)
    def handle_interrupted(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Continue with the frames that a job did not reach."""
        if not node.is_failed or 'failures' not in node.outputs:
            return None
        metadata = {'call_link_label': f'left_{self.ctx.iteration:02d}'}
        left, _ = self.run_once(
            interrupted_frames, dataset=node.inputs.dataset, failures=node.outputs.failures, metadata=metadata
        )
        if 'dataset' not in left:
            # Whatever else was wrong with the job: no frame is labelled twice.
            return self.handle_all_done(node)
        self.report_action(node, f'go on with the {left["dataset"].n_frames} frames that are left')
        self.ctx.inputs.dataset = left['dataset']
        return ProcessHandlerReport(True)

    def handle_all_done(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Accept the labels that there are, if there are any."""
        if not any('trajectories' in job.outputs for job in self.ctx.children):
            return None
        self.report_action(node, 'none, the other frames are labelled')
        self.ctx.is_finished = True
        return ProcessHandlerReport(True)

    def get_outputs(self, node: orm.CalcJobNode) -> dict[str, Any]:
        """Return the labels and failures of all jobs."""
        outputs: dict[str, Any] = {}
        jobs = {f'job_{index:02d}': job for index, job in enumerate(self.ctx.children)}
        trajectories = {
            f'{label}_{name}': trajectory
            for label, job in jobs.items()
            if 'trajectories' in job.outputs
            for name, trajectory in job.outputs.trajectories.items()
        }
        failures = {label: job.outputs.failures for label, job in jobs.items() if 'failures' in job.outputs}
        if trajectories:
            outputs['trajectories'] = trajectories
        if failures:
            outputs['failures'], _ = self.run_once(
                join_failures, **failures, metadata={'call_link_label': 'join_failures'}
            )
        return outputs
