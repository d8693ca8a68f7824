r"""How many functions a basis of some total degree has, and which degree a set of data can bear.

The functions are those of :mod:`~aiida_pacemaker.pace.cost.basis_size`, counted by their total degree, the sum of all
n >= 1 and l >= 0 of their factors: the character of a factor gets a second variable, :math:`t^{n+l}`, and so does that
of the symmetric power. A total-degree basis keeps the powers of t up to its degree (Dusson et al., J. Comput. Phys. 454
(2022) 110946). Functions of order 1 are pair interactions, cheap and smooth, and may have a degree of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

# Python's integers, by power of t (rows) and weight M (columns).
_Character = npt.NDArray[np.object_]


def count_by_degree(n_elements: int, degree: int, order: int, first: int) -> int:
    """Return how many functions there are around an atom, with neighbours of any of some elements.

    :param n_elements: number of elements of the potential.
    :param degree: largest total degree of the functions of order 2 and more.
    :param order: largest correlation order.
    :param first: largest n of the functions of order 1.
    """
    higher = sum(_count_invariants(one, n_elements, degree) for one in range(2, order + 1))
    return n_elements * first + higher


def degree_for(
    atoms: Mapping[str, int], order: int, *, first: int, largest: int, per_atom: float = 1.0
) -> tuple[int, int]:
    """Return the largest degree whose functions the data can bear, and the largest n of functions of order 1.

    :param atoms: number of atoms of each element of the potential in the data.
    :param order: largest correlation order.
    :param first: largest n of functions of order 1 for any degree that is not larger; fewer where there are so few
        atoms that no degree would be left.
    :param largest: no higher degree is chosen.
    :param per_atom: there are to be no more functions of an element than this number times its atoms.
    """
    bearable = per_atom * min(atoms.values())
    for degree in range(largest, order - 1, -1):
        if count_by_degree(len(atoms), degree, order, max(degree, first)) <= bearable:
            return degree, max(degree, first)
    for fewer in range(first - 1, order - 1, -1):
        if count_by_degree(len(atoms), order, order, fewer) <= bearable:
            return order, fewer
    return order, order


@lru_cache(maxsize=1024)
def _count_invariants(order: int, n_elements: int, degree: int) -> int:
    """Count the functions of one order up to a total degree."""
    # The mean with and without the sign counts even sums of l.
    return sum(_difference_of_weights(order, n_elements, degree, sign) for sign in (1, -1)) // 2


def _difference_of_weights(order: int, n_elements: int, degree: int, sign: int) -> int:
    """Return the number of weights M = 0 less that of M = 1, each with ``sign**sum(l)``."""
    one = np.zeros((degree + 1, 2 * degree + 1), dtype=object)
    one[0, degree] = 1
    characters: list[_Character] = [one]
    for power in range(1, order + 1):
        character = np.zeros_like(one)
        for part in range(1, power + 1):
            character = character + _product(_power_sum(part, n_elements, degree, sign), characters[power - part])
        characters.append(character // power)
    last = characters[order]
    return int(last[:, degree].sum() - last[:, degree + 1].sum())


def _power_sum(power: int, n_elements: int, degree: int, sign: int) -> _Character:
    """Return the character of one factor with all variables raised to a power."""
    result = np.zeros((degree + 1, 2 * degree + 1), dtype=object)
    for total in range(1, degree // power + 1):
        for ell in range(total):
            for weight in range(-ell, ell + 1):
                if abs(weight * power) <= degree:
                    result[total * power, degree + weight * power] += n_elements * sign ** (ell * power)
    return result


def _product(first: _Character, second: _Character) -> _Character:
    """Return the product of two characters up to the largest power of t; weights beyond it cannot come back."""
    n_powers, n_weights = first.shape
    middle = n_weights // 2
    result = np.zeros_like(first)
    for power in range(n_powers):
        for part in range(power + 1):
            whole = np.convolve(first[part], second[power - part])
            result[power] += whole[middle : middle + n_weights]
    return result
