"""The default cutoffs of the ZBL repulsion, whose formula is in `pair_terms`."""

from __future__ import annotations

from collections.abc import Iterable

from aiida_pacemaker.baseline.elements import covalent_radius

#: The default outer cutoff, as part of the bond length that the two smallest atoms would have.
OUTER_FRACTION = 0.7
#: The default inner cutoff, as part of the outer one.
INNER_FRACTION = 0.5


def default_cutoffs(elements: Iterable[str]) -> tuple[float, float]:
    """Return the inner and the outer cutoff in angstrom that follow from the elements alone.

    The cutoffs are the same for all pairs, as LAMMPS needs them, so the two smallest atoms decide: the outer cutoff is
    0.7 times the sum of their covalent radii. That is below the bond lengths of the elements' diatomic molecules and
    the nearest-neighbour distances of their cubic and hexagonal crystals as tabulated in ``ase.data`` (the closest is
    N2, at 0.77 of that sum) and of alpha uranium (0.702): the baseline acts where atoms collide and is zero where they
    bond. The inner cutoff is half of the outer one, which leaves the switching function room to be smooth. Beside a
    small atom the pairs of large ones could do with more: give the cutoffs explicitly where they matter.

    :param elements: chemical symbols.
    :raises ValueError: if there are none, or if the covalent radius of one is not known.
    """
    radii = [covalent_radius(symbol) for symbol in elements]
    if not radii:
        raise ValueError('there are no elements to take the ZBL cutoffs from; give at least one chemical symbol')
    outer = round(OUTER_FRACTION * 2 * min(radii), 3)
    return round(INNER_FRACTION * outer, 3), outer
