"""Calibration of gamma: its rank correlation with the true force errors of frames that were selected by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr

from aiida_pacemaker.frames.table import BoolArray, FloatArray

#: Below this number of frames nothing is suggested.
MIN_POINTS = 10
#: Fewer frames than these do not say what the error of known frames is.
MIN_KNOWN = 5
#: A rank correlation counts from here on: of frames whose errors have nothing to do with gamma, 1 set in 200 would be
#: taken for correlated (rho * sqrt(n - 1) is nearly normal), and a weaker one than 0.3 is of no use.
MIN_SIGMAS, MIN_CORRELATION = 2.6, 0.3
#: The tolerance, if none is given, over the error of what is known.
DEFAULT_MARGIN = 2.0
#: Gamma 0 has no logarithm.
SMALLEST_GAMMA = 1e-12


@dataclass(frozen=True)
class _Level:
    """How large an error may be, in eV/angstrom, and where that comes from."""

    tolerance: float
    origin: str
    text: str


def calibrate(
    gamma: ArrayLike,
    force_error: ArrayLike,
    spread: ArrayLike | None = None,
    *,
    tolerance: float | None = None,
    factor: float = 5.0,
) -> dict[str, Any]:
    """Return how errors go with gamma and with the spread of an ensemble, and which thresholds that suggests.

    `gamma_low` is where the error leaves the level of what is known, read from an isotonic regression of the error over
    log gamma; `gamma_high` is where it is `factor` times as large. Either is None, with a reason, where the frames do
    not say it.

    :param gamma: largest grade of each frame by the potential that it was chosen with, shape (F,).
    :param force_error: error of the forces of that potential in each frame, against its labels, in eV/angstrom.
    :param spread: spread of the forces of an ensemble in each frame, in eV/angstrom; NaN where there is none.
    :param tolerance: error of the forces that is acceptable in eV/angstrom. Default: twice the median error at gamma of
        at most 1, or, of fewer than five such frames, twice that of the quarter with the lowest gamma.
    :param factor: how many times the tolerance the error is at `gamma_high`.
    :returns: numbers and texts, of plain types: `n_points`, `n_left_out` (with gamma or error that is no number or
        negative), `correlation_gamma` and `correlation_spread` (Spearman, with the error; None where undefined),
        `tolerance` and `tolerance_from` (`given`, `known` or `lowest_quarter`), `gamma_low` and `gamma_high`, `curve`
        (`gamma` and the calibrated `force_error` in eV/angstrom, both rising) and `text`, a list of sentences.
    :raises ValueError: if the arrays are not of one length, or a parameter is out of its range.
    """
    grades, errors, spreads = _points(gamma, force_error, spread)
    if tolerance is not None and not tolerance > 0:
        raise ValueError(f'the tolerance is {tolerance} eV/angstrom, and has to be above zero')
    if not factor > 1:
        raise ValueError(f'factor is {factor}, and has to be above 1: gamma_high comes after gamma_low')
    good = np.isfinite(grades) & np.isfinite(errors) & (grades >= 0) & (errors >= 0)
    n_left_out = int((~good).sum())
    grades, errors, spreads = grades[good], errors[good], spreads[good]
    result: dict[str, Any] = {
        'n_points': len(grades),
        'n_left_out': n_left_out,
        'correlation_gamma': spearman(grades, errors),
        'correlation_spread': _spread_correlation(spreads, errors),
        'tolerance': None,
        'tolerance_from': None,
        'gamma_low': None,
        'gamma_high': None,
        'curve': {'gamma': [], 'force_error': []},
        'text': [],
    }
    text = result['text']
    if n_left_out:
        text.append(f'{n_left_out} frames are left out: their gamma or error is infinite, negative or no number.')
    text.extend(_correlation_texts(result))
    reason = _no_suggestion(result)
    if len(grades):
        level = _level(grades, errors, tolerance)
        knots, values = isotonic(np.log(np.maximum(grades, SMALLEST_GAMMA)), errors)
        result['curve'] = {'gamma': np.exp(knots).tolist(), 'force_error': values.tolist()}
        result.update(tolerance=level.tolerance, tolerance_from=level.origin)
        text.append(level.text)
        if reason is None:
            for name, limit in (('gamma_low', level.tolerance), ('gamma_high', factor * level.tolerance)):
                result[name], sentence = _crossing(name, knots, values, limit)
                text.append(sentence)
    if reason is not None:
        text.append(f'No thresholds are suggested: {reason}.')
    return result


def spearman(first: FloatArray, second: FloatArray) -> float | None:
    """Return the rank correlation of two quantities; None if one of them does not vary or there are fewer than three.

    Equal values share the mean of their ranks.

    :param first: finite, shape (F,).
    :param second: finite, shape (F,).
    """
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)


def isotonic(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the rising step function that is closest to points in the least squares, by its values at the points.

    Points with the same x are one, with their mean. Of the points between two steps only the first and the last are
    returned.

    :param x: finite, shape (F,), with at least one point.
    :param y: finite, shape (F,).
    :returns: x and the value of the function there, both rising.
    """
    order = np.lexsort((y, x))
    knots, starts, counts = np.unique(x[order], return_index=True, return_counts=True)
    fit = isotonic_regression(np.add.reduceat(y[order], starts) / counts, weights=counts)
    ends = np.unique(np.concatenate([fit.blocks[:-1], fit.blocks[1:] - 1]))
    return knots[ends], fit.x[ends]


def _points(
    gamma: ArrayLike, force_error: ArrayLike, spread: ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    grades, errors = np.asarray(gamma, dtype=np.float64), np.asarray(force_error, dtype=np.float64)
    spreads = np.full(grades.shape, np.nan) if spread is None else np.asarray(spread, dtype=np.float64)
    if grades.ndim != 1 or not grades.shape == errors.shape == spreads.shape:
        raise ValueError(
            f'one number per frame is needed of each: gamma has the shape {grades.shape}, the error {errors.shape} and '
            f'the spread {spreads.shape}'
        )
    return grades, errors, spreads


def _spread_correlation(spreads: FloatArray, errors: FloatArray) -> float | None:
    there: BoolArray = np.isfinite(spreads)
    return spearman(spreads[there], errors[there])


def _correlation_texts(result: dict[str, Any]) -> list[str]:
    by_gamma, by_spread = result['correlation_gamma'], result['correlation_spread']
    texts = [
        f'Rank correlation of the force error with {name}: {value:.2f} (1: the same order, 0: says nothing).'
        for name, value in (('gamma', by_gamma), ('the spread of the ensemble', by_spread))
        if value is not None
    ]
    if by_gamma is not None and by_spread is not None and abs(by_spread - by_gamma) > 0.1:
        better, worse = ('the spread', 'gamma') if by_spread > by_gamma else ('gamma', 'the spread')
        texts.append(f'Of the two, {better} tells errors better than {worse}.')
    return texts


def _no_suggestion(result: dict[str, Any]) -> str | None:
    """Return why nothing can be suggested, None if something can."""
    count, correlation = result['n_points'], result['correlation_gamma']
    if count < MIN_POINTS:
        return f'there are {count} frames with gamma and error, and at least {MIN_POINTS} are needed'
    if correlation is None:
        return 'gamma or the error is the same in all frames'
    needed = max(MIN_CORRELATION, MIN_SIGMAS / float(np.sqrt(count - 1)))
    if correlation < needed:
        return (
            f'the error does not go with gamma (rank correlation {correlation:.2f}, of {count} frames at least '
            f'{needed:.2f} is needed to tell it from chance); label more frames with other gamma, or choose by another '
            'criterion'
        )
    return None


def _level(grades: FloatArray, errors: FloatArray, tolerance: float | None) -> _Level:
    if tolerance is not None:
        return _Level(tolerance, 'given', f'Force errors of up to {tolerance:.3g} eV/angstrom are tolerated, as given.')
    known: BoolArray = grades <= 1
    origin, of = 'known', 'at gamma of at most 1'
    if known.sum() < MIN_KNOWN:
        # All of them whose gamma is equal to that of the last of the quarter: the order of frames does not count.
        known = grades <= np.sort(grades)[max(1, len(grades) // 4) - 1]
        origin, of = 'lowest_quarter', 'in the quarter with the lowest gamma'
    median = float(np.median(errors[known]))
    value = DEFAULT_MARGIN * median
    text = (
        f'The median force error {of} is {median:.3g} eV/angstrom ({int(known.sum())} frames); twice that, '
        f'{value:.3g}, is tolerated.'
    )
    return _Level(value, origin, text)


def _crossing(name: str, knots: FloatArray, values: FloatArray, limit: float) -> tuple[float | None, str]:
    """Return gamma where a rising curve over log gamma exceeds a limit, and what to say about it."""
    above = int(np.searchsorted(values, limit, side='right'))
    lowest, highest = np.exp(knots[[0, -1]])
    if above == 0:
        return None, (
            f'No {name}: the error exceeds {limit:.3g} eV/angstrom from the lowest gamma on ({lowest:.3g}). It lies '
            'below that, or the potential is not good enough for this tolerance.'
        )
    if above == len(values):
        return None, (
            f'No {name}: the error stays below {limit:.3g} eV/angstrom up to the highest gamma ({highest:.3g}). It '
            'lies above that.'
        )
    fraction = (limit - values[above - 1]) / (values[above] - values[above - 1])
    found = float(np.exp(knots[above - 1] + fraction * (knots[above] - knots[above - 1])))
    return found, f'{name} = {found:.3g}: from there on the error exceeds {limit:.3g} eV/angstrom.'
