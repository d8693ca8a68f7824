"""What groups of frames contribute to an exact linear fit: of a source, or of a level of theory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aiida_pacemaker.analysis.statistics import rms
from aiida_pacemaker.frames.table import FloatArray


@dataclass(frozen=True)
class Contribution:
    """What a group of frames contributes to a fit.

    :param n_frames: number of its frames.
    :param parameters: number of parameters that its labels determine, the sum of their leverages: the part of the trace
        of the hat matrix that is theirs (Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 7.6). Much
        for few frames means that nothing else in the data is like them.
    :param rmse_energy: root mean square over the frames of the errors of their energies by fits without each of them,
        in eV/atom; None where no energy has a weight.
    :param rmse_forces: of the errors of their forces, in eV/angstrom.
    """

    n_frames: int
    parameters: float
    rmse_energy: float | None
    rmse_forces: float | None


def contributions(
    groups: Sequence[str], energy: FloatArray, forces: FloatArray, leverage: FloatArray
) -> dict[str, Contribution]:
    """Return what each group of frames contributes to a fit, the one that determines most first.

    :param groups: the group of each frame, length F.
    :param energy: error of each frame by a fit without it in eV/atom, shape (F,); NaN where it has no weight.
    :param forces: root mean square error of the forces of each frame by a fit without it in eV/angstrom, shape (F,).
    :param leverage: number of parameters that each frame determines, shape (F,).
    """
    members: dict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    found = {
        group: Contribution(
            len(rows), float(leverage[rows].sum()), _rms_of_known(energy[rows]), _rms_of_known(forces[rows])
        )
        for group, rows in members.items()
    }
    return dict(sorted(found.items(), key=lambda item: -item[1].parameters))


def _rms_of_known(values: FloatArray) -> float | None:
    known = values[~np.isnan(values)]
    return rms(known) if known.size else None
