r"""How many basis functions the engine makes of a ``potential`` section, known without running it.

A function of order :math:`\nu` couples :math:`\nu` factors, each with the element of a neighbour, a radial index n and
an angular index l, to something that no rotation, inversion or exchange of atoms changes (Drautz, Phys. Rev. B 99
(2019) 014104). The factors of one l span the representation :math:`V_l` of the rotations, so that the linearly
independent functions are the invariants in the symmetric power

.. math:: \mathrm{Sym}^\nu \Bigl(\mathbb{C}^K \otimes \bigoplus_{l=0}^{l_{max}} V_l\Bigr)

of even :math:`\sum l`, with K pairs of element and n (Dusson et al., J. Comput. Phys. 454 (2022) 110946). Every
irreducible part has one weight M = 0, and all but the invariants have one weight M = 1: the difference between the
numbers of these weights is the number of invariants. The weights are counted by the character :math:`h_\nu(q)`, a
Laurent polynomial whose coefficient of :math:`q^M` is the number of weights M. It follows from those of the factors by
Newton's identity between complete symmetric polynomials and power sums, :math:`\nu h_\nu = \sum_{i=1}^\nu p_i
h_{\nu-i}`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache, reduce
from itertools import combinations_with_replacement
from math import comb, factorial, prod, sqrt
from sys import maxsize
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from aiida_pacemaker.pace.config.potential_checks import Block, blocks_of, bonds_of

#: Up to this order the engine has all linearly independent functions, within what
#: :mod:`~aiida_pacemaker.pace.config.potential_checks` lets through. Its table has gaps beyond: of one (element, n)
#: with l <= 1 it has 3 of the 4 functions of order 7 and 6 of the 7 of order 12.
EXACT_ORDER = 6

# Python's integers: the numbers of weights before the division soon exceed 64 bits.
_Polynomial = npt.NDArray[np.object_]


class RadialSize(NamedTuple):
    """How many radial functions a pair of elements has.

    :param nradbase: functions of the radial basis.
    :param nradmax: radial functions of each l, which are sums of those of the basis.
    :param lmax: largest l.
    """

    nradbase: int
    nradmax: int
    lmax: int


def count_functions(potential: Mapping[str, Any]) -> dict[str, int]:
    """Return how many functions there are around an atom of each element.

    A block of elements holds the functions in which each of its elements takes part, that of the central atom as
    itself and perhaps as a neighbour too. With ``number_of_functions_per_element`` all blocks of the potential get the
    same share, also those that have less to offer.

    The numbers are those of the engine if no function is of a higher order than :data:`EXACT_ORDER`; if one is, they
    are upper bounds.

    :param potential: a complete ``potential`` section, which has passed
        :func:`~aiida_pacemaker.pace.config.potential_checks.check_keys` and ``check_values``.
    """
    counts = dict.fromkeys(sorted(potential['elements']), 0)
    for block, shape, share in _shares(potential):
        counts[block[0]] += min(sum(_count_by_order(len(block), shape)), share)
    return counts


def count_factors(potential: Mapping[str, Any]) -> dict[str, int]:
    r"""Estimate how many factors the functions around an atom of each element have in all their products.

    A function of order k is a sum over the projections m of its factors with :math:`\sum m = 0`, each a product of k
    factors. The engine joins products that are conjugate or differ by an exchange: it has half as many as there are
    such projections in orders 2 and 3, and again half as many with each further order. It was found to have 0 to 30 %
    more than this estimate in bases of realistic size. Where ``number_of_functions_per_element`` cuts a block short,
    the simplest functions are left: of one or two elements and up to order 5, N = 50 to 2000 of them were found to have
    :math:`0.43 \sqrt N` factors on average or up to 50 % more. This is an underestimate where little is cut off.

    :param potential: as in :func:`count_functions`.
    """
    counts = dict.fromkeys(sorted(potential['elements']), 0.0)
    for block, shape, share in _shares(potential):
        by_order = _count_by_order(len(block), shape)
        factors = sum(
            n_functions * order * _mean_products(order, lmax)
            for order, (n_functions, lmax) in enumerate(zip(by_order, shape['lmax_by_orders'], strict=True), start=1)
        )
        if sum(by_order) > share:
            factors = min(factors * share / sum(by_order), max(2.0, 0.43 * sqrt(share)) * share)
        counts[block[0]] += factors
    return {element: round(count) for element, count in counts.items()}


def radial_sizes(potential: Mapping[str, Any]) -> dict[tuple[str, str], RadialSize]:
    """Return the sizes of the radial functions of each pair of elements, in both orders.

    Where ``number_of_functions_per_element`` leaves functions out, the engine may need fewer than these.

    :param potential: as in :func:`count_functions`.
    """
    sizes = {
        pair: RadialSize(*(bond.get(key, 0) for key in ('nradbase', 'nradmax', 'lmax')))
        for pair, bond in bonds_of(dict(potential)).items()
    }
    for block, shape, _ in _shares(potential):
        for order, (n, lmax) in enumerate(zip(shape['nradmax_by_orders'], shape['lmax_by_orders'], strict=True), 1):
            for neighbour in block:
                # Another atom of the central element is there only if the other elements leave a factor for it.
                if neighbour != block[0] or order >= len(block):
                    needed = RadialSize(n, 0, 0) if order == 1 else RadialSize(0, n, lmax)
                    for pair in {(block[0], neighbour), (neighbour, block[0])}:
                        sizes[pair] = RadialSize(*map(max, sizes[pair], needed))
    return sizes


def _shares(potential: Mapping[str, Any]) -> Iterator[tuple[Block, Mapping[str, Any], int]]:
    """Iterate over the blocks of elements, with their shape and how many functions they may have."""
    blocks = blocks_of(dict(potential))
    limit = potential['functions'].get('number_of_functions_per_element')
    share = maxsize if limit is None else limit * len(potential['elements']) // max(1, len(blocks))
    for block, shape in blocks.items():
        yield block, shape, share


def _count_by_order(n_elements: int, shape: Mapping[str, Any]) -> list[int]:
    """Return how many functions of each order a block of so many elements has, without a limit."""
    # By inclusion and exclusion: of the functions of all elements, subtract those without one of the neighbours.
    return [
        sum(
            (-1) ** missing
            * comb(n_elements - 1, missing)
            * _count_invariants(order, (n_elements - missing) * nradmax, lmax)
            for missing in range(n_elements)
        )
        for order, (nradmax, lmax) in enumerate(
            zip(shape['nradmax_by_orders'], shape['lmax_by_orders'], strict=True), start=1
        )
    ]


@lru_cache(maxsize=256)
def _mean_products(order: int, lmax: int) -> float:
    """Estimate how many products a function of some order has on average."""
    functions = products = 0
    for ells in combinations_with_replacement(range(lmax + 1), order):
        if sum(ells) % 2 == 0:
            weights = reduce(np.convolve, (np.ones(2 * ell + 1, dtype=np.int64) for ell in ells))
            zero, *one = weights[sum(ells) :][:2].tolist()
            invariants = factorial(order) // prod(map(factorial, Counter(ells).values())) * (zero - sum(one))
            functions += invariants
            products += invariants * zero
    return max(1.0, products / functions * 0.5 ** max(1, order - 2))


@lru_cache(maxsize=4096)
def _count_invariants(order: int, n_radial: int, lmax: int) -> int:
    """Count the functions of one order.

    :param order: number of factors.
    :param n_radial: number of pairs of element and n that a factor can have.
    :param lmax: largest l of a factor.
    """
    # With a sign (-1)**l at each factor, odd sums of l count negative: the mean with and without it counts even ones.
    return sum(_difference_of_weights(order, n_radial, lmax, sign) for sign in (1, -1)) // 2


def _difference_of_weights(order: int, n_radial: int, lmax: int, sign: int) -> int:
    """Return the number of weights M = 0 less that of M = 1, each with ``sign**sum(l)``."""
    characters: list[_Polynomial] = [np.array([1], dtype=object)]
    for degree in range(1, order + 1):
        character: _Polynomial = np.zeros(2 * lmax * degree + 1, dtype=object)
        for power in range(1, degree + 1):
            character += np.convolve(_power_sum(power, n_radial, lmax, sign), characters[degree - power])
        characters.append(character // degree)
    # Position lmax * order is the middle of the polynomial, M = 0.
    zero, *one = characters[order][lmax * order :][:2]
    return int(zero - sum(one))


def _power_sum(power: int, n_radial: int, lmax: int, sign: int) -> _Polynomial:
    """Return the sum of ``n_radial * sign**(l * power) * q**(M * power)`` over l and M, the lowest power of q first."""
    coefficients: _Polynomial = np.zeros(2 * lmax * power + 1, dtype=object)
    for ell in range(lmax + 1):
        coefficients[(lmax - ell) * power : (lmax + ell) * power + 1 : power] += n_radial * sign ** (ell * power)
    return coefficients
