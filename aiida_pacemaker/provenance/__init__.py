"""Questions to the provenance graph."""

from .costs import core_hours
from .graph import ancestors, descendants
from .lineage import (
    DatasetDifference,
    FrameOrigin,
    LevelUse,
    TrainingStep,
    contributing_trajectories,
    dataset_of,
    difference,
    frame_origin,
    idle_sources,
    levels_of,
    potentials_from,
    training_history,
    unsourced_frames,
)

__all__ = [
    'DatasetDifference',
    'FrameOrigin',
    'LevelUse',
    'TrainingStep',
    'ancestors',
    'contributing_trajectories',
    'core_hours',
    'dataset_of',
    'descendants',
    'difference',
    'frame_origin',
    'idle_sources',
    'levels_of',
    'potentials_from',
    'training_history',
    'unsourced_frames',
]
