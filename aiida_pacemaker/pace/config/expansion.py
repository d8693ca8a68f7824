"""How the short form becomes sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What the short form leaves unsaid. The embedding is linear in one density: the fit is then a well-posed one in the
#: coefficients, and `pyace`, whose gradients are numerical, can do it.
EMBEDDING = {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1.0, 1.0], 'ndensity': 1}
LOSS = {'L1_coeffs': 1e-8, 'L2_coeffs': 1e-8}
BACKENDS: dict[str, dict[str, Any]] = {
    'pyace': {'evaluator': 'pyace', 'parallel_mode': 'serial', 'display_step': 20},
    'tensorpot': {'evaluator': 'tensorpot', 'batch_size': 100, 'display_step': 20},
}
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


def bond_of(r_cut: float) -> dict[str, Any]:
    """Return the radial functions of all pairs for an outer cutoff in angstrom.

    Spherical Bessel functions; the exponent is that of the Chebyshev bases and does not act on them.
    """
    return {
        'radbase': 'SBessel',
        'radparameters': [5.25],
        'rcut': r_cut,
        'dcut': 0.01,
        'NameOfCutoffFunction': 'cos',
    }


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the values of ``over``, mappings merged key by key."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = deep_merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged
