"""Starting structures of explorations."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule

from aiida_pacemaker.errors import PerturbationError
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.frames.checks import check
from aiida_pacemaker.frames.perturbation import Perturbation, perturb


@pytest.fixture
def rocksalt():
    """Return two cells of eight atoms."""
    return from_atoms([bulk('MgO', 'rocksalt', a=4.2 + 0.1 * index, cubic=True) for index in range(2)], 'rocksalt')


def perturbed(frames, seed=1, copies=1, **options):
    return perturb(frames, Perturbation(**options), copies=copies, seed=seed)


def test_nothing_is_done_where_nothing_is_asked_for(rocksalt):
    same = perturbed(rocksalt)
    assert np.array_equal(same.positions, rocksalt.positions)
    assert np.array_equal(same.numbers, rocksalt.numbers)
    assert np.array_equal(same.cells, rocksalt.cells)
    assert same.source_keys == rocksalt.source_keys


def test_a_supercell_is_that_of_ase(rocksalt):
    large = perturbed(rocksalt, supercell=(2, 1, 3))
    for frame, atoms in enumerate(large.slices()):
        expected = bulk('MgO', 'rocksalt', a=4.2 + 0.1 * frame, cubic=True) * (2, 1, 3)
        assert np.array_equal(large.numbers[atoms], expected.numbers)
        assert np.allclose(large.positions[atoms], expected.positions, atol=1e-12)
        assert np.allclose(large.cells[frame], expected.cell[:])


def test_a_strain_is_symmetric_and_as_large_as_it_should_be(rocksalt):
    strained = perturbed(rocksalt, strain=0.03, copies=5)
    for frame in range(len(strained)):
        start = rocksalt.cells[frame // 5]
        strain = np.linalg.solve(start, strained.cells[frame]) - np.eye(3)
        assert np.allclose(strain, strain.T, atol=1e-12)
        assert np.abs(strain).max() == pytest.approx(0.03)
        # The atoms move with the cell.
        fractional = strained.positions[8 * frame : 8 * frame + 8] @ np.linalg.inv(strained.cells[frame])
        first = 8 * (frame // 5)
        assert np.allclose(fractional, rocksalt.positions[first : first + 8] @ np.linalg.inv(start), atol=1e-12)


def test_a_slab_is_strained_within_its_plane_and_a_molecule_not_at_all():
    slab = fcc111('Cu', (2, 2, 3), vacuum=8.0)
    slab.pbc = [True, True, False]
    frames = from_atoms([slab, molecule('N2')], 'open')
    strained = perturbed(frames, strain=0.05)
    n_atoms = len(slab)
    assert np.allclose(strained.positions[:n_atoms, 2], frames.positions[:n_atoms, 2], atol=1e-9)
    assert not np.allclose(strained.positions[:n_atoms, :2], frames.positions[:n_atoms, :2], atol=1e-3)
    assert np.array_equal(strained.positions[n_atoms:], frames.positions[n_atoms:])


def test_a_rattle_has_its_standard_deviation(rocksalt):
    rattled = perturbed(rocksalt, supercell=(4, 4, 4), rattle=0.1)
    moved = rattled.positions - perturbed(rocksalt, supercell=(4, 4, 4)).positions
    assert moved.std() == pytest.approx(0.1, rel=0.05)


def test_vacancies_and_swaps_count(rocksalt):
    less = perturbed(rocksalt, vacancies=3, copies=2)
    assert less.n_atoms.tolist() == [5, 5, 5, 5]
    assert not np.array_equal(less.numbers[:5], less.numbers[5:10]) or not np.allclose(
        less.positions[:5], less.positions[5:10]
    )
    mixed = perturbed(rocksalt, swaps=1)
    assert np.count_nonzero(mixed.numbers != rocksalt.numbers) == 4
    assert sorted(mixed.numbers[:8]) == sorted(rocksalt.numbers[:8])


def test_random_numbers_depend_on_seed_frame_and_copy_alone(rocksalt):
    options = {'strain': 0.02, 'rattle': 0.05, 'vacancies': 1, 'swaps': 2}
    one, more = perturbed(rocksalt, copies=1, **options), perturbed(rocksalt, copies=3, **options)
    assert np.array_equal(one.positions[:7], more.positions[:7])
    assert np.array_equal(one.positions[7:], more.positions[21:28])
    assert not np.allclose(more.positions[:7], more.positions[7:14], atol=1e-3)
    assert not np.allclose(one.positions, perturbed(rocksalt, seed=2, **options).positions, atol=1e-3)
    # Written down, so that a version of NumPy with other numbers does not go unnoticed.
    moved = perturbed(rocksalt, rattle=1.0).positions - rocksalt.positions
    assert moved[0] == pytest.approx([0.8033127441842876, -0.907382818636971, 1.196417962998313], abs=1e-12)


def test_they_are_good_frames(rocksalt):
    frames = perturbed(rocksalt, supercell=(2, 1, 1), strain=0.02, rattle=0.05, vacancies=1, swaps=1, copies=4)
    assert check(frames, require_labels=False) == []
    assert len(frames) == 8
    assert not frames.labelled


@pytest.mark.parametrize(
    ('atoms', 'options', 'said'),
    [
        (bulk('Cu', cubic=True), {'swaps': 1}, 'frame 0 (Cu4): it is of one element'),
        (bulk('MgO', 'rocksalt', a=4.2), {'vacancies': 1, 'swaps': 1}, 'of one element (after the vacancies)'),
        (bulk('Cu', cubic=True), {'vacancies': 4}, '4 vacancies are asked for, but it has 4 atoms'),
        (molecule('N2'), {'supercell': (1, 1, 2)}, 'no period along cell vector 3, so it cannot be repeated 2 times'),
        (bulk('Cu'), {'supercell': (1, 0, 1)}, 'found the supercell [1, 0, 1]'),
    ],
)
def test_what_cannot_be_done_is_said(atoms, options, said):
    with pytest.raises(PerturbationError) as error:
        perturbed(from_atoms([atoms], 'x'), **options)
    assert said in str(error.value)


@pytest.mark.parametrize('options', [{'rattle': -1}, {'rattle': float('nan')}, {'strain': 0.5}, {'vacancy': 1}])
def test_options_that_make_no_sense(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Perturbation(**options)
