from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from baseline_cases import frames_of, random_atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from aiida_pacemaker.baseline import evaluation
from aiida_pacemaker.baseline.distances import shortest_distances
from aiida_pacemaker.baseline.evaluation import evaluate, subtract
from aiida_pacemaker.baseline.model import DeltaBaseline, LJBaseline, LJPair, ZBLBaseline, ZBLPair
from aiida_pacemaker.baseline.pair_terms import lj
from aiida_pacemaker.baseline.zbl import distance_of_concern
from aiida_pacemaker.frames.neighbours import pair_blocks

ELEMENTS = ('H', 'O', 'Mg')
DATA = Path(__file__).parents[2] / 'examples' / 'mgo-lda.extxyz'


def lj_of(shift: bool, switched: bool = False) -> LJBaseline:
    """Return parameters of which all are different; as in `lj/cut`, or switched off over a wide range."""
    pairs = [
        LJPair(
            elements=(first, second),
            epsilon=0.02 + 0.013 * row,
            sigma=1.1 + 0.17 * row,
            cutoff=3.1 + 0.4 * row,
            off=0.9 + 0.1 * row if switched else None,
            on=1.5 + 0.2 * row if switched else None,
        )
        for row, (first, second) in enumerate(
            [('H', 'H'), ('H', 'O'), ('Mg', 'H'), ('O', 'O'), ('Mg', 'O'), ('Mg', 'Mg')]
        )
    ]
    return LJBaseline(pairs=tuple(pairs), shift=shift)


def baseline_of(shift: bool = True, mode: str = 'delta', switched: bool = False) -> DeltaBaseline:
    """Return a baseline with cutoffs of all pairs but one, which has its own."""
    zbl = ZBLBaseline(inner=1.1, outer=2.3, pairs=(ZBLPair(elements=('H', 'Mg'), inner=0.7, outer=2.0),))
    return DeltaBaseline(mode=mode, zbl=zbl, lj=lj_of(shift, switched))


def lj_lines(baseline: LJBaseline) -> str:
    lines = [
        f'pair_style lj/cut {max(pair.cutoff for pair in baseline.pairs)}',
        f'pair_modify shift {"yes" if baseline.shift else "no"}',
    ]
    for pair in baseline.pairs:
        first, second = sorted(ELEMENTS.index(symbol) + 1 for symbol in pair.elements)
        lines.append(f'pair_coeff {first} {second} {pair.epsilon} {pair.sigma} {pair.cutoff}')
    return '\n'.join(lines)


def zbl_lines(baseline: ZBLBaseline) -> str:
    pairs = 'pair_coeff 1 1 1 1\npair_coeff 2 2 8 8\npair_coeff 3 3 12 12\n'
    return f'pair_style zbl {baseline.inner} {baseline.outer}\n{pairs}'


def dimers(distances: np.ndarray) -> tuple[list[Atoms], Atoms]:
    """Return dimers of all pairs of elements at all distances: each on its own, and all of them in one large cell."""
    pairs = [(first, second) for row, first in enumerate(ELEMENTS) for second in ELEMENTS[row:]]
    single = [Atoms([a, b], [[0, 0, 0], [0.6 * r, 0, 0.8 * r]]) for a, b in pairs for r in distances]
    together = Atoms(cell=[20, 20, 20 * len(single) + 20])
    for place, dimer in enumerate(single, start=1):
        moved = dimer.copy()
        moved.translate([10, 10, 20 * place])
        together += moved
    return single, together


def assert_equal_to_lammps(terms: evaluation.BaselineTerms, reference: object) -> None:
    np.testing.assert_allclose(terms.energy, [reference.energy], rtol=1e-9)
    # Where forces cancel by symmetry there is nothing but the rounding of the sum.
    largest = max(np.abs(reference.forces).max(), 1.0)
    np.testing.assert_allclose(terms.forces, reference.forces, rtol=1e-9, atol=1e-12 * largest)
    np.testing.assert_allclose(
        terms.stress[0], reference.stress, rtol=1e-9, atol=1e-11 * np.abs(reference.stress).max()
    )


@pytest.mark.parametrize('inner', [0.4, 1.1, 1.9])
def test_zbl_of_each_pair_is_that_of_lammps_at_every_distance(lammps, inner):
    baseline = DeltaBaseline(zbl=ZBLBaseline(inner=inner, outer=2.3))
    single, together = dimers(np.array([0.1, 0.35, 0.7, 1.0, 1.09, 1.11, 1.5, 1.88, 1.92, 2.1, 2.25, 2.31, 3.0]))
    terms = evaluate(baseline, frames_of(*single))
    reference = lammps(together, ELEMENTS, zbl_lines(baseline.zbl))
    np.testing.assert_allclose(terms.energy, reference.energies.reshape(-1, 2).sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(terms.forces, reference.forces, rtol=1e-9)
    assert np.count_nonzero(terms.energy) == len(single) * 11 // 13


@pytest.mark.parametrize('shift', [True, False])
def test_lj_of_each_pair_is_that_of_lammps_at_every_distance(lammps, shift):
    baseline = DeltaBaseline(mode='core', zbl=ZBLBaseline(inner=1, outer=2), lj=lj_of(shift))
    single, together = dimers(np.array([0.4, 0.9, 1.3, 1.7, 2.2, 2.9, 3.3, 3.8, 4.2, 4.65, 5.2]))
    terms = evaluate(baseline, frames_of(*single))
    reference = lammps(together, ELEMENTS, lj_lines(baseline.lj))
    np.testing.assert_allclose(terms.energy, reference.energies.reshape(-1, 2).sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(terms.forces, reference.forces, rtol=1e-9)
    assert 0 < np.count_nonzero(terms.energy) < len(single)


@pytest.mark.parametrize(('symbols', 'length', 'shortest'), [('Mg', 1.8, 0), ('HMgO', 2.4, 0.9), ('H4Mg4O8', 6.5, 0.8)])
def test_zbl_of_periodic_cells_is_that_of_lammps(lammps, symbols, length, shortest):
    atoms = random_atoms(3, symbols, length, shortest)
    baseline = DeltaBaseline(zbl=ZBLBaseline(inner=1.1, outer=2.3))
    assert_equal_to_lammps(evaluate(baseline, frames_of(atoms)), lammps(atoms, ELEMENTS, zbl_lines(baseline.zbl)))


@pytest.mark.parametrize('shift', [True, False])
@pytest.mark.parametrize(('symbols', 'length', 'shortest'), [('O', 2.2, 0), ('HMgO', 2.6, 1.0), ('H4Mg4O8', 7, 0.9)])
def test_lj_of_periodic_cells_is_that_of_lammps(lammps, symbols, length, shortest, shift):
    atoms = random_atoms(5, symbols, length, shortest)
    baseline = DeltaBaseline(mode='core', zbl=ZBLBaseline(inner=1, outer=2), lj=lj_of(shift))
    assert_equal_to_lammps(evaluate(baseline, frames_of(atoms)), lammps(atoms, ELEMENTS, lj_lines(baseline.lj)))


@pytest.mark.parametrize('switched', [False, True])
def test_forces_are_the_derivative_of_the_energy(switched):
    atoms, baseline, step = random_atoms(7, 'H2Mg2O2', 4.0, 0.9), baseline_of(switched=switched), 1e-4
    terms = evaluate(baseline, frames_of(atoms))
    moved = []
    for index in range(len(atoms)):
        for axis in range(3):
            for sign in (1, -1):
                copy = atoms.copy()
                copy.positions[index, axis] += sign * step
                moved.append(copy)
    plus, minus = evaluate(baseline, frames_of(*moved)).energy.reshape(-1, 2).T
    expected = -(plus - minus).reshape(-1, 3) / (2 * step)
    np.testing.assert_allclose(terms.forces, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize('switched', [False, True])
def test_stress_is_the_derivative_of_the_energy_by_strain(switched):
    atoms, baseline, step = random_atoms(11, 'H2Mg2O2', 4.0, 0.9), baseline_of(switched=switched), 1e-5
    terms = evaluate(baseline, frames_of(atoms))
    expected = np.empty((3, 3))
    for row in range(3):
        for column in range(3):
            strained = []
            for sign in (1, -1):
                strain = np.zeros((3, 3))
                strain[row, column] += sign * step / 2
                strain[column, row] += sign * step / 2
                copy = atoms.copy()
                copy.set_cell(atoms.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
                strained.append(copy)
            plus, minus = evaluate(baseline, frames_of(*strained)).energy
            expected[row, column] = (plus - minus) / (2 * step * atoms.get_volume())
    np.testing.assert_allclose(terms.stress[0], expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_energy_does_not_depend_on_place_orientation_or_order(seed):
    rng = np.random.default_rng(seed)
    atoms, baseline = random_atoms(seed, 'H2Mg2O2', 4.5, 0.8), baseline_of()
    order = rng.permutation(len(atoms))
    turn = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    moved = atoms[order]
    moved.positions += rng.uniform(-9, 9, 3)
    moved.set_cell(atoms.cell[:] @ turn)
    moved.positions = moved.positions @ turn
    before, after = evaluate(baseline, frames_of(atoms)), evaluate(baseline, frames_of(moved))
    np.testing.assert_allclose(after.energy, before.energy, rtol=1e-10)
    size = np.abs(before.forces).max()
    np.testing.assert_allclose(after.forces, before.forces[order] @ turn, rtol=1e-8, atol=1e-10 * size)
    turned = turn.T @ before.stress[0] @ turn
    np.testing.assert_allclose(after.stress[0], turned, rtol=1e-8, atol=1e-10 * np.abs(turned).max())
    np.testing.assert_allclose(after.forces.sum(axis=0), 0, atol=1e-10 * size)


def test_frames_of_a_table_do_not_see_each_other(monkeypatch):
    structures = [
        random_atoms(seed, symbols, 5, 0.8) for seed, symbols in enumerate(['H2O', 'Mg4O4', 'Mg', 'O3', 'HO'])
    ]
    frames, baseline = frames_of(*structures), baseline_of()
    together = evaluate(baseline, frames)
    alone = [evaluate(baseline, frames_of(atoms)) for atoms in structures]
    monkeypatch.setattr(evaluation, 'pair_blocks', partial(pair_blocks, max_pairs=1))
    in_blocks = evaluate(baseline, frames)
    for name in ('energy', 'forces', 'stress'):
        expected = np.concatenate([getattr(terms, name) for terms in alone])
        np.testing.assert_allclose(getattr(together, name), expected, rtol=1e-12)
        np.testing.assert_array_equal(getattr(in_blocks, name), getattr(together, name))


def test_stress_is_undefined_without_three_cell_vectors():
    molecule = Atoms('OH', [[0, 0, 0], [0, 0, 0.8]])
    slab = Atoms('OH', [[0, 0, 0], [0, 0, 0.8]], cell=[4, 4, 0], pbc=[True, True, False])
    bulk = Atoms('OH', [[0, 0, 0], [0, 0, 0.8]], cell=[4, 4, 4], pbc=True)
    for baseline in (baseline_of(), DeltaBaseline(mode='core', zbl=ZBLBaseline(inner=1, outer=2))):
        terms = evaluate(baseline, frames_of(molecule, slab, bulk))
        assert np.isnan(terms.stress[:2]).all()
        assert np.isfinite(terms.stress[2]).all()
        assert np.isfinite(terms.energy).all()


def test_what_is_left_of_labels():
    structures, baseline = [random_atoms(seed, 'HMg2O', 4, 0.9) for seed in range(4)], baseline_of()
    frames = frames_of(*structures)
    rng = np.random.default_rng(0)
    stress = rng.normal(size=(4, 3, 3))
    stress[1] = np.nan
    labelled = frames.with_labels(rng.normal(size=4), rng.normal(size=(16, 3)), stress)
    difference, terms = subtract(baseline, labelled), evaluate(baseline, frames)
    np.testing.assert_allclose(difference.energy, labelled.energy - terms.energy)
    np.testing.assert_allclose(difference.forces, labelled.forces - terms.forces)
    np.testing.assert_allclose(difference.stress, labelled.stress - terms.stress)
    np.testing.assert_array_equal(difference.positions, labelled.positions)


def test_in_core_mode_the_zbl_repulsion_stays_in_the_labels():
    frames = frames_of(random_atoms(1, 'HMg2O', 4, 0.9))
    delta, core, both = (evaluate(baseline_of(mode=mode), frames) for mode in ('delta', 'core', 'both'))
    zbl_alone = evaluate(DeltaBaseline(zbl=baseline_of().zbl), frames)
    assert zbl_alone.energy[0] > 1
    np.testing.assert_allclose(delta.energy - core.energy, zbl_alone.energy)
    np.testing.assert_array_equal(both.forces, delta.forces)
    nothing = evaluate(DeltaBaseline(mode='core', zbl=ZBLBaseline(inner=1.1, outer=2.3)), frames)
    assert not nothing.energy.any()
    assert not nothing.forces.any()


@pytest.fixture(scope='module')
def real_frames():
    structures = read(DATA, ':')
    return frames_of(*structures).with_labels(
        energy=np.array([atoms.get_potential_energy() for atoms in structures]),
        forces=np.concatenate([atoms.get_forces() for atoms in structures]),
        stress=np.array([atoms.get_stress(voigt=False) for atoms in structures]),
    )


def test_default_zbl_leaves_the_labels_of_real_data_alone(real_frames):
    elements = ['Mg', 'O']
    shortest = shortest_distances(real_frames, distance_of_concern(elements))
    assert {pair: round(distance, 2) for pair, distance in shortest.items()} == {
        ('Mg', 'Mg'): 2.0,
        ('Mg', 'O'): 1.22,
        ('O', 'O'): 1.81,
    }
    baseline = DeltaBaseline.for_elements(elements, shortest=shortest)
    difference = subtract(baseline, real_frames)
    np.testing.assert_array_equal(difference.energy, real_frames.energy)
    np.testing.assert_array_equal(difference.forces, real_frames.forces)
    # The elements alone do not know of the collisions that are in these data.
    assert evaluate(DeltaBaseline.for_elements(elements), real_frames).energy.any()


def test_lj_does_not_come_on_top_of_zbl(real_frames):
    """The twelfth power would be 1e7 eV at half an angstrom; what is left of LJ is a well of 0.01 eV."""
    frames = frames_of(*(Atoms('Mg2', [[0, 0, 0], [0, 0, r]]) for r in np.linspace(0.01, 7, 300)))
    with_lj, without = (evaluate(DeltaBaseline.for_elements(['Mg'], lj=lj), frames).energy for lj in (True, False))
    difference = with_lj - without
    assert difference.max() == 0
    assert -0.0101 < difference.min() < -0.0097
    of_data = [evaluate(DeltaBaseline.for_elements(['Mg', 'O'], lj=lj), real_frames).energy for lj in (True, False)]
    assert np.abs((of_data[0] - of_data[1]) / real_frames.n_atoms).max() < 0.2


def test_switched_lj_is_whole_outside_and_nothing_inside():
    off, on, r = 1.5, 2.5, np.array([0.01, 1.0, 1.5, 2.5, 3.0])
    whole, switched = (lj(r, *np.full((3, 5), [[0.1], [1.9], [6.0]]), True, *to) for to in ((), (off, on)))
    np.testing.assert_array_equal(switched[0][:3], 0)
    np.testing.assert_array_equal(switched[1][:3], 0)
    np.testing.assert_allclose(np.array(switched)[:, 3:], np.array(whole)[:, 3:], rtol=1e-14)
    # Energy, force and curvature are continuous at both ends.
    for end in (off, on):
        near = end + np.array([-2e-4, -1e-4, 1e-4, 2e-4])
        energy, slope = lj(near, *np.full((3, 4), [[0.1], [1.9], [6.0]]), True, off, on)
        assert np.ptp(energy) < 1e-3
        assert np.ptp(slope) < 1e-3
        assert abs((slope[1] - slope[0]) - (slope[3] - slope[2])) / 1e-4 < 1e-2


def test_no_frames_have_no_energies():
    terms = evaluate(baseline_of(), frames_of(Atoms('H')).select([]))
    assert terms.energy.shape == (0,)
    assert terms.forces.shape == (0, 3)
    assert terms.stress.shape == (0, 3, 3)


def test_atoms_at_the_same_place_are_named():
    frames = frames_of(Atoms('H2', [[0, 0, 0], [0, 0, 1]]), Atoms('OH2', [[0, 0, 1], [1, 0, 0], [0, 0, 1]]))
    with pytest.raises(ValueError, match=r"atoms 0 and 2 of step 1 of source 'test' are at the same place"):
        evaluate(baseline_of(), frames)


def test_missing_lj_pairs_are_named():
    with pytest.raises(ValueError, match=r'no parameters for Mg-Si, O-Si, Si-Si .*add an LJPair for each'):
        evaluate(baseline_of(), frames_of(random_atoms(0, 'MgOSi', 5, 1)))


def test_a_baseline_is_not_subtracted_from_nothing():
    with pytest.raises(ValueError, match='have no labels'):
        subtract(baseline_of(), frames_of(Atoms('H')))
