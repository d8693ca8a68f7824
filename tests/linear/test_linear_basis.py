"""Functions of a linear fit: which there are, and in which order."""

from __future__ import annotations

import numpy as np
import pytest
from linear_cases import basis_of, section

from aiida_pacemaker.linear.basis import configuration_of, in_degree
from aiida_pacemaker.linear.groups import groups_of
from aiida_pacemaker.linear.saving import save


def test_total_degree():
    assert in_degree([8], [0], 4, 8)
    assert not in_degree([9], [0], 4, 8)
    assert in_degree([1, 1], [1, 1], 4, 8)
    assert not in_degree([1, 2], [1, 1], 4, 8)


@pytest.mark.engine
def test_functions_are_those_of_the_degree():
    basis = basis_of(('Al', 'Cu'), 6)
    assert set(basis.centres) == {'Al', 'Cu'}
    assert basis.starts == (0, basis.n_functions // 2, basis.n_functions)
    for ns, ls in zip(basis.radial, basis.angular, strict=True):
        assert (len(ns) == 1 and ns[0] <= 8) or sum(ns) + sum(ls) <= 6
    # No other limit, neither n nor l of an order, has left one out.
    larger = configuration_of(section(('Al', 'Cu'), 9), 6, 8)
    assert sum(len(block.funcspecs) for block in larger.funcspecs_blocks) == basis.n_functions


@pytest.mark.engine
def test_coefficients_are_in_the_order_of_the_columns(tmp_path):
    import pyace

    basis = basis_of(('Al', 'Cu'), 4)
    coefficients = np.arange(1.0, basis.n_functions + 1)
    save(basis, coefficients, str(tmp_path / 'potential'))
    again = pyace.ACEBBasisSet(str(tmp_path / 'potential.yaml'))
    assert list(again.basis_coeffs) == coefficients.tolist()
    assert list(map(str, again.elements_name)) == list(basis.elements)


def test_groups():
    radial, angular = [(1,), (8,), (1, 1), (2, 1), (2, 2)], [(0,), (0,), (1, 1), (1, 1), (0, 0)]
    assert groups_of(radial, angular, 'order').tolist() == [0, 0, 1, 1, 1]
    assert groups_of(radial, angular, 'order_degree').tolist() == [0, 1, 2, 2, 2]
