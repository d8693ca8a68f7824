"""Left-handed cells."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_pacemaker.frames.handedness import (
    is_left_handed,
    right_handed,
    right_handed_calculator,
    right_handed_cells,
)


def copper(*, left: bool, pbc=True):
    """Return a skewed cell of copper."""
    atoms = bulk('Cu', a=3.7) * (2, 3, 2)
    atoms.rattle(0.1, seed=1)
    if (np.linalg.det(atoms.cell[:]) < 0) != left:
        atoms.set_cell(atoms.cell[[0, 2, 1]])
    atoms.pbc = pbc
    return atoms


def test_cells():
    atoms = [copper(left=False), copper(left=True), copper(left=True, pbc=(True, True, False))]
    cells, pbc = (np.array([getattr(each, name)[:] for each in atoms]) for name in ('cell', 'pbc'))
    assert is_left_handed(cells, pbc).tolist() == [False, True, False]
    turned = right_handed_cells(cells, pbc)
    assert np.array_equal(turned[[0, 2]], cells[[0, 2]])
    assert np.array_equal(turned[1], cells[1][[1, 0, 2]])


def test_a_structure_is_turned_only_if_need_be():
    atoms = copper(left=False)
    assert right_handed(atoms) is atoms
    other = copper(left=True)
    turned = right_handed(other)
    assert np.linalg.det(turned.cell[:]) > 0
    assert np.array_equal(turned.positions, other.positions)


def test_the_calculator_gets_right_handed_cells_and_keeps_the_structure_it_was_given():
    class Picky(EMT):
        def calculate(self, atoms=None, *arguments, **options):
            assert np.linalg.det(atoms.cell[:]) > 0
            super().calculate(atoms, *arguments, **options)

    atoms, reference = copper(left=True), copper(left=True)
    atoms.calc, reference.calc = right_handed_calculator(Picky)(), EMT()
    assert atoms.get_potential_energy() == pytest.approx(reference.get_potential_energy(), abs=1e-10)
    assert np.allclose(atoms.get_forces(), reference.get_forces(), atol=1e-10)
    assert not atoms.calc.calculation_required(atoms, ['energy'])
