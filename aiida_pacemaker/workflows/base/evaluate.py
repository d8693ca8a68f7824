"""The restart chain of evaluations."""

from aiida_pacemaker.calculations.evaluate import PaceEvaluateCalculation
from aiida_pacemaker.workflows.base.restart import PaceRestartWorkChain


class PaceEvaluateBaseWorkChain(PaceRestartWorkChain):
    """Evaluate a potential on datasets, again if the job was lost."""

    _process_class = PaceEvaluateCalculation
