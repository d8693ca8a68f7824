"""Left-handed cells, which neither the engine nor LAMMPS takes: the engine says that they have an extreme shape.

With two cell vectors exchanged a cell is right-handed and describes the same crystal.

It needs nothing but NumPy: this file is also put beside the drivers, which run where this package is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from ase import Atoms

    BoolArray = npt.NDArray[np.bool_]
    FloatArray = npt.NDArray[np.float64]

#: The order of the vectors of a cell that is turned.
EXCHANGED = (1, 0, 2)


def is_left_handed(cells: FloatArray, pbc: BoolArray) -> BoolArray:
    """Return which cells are left-handed and have three periods; of others the engine does not look at the shape.

    :param cells: cell vectors as rows, shape (..., 3, 3).
    :param pbc: whether there is a period along each of them, shape (..., 3).
    :returns: of shape (...).
    """
    result: BoolArray = np.all(pbc, axis=-1) & (np.linalg.det(cells) < 0)
    return result


def right_handed_cells(cells: FloatArray, pbc: BoolArray) -> FloatArray:
    """Return cells of which none is left-handed, shape (..., 3, 3); the parameters are those of `is_left_handed`."""
    turned: FloatArray = np.where(is_left_handed(cells, pbc)[..., None, None], cells[..., EXCHANGED, :], cells)
    return turned


def right_handed(atoms: Atoms) -> Atoms:
    """Return a structure of ASE as the engine takes it: itself, or a copy whose cell is turned."""
    if not is_left_handed(atoms.cell[:], atoms.pbc):
        return atoms
    turned: Atoms = atoms.copy()
    turned.set_cell(atoms.cell[list(EXCHANGED)])
    return turned


def right_handed_calculator(calculator: Any) -> Any:
    """Return a class of calculators of ASE that hands left-handed cells on with two vectors exchanged.

    :param calculator: the class of the calculator that does not take them.
    """

    class RightHanded(calculator):
        def calculate(self, atoms: Atoms | None = None, *arguments: Any, **options: Any) -> None:
            """Calculate properties as ASE asks for it."""
            if atoms is None or (turned := right_handed(atoms)) is atoms:
                super().calculate(atoms, *arguments, **options)
            else:
                super().calculate(turned, *arguments, **options)
                # What is compared with the next structure, to see whether there is anything to calculate.
                self.atoms = atoms.copy()

    return RightHanded
