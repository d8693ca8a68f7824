"""Quantiles of gamma where some are infinite, which JSON has no number for."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aiida_pacemaker.analysis.statistics import QUANTILES, quantiles_of

GRADES = st.lists(st.floats(0, 1e6), min_size=1, max_size=30)


@given(GRADES)
def test_finite_ones_are_those_of_numpy(values):
    found = quantiles_of(np.array(values))
    assert found['n_unseen'] == 0
    assert {name: found[name] for name in QUANTILES} == {
        name: float(np.quantile(values, quantile)) for name, quantile in QUANTILES.items()
    }


@given(GRADES, st.integers(1, 40))
def test_infinite_ones_are_counted(values, n_infinite):
    found = quantiles_of(np.array([*values, *[np.inf] * n_infinite]))
    json.dumps(found, allow_nan=False)
    assert found['n_unseen'] == n_infinite
    assert found['max'] is None
    # As if the infinite ones were merely huge.
    huge = np.array([*values, *[1e300] * n_infinite])
    for name, quantile in QUANTILES.items():
        expected = float(np.quantile(huge, quantile))
        assert found[name] == (None if expected > 1e200 else expected)
