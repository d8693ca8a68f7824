"""Which elements the neighbours of atoms have: what tells whether an atom has surroundings that a fit has never seen.

It needs nothing but NumPy: this file is also put beside the drivers, which run where this package is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    BoolArray = npt.NDArray[np.bool_]
    FloatArray = npt.NDArray[np.float64]
    IntArray = npt.NDArray[np.int64]

#: Atomic numbers are below this.
_NUMBERS = 120


class NearElements:
    """Finds neighbours within the cutoff of each pair of elements.

    :param cutoffs: atomic numbers of a central atom and of a neighbour, and how far the one sees the other in angstrom.
    """

    def __init__(self, cutoffs: list[Any]) -> None:
        #: How far atoms see each other; zero for elements that do not see each other at all.
        self.table = np.zeros((_NUMBERS, _NUMBERS))
        for centre, neighbour, cutoff in cutoffs:
            self.table[centre, neighbour] = cutoff
        #: Atomic numbers of the elements that neighbours can have: the columns of what is noted.
        self.elements = np.flatnonzero(self.table.any(axis=0))
        self.largest = float(self.table.max())
        self._column = np.zeros(_NUMBERS, dtype=np.int64)
        self._column[self.elements] = np.arange(len(self.elements))

    def nothing(self, n_atoms: int) -> BoolArray:
        """Return the notes of atoms of which no neighbour is known yet, shape (A, E)."""
        return np.zeros((n_atoms, len(self.elements)), dtype=np.bool_)

    def note(
        self, near: BoolArray, numbers: IntArray, centre: IntArray, neighbour: IntArray, distance: FloatArray
    ) -> None:
        """Note which elements are near.

        :param near: the notes, shape (A, E), which are changed.
        :param numbers: atomic number of each atom, shape (A,).
        :param centre: row of the central atom of each pair, shape (P,); a pair is seen from this end only.
        :param neighbour: row of the neighbour, shape (P,).
        :param distance: in angstrom, shape (P,).
        """
        seen = distance < self.table[numbers[centre], numbers[neighbour]]
        near[centre[seen], self._column[numbers[neighbour[seen]]]] = True

    def having(self, near: BoolArray, numbers: IntArray, centre: int, neighbours: list[int]) -> BoolArray:
        """Return which atoms are of an element and have a neighbour of each of some others, shape (A,)."""
        if not np.isin(neighbours, self.elements).all():
            return np.zeros(len(numbers), dtype=np.bool_)
        result: BoolArray = (numbers == centre) & near[:, self._column[neighbours]].all(axis=1)
        return result
