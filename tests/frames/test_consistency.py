"""Whether energies, forces and stresses belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.md.verlet import VelocityVerlet
from frame_cases import MGO, random_frames

from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.frames.consistency import Verdict, examine
from aiida_pacemaker.frames.table import Frames


def frames_of(images: list[Atoms], calculator: Callable[[], Calculator] = EMT) -> Frames:
    for image in images:
        image.calc = calculator()
        image.get_forces()
        if image.pbc.all():
            image.get_stress()
    return from_atoms(images, 'here')


@cache
def dynamics(size: int = 2, steps: int = 10, every: int = 1) -> Frames:
    """Return molecular dynamics of copper at about 500 K, by 3 fs."""
    atoms = bulk('Cu', cubic=True) * (size, size, size)
    rng = np.random.default_rng(0)
    atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * np.sqrt(atoms.get_masses()[:, None] * units.kB * 1000))
    atoms.calc = EMT()
    run = VelocityVerlet(atoms, 3 * units.fs)
    images = []
    for _ in range(steps):
        run.run(every)
        images.append(atoms.copy())
    return frames_of(images)


def rattled_images(count: int, size: float, seed: int = 0, lattice: str = 'cubic') -> list[Atoms]:
    images = [bulk('Cu', cubic=lattice == 'cubic') * (1 if lattice == 'cubic' else 2) for _ in range(count)]
    for number, image in enumerate(images):
        image.rattle(size, seed=seed + number)
    return images


def volumes(count: int = 8) -> list[Atoms]:
    return [bulk('Cu', cubic=True, a=a) for a in np.linspace(3.35, 3.95, count)]


@cache
def rattled(size: float = 0.1) -> Frames:
    """Return twelve rattled cells and eight volumes."""
    return frames_of([*rattled_images(12, size), *volumes()])


@cache
def mgo() -> Frames:
    return from_atoms(ase.io.read(MGO, ':'), 'mgo')


def verdicts(frames: Frames) -> dict[str, Verdict]:
    return {finding.label: finding.verdict for finding in examine(frames)}


def contradictions(frames: Frames) -> dict[str, str]:
    return {finding.label: finding.text for finding in examine(frames) if finding.verdict is Verdict.CONTRADICTION}


def volume(frames: Frames) -> np.ndarray:
    return np.abs(np.linalg.det(frames.cells))[:, None, None]


def test_real_labels_are_consistent():
    assert verdicts(mgo()) == {
        'forces': Verdict.CONSISTENT,
        'stress': Verdict.CONSISTENT,
        'energy': Verdict.UNKNOWN,
    }


@pytest.mark.parametrize(
    'frames', [dynamics, lambda: dynamics(1, 12), rattled, lambda: rattled(0.03), lambda: rattled(0.2)]
)
def test_labels_of_one_model_are_consistent(frames):
    found = verdicts(frames())
    assert found['forces'] is Verdict.CONSISTENT
    assert found['stress'] in (Verdict.CONSISTENT, Verdict.UNKNOWN)


FORCE_FAULTS = {
    'opposite sign': lambda frames: replace(frames, forces=-frames.forces),
    'energies in Ry': lambda frames: replace(frames, energy=frames.energy / units.Ry),
    'energies in hartree': lambda frames: replace(frames, energy=frames.energy / units.Ha),
    'forces in kcal/mol/angstrom': lambda frames: replace(frames, forces=frames.forces * units.mol / units.kcal),
    'energies per atom': lambda frames: replace(frames, energy=frames.energy / frames.n_atoms),
    'forces in hartree/bohr': lambda frames: replace(frames, forces=frames.forces * units.Bohr / units.Ha),
    'forces in Ry/bohr': lambda frames: replace(frames, forces=frames.forces * units.Bohr / units.Ry),
    'forces in meV/angstrom': lambda frames: replace(frames, forces=1000 * frames.forces),
}


@pytest.mark.parametrize('fault', FORCE_FAULTS)
@pytest.mark.parametrize('frames', [dynamics, rattled])
def test_faulty_forces_and_energies_are_found(fault, frames):
    """On ten frames of molecular dynamics, and on a dozen rattled cells."""
    assert fault in contradictions(FORCE_FAULTS[fault](frames()))['forces']


@pytest.mark.parametrize(('energy', 'length'), [(units.Ha, units.Bohr), (units.Ry, units.Bohr)])
@pytest.mark.parametrize('frames', [lambda: dynamics(2, 40), lambda: dynamics(2, 40, 5)])
def test_atomic_units_with_positions_in_angstrom_are_found(energy, length, frames):
    """Energies and forces belong together then, so that they differ by the factor of the length alone, 1.89."""
    right = frames()
    assert 'forces' not in contradictions(right)
    wrong = replace(right, energy=right.energy / energy, forces=right.forces * length / energy)
    assert 'energies and forces in atomic units' in contradictions(wrong)['forces']


STRESS_FAULTS = {
    'opposite sign': lambda frames: replace(frames, stress=-frames.stress),
    'stresses in GPa': lambda frames: replace(frames, stress=frames.stress / units.GPa),
    'stresses in kbar; besides': lambda frames: replace(frames, stress=-10 * frames.stress / units.GPa),
    'virials in eV': lambda frames: replace(frames, stress=-frames.stress * volume(frames)),
}


#: Not virials of MgO: its cells of two and of eight atoms differ in volume, so that there is not one factor for all.
STRESS_CASES = [(rattled, fault) for fault in STRESS_FAULTS] + [
    (mgo, fault) for fault in STRESS_FAULTS if fault != 'virials in eV'
]


@pytest.mark.parametrize(('frames', 'fault'), STRESS_CASES)
def test_faulty_stresses_are_found(frames, fault):
    found = contradictions(STRESS_FAULTS[fault](frames()))
    assert list(found) == ['stress']
    assert fault in found['stress']


def test_energies_per_atom_are_found_by_the_sizes_of_cells():
    """Supercells at rest, of which nothing moves."""
    cells = frames_of([bulk('Cu', cubic=True) * (size, size, size) for size in (1, 2, 3)])
    total = replace(cells, energy=cells.energy - 3.7 * cells.n_atoms)
    assert verdicts(total)['energy'] is Verdict.CONSISTENT
    per_atom = replace(total, energy=total.energy / total.n_atoms)
    assert '4 atoms have -3.7' in contradictions(per_atom)['energy']
    assert 'multiply them by the number of atoms' in contradictions(per_atom)['energy']
    # Energies that are all about zero tell nothing.
    assert verdicts(cells.select([0, 1]))['energy'] is Verdict.UNKNOWN


def dimers(start: float, step: float, calculator=EMT, symbols='Cu2') -> Frames:
    return frames_of(
        [Atoms(symbols, positions=[[0, 0, 0], [0, 0, r]]) for r in np.arange(start, 5.5, step)], calculator
    )


def argon() -> Calculator:
    return LennardJones(sigma=3.4, epsilon=0.01, rc=20)


def molecules() -> Frames:
    images = []
    for seed in range(10):
        for name in ('H2O', 'CH4', 'C2H6'):
            images.append(molecule(name))
            images[-1].rattle(0.08, seed=seed)
    return frames_of(images)


def noisy() -> Frames:
    """Return energies that jump by as much as the atoms move them, as those of magnetic states do."""
    rng = np.random.default_rng(0)
    return replace(dynamics(), energy=dynamics().energy + rng.choice([0.0, 0.3], 10))


HONEST = {
    'random numbers': lambda: random_frames(0, 60),
    'dimers': lambda: dimers(1.6, 0.2),
    'dimers far apart': lambda: dimers(1.2, 0.5),
    'Lennard-Jones dimers': lambda: dimers(2.2, 0.3, argon, 'Ar2'),
    'Lennard-Jones dimers far apart': lambda: dimers(1.2, 0.6, argon, 'Ar2'),
    'strong rattles': lambda: frames_of(rattled_images(15, 0.35)),
    'primitive cells': lambda: frames_of(rattled_images(15, 0.1, lattice='fcc')),
    'steps far apart': lambda: dynamics(1, 30, 40),
    'few volumes': lambda: frames_of([bulk('Cu', a=a) for a in (3.0, 3.5, 4.0, 4.5)]),
    'molecules': molecules,
    'jumping energies': noisy,
    'energies of another zero': lambda: replace(dynamics(), energy=dynamics().energy - 45000.0),
    'stress with a constant pressure': lambda: replace(rattled(), stress=rattled().stress + 0.01 * np.eye(3)),
    'no stress': lambda: replace(rattled(), stress=np.full((20, 3, 3), np.nan)),
    'no energies': lambda: replace(rattled(), energy=np.zeros(20)),
    'sizes': lambda: frames_of(
        [*rattled_images(4, 0.1), bulk('Cu'), bulk('Cu', cubic=True) * 2, bulk('Cu') * (3, 1, 1)]
    ),
}


@pytest.mark.parametrize('case', HONEST)
def test_there_is_no_false_alarm(case):
    assert contradictions(HONEST[case]()) == {}


def test_hot_frames_at_several_pressures_are_not_refused():
    """Changes of the energy are small sums of large terms: 1.53 times those by the stress, which is no unit.

    Eight frames of molecular dynamics of copper with labels of EMT, as an exploration at 300 to 1200 K kept them.
    """
    images = ase.io.read(Path(__file__).parents[1] / 'fixtures' / 'frames' / 'copper-hot.extxyz', ':')
    found = {finding.label: finding for finding in examine(from_atoms(images, 'source'))}
    assert found['stress'].verdict is Verdict.UNKNOWN
    assert 'too far apart to tell' in found['stress'].text


@pytest.mark.parametrize('seed', range(20))
def test_there_is_no_false_alarm_whatever_the_rattling(seed):
    rng = np.random.default_rng(seed)
    images = rattled_images(int(rng.integers(4, 20)), float(rng.uniform(0.01, 0.4)), 100 * seed)
    for image in images:
        image.set_cell(image.cell[:] * (1 + rng.normal(0, 0.03, (3, 3))), scale_atoms=True)
    assert contradictions(frames_of(images)) == {}


def test_few_frames_in_which_all_changes_are_not_refused():
    """Four frames of one composition, of other cells and atoms: what forces and stresses each say is hardly known."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        images = [bulk('Cu', cubic=True, a=3.8 * (1 + rng.uniform(-0.04, 0.04))) for _ in range(4)]
        for step, image in enumerate(images):
            image.rattle(0.1, seed=100 * seed + step)
        assert not contradictions(frames_of(images)), seed


def test_the_cost_is_bounded():
    """Thousands of frames are looked at here and there."""
    many = dynamics().select(np.arange(20_000) % 10)
    assert verdicts(many)['forces'] is Verdict.CONSISTENT


def test_where_nothing_can_be_told_it_says_why():
    one = dynamics().select([0])
    forces, stress, energy = examine(one)
    assert forces.text == 'there are 0 pairs of near frames of the same atoms, 5 are needed'
    assert stress.text == 'there are no near frames with a stress'
    assert energy.text == 'there are no cells of one material in two sizes'
    assert examine(one.without_labels()) == []
    # At its lattice constant the energy of copper is zero in EMT.
    sizes = frames_of([bulk('Cu', cubic=True) * (n, 1, 1) for n in (1, 2, 4)])
    assert examine(sizes)[2].text == 'the energies of cells of one material in two sizes are too near zero to tell'
