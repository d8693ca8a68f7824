"""Thresholds of gamma from the errors of frames: exact where the data are, none where they say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aiida_pacemaker.analysis.calibration import MIN_POINTS, calibrate, isotonic, spearman

NUMBERS = st.floats(0, 1e6, allow_subnormal=False)
#: Few different values, so that ties are common.
GRADES = st.one_of(st.sampled_from([0.0, 0.5, 1.0, 2.0, 50.0]), st.floats(1e-3, 1e5))
POINTS = st.integers(0, 40).flatmap(
    lambda count: st.tuples(arrays(float, count, elements=GRADES), arrays(float, count, elements=NUMBERS))
)


@settings(deadline=None)
@given(POINTS.filter(lambda points: len(points[0])))
def test_the_calibrated_curve_rises_and_keeps_the_mean(points):
    x, y = points
    knots, values = isotonic(x, y)
    assert (np.diff(knots) > 0).all()
    assert (np.diff(values) >= 0).all()
    # The values at all points are those of the step function: between the ends of a block it is constant.
    fitted = np.interp(x, knots, values)
    assert np.isclose(fitted.mean(), y.mean(), rtol=1e-9)
    # Of all rising functions it is the closest: none of the obvious others is closer.
    others = [np.full(len(y), y.mean()), np.full(len(y), np.median(y)), x * (x @ y) / (x @ x) if x.any() else x]
    for other in others:
        assert ((fitted - y) ** 2).sum() <= ((other - y) ** 2).sum() * (1 + 1e-9) + 1e-9


@settings(deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=8))
def test_the_calibrated_curve_is_that_of_the_definition(y):
    """The max-min formula of isotonic regression, of all intervals."""
    y = np.array(y)
    count = len(y)
    means = {(a, b): y[a : b + 1].mean() for a in range(count) for b in range(a, count)}
    expected = [max(min(means[a, b] for b in range(i, count)) for a in range(i + 1)) for i in range(count)]
    knots, values = isotonic(np.arange(count, dtype=float), y)
    assert np.allclose(np.interp(np.arange(count), knots, values), expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(POINTS, st.randoms(use_true_random=False))
def test_the_order_of_frames_does_not_count(points, random):
    gamma, error = points
    spread = error[::-1]
    order = list(range(len(gamma)))
    random.shuffle(order)
    assert calibrate(gamma, error, spread) == calibrate(gamma[order], error[order], spread[order])


@settings(deadline=None)
@given(POINTS)
def test_whatever_comes_out_makes_sense(points):
    result = calibrate(*points)
    assert result['n_points'] == len(points[0])
    low, high = result['gamma_low'], result['gamma_high']
    if low is not None and high is not None:
        assert low <= high
    assert all(isinstance(sentence, str) and sentence.endswith(('.', ').')) for sentence in result['text'])
    assert (low is None and high is None) or result['correlation_gamma'] >= 0.3


@settings(deadline=None)
@given(st.floats(0.01, 0.5), st.floats(0.01, 1), st.integers(MIN_POINTS, 60), st.integers(0, 2**32 - 1))
def test_exact_where_the_error_is_a_line_over_log_gamma(start, slope, count, seed):
    gamma = np.exp(np.random.default_rng(seed).uniform(0, 8, count))
    tolerance = start + slope * 2.5
    result = calibrate(gamma, start + slope * np.log(gamma), tolerance=tolerance, factor=1 + slope / tolerance)
    assert result['correlation_gamma'] == pytest.approx(1)
    for name, at in (('gamma_low', 2.5), ('gamma_high', 3.5)):
        if np.log(gamma.min()) < at < np.log(gamma.max()):
            assert result[name] == pytest.approx(np.exp(at), rel=1e-6)
        else:
            assert result[name] is None


def test_noise_gives_no_suggestion():
    """Of sets without any relation, about one in 200 looks as if it had one."""
    random = np.random.default_rng(3)
    suggested = 0
    for count in (10, 20, 50, 200):
        for _ in range(250):
            result = calibrate(random.lognormal(1, 2, count), random.lognormal(-2, 1, count))
            suggested += result['gamma_low'] is not None or result['gamma_high'] is not None
    assert suggested <= 10


def test_thresholds_from_noisy_data():
    """A flat level below gamma 3, then rising: the suggestion lies where it leaves twice the level."""
    random = np.random.default_rng(5)
    gamma = np.exp(random.uniform(-1, 6, 300))
    true = 0.05 * np.maximum(1, gamma / 3)
    error = true * random.lognormal(0, 0.3, 300)
    result = calibrate(gamma, error, spread=error * random.lognormal(0, 0.1, 300))
    assert result['tolerance_from'] == 'known'
    assert result['tolerance'] == pytest.approx(0.1, rel=0.2)
    assert 4 < result['gamma_low'] < 9
    assert 18 < result['gamma_high'] < 50
    assert result['correlation_spread'] > result['correlation_gamma'] > 0.6
    blind = calibrate(gamma, error, spread=random.uniform(0, 1, 300))
    assert 'Of the two, gamma tells errors better than the spread.' in blind['text']
    assert any(sentence.startswith('gamma_low = ') for sentence in result['text'])


def test_the_level_of_what_is_known():
    gamma = np.array([2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 20.0, 30.0, 40.0])
    error = np.array([0.1, 0.2, 0.3, 0.31, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 2.0])
    result = calibrate(gamma, error)
    assert (result['tolerance_from'], result['tolerance']) == ('lowest_quarter', pytest.approx(0.4))
    assert result['gamma_low'] == pytest.approx(6)
    assert result['gamma_high'] is None
    assert 'stays below 2 eV/angstrom up to the highest gamma (40)' in result['text'][-1]
    assert calibrate(gamma / 10, error)['tolerance_from'] == 'known'
    impatient = calibrate(gamma, error, tolerance=0.05)
    assert impatient['gamma_low'] is None
    assert 'exceeds 0.05 eV/angstrom from the lowest gamma on (2)' in ' '.join(impatient['text'])


def test_reasons_for_no_suggestion():
    few = calibrate([1, 2, 3], [0.1, 0.2, 0.3])
    assert few['text'][-1].startswith('No thresholds are suggested: there are 3 frames')
    same = calibrate([2.0] * 20, np.linspace(0, 1, 20))
    assert 'the same in all frames' in same['text'][-1]
    falling = calibrate(np.arange(1, 30), np.arange(30, 1, -1))
    assert 'rank correlation -1.00' in falling['text'][-1]
    assert calibrate([], [])['n_points'] == 0


def test_points_that_are_none_are_counted():
    gamma = np.append(np.arange(1.0, 21), [np.nan, 5, -1, np.inf])
    error = np.append(np.arange(1.0, 21), [1, np.nan, 1, 1])
    result = calibrate(gamma, error)
    assert (result['n_points'], result['n_left_out']) == (20, 4)
    assert result['text'][0].startswith('4 frames are left out')
    assert calibrate(gamma[:20], error[:20])['gamma_low'] == result['gamma_low']


@pytest.mark.parametrize(
    ('arguments', 'options', 'message'),
    [
        (([1, 2], [1]), {}, 'one number per frame'),
        (([[1]], [[1]]), {}, 'one number per frame'),
        (([1], [1]), {'tolerance': 0}, 'above zero'),
        (([1], [1]), {'factor': 1}, 'above 1'),
    ],
)
def test_what_is_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        calibrate(*arguments, **options)


def test_rank_correlation():
    assert spearman(np.array([1.0, 2.0, 3.0]), np.array([0.1, 5.0, 7e9])) == 1
    # By hand: ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4.
    assert spearman(np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(0.9486832980505138)
    assert spearman(np.array([1.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0])) is None
    assert spearman(np.array([1.0, 2.0]), np.array([1.0, 2.0])) is None
