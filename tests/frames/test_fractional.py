"""Positions that are not in angstrom, but in units of the cell vectors."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_pacemaker.frames.fractional import look_fractional


@pytest.mark.parametrize(
    ('atoms', 'a'), [(bulk('CsCl', 'cesiumchloride', a=4.12), 4.12), (bulk('Si'), None), (bulk('Cu', cubic=True), None)]
)
def test_positions_of_a_crystal_in_units_of_its_cell_are_noticed(atoms, a):
    scaled = atoms.get_scaled_positions()[None]
    symbols = atoms.get_chemical_symbols()
    assert look_fractional(scaled, atoms.cell[:][None], symbols)
    assert not look_fractional(atoms.positions[None], atoms.cell[:][None], symbols)


def test_a_molecule_in_a_box_is_none():
    """All of its positions are small; a compressed dimer, too, is in angstrom."""
    for distance in (0.75, 0.4):
        positions = np.array([[[0, 0, 0], [0, 0, distance]]])
        assert not look_fractional(positions, np.array([np.eye(3) * 10]), ['H', 'H'])
    assert not look_fractional(np.array([[[0, 0, 0]]]), np.array([np.eye(3) * 3]), ['Cu'])
    assert not look_fractional(np.array([[[0, 0, 0], [0, 0, 0.9]]]), np.array([np.eye(3) * 12]), ['Cu', 'Cu'])
