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
from .loop import format_table, loop_table
from .remains import Remains, remains_of

__all__ = [
    'DatasetDifference',
    'FrameOrigin',
    'LevelUse',
    'Remains',
    'TrainingStep',
    'ancestors',
    'contributing_trajectories',
    'core_hours',
    'dataset_of',
    'descendants',
    'difference',
    'format_table',
    'frame_origin',
    'idle_sources',
    'levels_of',
    'loop_table',
    'potentials_from',
    'remains_of',
    'training_history',
    'unsourced_frames',
]
