"""What the engine is to fit: labels less the baseline, as the pickle that it reads."""

from __future__ import annotations

from typing import IO, Any

import numpy as np

from aiida_pacemaker.baseline.evaluation import subtract
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.frames.hashing import frame_hashes, hex_hashes
from aiida_pacemaker.frames.pickles.writing import write_dataset
from aiida_pacemaker.frames.table import Frames


def write_targets(
    frames: Frames,
    handle: IO[bytes],
    baseline: DeltaBaseline | None = None,
    *,
    weights: bool = False,
    stress: bool = False,
) -> None:
    """Write labelled frames as a dataset of the engine, each named by its content hash.

    :param handle: a file open for writing bytes.
    :param baseline: subtracted from energies and forces; without it the labels are written as they are.
    :param weights: whether the weights of the frames are written, 1 for each frame and atom where they have none.
    :param stress: whether stresses are written, which the engine does not use, less those of the baseline.
    :raises ValueError: if the frames are not labelled, or if a label is not finite.
    """
    targets = frames if baseline is None else subtract(baseline, frames)
    if targets.energy is None or targets.forces is None:
        raise ValueError('the frames have no labels to train on: label them first')
    names = hex_hashes(frame_hashes(frames))
    columns: dict[str, Any] = {}
    if weights:
        weighted = frames if frames.weighted else frames.with_weights(1.0, 1.0)
        columns['weights'] = weighted.w_energy, weighted.w_forces
    if stress and targets.stress is not None and not np.isnan(targets.stress).all():
        columns['stress'] = targets.stress
    write_dataset(frames, handle, energy=targets.energy, forces=targets.forces, names=names, **columns)
