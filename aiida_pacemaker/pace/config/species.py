"""Keys that name elements: ``ALL``, ``BINARY``, ``AlNi``."""

from __future__ import annotations

import re

from ase.data import chemical_symbols

#: Keys for all combinations of so many elements; a later one overrides an earlier one, elements override both.
GROUPS = ('ALL', 'UNARY', 'BINARY', 'TERNARY', 'QUATERNARY', 'QUINARY')
#: Symbols of the elements that the engine knows.
SYMBOLS = frozenset(chemical_symbols[1:])

_SPECIES = re.compile(r'[A-Z][a-z]?(?: ?[A-Z][a-z]?)*')


def is_species_key(key: str) -> bool:
    """Whether a key is made of chemical symbols, as ``AlNi`` or ``Al Ni``."""
    return _SPECIES.fullmatch(key) is not None and SYMBOLS.issuperset(species_of(key))


def is_block_key(key: str) -> bool:
    """Whether a key names a block of elements: the central atom, then its neighbours in alphabetical order, each once.

    The engine takes any other order for another block.
    """
    species = species_of(key)
    return is_species_key(key) and list(species[1:]) == sorted(set(species[1:]) - {species[0]})


def species_of(key: str) -> tuple[str, ...]:
    """Return the chemical symbols in a key, in their order."""
    return tuple(re.findall('[A-Z][a-z]?', key))
