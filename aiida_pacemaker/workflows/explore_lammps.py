"""The explorer and its restart chain, with jobs of LAMMPS."""

from __future__ import annotations

from typing import ClassVar

from aiida_pacemaker.calculations.explore_lammps import PaceExploreLammpsCalculation
from aiida_pacemaker.workflows.base.explore import PaceExploreBaseWorkChain
from aiida_pacemaker.workflows.explore import PaceExploreWorkChain


class PaceExploreLammpsBaseWorkChain(PaceExploreBaseWorkChain):
    """Explore by LAMMPS, again if the job was lost; of a job that was stopped, the finished runs are taken."""

    _process_class = PaceExploreLammpsCalculation


class PaceExploreLammpsWorkChain(PaceExploreWorkChain):
    """Explore by LAMMPS from all initial structures under all conditions, and collect the candidates, each once.

    It is `pacemaker.explore.md` with another job; everything else is described there.
    """

    JOB: ClassVar[type[PaceExploreBaseWorkChain]] = PaceExploreLammpsBaseWorkChain
