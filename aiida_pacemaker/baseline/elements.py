"""Atomic numbers and covalent radii of the chemical elements."""

from __future__ import annotations

from ase.data import atomic_numbers, covalent_radii

#: The heaviest element whose covalent radius was measured; ASE fills in the same number for all heavier ones.
LAST_MEASURED = 'Cm'


def atomic_number(symbol: str) -> int:
    """Return the atomic number of an element.

    :param symbol: chemical symbol, as in ``Mg``.
    :raises ValueError: if there is no such element.
    """
    number = int(atomic_numbers.get(symbol, 0))
    if number == 0:
        raise ValueError(
            f'{symbol!r} is not the symbol of a chemical element; write it as in the periodic table: Mg, O'
        )
    return number


def covalent_radius(symbol: str) -> float:
    """Return the single-bond covalent radius of an element in angstrom.

    The radii are those of B. Cordero et al., Dalton Trans. 2832 (2008), as tabulated in ``ase.data``.

    :param symbol: chemical symbol, as in ``Mg``.
    :raises ValueError: if there is no such element, or if its covalent radius is not known.
    """
    number = atomic_number(symbol)
    if number > atomic_numbers[LAST_MEASURED]:
        raise ValueError(
            f'the covalent radius of {symbol} is not known (the table ends with {LAST_MEASURED}), so there is no '
            f'default baseline for it; give the ZBL cutoffs and the LJ pairs explicitly'
        )
    return float(covalent_radii[number])
