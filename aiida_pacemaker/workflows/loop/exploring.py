"""The steps of the loop that find candidates with its own potential."""

from __future__ import annotations

from aiida import orm
from aiida.engine import ExitCode, ToContext

from aiida_pacemaker.calculations.functions.drawing import choose_initial_structures
from aiida_pacemaker.provenance.evaluations import replaces_evaluation
from aiida_pacemaker.workflows.loop.generations import content_of, last_row
from aiida_pacemaker.workflows.loop.links import LoopStep
from aiida_pacemaker.workflows.loop.steps import LoopSteps
from aiida_pacemaker.workflows.plugins import EXPLORER, process_from


class LoopExploring(LoopSteps):
    """Exploring, where the loop has an explorer; without one, the candidates are those of the pool."""

    def should_explore(self) -> bool:
        """Return whether the loop finds its candidates itself."""
        return 'entry_point' in self.inputs.explore

    def run_explore(self) -> ToContext | ExitCode:
        """Let the explorer begin from the structures that are given, or from frames of the dataset."""
        settings = self.ctx.settings
        # Other frames to begin from, and other random numbers, in each generation.
        seed = orm.Int(settings.exploration_seed + self.ctx.generation)
        structures = self.inputs.explore.get('initial_structures')
        if structures is None:
            count = orm.Int(settings.seed_frames)
            structures = self.call(
                LoopStep.INITIAL_STRUCTURES, choose_initial_structures, dataset=self.ctx.dataset, count=count, seed=seed
            )
        process_class = process_from(self.inputs.explore.entry_point.value)
        threshold = orm.Float(settings.gamma_threshold)
        provided = {
            'potential': self.ctx.potential,
            'active_set': self.ctx.active_set,
            'initial_structures': structures,
            'random_seed': seed,
        }
        inputs = self.plugged_in(
            'explore', LoopStep.EXPLORE, **provided, **EXPLORER.optional_inputs(process_class, gamma_low=threshold)
        )
        return self.launch(LoopStep.EXPLORE, process_class, inputs)

    def inspect_explore(self) -> ExitCode | None:
        """Take what was found for the pool of this generation."""
        if problem := self.check_finished(LoopStep.EXPLORE, self.exit_codes.ERROR_EXPLORATION_FAILED):
            return problem
        outputs = self.ctx.explore.outputs
        self.ctx.pool = outputs.candidates if 'candidates' in outputs else None
        self.ctx.exploration = outputs.report
        self.ctx.grades = self.grades_of_candidates()
        return None

    def grades_of_candidates(self) -> orm.ArrayData | None:
        """Return energies, forces and gamma of the candidates by the explorer; None where they have to be evaluated.

        Explorers know no error bars: where the loop may end by those, the candidates are evaluated.
        """
        if self.ctx.settings.target_sigma_forces is not None and self.ctx.posterior is not None:
            return None
        grades = self.ctx.explore.outputs.grades if 'grades' in self.ctx.explore.outputs else None
        if self.ctx.pool is None or grades is None:
            return None
        try:
            return grades if replaces_evaluation(grades, self.ctx.pool) else None
        except ValueError as exception:
            self.report(f'{self.stage}: the candidates are evaluated, since the grades are not used: {exception}')
            return None

    def stuck(self) -> ExitCode | None:
        """Return the exit code for an exploration without candidates where the loop is not converged, or None."""
        stop_reason = content_of(self.ctx.report)['stop_reason']
        if self.ctx.exploration is None or self.ctx.candidates is not None or stop_reason:
            return None
        self.attach()
        explored = last_row(self.ctx.report)['explored']
        counts = {} if explored is None else explored['reasons']
        reasons = ', '.join(f'{count} {reason}' for reason, count in sorted(counts.items()))
        return self.exit_codes.ERROR_EXPLORATION_STUCK.format(stage=self.stage, reasons=reasons)
