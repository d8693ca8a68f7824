"""The restart chain of the active set."""

from __future__ import annotations

from aiida import orm
from aiida.engine import ProcessHandlerReport, process_handler

from aiida_pacemaker.calculations.activeset import PaceActiveSetCalculation
from aiida_pacemaker.calculations.staging import trained_on
from aiida_pacemaker.option_errors import parse_options
from aiida_pacemaker.pace.config.options import ActiveSetOptions
from aiida_pacemaker.workflows.base.functions import with_all_atoms
from aiida_pacemaker.workflows.base.restart import PaceRestartWorkChain


class PaceActiveSetBaseWorkChain(PaceRestartWorkChain):
    """Build an active set, with all atoms where leaving out outliers turns out to be impossible.

    Atoms with large force errors are left out by default. That is not possible in batches, which large datasets fall
    into by themselves, and it may leave fewer atoms of an element than there are functions.
    """

    _process_class = PaceActiveSetCalculation

    @process_handler(priority=610, exit_codes=[PaceActiveSetCalculation.exit_codes.ERROR_PARENT_FILES_LOST])
    def handle_lost_folder(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Take the dataset where the folder of its training has been cleaned meanwhile."""
        dataset = trained_on(self.ctx.inputs['parent_folder'])
        if dataset is None:
            return None
        self.report_action(node, 'build it from the dataset of the training')
        del self.ctx.inputs['parent_folder']
        self.ctx.inputs['dataset'] = dataset
        return ProcessHandlerReport(True)

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
        if options is not None and parse_options(ActiveSetOptions, options.get_dict()).all_atoms:
            return None
        self.report_action(node, 'try again with all atoms, whatever their force error')
        self.ctx.inputs['options'] = with_all_atoms() if options is None else with_all_atoms(options)
        return ProcessHandlerReport(True)
