"""The dynamics of the driver of explorations, with potentials and grades that are known."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

import aiida_pacemaker
from aiida_pacemaker.baseline.ace_on_baseline import AceOnBaseline
from aiida_pacemaker.baseline.ase_calculator import EvaluatedBaseline
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.exploration.options import ExploreOptions, Reason
from aiida_pacemaker.frames.random_states import FOR_DYNAMICS, random_state

PACKAGE = Path(aiida_pacemaker.__file__).parent


@pytest.fixture
def driver(monkeypatch):
    """Return a function that imports a file that is put beside the driver."""
    for folder in ('frames', 'baseline', 'pace', 'exploration', 'drivers'):
        monkeypatch.syspath_prepend(str(PACKAGE / folder))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if '.' not in name and name != 'pyace':
            del sys.modules[name]


def drift(start):
    """Return grades that tell how far each atom has come from where it was, in tenths of an angstrom."""
    positions = start.positions.copy()
    return lambda atoms: 10 * np.linalg.norm(atoms.positions - positions, axis=1)


@pytest.fixture
def run(driver):
    """Return a function that does one run, of copper unless something else is given."""

    def explore(atoms=None, calculator=None, grade=None, seed=1, **options):
        atoms = bulk('Cu', cubic=True) * (2, 2, 2) if atoms is None else atoms
        request = ExploreOptions(**{'gamma_low': 0.0, 'gamma_high': 1e9, **options}).request()
        grade = drift(atoms) if grade is None else grade
        watch = driver('watching').Watch(grade, request)
        atoms.calc = EMT() if calculator is None else calculator
        random = driver('random_states').random_state(seed, 0, 0, 1)
        said = driver('running').run_dynamics(atoms, watch, request, random)
        return said, watch.arrays(len(atoms)), atoms

    return explore


def test_constant_energy(run):
    _, seen, _ = run(ensemble='nve', temperature=600, n_steps=100, timestep=2.0, check_every=5)
    total = seen['energy'] + 1.5 * units.kB * seen['temperature']
    assert np.ptp(seen['energy']) > 50 * np.ptp(total)
    assert np.ptp(total) < 2e-3


@pytest.mark.parametrize('ensemble', ['nvt', 'npt'])
def test_a_schedule_is_followed(run, ensemble):
    options = {'friction': 0.1} if ensemble == 'nvt' else {'thermostat_time': 20.0, 'pressure': 0.0}
    _, seen, _ = run(ensemble=ensemble, temperature=[100, 900, 300], n_steps=400, timestep=2.0, **options)
    temperature, third = seen['temperature'], len(seen['step']) // 3
    assert temperature[:3].mean() < 300
    assert temperature[third : 2 * third].mean() > 500
    assert temperature[-3:].mean() < 500


def test_pressure_shrinks_the_cell(run):
    volumes = {}
    for pressure in (0.0, 20.0):
        options = {'pressure': pressure, 'barostat_time': 100.0, 'temperature': 300}
        _, _, atoms = run(ensemble='npt', n_steps=200, timestep=2.0, **options)
        volumes[pressure] = atoms.get_volume()
    # The bulk modulus of copper is some 140 GPa.
    assert 0.85 < volumes[20.0] / volumes[0.0] < 0.93


def test_velocities_are_those_of_the_temperature(driver):
    atoms = bulk('Cu', cubic=True) * (8, 8, 8)
    driver('dynamics').give_velocities(atoms, 500.0, random_state(3, 1, 2, FOR_DYNAMICS))
    assert atoms.get_temperature() == pytest.approx(500, rel=0.05)
    assert np.allclose(atoms.get_momenta().sum(axis=0), 0, atol=1e-9)


def test_random_numbers_are_those_of_the_seed_frame_and_copy(run):
    # The values themselves, so that a version of NumPy with others does not go unnoticed.
    assert random_state(5, 2, 1, FOR_DYNAMICS).standard_normal() == pytest.approx(0.16934201148667075, abs=1e-15)
    same, again, other = (run(seed=seed, n_steps=20)[2].positions for seed in (1, 1, 2))
    assert np.array_equal(same, again)
    assert not np.allclose(same, other, atol=1e-3)


def test_the_frame_at_the_edge(run):
    """A run that is looked at too rarely goes back to the latest frame within the window."""
    options = {'ensemble': 'nve', 'temperature': 900, 'n_steps': 60}
    _, every, _ = run(**options, check_every=1, spacing=1, max_frames_per_run=61)
    gamma = every['gamma_max']
    crossing = int(np.flatnonzero(gamma > 1.5)[0])
    said, seen, _ = run(**options, check_every=20, gamma_low=1.0, gamma_high=1.5)
    assert said['reason'] == Reason.GAMMA_HIGH.value
    assert said['steps'] % 20 == 0
    inside = np.flatnonzero((gamma[: said['steps']] >= 1.0) & (gamma[: said['steps']] <= 1.5))
    assert crossing <= said['steps']
    assert seen['kept_step'].tolist() == [inside[-1]]
    n_atoms = len(every['gamma']) // len(every['kept_step'])
    assert np.array_equal(seen['positions'], every['positions'][inside[-1] * n_atoms : (inside[-1] + 1) * n_atoms])
    assert 1.0 <= seen['gamma'].max() <= 1.5


def test_the_frame_at_the_edge_comes_before_others(run):
    """There is no room for it: it takes the place of the last frame that was kept."""
    options = {'ensemble': 'nve', 'temperature': 900, 'n_steps': 60, 'gamma_low': 0.2, 'gamma_high': 1.5}
    _, roomy, _ = run(**options, check_every=6, spacing=1)
    _, seen, _ = run(**options, check_every=6, spacing=1, max_frames_per_run=2)
    assert seen['kept_step'].tolist() == [roomy['kept_step'][0], roomy['kept_step'][-1]]


def test_spacing(run):
    _, seen, _ = run(n_steps=30, check_every=2, spacing=6, max_frames_per_run=4)
    assert seen['kept_step'].tolist() == [0, 6, 12, 18]
    assert seen['step'].tolist() == list(range(0, 31, 2))


def test_the_last_step_is_looked_at(run):
    _, seen, _ = run(n_steps=25, check_every=10)
    assert seen['step'].tolist() == [0, 10, 20, 25]


@pytest.mark.parametrize(
    ('reason', 'options'),
    [
        (Reason.FINISHED, {}),
        (Reason.SEED_BEYOND, {'grade': lambda atoms: np.full(len(atoms), 11.0), 'gamma_high': 10.0}),
        (Reason.TOO_CLOSE, {'min_distance': 2.6}),
        (Reason.RUNAWAY, {'temperature': [1000, 1, 1], 'ensemble': 'nvt', 'friction': 1e-6}),
        (Reason.FAILED, {'ensemble': 'npt', 'pressure': 1e5, 'barostat_time': 1.0, 'min_distance': 0.0}),
        (Reason.FAILED, {'grade': lambda atoms: np.full(len(atoms), np.nan)}),
    ],
)
def test_why_runs_end(run, reason, options):
    said, seen, _ = run(**{'ensemble': 'nve', 'temperature': 300, 'n_steps': 40, **options})
    assert said['reason'] == reason.value
    assert bool(said['message']) == (reason is Reason.FAILED)
    assert (said['steps'] == 40) == (reason is Reason.FINISHED)
    if reason in (Reason.SEED_BEYOND, Reason.TOO_CLOSE):
        assert len(seen['kept_step']) == 0
    assert all(np.isfinite(column).all() for column in seen.values())


@pytest.mark.fault(
    'the dynamics of an exploration blow up (cell collapsed, atoms lost)',
    engine='the job ends with a traceback, or takes all memory',
    here='the run ends with the reason `failed` and keeps its frames, the other runs go on',
    ends='success',
)
def test_what_is_raised_ends_the_run_only(run):
    class Short(EMT):
        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            self.count = getattr(self, 'count', 0) + 1
            if self.count > 13:
                raise RuntimeError('atoms lost')

    said, seen, _ = run(calculator=Short(), n_steps=30, check_every=5, spacing=1)
    assert said['reason'] == Reason.FAILED.value
    assert 'RuntimeError: atoms lost' in said['message']
    # All that was seen before is kept, with the last frame that can still be graded.
    assert seen['step'].tolist() == [0, 5, 10]
    assert seen['kept_step'].tolist() == [0, 5, 10, 12]


def test_molecules(run):
    atoms = molecule('N2')
    said, seen, _ = run(atoms, LennardJones(sigma=1.0, epsilon=0.5), temperature=100, n_steps=20)
    assert said['reason'] == Reason.FINISHED.value
    assert np.allclose(seen['min_distance'], 1.1, atol=0.1)


def test_a_single_atom_has_no_distance(run):
    from ase import Atoms

    said, seen, _ = run(Atoms('Cu'), temperature=100, n_steps=20)
    assert said['reason'] == Reason.FINISHED.value
    assert np.isinf(seen['min_distance']).all()


@pytest.mark.parametrize('lj', [False, True])
def test_the_baseline_is_the_same_as_on_this_side(driver, lj):
    """At every step of a trajectory in which atoms come and go and the cell changes, so that the list of pairs ages."""
    model = DeltaBaseline.for_elements(['Mg', 'O'], lj=lj)
    ours = EvaluatedBaseline(model)
    theirs = driver('listed_baseline').ListedBaseline(model.plain_terms(['Mg', 'O']))
    atoms = bulk('MgO', 'rocksalt', a=4.25 if lj else 1.4, cubic=True)
    rng = np.random.default_rng(2)
    renewed = 0
    for _ in range(40):
        atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.004, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.02, (8, 3))
        listed = theirs.listed
        energy, forces, stress = theirs.evaluate(atoms)
        renewed += theirs.listed is not listed
        expected = ours.evaluate(atoms)
        assert energy == pytest.approx(expected[0], abs=1e-10)
        assert np.allclose(forces, expected[1], rtol=1e-12, atol=1e-10)
        assert np.allclose(stress, expected[2], rtol=1e-12, atol=1e-10)
    assert abs(energy) > 0.05
    assert 1 < renewed < 30


def test_ace_and_baseline_add_up(driver):
    model = DeltaBaseline.for_elements(['Cu'], lj=True)
    terms = model.plain_terms(['Cu'])
    atoms = bulk('Cu', cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=1)
    atoms.calc = AceOnBaseline(EMT(), driver('listed_baseline').ListedBaseline(terms))
    alone = atoms.copy()
    alone.calc = EMT()
    energy, forces, stress = EvaluatedBaseline(model).evaluate(atoms)
    assert atoms.get_potential_energy() == pytest.approx(alone.get_potential_energy() + energy, abs=1e-10)
    assert np.allclose(atoms.get_forces(), alone.get_forces() + forces, atol=1e-10)
    assert np.allclose(atoms.get_stress(voigt=False), alone.get_stress(voigt=False) + stress, atol=1e-10)
    # The forces are those of the energy.
    moved = atoms.copy()
    moved.calc = atoms.calc
    force = atoms.get_forces()[3, 1]
    energies = []
    for shift in (1e-4, -1e-4):
        moved.positions[:] = atoms.positions
        moved.positions[3, 1] += shift
        energies.append(moved.get_potential_energy())
    assert force == pytest.approx(-(energies[0] - energies[1]) / 2e-4, abs=1e-6)


def test_atoms_at_the_same_place_are_named(driver):
    model = DeltaBaseline.for_elements(['Cu'])
    baseline = driver('listed_baseline').ListedBaseline(model.plain_terms(['Cu']))
    atoms = bulk('Cu', cubic=True)
    atoms.positions[1] = atoms.positions[0]
    with pytest.raises(ValueError, match='at the same place'):
        baseline.evaluate(atoms)


# --- Interactions that the data never had ---


@pytest.fixture
def collide(driver):
    """Return a function that lets an atom of silver fly at one of copper, where no data has a pair of both within 3."""

    def fly(start=5.0, **options):
        request = ExploreOptions(**{'gamma_low': 1.0, 'gamma_high': 5.0, 'min_distance': 1.0, **options}).request()
        atoms = Atoms('CuAg', [(0, 0, 0), (0, 0, start)], cell=[20] * 3, pbc=True)
        seek = driver('watching').make_seeker({'cutoffs': [[29, 47, 3.0]], 'blocks': [[29, [47]]]})
        watch = driver('watching').Watch(lambda atoms: np.full(len(atoms), 0.5), request, seek)
        atoms.calc = EMT()
        step, reason = 0, watch.check(0, atoms, 1e9)
        while reason is None and step < 100:
            step += 1
            atoms.positions[1, 2] -= 0.05
            reason = watch.check(step, atoms, 1e9) if step % 10 == 0 else watch.remember(step, atoms)
        return reason, step, watch.arrays(2), atoms

    return fly


def test_a_run_stops_at_what_the_data_never_had(collide):
    """Gamma of the active set says that all is known."""
    reason, step, seen, _ = collide()
    # The distance falls below 3 at step 41.
    assert (reason, step) == ('gamma_high', 50)
    assert np.isinf(seen['gamma_max'][-1])
    assert np.isfinite(seen['gamma_max'][:-1]).all()
    # The frame itself is worth a label, and the atom concerned is the one that sees it.
    assert seen['kept_step'].tolist() == [50]
    assert np.isinf(seen['gamma']).tolist() == [True, False]


def test_a_seed_with_what_the_data_never_had_is_kept(collide):
    reason, step, seen, _ = collide(start=2.5)
    assert (reason, step) == ('seed_beyond_gamma_high', 0)
    assert seen['kept_step'].tolist() == [0]


def test_atoms_that_are_too_close_are_not_worth_a_label(collide):
    reason, _, seen, _ = collide(start=2.5, min_distance=2.6)
    assert reason == 'seed_beyond_gamma_high'
    assert not len(seen['kept_step'])
