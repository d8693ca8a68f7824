"""The restart chain of the selection."""

from aiida_pacemaker.calculations.select import PaceSelectCalculation
from aiida_pacemaker.workflows.base.restart import PaceRestartWorkChain


class PaceSelectBaseWorkChain(PaceRestartWorkChain):
    """Choose the most informative candidates, again if the job was lost."""

    _process_class = PaceSelectCalculation
