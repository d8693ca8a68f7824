"""What the steps of the active-learning loop are made of: labelled calls, and what is reported when one fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ExitCode, ToContext

from aiida_pacemaker.calculations.functions.merging import merge, merge_options
from aiida_pacemaker.workflows.loop.context import LoopContext
from aiida_pacemaker.workflows.loop.engine import LoopEngine
from aiida_pacemaker.workflows.loop.links import LoopCall, LoopStep, stage_in_words
from aiida_pacemaker.workflows.loop.ports import given

#: What the loop has got, by the names of its outputs and of its context.
RESULTS = (
    'dataset',
    'test_dataset',
    'potential',
    'active_set',
    'baseline',
    'reference_energies',
    'report',
    'calibration',
    'unlabelled',
)


class LoopSteps(LoopEngine):
    """Calls of the loop, each under a label that no other one has."""

    ctx: LoopContext

    @property
    def stage(self) -> str:
        """Where the loop is, in words."""
        return stage_in_words(self.ctx.stage)

    def metadata_for(self, step: LoopStep, member: int | None = None) -> dict[str, str]:
        """Return the labels of a process and of the link to it, which no other process of the loop has.

        :param member: the seed of the member of the ensemble that the process is for.
        """
        call = LoopCall(self.ctx.stage, step, member)
        return {'call_link_label': call.link_label, 'label': call.process_label}

    def call(self, step: LoopStep, function: Any, **inputs: Any) -> Any:
        """Return the output of a calculation function that cannot fail, or a mapping of its outputs."""
        outputs, _ = self.run_once(function, **inputs, metadata=self.metadata_for(step))
        return outputs

    def merge_into(
        self, step: LoopStep, base: Any, sources: Mapping[str, Any], **options: Any
    ) -> tuple[Any, orm.ProcessNode]:
        """Merge labelled frames into a dataset, or make a new one, by the settings of the loop.

        :param base: the dataset to extend, None for a new one.
        :param sources: labelled frames by their labels.
        :param options: further options of the merge.
        :returns: the outputs of the merge, and its node.
        """
        settings = self.ctx.settings
        return self.run_once(
            merge,
            options=merge_options(
                sources,
                require_stress=settings.require_stress,
                mixed_levels=settings.mixed_levels,
                contradictions=settings.contradictions,
                **options,
            ),
            **given(base=base),
            **sources,
            metadata=self.metadata_for(step),
        )

    def prepare(self, namespace: str, step: LoopStep, member: int | None = None, **provided: Any) -> AttributeDict:
        """Return the inputs of a process of the engine, with its labels.

        :param namespace: that of its role.
        :param member: the seed of the member of the ensemble that the process is for.
        :param provided: the inputs of the role.
        """
        inputs = self.engine.inputs_of(namespace, self.inputs, provided)
        inputs.setdefault('metadata', AttributeDict()).update(self.metadata_for(step, member))
        return inputs

    def plugged_in(self, namespace: str, step: LoopStep, **provided: Any) -> dict[str, Any]:
        """Return the inputs of a process that is chosen by entry point, with its labels."""
        chosen = self.inputs[namespace]
        metadata = {**chosen.get('metadata', {}), **self.metadata_for(step)}
        return {**chosen.get('inputs', {}), **provided, 'metadata': metadata}

    def launch(self, step: LoopStep, process_class: Any, inputs: dict[str, Any]) -> ToContext | ExitCode:
        """Submit a sub process, or return the exit code for inputs that it refuses."""
        name = step.value
        try:
            return ToContext(**{name: self.submit(process_class, **inputs)})
        except ValueError as exception:
            self.attach()
            return self.exit_codes.ERROR_INPUTS_REFUSED.format(step=name, stage=self.stage, reason=str(exception))

    def check_finished(self, step: LoopStep, exit_code: ExitCode) -> ExitCode | None:
        """Return the exit code for a sub process that has failed, None if it has not; what there is gets attached."""
        name = step.value
        node = self.ctx[name]
        if node.is_finished_ok:
            return None
        self.attach()
        advice = self.engine.advice(name, node) if name in self.engine.steps else ''
        return exit_code.format(stage=self.stage, reason=f'{describe_failure(node)} {advice}'.strip())

    def attach(self) -> None:
        """Attach what there is by now: all that a later run needs to go on from here."""
        for name in RESULTS:
            if self.ctx.get(name) is not None:
                self.out(name, self.ctx[name])


def describe_failure(node: orm.ProcessNode) -> str:
    """Return how a process has ended: state, exit status and message."""
    state = '' if node.process_state is None else node.process_state.value
    return f'{node.process_label}<{node.pk}> {state} [{node.exit_status}] {node.exit_message}'
