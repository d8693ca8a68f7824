"""What the engine is to fit: labels less the baseline, as the pickle that it reads."""

from __future__ import annotations

from typing import IO

from aiida_pacemaker.baseline.evaluation import subtract
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.frames.hashing import frame_hashes, hex_hashes
from aiida_pacemaker.frames.pickle_writing import write_dataset
from aiida_pacemaker.frames.table import Frames


def write_targets(frames: Frames, handle: IO[bytes], baseline: DeltaBaseline | None = None) -> None:
    """Write labelled frames as a dataset of the engine, each named by its content hash.

    :param handle: a file open for writing bytes.
    :param baseline: taken off the energies and forces; without it the labels are written as they are.
    :raises ValueError: if the frames are not labelled, or if a label is not finite.
    """
    targets = frames if baseline is None else subtract(baseline, frames)
    if targets.energy is None or targets.forces is None:
        raise ValueError('the frames have no labels to train on: label them first')
    names = hex_hashes(frame_hashes(frames))
    write_dataset(frames, handle, energy=targets.energy, forces=targets.forces, names=names)
