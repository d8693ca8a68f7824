"""The steps of the loop that train an ensemble, whose force spread is an uncertainty estimate beside gamma."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiida import orm
from aiida.engine import ToContext

from aiida_pacemaker.calculations.functions.drawing import member_dataset
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.workflows.loop.links import LoopCall, LoopStep, member_name
from aiida_pacemaker.workflows.loop.ports import given
from aiida_pacemaker.workflows.loop.steps import LoopSteps, describe_failure


class LoopEnsemble(LoopSteps):
    """Training and evaluating the members of an ensemble, beside the potential of the loop.

    A member that fails does not stop the loop: it is reported and left out, and is fitted from nothing in the next
    generation.
    """

    def member_trainings(self) -> ToContext:
        """Begin the training of all members, each on its share of the dataset."""
        settings = self.ctx.settings
        awaited: ToContext = ToContext()
        for seed in settings.ensemble_seeds:
            frames, _ = self.run_once(
                member_dataset,
                dataset=self.ctx.dataset,
                seed=orm.Int(seed),
                fraction=orm.Float(settings.ensemble_fraction),
                metadata=self.metadata_for(LoopStep.DATASET, seed),
            )
            potential = self.ctx.members.get(member_name(seed))
            inputs = self.prepare(
                'train',
                LoopStep.TRAIN,
                seed,
                dataset=frames,
                baseline=self.ctx.baseline,
                reference_energies=self.ctx.reference_energies,
                max_epochs=orm.Int(settings.iterations(first=potential is None)),
                **given(potential=potential, config=self.ctx.config),
            )
            awaited.update(self.member_call(LoopStep.TRAIN, seed, self.engine.process('train'), inputs))
        return awaited

    def inspect_members(self) -> None:
        """Keep the potentials of the members."""
        self.ctx.members = self.of_members(LoopStep.TRAIN, lambda outputs: outputs.potential)

    def member_evaluations(self, pool: PaceDatasetData | None) -> ToContext:
        """Begin the evaluation of all members on the candidates."""
        awaited: ToContext = ToContext()
        if pool is None:
            return awaited
        for seed in self.ctx.settings.ensemble_seeds:
            potential = self.ctx.members.get(member_name(seed))
            if potential is None:
                continue
            inputs = self.prepare('evaluate', LoopStep.EVALUATE, seed, potential=potential, datasets={'pool': pool})
            awaited.update(self.member_call(LoopStep.EVALUATE, seed, self.engine.process('evaluate'), inputs))
        return awaited

    def inspect_member_evaluations(self) -> None:
        """Keep the evaluations of the candidates by the members."""
        self.ctx.member_evaluations = self.of_members(LoopStep.EVALUATE, lambda outputs: outputs.evaluations.pool)

    def member_call(self, step: LoopStep, seed: int, process_class: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return what to wait for; nothing if the inputs are refused, as a share of few frames may be."""
        name = LoopCall(self.ctx.stage, step, seed).name
        self.ctx[name] = None
        try:
            return {name: self.submit(process_class, **inputs)}
        except ValueError as exception:
            self.report(f'{self.stage}: {name} is left out, its inputs are refused: {exception}')
            return {}

    def of_members(self, step: LoopStep, take: Callable[[Any], Any]) -> dict[str, Any]:
        """Return an output of a step of each member that has come to its end well."""
        found = {}
        for seed in self.ctx.settings.ensemble_seeds:
            name = member_name(seed)
            node = self.ctx.get(LoopCall(self.ctx.stage, step, seed).name)
            if node is None:
                continue
            if node.is_finished_ok:
                found[name] = take(node.outputs)
            else:
                self.report(f'{self.stage}: {name} is left out: {describe_failure(node)}')
        return found
