"""The explorer: molecular dynamics from many structures under several conditions, in parallel jobs."""

from __future__ import annotations

from typing import Any, ClassVar

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessSpec, while_
from aiida.orm import to_aiida_type

from aiida_pacemaker._aiida.processes import job_class_of
from aiida_pacemaker.calculations.checks.inputs import check_model
from aiida_pacemaker.calculations.explore import validate_explore
from aiida_pacemaker.calculations.functions.exploring import collect_explorations, options_under, plan_exploration
from aiida_pacemaker.exploration.options import ExploreOptions
from aiida_pacemaker.workflows.base.explore import PaceExploreBaseWorkChain
from aiida_pacemaker.workflows.base.resuming import ResumingWorkChain

#: Inputs of the job that the explorer provides itself.
PROVIDED = ('potential', 'active_set', 'initial_structures', 'random_seed', 'options')
COLLECTED = ('candidates', 'grades', 'traces', 'report')


def validate_explorer(inputs: Any, _: Any) -> str | None:
    """Check each condition as its jobs will."""
    known = {
        name: inputs[name]
        for name in ('potential', 'active_set', 'initial_structures', 'random_seed')
        if name in inputs
    }
    for label, condition in (inputs.get('conditions') or {'': None}).items():
        options = orm.Dict(options_under(inputs.get('options'), condition, inputs.get('gamma_low')))
        problem = check_model(ExploreOptions, options) or validate_explore({**known, 'options': options}, None)
        if problem is not None:
            return f'`conditions.{label}`: {problem}' if label else problem
    return None


def validate_positive(node: orm.Int | None, _: Any) -> str | None:
    """Check that a node holds a positive number."""
    return None if node is None or node.value > 0 else f'found {node.value}, needed: a positive integer'


class PaceExploreWorkChain(ResumingWorkChain):
    """Explore from all initial structures under all conditions, and collect the candidates, each once.

    Each job explores from some of these structures under one condition, with random numbers that follow from
    `random_seed`. A job that fails does not cost what the others found.
    """

    #: The restart chain of the jobs.
    JOB: ClassVar[type[PaceExploreBaseWorkChain]] = PaceExploreBaseWorkChain

    @classmethod
    def define(cls, spec: ProcessSpec) -> None:
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        job = job_class_of(cls.JOB)
        spec.expose_inputs(job, include=PROVIDED)
        spec.input(
            'gamma_low',
            valid_type=orm.Float,
            serializer=to_aiida_type,
            required=False,
            help='Frames with a gamma from here on are kept, where neither `options` nor a condition say `gamma_low`.',
        )
        spec.input_namespace(
            'conditions',
            valid_type=orm.Dict,
            dynamic=True,
            required=False,
            help='By label, what is changed in `options`: all structures are explored from under each condition.',
        )
        spec.input(
            'structures_per_job',
            valid_type=orm.Int,
            serializer=to_aiida_type,
            validator=validate_positive,
            default=lambda: orm.Int(20),
            help='Largest number of structures that one job explores from.',
        )
        spec.input(
            'max_concurrent',
            valid_type=orm.Int,
            serializer=to_aiida_type,
            validator=validate_positive,
            default=lambda: orm.Int(10),
            help='Largest number of jobs at a time.',
        )
        spec.expose_inputs(
            cls.JOB,
            namespace='job',
            exclude=('clean_workdir', *(f'pace.{name}' for name in PROVIDED)),
            namespace_options={'help': 'The exploration job: code and options.'},
        )
        spec.inputs.validator = validate_explorer
        spec.outline(cls.plan, while_(cls.jobs_are_left)(cls.run_jobs, cls.inspect_jobs), cls.collect)
        spec.expose_outputs(job, include=COLLECTED)
        spec.exit_code(
            510,
            'ERROR_ALL_JOBS_FAILED',
            message='None of {count} exploration jobs came to a good end; the last one said "{reason}".',
        )

    def plan(self) -> None:
        """Divide the exploration into jobs."""
        names = ('initial_structures', 'random_seed', 'structures_per_job', 'options', 'gamma_low')
        given = {name: self.inputs[name] for name in names if name in self.inputs}
        conditions = {f'condition_{label}': node for label, node in self.inputs.get('conditions', {}).items()}
        metadata = {'call_link_label': 'plan'}
        self.ctx.plan, _ = self.run_once(plan_exploration, **given, **conditions, metadata=metadata)
        self.ctx.n_begun = 0

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """What each job does."""
        return list(self.ctx.plan['jobs']['jobs'])

    def batch(self) -> list[dict[str, Any]]:
        """Return the jobs of this turn."""
        return self.jobs[self.ctx.n_begun : self.ctx.n_begun + self.inputs.max_concurrent.value]

    def jobs_are_left(self) -> bool:
        """Tell whether there is something left to do."""
        return bool(self.ctx.n_begun < len(self.jobs))

    def run_jobs(self) -> None:
        """Submit as many jobs as may run at a time."""
        for job in self.batch():
            label = job['label']
            inputs = AttributeDict(self.exposed_inputs(self.JOB, 'job'))
            inputs.pace.potential = self.inputs.potential
            inputs.pace.active_set = self.inputs.active_set
            inputs.pace.initial_structures = self.ctx.plan.get(
                f'initial_structures_{job["part"]}', self.inputs.initial_structures
            )
            inputs.pace.random_seed = self.ctx.plan[f'random_seed_{label}']
            inputs.pace.options = self.ctx.plan[f'options_{job["condition"]}']
            inputs.setdefault('metadata', AttributeDict())['call_link_label'] = f'explore_{label}'
            node = self.submit(self.JOB, inputs)
            self.report(f'exploring {label} in {node.process_label}<{node.pk}>')
            self.to_context(**{f'job_{label}': node})

    def inspect_jobs(self) -> None:
        """Say which jobs have failed."""
        batch = self.batch()
        for job in batch:
            node = self.ctx[f'job_{job["label"]}']
            if not node.is_finished_ok:
                self.report(f'{job["label"]} failed: [{node.exit_status}] {node.exit_message}')
        self.ctx.n_begun += len(batch)

    def collect(self) -> ExitCode | None:
        """Put together what all jobs found."""
        nodes = {job['label']: self.ctx[f'job_{job["label"]}'] for job in self.jobs}
        found = {
            f'{name}_{label}': node.outputs[name]
            for label, node in nodes.items()
            for name in COLLECTED
            if name in node.outputs
        }
        if found:
            metadata = {'call_link_label': 'collect'}
            outputs, _ = self.run_once(collect_explorations, jobs=self.ctx.plan['jobs'], **found, metadata=metadata)
            for name in COLLECTED:
                if name in outputs:
                    self.out(name, outputs[name])
        if any(node.is_finished_ok for node in nodes.values()):
            return None
        last = list(nodes.values())[-1]
        return self.exit_codes.ERROR_ALL_JOBS_FAILED.format(count=len(nodes), reason=last.exit_message)
