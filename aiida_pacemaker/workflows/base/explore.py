"""The restart chain of explorations."""

from __future__ import annotations

from aiida import orm
from aiida.engine import ProcessHandlerReport, process_handler

from aiida_pacemaker.calculations.explore import PaceExploreCalculation
from aiida_pacemaker.workflows.base.restart import PaceRestartWorkChain

#: Nothing is gained from these, or what there is cannot be trusted.
HOPELESS = {
    PaceExploreCalculation.exit_codes.ERROR_EXPLORATION_INVALID.status,
    PaceExploreCalculation.exit_codes.ERROR_ALL_RUNS_FAILED.status,
}


class PaceExploreBaseWorkChain(PaceRestartWorkChain):
    """Explore with a potential, again if the job was lost; of a job that was stopped, the finished runs are taken."""

    _process_class = PaceExploreCalculation

    @process_handler(priority=600)
    def handle_interrupted(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Accept the finished runs of a stopped job, if there are any."""
        if not node.is_failed or node.exit_status in HOPELESS or 'report' not in node.outputs:
            return None
        n_runs, n_planned = (node.outputs.report[key] for key in ('n_runs', 'n_planned'))
        if not n_runs:
            return None
        self.report_action(node, f'none, {n_runs} of {n_planned} runs have come to their end')
        self.ctx.is_finished = True
        return ProcessHandlerReport(True)
