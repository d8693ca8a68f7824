"""What the fake engine promises: deterministic, coherent, and good enough for a loop that ends."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from fake_cases import Outcome, run, write_input, write_pool, write_train
from hypothesis import given
from hypothesis import strategies as st

from aiida_pacemaker import drivers
from aiida_pacemaker.drivers.evaluation_files import read_evaluation
from aiida_pacemaker.frames import handedness
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.pickles.reading import read_dataset, read_selection
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.pace.output.active_sets import read_active_set
from aiida_pacemaker.pace.output.logs import read_log
from aiida_pacemaker.pace.output.metrics import TrainingMetrics, read_metrics
from aiida_pacemaker.pace.output.potentials import newest_interim, read_potential
from aiida_pacemaker.testing.fake import physics
from aiida_pacemaker.testing.fake.stub.pyace import PyACECalculator

FIT = ('input.yaml', '--no-predict')
#: The column of the fitted energies in what the engine was given.
CORRECTED = LabelKeys(energy='energy_corrected')


def losses(outcome: Outcome) -> np.ndarray:
    return read_metrics(outcome.text('metrics.txt'))['loss']


def without_times(path: Path) -> bytes:
    """Return the content of a file without times, the figures of which have a certain form."""
    return re.sub(rb'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d+', b'', path.read_bytes())


def test_equal_inputs_give_equal_outputs(fake, rattled, mgo, tmp_path):
    folders = [tmp_path / 'one', tmp_path / 'two']
    for folder in folders:
        folder.mkdir()
        write_train(folder, rattled)
        write_pool(folder, mgo)
        write_input(folder, data={'test_size': 3}, fit={'fit_cycles': 2, 'noise_relative_sigma': 0.3})
        for program, *arguments in (
            ('pacemaker',),
            ('pace_activeset', '-d', 'train.pckl.gzip', 'output_potential.yaml'),
            ('pace_select', '-p', 'output_potential.yaml', '-m', '5', 'pool.pckl.gzip'),
            ('pace_yaml2yace', 'output_potential.yaml'),
        ):
            assert run(fake[program], folder, *arguments).status == 0
    names = [{path.relative_to(folder) for path in folder.rglob('*') if path.is_file()} for folder in folders]
    assert names[0] == names[1]
    assert len(names[0]) > 25
    for name in names[0]:
        assert without_times(folders[0] / name) == without_times(folders[1] / name), name


CALLBACK = """
def stop(basis_config, current_fit_iteration, current_fit_cycle, current_ladder_step):
    if (current_fit_iteration, current_fit_cycle) == (2, 0):
        raise StopIteration
"""


def test_a_callback_can_end_a_fit_cycle(fake, rattled, tmp_path):
    write_train(tmp_path, rattled)
    fit = {'maxiter': 9, 'fit_cycles': 2, 'noise_relative_sigma': 0.5, 'callbacks': ['some_callback.stop']}
    write_input(tmp_path, fit=fit)
    (tmp_path / 'some_callback.py').write_text(CALLBACK)
    outcome = run(fake['pacemaker'], tmp_path, 'input.yaml', '--no-predict', PYTHONPATH=str(tmp_path))
    assert outcome.status == 0, outcome.stderr
    table = read_metrics(outcome.text('metrics.txt'))
    assert [int((table['cycle_step'] == cycle).sum()) for cycle in (0, 1)] == [4, 10]
    assert 'message=`callback` raised `StopIteration`.' in outcome.log


def test_the_seed_matters_to_noise_alone(fake, rattled, tmp_path):
    def fit(seed: int, noise: float) -> np.ndarray:
        write_train(tmp_path, rattled)
        write_input(tmp_path, fit={'fit_cycles': 2, 'noise_relative_sigma': noise})
        path = tmp_path / 'input.yaml'
        path.write_text(path.read_text().replace('seed: 42', f'seed: {seed}'))
        return losses(run(fake['pacemaker'], tmp_path, *FIT))

    np.testing.assert_array_equal(fit(1, 0.0), fit(2, 0.0))
    assert (fit(1, 0.5)[:4] == fit(2, 0.5)[:4]).all()
    assert (fit(1, 0.5)[4:] != fit(2, 0.5)[4:]).all()


def test_a_continued_fit_is_the_uninterrupted_one(fake, rattled, tmp_path):
    def fit(name: str, maxiter: int, *arguments: str, **variables: str) -> Outcome:
        folder = tmp_path / name
        folder.mkdir()
        write_train(folder, rattled)
        write_input(folder, fit={'maxiter': maxiter})
        return run(fake['pacemaker'], folder, *FIT, *arguments, **variables)

    whole = fit('whole', 10)
    killed = fit('killed', 10, PACE_FAKE_FAULT='kill_at_iteration:n=4')
    interim = str(killed.folder / newest_interim(killed.files))
    rest = fit('rest', 6, '-p', interim)
    np.testing.assert_array_equal(losses(killed), losses(whole)[:5])
    np.testing.assert_allclose(losses(rest), losses(whole)[4:], rtol=1e-8)
    assert (np.diff(losses(whole)) < 0).all()


def test_a_finished_potential_is_not_fitted_again(fake, fitted, rattled, tmp_path):
    write_train(tmp_path, rattled)
    write_input(tmp_path)
    marked = fitted.folder / 'interim_potential_best_cycle.yaml'
    outcome = run(fake['pacemaker'], tmp_path, *FIT, '-p', str(marked))
    assert outcome.status == 0
    assert read_log(outcome.log).nothing_fitted
    assert len(read_metrics(outcome.text('metrics.txt'))) == 0


def test_a_reset_potential_begins_from_nothing_and_an_extended_one_does_not(fake, fitted, rattled, tmp_path):
    def first_loss(potential: dict, **fit: object) -> float:
        write_train(tmp_path, rattled)
        write_input(tmp_path, potential=potential, fit=fit)
        shutil.copy(fitted.folder / 'output_potential.yaml', tmp_path / 'initial_potential.yaml')
        outcome = run(fake['pacemaker'], tmp_path, *FIT)
        assert outcome.status == 0, outcome.stderr
        return float(losses(outcome)[0])

    name = 'initial_potential.yaml'
    larger = {'ALL': {'nradmax_by_orders': [4, 2], 'lmax_by_orders': [0, 1]}}
    assert first_loss({'filename': name, 'reset': True}) == pytest.approx(losses(fitted)[0])
    extended = first_loss({'initial_potential': name, 'functions': larger}, ladder_step=1_000_000)
    assert extended == pytest.approx(losses(fitted)[-1])
    final = read_potential((tmp_path / 'output_potential.yaml').read_text())
    assert final.n_functions > read_potential(fitted.text('output_potential.yaml')).n_functions


def test_tensorpot_follows_the_test_set_and_drops_isolated_frames(fake, rattled, tmp_path):
    cells = rattled.cells.copy()
    positions = rattled.positions.copy()
    cells[0], positions[:8] = 20 * cells[0], 20 * positions[:8]
    write_train(tmp_path, replace(rattled, cells=cells, positions=positions))
    write_input(tmp_path, data={'test_size': 2}, backend={'evaluator': 'tensorpot', 'display_step': 2})
    outcome = run(fake['pacemaker'], tmp_path, *FIT)
    log = read_log(outcome.log)
    assert (log.n_train_loaded, log.n_train_fitted, log.n_test_fitted, log.n_dropped) == (12, 9, 2, 1)
    test = read_metrics(outcome.text('test_metrics.txt'))
    assert test['iter_num'].tolist() == [0, 2, 3]
    metrics = TrainingMetrics.from_tables(read_metrics(outcome.text('metrics.txt')), test)
    assert metrics.validation_rmse_forces > 0


def test_the_fitting_data_are_the_data(fitted, rattled):
    frames, _ = read_dataset(fitted.folder / 'fitting_data_info.pckl.gzip', 'data', keys=CORRECTED)
    np.testing.assert_array_equal(frames.positions, rattled.positions)
    np.testing.assert_array_equal(frames.forces, rattled.forces)
    assert (frames.energy > rattled.energy).all()


# --- physics ---


@pytest.fixture
def calculator(fitted: Outcome) -> PyACECalculator:
    return PyACECalculator(str(fitted.folder / 'output_potential.yaml'))


def structure(frames: Frames, index: int) -> ase.Atoms:
    atoms = list(frames.slices())[index]
    return ase.Atoms(
        numbers=frames.numbers[atoms], positions=frames.positions[atoms], cell=frames.cells[index], pbc=True
    )


def test_forces_and_stress_are_derivatives_of_the_energy(calculator, rattled, mgo):
    for atoms in (structure(rattled, 0), structure(mgo, 0), structure(mgo, 90)):
        atoms.calc = calculator
        np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-5), atol=1e-7)
        np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-6), atol=1e-7)


def test_the_log_tells_the_errors_of_the_potential(calculator, fitted, rattled):
    reference, _ = read_dataset(fitted.folder / 'fitting_data_info.pckl.gzip', 'data', keys=CORRECTED)
    errors = []
    for index, atoms in enumerate(rattled.slices()):
        copy = structure(rattled, index)
        copy.calc = calculator
        errors.append((copy.get_potential_energy() - reference.energy[index]) / 8)
        np.testing.assert_allclose(copy.get_forces().shape, rattled.forces[atoms].shape)
    rmse = read_metrics(fitted.text('metrics.txt')).last['rmse_epa']
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(rmse)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(0, 20))
def test_no_row_of_the_data_is_beyond_the_active_set(seed, size, more):
    rows = np.random.default_rng(seed).normal(size=(size + more, size))
    chosen = physics.max_volume(rows, physics.spanning_rows(rows), 1.01, 300)
    assert len(set(chosen.tolist())) == size
    matrix = physics.inverted(rows[chosen], np.ones(size, dtype=bool), np.ones(size + 2, dtype=bool))
    assert physics.gamma(rows, matrix).max() <= 1.01
    assert physics.gamma(10 * rows, matrix).max() > 1.01


def test_rows_that_are_alike_have_no_volume():
    with pytest.raises(ValueError, match='singular'):
        physics.spanning_rows(np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]))


# --- the loop ---


def grade(fake: dict[str, Path], folder: Path, frames: Frames) -> np.ndarray:
    """Return the largest gamma of each frame of the pool, from the driver of the evaluation job."""
    request = {
        'potential': 'output_potential.yaml',
        'active_set': 'output_potential.asi',
        'datasets': {'a': ['pool.pckl.gzip']},
    }
    (folder / 'evaluate.json').write_text(json.dumps(request))
    for name in ('evaluate.py', 'summary.py', 'tables.py'):
        shutil.copy(Path(drivers.__file__).parent / name, folder)
    shutil.copy(handedness.__file__, folder)
    outcome = run(fake['python'], folder, 'evaluate.py')
    assert outcome.status == 0, outcome.stderr
    arrays = read_evaluation(folder / 'evaluation_a.npz', len(frames), len(frames.numbers), with_gamma=True)
    return np.maximum.reduceat(arrays['gamma'], frames.offsets[:-1])


def test_a_loop_makes_progress_and_ends(fake, mgo, rattled, tmp_path):
    """Fit, build the active set, select, label, again: until nothing of the pool is left to learn from."""
    train, pool = rattled, mgo
    errors, gammas = [], []
    for generation in range(8):
        folder = tmp_path / str(generation)
        folder.mkdir()
        write_train(folder, train)
        write_pool(folder, pool)
        write_train(folder, mgo, 'test.pckl.gzip')
        write_input(
            folder,
            data={'test_filename': ['test.pckl.gzip']},
            fit={'maxiter': 60},
            backend={'evaluator': 'tensorpot'},
        )
        assert run(fake['pacemaker'], folder, *FIT).status == 0
        data = 'fitting_data_info.pckl.gzip'
        assert run(fake['pace_activeset'], folder, '-a', '-d', data, 'output_potential.yaml').status == 0
        errors.append(read_metrics((folder / 'test_metrics.txt').read_text()).last['loss'])
        gammas.append(grade(fake, folder, pool).max())
        selected = run(
            fake['pace_select'],
            folder,
            *('-p', 'output_potential.yaml', '-a', 'output_potential.asi', '-m', '6', 'pool.pckl.gzip'),
        )
        assert selected.status == 0
        chosen = read_selection(folder / 'selected.pkl.gz')
        assert len(chosen) <= 6
        if not len(chosen):
            break
        train = Frames.concatenate([train, pool.select(chosen)])
    assert not len(chosen)
    assert generation >= 2
    assert gammas[0] > 10
    assert gammas[-1] <= 1.01
    assert errors[-1] < errors[0]


def test_the_matrices_are_those_that_the_functions_need(fake, rattled, fitted, tmp_path):
    write_train(tmp_path, rattled)
    shutil.copy(fitted.folder / 'output_potential.yaml', tmp_path)
    outcome = run(fake['pace_activeset'], tmp_path, '-f', '-d', 'train.pckl.gzip', 'output_potential.yaml')
    blocks = read_active_set((tmp_path / 'output_potential.asi.nonlinear').read_bytes())
    assert outcome.status == 0
    assert {symbol: block.size for symbol, block in blocks.items()} == {'Mg': 12, 'O': 12}
    assert all(block.condition_number < 1e8 for block in blocks.values())


# --- installing ---


def test_the_module_installs_what_it_says(tmp_path):
    folder = tmp_path / 'a folder' / 'bin'
    command = [sys.executable, '-m', 'aiida_pacemaker.testing.fake.install', str(folder)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split('\n')[:-1]
    assert sorted(listed) == sorted(str(path) for path in folder.iterdir())
    version = run(folder / 'pacemaker', tmp_path, '--version')
    assert version.stdout.splitlines()[0] == 'pacemaker/pyace version: 0.4.0rc1'
    script = 'import pyace, sys; print(pyace.__version__, pyace.__file__)'
    assert 'aiida_pacemaker/testing/fake/stub' in run(folder / 'python', tmp_path, '-c', script).stdout


def test_no_program_needs_pandas(fake, rattled, tmp_path):
    write_train(tmp_path, rattled)
    write_input(tmp_path)
    (tmp_path / 'hidden').mkdir()
    (tmp_path / 'hidden' / 'pandas.py').write_text('raise ImportError("this is not there")')
    outcome = run(fake['pacemaker'], tmp_path, PYTHONPATH=str(tmp_path / 'hidden'))
    assert outcome.status == 0, outcome.stderr


def test_clean(fake, fitted, tmp_path):
    folder = tmp_path / 'copy'
    shutil.copytree(fitted.folder, folder)
    assert run(fake['pacemaker'], folder, '--clean').files == {'input.yaml', 'train.pckl.gzip'}
