"""The number of functions of a total degree, against linear algebra and the engine."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_pacemaker.pace.config.expansion import degree_shape_of
from aiida_pacemaker.pace.config.linear import functions_of, linear_fit_of
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.cost.total_degree import count_by_degree, degree_for

ELEMENTS = ['Al', 'Cu', 'Ni']
needs_engine = pytest.mark.skipif(find_spec('pyace') is None, reason='needs python-ace')

#: Run by a Python of its own, so that the engine's libraries stay out of this one.
PROBE = """
import json, sys
from aiida_pacemaker.linear.basis import configuration_of

def probe(potential, degree, first):
    counts = {element: 0 for element in potential['elements']}
    largest = {}
    for block in configuration_of(potential, degree, first).funcspecs_blocks:
        for one in block.funcspecs:
            counts[block.elements_vec[0]] += 1
            n, ell = largest.get(len(one.ns), (0, 0))
            largest[len(one.ns)] = max(n, *one.ns), max(ell, *one.ls)
    return {'functions': counts, 'largest': [list(largest[order]) for order in sorted(largest)]}

answers = [probe(*case) for case in json.load(sys.stdin)]
print()
json.dump(answers, sys.stdout)
"""
#: Elements, largest order and degree, as large as the engine makes in seconds.
CASES = [
    (n_elements, order, degree)
    for n_elements, largest in (
        (1, {1: 9, 2: 12, 3: 9, 4: 8}),
        (2, {1: 6, 2: 9, 3: 8, 4: 6}),
        (3, {1: 4, 2: 7, 3: 6, 4: 5}),
    )
    for order, most in largest.items()
    for degree in sorted({order, order + 1, order + 2, most})
    if degree <= most
]


def config_of(n_elements, order, degree, **linear):
    return parse_config({'elements': ELEMENTS[:n_elements], 'max_order': order, 'max_deg': degree, 'linear': linear})


def kernel_of_raising(n_elements, degree, order):
    """Count invariants by linear algebra: what the raising operator takes to zero among the weights M = 0."""
    factors = [
        (element, n, ell, m)
        for element in range(n_elements)
        for n in range(1, degree + 1)
        for ell in range(degree)
        # The others have n = 1 and l = 0 at least.
        if n + ell <= degree - order + 1
        for m in range(-ell, ell + 1)
    ]
    monomials = [
        one
        for one in combinations_with_replacement(factors, order)
        if sum(n + ell for _, n, ell, _ in one) <= degree and sum(ell for _, _, ell, _ in one) % 2 == 0
    ]
    rows = {one: row for row, one in enumerate(one for one in monomials if sum(m for *_, m in one) == 1)}
    columns = [one for one in monomials if sum(m for *_, m in one) == 0]
    raising = np.zeros((max(1, len(rows)), len(columns)))
    for column, monomial in enumerate(columns):
        for position, (element, n, ell, m) in enumerate(monomial):
            if m < ell:
                raised = (*monomial[:position], (element, n, ell, m + 1), *monomial[position + 1 :])
                raising[rows[tuple(sorted(raised))], column] += np.sqrt(ell * (ell + 1) - m * (m + 1))
    return len(columns) - np.linalg.matrix_rank(raising)


@pytest.mark.parametrize(
    'size', [(1, 6, 2), (2, 5, 2), (3, 4, 2), (1, 6, 3), (2, 5, 3), (1, 6, 4), (2, 5, 4), (1, 6, 5)]
)
def test_the_count_is_that_of_linear_algebra(size):
    n_elements, degree, order = size
    found = count_by_degree(n_elements, degree, order, 1) - count_by_degree(n_elements, degree, order - 1, 1)
    assert found == kernel_of_raising(*size)


@settings(deadline=None)
@given(n_elements=st.integers(1, 4), degree=st.integers(2, 12), first=st.integers(1, 20))
def test_closed_forms(n_elements, degree, first):
    assert count_by_degree(n_elements, degree, 1, first) == n_elements * first
    # Two factors have the same l, and their two pairs of element and n in no order.
    pairs = sum(
        1
        for one, other in combinations_with_replacement(
            [(element, n) for element in range(n_elements) for n in range(1, degree)], 2
        )
        for ell in range(degree)
        if one[1] + other[1] + 2 * ell <= degree
    )
    assert count_by_degree(n_elements, degree, 2, first) == n_elements * first + pairs


@settings(deadline=None)
@given(n_elements=st.integers(1, 3), order=st.integers(1, 4), degree=st.integers(4, 8), first=st.integers(1, 10))
def test_it_grows_with_everything(n_elements, order, degree, first):
    count = count_by_degree(n_elements, degree, order, first)
    assert count_by_degree(n_elements, degree + 1, order, first) >= count
    assert count_by_degree(n_elements, degree, order + 1, first) >= count
    assert count_by_degree(n_elements + 1, degree, order, first) > count
    assert count_by_degree(n_elements, degree, order, first + 1) == count + n_elements


def test_pair_functions_are_left_out_before_the_smallest_degree_is():
    assert degree_for({'Al': 10_000}, 3, first=8, largest=8) == (8, 8)
    assert degree_for({'Al': 11}, 3, first=8, largest=8) == (3, 8)
    assert degree_for({'Al': 10}, 3, first=8, largest=8) == (3, 7)
    assert degree_for({'Al': 7}, 3, first=8, largest=8) == (3, 4)
    assert degree_for({'Al': 1}, 3, first=8, largest=8) == (3, 3)


@settings(deadline=None)
@given(order=st.integers(1, 5), more=st.integers(0, 7), first=st.integers(1, 10))
def test_the_shape_has_every_n_and_l_of_its_degree(order, more, first):
    degree = order + more
    shape = degree_shape_of(degree, first, order)
    nradmax, lmax = shape['nradmax_by_orders'], shape['lmax_by_orders']
    assert (len(nradmax), nradmax[0], lmax[0]) == (order, first, 0)
    for one, (n, ell) in enumerate(zip(nradmax[1:], lmax[1:], strict=True), start=2):
        # All other factors have n = 1 and l = 0, or one more has the same l.
        assert n + one - 1 == degree
        assert one + 2 * ell <= degree < one + 2 * (ell + 1)


@needs_engine
@pytest.mark.engine
def test_the_engine_makes_as_many():
    fits = {case: linear_fit_of(config_of(*case)) for case in CASES}
    asked = [(fit.potential, fit.degree, fit.first) for fit in fits.values()]
    # In a larger shape there are no further functions of the degree.
    wider = [(*case, linear_fit_of(config_of(*case[:2], case[2] + 2))) for case in CASES if case[0] < 3 and case[2] < 7]
    asked += [(fit.potential, degree, max(8, degree)) for _, _, degree, fit in wider]
    run = subprocess.run(
        [sys.executable, '-c', PROBE], input=json.dumps(asked), text=True, capture_output=True, check=False
    )
    assert run.returncode == 0, f'python-ace is needed: pip install python-ace==0.4.0rc1\n{run.stderr[-2000:]}'
    answers = json.loads(run.stdout.splitlines()[-1])
    for case, fit, real in zip(fits, fits.values(), answers, strict=False):
        assert real['functions'] == functions_of(config_of(*case)), case
        shape = fit.potential['functions']['ALL']
        assert real['largest'] == [list(one) for one in zip(*shape.values(), strict=True)], case
    for (*case, _), real in zip(wider, answers[len(fits) :], strict=True):
        assert real['functions'] == functions_of(config_of(*case)), case
