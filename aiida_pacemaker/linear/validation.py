"""How good a linear fit is on data that it has not seen, and how far its errors can be foretold.

Cross-validation leaves out whole frames, never single rows: those of one frame know of each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from .equations import Equations, FloatArray, FrameRows
from .evidence import Solution, solve_fixed

#: Number of parts of the cross-validation.
FOLDS = 5
#: In eV/angstrom: no label is more precise, and smaller errors are all the same.
LEAST_ERROR = 1e-3


@dataclass(frozen=True)
class HeldOut:
    """Residuals of frames that were left out of the fit, not weighted, and their standard deviations.

    :param residuals: by kind, in the order of the frames.
    :param spreads: by kind, by the posterior of the fit that has not seen them, not calibrated.
    :param weights: by kind.
    :param frames: by kind, the number of the frame of each.
    """

    residuals: Mapping[str, FloatArray]
    spreads: Mapping[str, FloatArray]
    weights: Mapping[str, FloatArray]
    frames: Mapping[str, npt.NDArray[np.intp]]

    def rmse(self, kind: str) -> float:
        """Return the root mean square of a kind; NaN if there is none."""
        values = self.residuals[kind]
        return float(np.sqrt(np.mean(values**2))) if len(values) else float('nan')

    def typical(self, scales: Mapping[str, float]) -> float:
        """Return the error of a typical frame: the geometric mean of the errors of frames, eV/angstrom.

        The error of a frame is the root mean square of its residuals, those of energies and virials times their scales.
        Frames count by their weights. A mean of squares would be that of a few frames that are alone of their kind,
        where all others are near equilibrium: nothing foretells them, and which basis has the smaller error there is
        chance.

        :param scales: of the equations of each kind, without the weights of frames.
        """
        n_frames = 1 + max(int(one.max()) for one in self.frames.values() if len(one))
        squares, weights, counts = np.zeros(n_frames), np.zeros(n_frames), np.zeros(n_frames)
        for kind, places in self.frames.items():
            squares += np.bincount(
                places, scales[kind] ** 2 * self.weights[kind] * self.residuals[kind] ** 2, minlength=n_frames
            )
            weights += np.bincount(places, self.weights[kind], minlength=n_frames)
            counts += np.bincount(places, minlength=n_frames)
        used = weights > 0
        errors = squares[used] / weights[used] + LEAST_ERROR**2
        logarithms = np.average(np.log(errors), weights=weights[used] / counts[used])
        return float(np.exp(0.5 * logarithms))


@dataclass(frozen=True)
class Calibration:
    """How the spread of the posterior becomes a standard deviation, see :func:`calibrated`.

    :param factor: of the spread.
    :param offset: in the unit of the residuals.
    :param within_one: part of the residuals, left out of the fit, that are within one standard deviation.
    :param within_two: likewise, within two.
    """

    factor: float
    offset: float
    within_one: float
    within_two: float

    def sigma(self, spreads: FloatArray) -> FloatArray:
        """Return standard deviations."""
        return calibrated(spreads, self.factor, self.offset)


def calibrated(spreads: FloatArray, factor: float, offset: float) -> FloatArray:
    """Return standard deviations by the spreads of the posterior: ``sigma^2 = factor^2 spread^2 + offset^2``."""
    result: FloatArray = np.sqrt((factor * spreads) ** 2 + offset**2)
    return result


def folds_of(frames: Sequence[FrameRows], n_folds: int = FOLDS) -> list[list[FrameRows]]:
    """Return parts of about the same size; equal frames are in the same one."""
    keys = sorted({frame.key for frame in frames})
    place = {key: index % n_folds for index, key in enumerate(keys)}
    return [[frame for frame in frames if place[frame.key] == fold] for fold in range(n_folds)]


def cross_validate(
    equations: Equations,
    scales: Mapping[str, float],
    groups: npt.NDArray[np.intp],
    solution: Solution,
    n_folds: int = FOLDS,
) -> HeldOut | None:
    """Return the errors of frames of the sample, each by a fit to all frames but those of its part.

    The prior variances and the noise are those of the fit to all.

    :returns: None if there are fewer than two frames.
    """
    parts = [part for part in folds_of(equations.frames, n_folds) if part]
    if len(parts) < 2:
        return None
    residuals: dict[str, list[FloatArray]] = {kind: [np.zeros(0)] for kind in equations.counts}
    spreads: dict[str, list[FloatArray]] = {kind: [np.zeros(0)] for kind in equations.counts}
    weights: dict[str, list[FloatArray]] = {kind: [np.zeros(0)] for kind in equations.counts}
    places: dict[str, list[npt.NDArray[np.intp]]] = {kind: [np.zeros(0, dtype=np.intp)] for kind in equations.counts}
    n_frames = 0
    for part in parts:
        out = {id(frame) for frame in part}
        others = [frame for frame in equations.frames if id(frame) not in out]
        n_rows = equations.n_rows - sum(frame.n_rows for frame in part)
        fitted = solve_fixed(equations.factor(scales, others), n_rows, groups, solution)
        for frame in part:
            for kind, rows in frame.rows.items():
                residuals[kind].append(rows @ np.append(fitted.coefficients, -1.0))
                spreads[kind].append(fitted.spread(rows))
                weights[kind].append(frame.weights[kind])
                places[kind].append(np.full(len(rows), n_frames, dtype=np.intp))
            n_frames += 1
    return HeldOut(
        {kind: np.concatenate(values) for kind, values in residuals.items()},
        {kind: np.concatenate(values) for kind, values in spreads.items()},
        {kind: np.concatenate(values) for kind, values in weights.items()},
        {kind: np.concatenate(values) for kind, values in places.items()},
    )


def calibrate(residuals: FloatArray, spreads: FloatArray) -> Calibration | None:
    """Return the factor and offset that make residuals most likely as those of normal distributions.

    :returns: None if there are fewer than ten residuals or if none differs from zero.
    """
    if len(residuals) < 10 or not np.any(residuals):
        return None
    size, mean = float(np.sqrt(np.mean(residuals**2))), float(np.sqrt(np.mean(spreads**2)))
    if mean == 0.0:
        factor, offset = 0.0, size
    else:
        units = np.array([(size / mean) ** 2, size**2])

        def surprise(logarithms: FloatArray) -> float:
            variances = spreads**2 * units[0] * np.exp(logarithms[0]) + units[1] * np.exp(logarithms[1])
            return float(np.mean(np.log(variances) + residuals**2 / variances))

        bounds = [(-14.0, 7.0)] * 2
        best = min(
            (minimize(surprise, start, bounds=bounds, method='L-BFGS-B') for start in ([0.0, -3.0], [-3.0, 0.0])),
            key=lambda result: float(result.fun),
        )
        factor, offset = np.sqrt(units * np.exp(best.x)).tolist()
    sigma = calibrated(spreads, factor, offset)
    within = [float(np.mean(np.abs(residuals) <= count * sigma)) for count in (1, 2)]
    return Calibration(float(factor), float(offset), *within)


@dataclass(frozen=True)
class FrameError:
    """What a frame of the sample means to the fit.

    :param key: content hash of the frame.
    :param energy: error of its energy by the fit without it, eV/atom; NaN if it has none.
    :param forces: root mean square error of its force components by the fit without it, eV/angstrom.
    :param leverage: number of parameters that it determines alone, of those that are determined at all.
    """

    key: str
    energy: float
    forces: float
    leverage: float


def leave_one_out(equations: Equations, scales: Mapping[str, float], solution: Solution) -> list[FrameError]:
    """Return the error of each frame of the sample by a fit without it, exactly and without fitting again.

    The residuals of a left-out block are ``(1 - H)^-1 r``, where ``H`` is its block of the hat matrix (Hastie et al.,
    The Elements of Statistical Learning, 7.10), for the prior variances and the noise of the fit to all.
    """
    errors = []
    for frame in equations.frames:
        weighted = frame.scaled(scales)
        projected = solution.project(weighted) / solution.noise
        residual = weighted @ np.append(solution.coefficients, -1.0)
        hat = projected @ projected.T
        left_out = np.linalg.lstsq(np.eye(len(hat)) - hat, residual, rcond=None)[0]
        factors = np.concatenate([scales[kind] * np.sqrt(frame.weights[kind]) for kind in frame.rows])
        plain = np.divide(left_out, factors, out=np.full(len(factors), np.nan), where=factors > 0)
        ends = np.cumsum([len(rows) for rows in frame.rows.values()])
        of_kind = dict(zip(frame.rows, np.split(plain, ends[:-1])))
        energy = float(of_kind['energy'][0]) if 'energy' in of_kind else np.nan
        forces = float(np.sqrt(np.mean(of_kind['forces'] ** 2))) if 'forces' in of_kind else np.nan
        errors.append(FrameError(frame.key, energy, forces, float(np.trace(hat))))
    return errors
