"""How good a potential is, in numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aiida_pacemaker.frames.table import FloatArray, Frames

#: Quantiles of gamma that are reported, by name.
QUANTILES = {'median': 0.5, 'p90': 0.9, 'p99': 0.99, 'max': 1.0}


def errors_of(frames: Frames, energy: FloatArray, forces: FloatArray, stress: FloatArray) -> dict[str, float | None]:
    """Return the errors of predictions against labels.

    :param frames: labelled frames.
    :param energy: predicted total energies in eV, shape (F,).
    :param forces: predicted forces in eV/angstrom, shape (A, 3).
    :param stress: predicted stress in eV/angstrom^3, shape (F, 3, 3); NaN where it has no meaning.
    :returns: root mean square, mean absolute and largest errors: `rmse_energy`, `mae_energy`, `max_energy` in eV/atom,
        `rmse_forces`, `mae_forces`, `max_forces` in eV/angstrom per component, and `rmse_stress` in eV/angstrom^3 per
        component, None if no frame has a stress.
    :raises ValueError: if the frames are not labelled.
    """
    if frames.energy is None or frames.forces is None or frames.stress is None:
        raise ValueError('errors need labelled frames')
    energy_errors = np.abs(energy - frames.energy) / frames.n_atoms
    force_errors = np.abs(forces - frames.forces)
    stress_errors = (stress - frames.stress)[np.isfinite(stress - frames.stress)]
    return {
        'rmse_energy': rms(energy_errors),
        'mae_energy': float(energy_errors.mean()),
        'max_energy': float(energy_errors.max()),
        'rmse_forces': rms(force_errors),
        'mae_forces': float(force_errors.mean()),
        'max_forces': float(force_errors.max()),
        'rmse_stress': rms(stress_errors) if stress_errors.size else None,
    }


def quantiles_of(of_frames: FloatArray) -> dict[str, float | None]:
    """Return the quantiles of the extrapolation grade, or of error bars, of plain types.

    :param of_frames: largest value of any atom of each frame, shape (F,); infinite for a frame with interactions that
        the data never had.
    :returns: each of `QUANTILES`, None where it is infinite, for which there is no number in JSON; and `n_unseen`, the
        number of frames whose grade is infinite.
    """
    n_finite = int(np.isfinite(of_frames).sum())
    rising = np.sort(of_frames)
    quantiles: dict[str, float | None] = {}
    for name, quantile in QUANTILES.items():
        # A quantile lies between two neighbours in order: it is infinite where the upper one is.
        upper = int(np.ceil(quantile * (len(rising) - 1)))
        finite = rising[:n_finite]
        known = upper < n_finite
        padded = np.concatenate([finite, np.full(len(rising) - n_finite, finite[-1])]) if known else finite
        quantiles[name] = float(np.quantile(padded, quantile)) if known else None
    return {**quantiles, 'n_unseen': len(rising) - n_finite}


def coverage_of(errors: FloatArray, sigma: FloatArray) -> dict[str, float]:
    """Return which part of force errors is within one and two standard deviations.

    :param errors: of force components in eV/angstrom, shape (A, 3).
    :param sigma: of the components of each atom, shape (A,).
    """
    return {f'within_{count}_sigma': float(np.mean(np.abs(errors) <= count * sigma[:, None])) for count in (1, 2)}


def rms(values: FloatArray) -> float:
    """Return the root mean square of values, of which there is at least one."""
    return float(np.sqrt(np.mean(values**2)))


def largest_per_frame(frames: Frames, values: FloatArray) -> FloatArray:
    """Return the largest value of any atom of each frame, shape (F,).

    :param values: one value per atom, shape (A,).
    """
    largest: FloatArray = np.maximum.reduceat(values, frames.offsets[:-1])
    return largest


def force_errors(frames: Frames, forces: FloatArray) -> FloatArray:
    """Return the largest error of the force on any atom of each frame in eV/angstrom, shape (F,).

    :param frames: labelled frames.
    :param forces: predicted forces in eV/angstrom, shape (A, 3).
    :raises ValueError: if the frames are not labelled.
    """
    if frames.forces is None:
        raise ValueError('errors need labelled frames')
    return largest_per_frame(frames, np.linalg.norm(forces - frames.forces, axis=1))


def force_spread(frames: Frames, member_forces: Sequence[FloatArray]) -> FloatArray:
    """Return how far the members of an ensemble disagree about the forces of each frame in eV/angstrom, shape (F,).

    That is the largest standard deviation of the force on any atom, the deviation being the length of the vector:
    the model deviation of L. Zhang et al., Phys. Rev. Materials 3, 023804 (2019).

    :param member_forces: forces of at least two members in eV/angstrom, each of shape (A, 3).
    :raises ValueError: if there are fewer than two members.
    """
    if len(member_forces) < 2:
        raise ValueError(f'a spread needs at least two members, there are {len(member_forces)}')
    stacked = np.stack(member_forces)
    variance = ((stacked - stacked.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0)
    return largest_per_frame(frames, np.sqrt(variance))
