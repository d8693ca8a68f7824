"""The section ``linear``: how a potential that is linear in its coefficients is fitted exactly."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from aiida_pacemaker.pace.config.sections import Section

#: Energy scale that gives all frames the same weight.
EQUAL = 'equal'


#: Largest `repulsion`: at the shortest distances themselves, structures like the fitted ones are in the core.
LARGEST_REPULSION = 0.95


def _scale(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value != EQUAL and not (is_number and value > 0):
        raise ValueError(f"an energy above 0 in eV/atom, or '{EQUAL}' for equal weights")
    return value


class Linear(Section):
    """What counts how much in a linear fit, its prior, and what is done at short range.

    What each of them means is told in ``docs/topics/linear_fits.md``.
    """

    basis: Literal['given', 'auto'] | None = Field(
        None,
        description='auto: radial functions (SBessel, ChebExpCos), cutoff (4.5, 5.5, 6.5 angstrom) and degree, where '
        'they are not given, are those with the smallest error of a typical frame in a cross-validation. '
        'Default: given.',
    )
    energy_ratio: float | None = Field(
        None,
        gt=0,
        description='an error of 1 meV/atom in an energy counts as much as one of this many meV/angstrom in a force. '
        'Default: 10.',
    )
    energy_scale: Annotated[float | Literal['equal'], BeforeValidator(_scale)] | None = Field(
        None,
        description='frames this far above the lowest energy, in eV/atom, have a quarter of its weight; equal for '
        'equal weights. Default: 1.',
    )
    energy_reference: float | None = Field(
        None,
        description='the lowest energy in eV/atom, isolated atoms and baseline subtracted, that the weights are '
        'relative to. Default: that of the dataset. A loop keeps that of its first generation.',
    )
    virial_ratio: float | None = Field(
        None,
        ge=0,
        description='an error of 1 meV/atom in a virial (stress times volume) counts as much as one of this many '
        'meV/angstrom in a force; 0: stresses are not fitted. Default: 0.5.',
    )
    prior: Literal['order_degree', 'order', 'pacemaker'] | None = Field(
        None,
        description='which functions share a prior variance, found by the evidence: those of one order and degree, or '
        'of one order; pacemaker: the loss of Pacemaker with its kappa and L2_coeffs. Default: order_degree.',
    )
    pair_functions: int | None = Field(
        None, ge=1, le=40, description='radial functions of order 1 with max_deg, at least as many as it. Default: 8.'
    )
    functions_per_atom: float | None = Field(
        None,
        gt=0,
        description='without max_deg the degree is the largest with no more functions of an element than this times '
        'its atoms; active sets need at least as many atoms as functions. Default: 1.',
    )
    repulsion: float | None = Field(
        None,
        ge=0,
        le=LARGEST_REPULSION,
        description='where the functions give way to ZBL after the fit at most, as a part of the shortest distance of '
        'each pair of elements in the data; further below where two atoms would have a false minimum else; 0: nowhere. '
        'Default: 0.6.',
    )
