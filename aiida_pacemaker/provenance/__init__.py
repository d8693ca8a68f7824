"""Questions to the provenance graph."""

from .costs import core_hours
from .lineage import (
    DatasetDifference,
    FrameOrigin,
    TrainingStep,
    contributing_trajectories,
    dataset_of,
    difference,
    frame_origin,
    idle_sources,
    potentials_from,
    training_history,
    unsourced_frames,
)
from .loop import format_table, loop_table
from .remains import Remains, remains_of

__all__ = [
    'DatasetDifference',
    'FrameOrigin',
    'Remains',
    'TrainingStep',
    'contributing_trajectories',
    'core_hours',
    'dataset_of',
    'difference',
    'format_table',
    'frame_origin',
    'idle_sources',
    'loop_table',
    'potentials_from',
    'remains_of',
    'training_history',
    'unsourced_frames',
]
