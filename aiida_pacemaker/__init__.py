"""Fit Atomic Cluster Expansion potentials with Pacemaker under AiiDA.

What scripts need is imported from here. Each name is loaded when it is asked for, so that `import aiida_pacemaker`
costs nothing and needs no profile. All other modules may move between versions.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiida_pacemaker.baseline.model import DeltaBaseline
    from aiida_pacemaker.calculations.functions.datasets import filter_frames, split_frames
    from aiida_pacemaker.calculations.functions.merging import merge_frames
    from aiida_pacemaker.calculations.functions.potentials import import_potential_file
    from aiida_pacemaker.calculations.functions.references import default_baseline, fit_reference_energies
    from aiida_pacemaker.data.dataset import PaceDatasetData
    from aiida_pacemaker.data.potential import PacePotentialData
    from aiida_pacemaker.data.trajectories import trajectories_from_atoms
    from aiida_pacemaker.errors import PacemakerError
    from aiida_pacemaker.pace.config.trainer_config import TrainerConfig, parse_config
    from aiida_pacemaker.provenance.lineage import contributing_trajectories, frame_origin
    from aiida_pacemaker.trainer import PacemakerTrainer
    from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain
    from aiida_pacemaker.workflows.loop.table import format_table, loop_table

__version__ = '0.1.0'

__all__ = [
    'DeltaBaseline',
    'PaceActiveLearningWorkChain',
    'PaceDatasetData',
    'PacePotentialData',
    'PacemakerError',
    'PacemakerTrainer',
    'TrainerConfig',
    'contributing_trajectories',
    'default_baseline',
    'filter_frames',
    'fit_reference_energies',
    'format_table',
    'frame_origin',
    'import_potential_file',
    'loop_table',
    'merge_frames',
    'parse_config',
    'split_frames',
    'trajectories_from_atoms',
]

_HOMES = {
    'DeltaBaseline': 'baseline.model',
    'PaceActiveLearningWorkChain': 'workflows.loop.chain',
    'PaceDatasetData': 'data.dataset',
    'PacePotentialData': 'data.potential',
    'PacemakerError': 'errors',
    'PacemakerTrainer': 'trainer',
    'TrainerConfig': 'pace.config.trainer_config',
    'contributing_trajectories': 'provenance.lineage',
    'default_baseline': 'calculations.functions.references',
    'filter_frames': 'calculations.functions.datasets',
    'fit_reference_energies': 'calculations.functions.references',
    'format_table': 'workflows.loop.table',
    'frame_origin': 'provenance.lineage',
    'import_potential_file': 'calculations.functions.potentials',
    'loop_table': 'workflows.loop.table',
    'merge_frames': 'calculations.functions.merging',
    'parse_config': 'pace.config.trainer_config',
    'split_frames': 'calculations.functions.datasets',
    'trajectories_from_atoms': 'data.trajectories',
}


def __getattr__(name: str) -> Any:
    """Load a name of the front door.

    :raises AttributeError: if there is none.
    """
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
