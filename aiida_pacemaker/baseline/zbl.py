"""The default cutoffs of the ZBL repulsion, whose formula is in `pair_terms`."""

from __future__ import annotations

import math
from collections.abc import Iterable

from aiida_pacemaker.baseline.elements import covalent_radius

#: The default outer cutoff, as part of the bond length that the two atoms would have.
OUTER_FRACTION = 0.7
#: What it is at least, in angstrom, where there are no data: hydrogen and helium collide, too, and H2 bonds at 0.74.
SHORTEST_OUTER = 0.5
#: What it is at most, as part of the shortest distance of the pair in the data: labels stay untouched, also those of
#: pairs that come somewhat closer in later generations.
DATA_FRACTION = 0.9
#: The default inner cutoff, as part of the outer one.
INNER_FRACTION = 0.5

NO_ELEMENTS = 'there are no elements to take the ZBL cutoffs from; give at least one chemical symbol'


def default_cutoffs(first: str, second: str, shortest: float | None = None) -> tuple[float, float]:
    """Return the inner and the outer cutoff of a pair of elements in angstrom.

    The outer cutoff is 0.7 times the sum of the covalent radii, at least 0.5 angstrom. That is below the bond lengths
    of the elements' diatomic molecules and the nearest-neighbour distances of their cubic and hexagonal crystals as
    tabulated in ``ase.data`` (the closest is N2, at 0.77 of that sum) and of alpha uranium (0.702): the baseline acts
    where atoms collide and is zero where they bond. Where data come closer it is 0.9 times their shortest distance. The
    inner cutoff is half of the outer one: the repulsion then rises gently, and all the way inwards (see
    ``pair_terms.zbl``).

    :param first: chemical symbol of one element.
    :param second: chemical symbol of the other.
    :param shortest: shortest distance of the pair in the data in angstrom, if they have any.
    :raises ValueError: if the covalent radius of one is not known, or if the shortest distance is not positive.
    """
    outer = max(OUTER_FRACTION * (covalent_radius(first) + covalent_radius(second)), SHORTEST_OUTER)
    if shortest is not None:
        if not (math.isfinite(shortest) and shortest > 0):
            raise ValueError(
                f'the shortest distance of {first}-{second} in the data is {shortest:g} angstrom, needed: a positive '
                'number; take out frames in which two atoms are at the same place'
            )
        outer = min(outer, DATA_FRACTION * shortest)
    # Rounded down, so that what is short stays below the data.
    outer = math.floor(outer * 1000 + 1e-6) / 1000 or outer
    return round(INNER_FRACTION * outer, 4), outer


def distance_of_concern(elements: Iterable[str]) -> float:
    """Return the distance in angstrom beyond which data do not shorten the outer cutoff of any pair.

    :param elements: chemical symbols.
    :raises ValueError: if there are none, or if the covalent radius of one is not known.
    """
    radii = [covalent_radius(symbol) for symbol in elements]
    if not radii:
        raise ValueError(NO_ELEMENTS)
    return max(OUTER_FRACTION * 2 * max(radii), SHORTEST_OUTER) / DATA_FRACTION
