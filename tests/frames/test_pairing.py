"""Structures that stand beside the labels of the step before."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from aiida_pacemaker.frames.pairing import Pairing, moved_one_step, pairing_of

RELAXATION = Path(__file__).parent.parent / 'fixtures' / 'quantumespresso' / 'relax_printed_after_steps.json'


def relaxation():
    content = json.loads(RELAXATION.read_text())
    return {name: np.array(values) for name, values in content.items() if name != 'comment'}


def path_of_copper(*, cell_moves: bool, steps: int = 8):
    """Return the arrays of a relaxation, each structure beside its own labels."""
    atoms = bulk('Cu', cubic=True, a=3.8)
    atoms.rattle(0.15, seed=3)
    atoms.calc = EMT()
    images = []
    mover = BFGS(FrechetCellFilter(atoms) if cell_moves else atoms, logfile=None)
    for _ in mover.irun(fmax=1e-8, steps=steps - 1):
        stress = atoms.get_stress(voigt=False)
        images.append(
            (atoms.positions.copy(), atoms.cell[:].copy(), atoms.get_potential_energy(), atoms.get_forces(), stress)
        )
    return tuple(np.array(part) for part in zip(*images, strict=True))


def test_labels_are_given_back_to_the_structures_that_pw_x_had_them_for():
    data = relaxation()
    given = {name: data[name] for name in ('positions', 'cells', 'energy', 'forces', 'stress')}
    moved = moved_one_step(given, data['first_positions'], data['first_cell'])
    np.testing.assert_allclose(moved['positions'], data['true_positions'], atol=1e-6)
    np.testing.assert_allclose(moved['energy'], [-197.87601, -198.07172, -198.08860, -198.08864], atol=1e-5)
    assert [len(values) for values in moved.values()] == [4] * 5


def test_a_label_beyond_the_last_structure_is_left_out():
    """As after a vc-relax: that of the final scf."""
    data = relaxation()
    energy = np.append(data['energy'], -198.118)
    moved = moved_one_step({'positions': data['positions'], 'energy': energy}, data['first_positions'], None)
    np.testing.assert_array_equal(moved['energy'], data['energy'])
    np.testing.assert_array_equal(moved['positions'][1:], data['positions'][:-1])


def test_without_the_first_structure_its_labels_are_left_out():
    data = relaxation()
    moved = moved_one_step({'positions': data['positions'], 'energy': data['energy']}, None, None)
    np.testing.assert_array_equal(moved['energy'], data['energy'][1:])
    np.testing.assert_allclose(moved['positions'], data['true_positions'][1:], atol=1e-6)


def test_another_first_structure_is_refused():
    data = relaxation()
    with pytest.raises(ValueError, match='the first structure has 3 atoms, those of the trajectory 2'):
        moved_one_step({'positions': data['positions'], 'energy': data['energy']}, np.zeros((3, 3)), None)


@pytest.mark.parametrize('cell_moves', [False, True])
def test_energies_and_forces_along_a_path_tell(cell_moves):
    positions, cells, energy, forces, stress = path_of_copper(cell_moves=cell_moves)
    assert pairing_of(positions, cells, energy, forces, stress) is Pairing.OWN
    assert pairing_of(positions[1:], cells[1:], energy[:-1], forces[:-1], stress[:-1]) is Pairing.NEXT
    # Forces that are wrong by their sign agree with neither.
    assert pairing_of(positions, cells, energy, -forces, -stress) is Pairing.UNKNOWN
    if cell_moves:
        assert pairing_of(positions, cells, energy, forces) is Pairing.UNKNOWN


def test_a_structure_twice_with_two_energies_tells():
    """The output of pw.x has the last structure twice."""
    data = relaxation()
    given = [data[name] for name in ('positions', 'cells', 'energy')]
    assert pairing_of(*given, None) is Pairing.NEXT
    assert pairing_of(*(values[:3] for values in given), data['forces'][:3]) is Pairing.NEXT


def test_frames_that_are_no_path_tell_nothing():
    rng = np.random.default_rng(0)
    positions, forces = rng.normal(size=(2, 10, 4, 3)) * 3
    cells = np.tile(np.eye(3) * 4, (10, 1, 1))
    assert pairing_of(positions, cells, rng.normal(size=10), forces) is Pairing.UNKNOWN
    assert pairing_of(positions[:1], cells[:1], np.zeros(1), forces[:1]) is Pairing.UNKNOWN
    assert pairing_of(positions, cells, None, None) is Pairing.UNKNOWN
    assert pairing_of(positions, cells, np.full(10, np.nan), forces) is Pairing.UNKNOWN
