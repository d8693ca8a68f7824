"""How the short form becomes sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What the short form leaves unsaid. The embedding is linear in one density: the fit is then a well-posed one in the
#: coefficients, whose minimum can be solved for.
EMBEDDING = {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1.0, 1.0], 'ndensity': 1}
LOSS = {'L1_coeffs': 1e-8, 'L2_coeffs': 1e-8}
BACKENDS: dict[str, dict[str, Any]] = {
    'linear': {'evaluator': 'linear'},
    'pyace': {'evaluator': 'pyace', 'parallel_mode': 'serial', 'display_step': 20},
    'tensorpot': {'evaluator': 'tensorpot', 'batch_size': 100, 'display_step': 20},
}
#: Of the section `linear`, what is not said.
LINEAR: dict[str, Any] = {
    'basis': 'given',
    'energy_ratio': 10.0,
    'energy_scale': 1.0,
    'virial_ratio': 0.5,
    'prior': 'order_degree',
    'pair_functions': 8,
    'functions_per_atom': 1.0,
    'repulsion': 0.6,
}
#: Outer cutoff in angstrom of linear fits, and the largest degree that is chosen by the data: some 700 functions for
#: two elements. More have to be asked for.
LINEAR_CUTOFF, OPEN_DEGREE = 5.5, 8
#: What is tried where the basis of a linear fit is chosen by cross-validation: radial functions, and cutoffs.
TRIED_RADIAL, TRIED_CUTOFFS = ('SBessel', 'ChebExpCos'), (4.5, 5.5, 6.5)
#: Radial coefficients double the parameters, too many for numerical gradients.
TRAINABLE = {'pyace': 'func', 'tensorpot': 'ALL'}


def shape_of(max_deg: int, max_order: int) -> dict[str, list[int]]:
    """Expand a total degree into the largest n and l of each order.

    A function of order k is a product of k factors, each with a radial index n >= 1 and an angular index l >= 0. The
    total-degree basis bounds the sum of all indices (Dusson et al., J. Comput. Phys. 454 (2022) 110946). The engine
    bounds n and l of each factor on its own, so the degree is shared equally: a factor of order k gets ``max_deg // k``
    for n and for l. The single factor of order 1 can only have l = 0.

    >>> shape_of(6, 3)
    {'nradmax_by_orders': [6, 3, 2], 'lmax_by_orders': [0, 3, 2]}

    :param max_deg: degree shared by the factors of a function, at least ``max_order``.
    :param max_order: largest correlation order; order k is body order k + 1.
    """
    shares = [max_deg // order for order in range(1, max_order + 1)]
    return {'nradmax_by_orders': shares, 'lmax_by_orders': [0, *shares[1:]]}


def degree_shape_of(degree: int, first: int, max_order: int) -> dict[str, list[int]]:
    """Return the largest n and l of each order that a basis of a total degree has functions of.

    It has more functions than these: those of a higher degree are taken out afterwards.

    >>> degree_shape_of(6, 8, 3)
    {'nradmax_by_orders': [8, 5, 4], 'lmax_by_orders': [0, 2, 1]}

    :param degree: largest total degree, the sum of all n and l of a function, of functions of order 2 and more.
    :param first: largest n of functions of order 1.
    :param max_order: largest correlation order.
    """
    orders = range(2, max_order + 1)
    return {
        'nradmax_by_orders': [first, *(degree - order + 1 for order in orders)],
        'lmax_by_orders': [0, *((degree - order) // 2 for order in orders)],
    }


def bond_of(r_cut: float, radbase: str) -> dict[str, Any]:
    """Return the radial functions of all pairs for an outer cutoff in angstrom.

    Their exponent does not act on spherical Bessel functions (SBessel).
    """
    return {
        'radbase': radbase,
        'radparameters': [5.25],
        'rcut': r_cut,
        'dcut': 0.01,
        'NameOfCutoffFunction': 'cos',
    }


def radial_basis_of(evaluator: str) -> str:
    """Return the radial functions of a fit where they are not given.

    For linear fits Chebyshev polynomials of a distance that is scaled exponentially, by 5.25: where the radial
    functions are fixed they resolve short bonds that spherical Bessel functions do not (``linear.basis: auto`` tries
    both).
    A minimiser converges much slower with them, so other fits have spherical Bessel functions.
    """
    return 'ChebExpCos' if evaluator == 'linear' else 'SBessel'


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the values of ``over``, mappings merged key by key."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = deep_merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged
