"""The fake engine held against the real one: the same inputs, and what a caller can see of the outputs."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from fake_cases import BOND, REFERENCE, Outcome, run, write_input, write_pool, write_train

from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.frames.pickles.reading import read_selection, read_table
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.pace.output.active_sets import function_weights
from aiida_pacemaker.pace.output.logs import LogSummary, read_active_set_log, read_log, read_selection_log
from aiida_pacemaker.pace.output.metrics import read_metrics
from aiida_pacemaker.pace.output.potentials import read_ctilde, read_potential
from aiida_pacemaker.pace.unseen import dropped_from

pytestmark = pytest.mark.engine

# The real engine takes a third of a second for an iteration.
SHORT = {'maxiter': 1}

Prepare = Callable[[Path, Frames], None]


class Both(NamedTuple):
    """What the two engines have left."""

    real: Outcome
    fake: Outcome


@pytest.fixture
def both(real, fake, rattled, tmp_path):
    """Run a program of both engines, each in a folder of its own."""

    def both(program: str, prepare: Prepare, *arguments: str) -> Both:
        folders = [tmp_path / 'real', tmp_path / 'fake']
        for folder in folders:
            folder.mkdir()
            prepare(folder, rattled)
        with ThreadPoolExecutor(1) as meanwhile:
            other = meanwhile.submit(run, fake[program], folders[1], *arguments)
            return Both(real.run(program, folders[0], *arguments), other.result())

    return both


def assert_alike(outcomes: Both) -> None:
    real, fake = outcomes
    assert fake.status == real.status, fake.stderr
    assert fake.files == real.files
    assert structure(read_log(fake.log)) == structure(read_log(real.log))
    if real.status:
        # Libraries that read YAML have words of their own for what is wrong with it, and places where they notice.
        assert re.sub(r'(yaml-cpp: error).*', r'\1', fake.error) == re.sub(r'(yaml-cpp: error).*', r'\1', real.error)
    for name in real.files:
        if name.endswith('metrics.txt'):
            tables = [read_metrics(outcome.text(name)) for outcome in outcomes]
            assert list(tables[0].columns) == list(tables[1].columns), name
            assert len(tables[0]) == len(tables[1]), name


def structure(log: LogSummary) -> LogSummary:
    """Return what has to be the same whatever the potential: all but times."""
    return replace(log, wall_time=None if log.wall_time is None else 0.0)


# --- pacemaker ---


def with_pandas(change: Callable[[Any], None], **sections: Any) -> Prepare:
    """Return how a dataset is written that our own writer would refuse."""

    def prepare(folder: Path, frames: Frames) -> None:
        import pandas as pd

        write_train(folder, frames)
        path = folder / 'train.pckl.gzip'
        rows = pd.read_pickle(path, compression='gzip')
        change(rows)
        rows.to_pickle(path, compression='gzip', protocol=4)
        write_input(folder, **sections)

    return prepare


def spoil_energy(rows: Any) -> None:
    rows.loc[1, 'energy'] = np.nan


def spoil_forces(rows: Any) -> None:
    rows.loc[1, 'forces'][0, 0] = np.nan


def shorten_forces(rows: Any) -> None:
    rows.at[1, 'forces'] = rows.loc[1, 'forces'][:-1]


def drop_forces(rows: Any) -> None:
    del rows['forces']


def collapse(rows: Any) -> None:
    rows.loc[1, 'ase_atoms'].positions[1] = rows.loc[1, 'ase_atoms'].positions[0] + 1e-9


def substitute(rows: Any) -> None:
    rows.loc[1, 'ase_atoms'].symbols[0] = 'Al'


def open_one_side(rows: Any) -> None:
    rows.loc[1, 'ase_atoms'].pbc = (True, True, False)


def isolate(rows: Any) -> None:
    atoms = rows.loc[1, 'ase_atoms']
    atoms.set_cell(20 * atoms.cell[:], scale_atoms=True)


def fit(**sections: Any) -> Prepare:
    def prepare(folder: Path, frames: Frames) -> None:
        write_train(folder, frames)
        write_input(folder, **sections)

    return prepare


def without_data(folder: Path, frames: Frames) -> None:
    write_input(folder)


def continued(cut: int | None = None) -> Prepare:
    def prepare(folder: Path, frames: Frames) -> None:
        fit(fit=SHORT)(folder, frames)
        text = (Path(__file__).parents[1] / 'fixtures/train/killed_interim/interim_potential_0.yaml').read_text()
        (folder / 'initial_potential.yaml').write_text(text[:cut])

    return prepare


FITS = {
    'unknown_key': (fit(fit={'maxitr': 7, **SHORT}, nonsense={'a': 1}), ()),
    'no_data': (fit(drop=('data',)), ()),
    'no_potential': (fit(drop=('potential',)), ()),
    'missing_file': (without_data, ()),
    'missing_input': (lambda folder, frames: None, ()),
    'missing_potential': (fit(), ('-p', 'initial_potential.yaml')),
    'continued': (continued(), ('-p', 'initial_potential.yaml')),
    'damaged_potential': (continued(-40), ('-p', 'initial_potential.yaml')),
    'no_reference_energy': (fit(data={'reference_energy': None}), ()),
    'extreme_energies': (fit(data={'reference_energy': {'Mg': 0.0, 'O': 0.0}}, fit=SHORT), ()),
    'fit_cycles': (fit(fit={**SHORT, 'fit_cycles': 2, 'noise_relative_sigma': 0.1}), ()),
    'ladder': (fit(fit={**SHORT, 'ladder_step': 6, 'ladder_type': 'power_order'}), ()),
    'nan_energy': (with_pandas(spoil_energy), ()),
    'nan_forces': (with_pandas(spoil_forces), ()),
    'wrong_force_shape': (with_pandas(shorten_forces), ()),
    'no_forces': (with_pandas(drop_forces), ()),
    'small_distance': (with_pandas(collapse), ()),
    'unknown_element': (with_pandas(substitute), ()),
    'mixed_periodicity': (with_pandas(open_one_side), ()),
    'isolated': (with_pandas(isolate, fit=SHORT), ()),
}


@pytest.mark.parametrize('case', FITS)
def test_fits_end_alike(both, case):
    prepare, arguments = FITS[case]
    assert_alike(both('pacemaker', prepare, 'input.yaml', '--no-predict', *arguments))


def test_a_whole_fit_is_alike(both):
    outcomes = both('pacemaker', fit(data={'test_size': 3}, fit={'maxiter': 2}))
    assert outcomes.real.status == 0
    assert_alike(outcomes)
    potentials = [read_potential(outcome.text('output_potential.yaml')) for outcome in outcomes]
    for summary in potentials:
        assert summary.metadata.keys() == potentials[0].metadata.keys()
    assert replace(potentials[1], metadata={}) == replace(potentials[0], metadata={})
    for name in ('train_pred.pckl.gzip', 'test_pred.pckl.gzip'):
        real, fake = (read_table(outcome.folder / name) for outcome in outcomes)
        assert len(fake) == len(real)
        assert {'energy_pred', 'forces_pred'} <= fake.columns.keys() & real.columns.keys()
        assert [len(forces) for forces in fake.columns['forces_pred']] == [8] * len(real)


@pytest.mark.parametrize(
    ('program', 'arguments'),
    [
        ('pacemaker', ['--select']),
        ('pace_activeset', ['output_potential.yaml']),
        ('pace_select', ['pool.pckl.gzip']),
        ('pace_select', ['-p', 'x.yaml', '-m', 'many', 'pool.pckl.gzip']),
        ('pace_yaml2yace', []),
    ],
)
def test_command_lines_are_refused_alike(both, program, arguments):
    real, fake = both(program, lambda folder, frames: None, *arguments)
    assert fake.status == real.status == 2
    assert fake.stderr == real.stderr


# --- potentials, active sets, selections ---


def with_potential(fitted: Outcome, n_frames: int | None = None, cut: int | None = None) -> Prepare:
    """Return how the potential of the fake engine, which both can read, is put beside its data."""

    def prepare(folder: Path, frames: Frames) -> None:
        write_train(folder, frames.select(range(len(frames) if n_frames is None else n_frames)))
        (folder / 'output_potential.yaml').write_text(fitted.text('output_potential.yaml')[:cut])

    return prepare


@pytest.mark.parametrize('cut', [None, -40])
def test_conversions_are_alike(both, fitted, cut):
    outcomes = both('pace_yaml2yace', with_potential(fitted, cut=cut), 'output_potential.yaml')
    assert_alike(outcomes)
    assert outcomes.fake.stdout == outcomes.real.stdout
    if cut is None:
        assert len({read_ctilde(outcome.text('output_potential.yace')) for outcome in outcomes}) == 1


def test_the_real_engine_reads_the_converted_potential(fake, fitted, tmp_path):
    run(fake['pace_yaml2yace'], tmp_path, str(fitted.folder / 'output_potential.yaml'), '-o', 'mgo.yace')
    script = "import pyace; print(pyace.ACECTildeBasisSet('mgo.yace').elements_name)"
    assert run(Path(sys.executable), tmp_path, '-c', script).stdout == "['Mg', 'O']\n"


ACTIVE_SETS = {
    'linear': ((), 12),
    'full': (('-f',), 12),
    'all_atoms': (('-a', '-g', '1.01', '-i', '300', '-r', '5'), 12),
    'batch_needs_all_atoms': (('-b', '6'), 12),
    'insufficient': (('-a',), 1),
    'missing_file': (('-d', 'nothing.pckl.gzip'), 12),
}


@pytest.mark.parametrize('case', ACTIVE_SETS)
def test_active_sets_are_alike(both, fitted, case):
    options, n_frames = ACTIVE_SETS[case]
    outcomes = both(
        'pace_activeset',
        with_potential(fitted, n_frames),
        *('-d', 'train.pckl.gzip', *options, 'output_potential.yaml'),
    )
    assert_alike(outcomes)
    logs = [read_active_set_log(outcome.stderr) for outcome in outcomes]
    for log in logs:
        assert log.finished == (outcomes.real.status == 0)
    for name in ('full', 'n_structures', 'batch_size'):
        assert getattr(logs[0], name) == getattr(logs[1], name), name
    for element in logs[0].elements.values():
        assert element.n_functions == 12
    assert logs[0].elements.keys() == logs[1].elements.keys()
    if outcomes.real.status == 0:
        for symbol, element in logs[0].elements.items():
            other = logs[1].elements[symbol]
            assert (element.n_atoms, element.n_projections) == (other.n_atoms, other.n_projections)
            assert (element.n_selected is None) == (other.n_selected is None)
            assert other.gamma_max == pytest.approx(1, abs=0.011)
        name = 'output_potential.asi.nonlinear' if '-f' in options else 'output_potential.asi'
        real, fake = (np.load(outcome.folder / name) for outcome in outcomes)
        assert {key: (array.shape, array.dtype) for key, array in fake.items()} == {
            key: (array.shape, array.dtype) for key, array in real.items()
        }


def apart(fitted: Outcome) -> Prepare:
    """Return how frames of magnesium and frames of oxygen are written, none of both."""

    def prepare(folder: Path, frames: Frames) -> None:
        with_potential(fitted)(folder, frames)
        random = np.random.default_rng(3)
        images = []
        for symbol in ('Mg', 'O') * 8:
            atoms = bulk(symbol, 'fcc', a=random.uniform(4.0, 4.6), cubic=True)
            atoms.rattle(0.2, rng=random)
            atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((4, 3)))
            images.append(atoms)
        write_train(folder, from_atoms(images, 'apart'))

    return prepare


def test_a_pair_that_the_data_never_had_drops_out_alike(both, fitted):
    outcomes = both('pace_activeset', apart(fitted), '-d', 'train.pckl.gzip', '-a', 'output_potential.yaml')
    assert_alike(outcomes)
    summary = read_potential(fitted.text('output_potential.yaml'))
    mixed = {block: count for block, count in summary.blocks.items() if set(block[1]) != {block[0]}}
    for outcome in outcomes:
        content = (outcome.folder / 'output_potential.asi').read_bytes()
        assert dropped_from(function_weights(content), summary) == mixed


def pool(fitted: Outcome, mgo: Frames, n_frames: int, active_set: Path | None) -> Prepare:
    def prepare(folder: Path, frames: Frames) -> None:
        with_potential(fitted)(folder, frames)
        write_pool(folder, mgo.select(range(n_frames)))
        if active_set is not None:
            # Both engines take an active set that lies beside the potential.
            shutil.copy(active_set, folder / 'output_potential.asi')

    return prepare


@pytest.fixture
def active_set(fake, fitted, rattled, tmp_path):
    """Return an active set of the fake engine, whose matrices are not singular to the real one."""
    folder = tmp_path / 'active_set'
    folder.mkdir()
    with_potential(fitted)(folder, rattled)
    run(fake['pace_activeset'], folder, '-d', 'train.pckl.gzip', 'output_potential.yaml')
    return folder / 'output_potential.asi'


@pytest.mark.parametrize('beside', [False, True])
def test_selections_are_alike(both, fitted, mgo, active_set, beside):
    prepare = pool(fitted, mgo, 60, active_set if beside else None)
    outcomes = both('pace_select', prepare, '-p', 'output_potential.yaml', '-m', '4', 'pool.pckl.gzip')
    assert_alike(outcomes)
    for outcome in outcomes:
        selected = read_selection(outcome.folder / 'selected.pkl.gz')
        assert 1 <= len(selected) <= 4
        assert selected.max() < 60
    logs = [replace(read_selection_log(outcome.stderr), n_selected=0, wall_time=0) for outcome in outcomes]
    assert logs[0] == logs[1]
    assert logs[0].with_active_set is beside


def test_too_few_candidates_are_refused_alike(both, fitted, mgo):
    outcomes = both('pace_select', pool(fitted, mgo, 1, None), '-p', 'output_potential.yaml', 'pool.pckl.gzip')
    assert [outcome.status for outcome in outcomes] == [1, 1]
    for outcome in outcomes:
        assert outcome.error.startswith('ValueError: Insufficient atomic environments')


def test_unknown_elements_are_refused_alike(both, fitted):
    def prepare(folder: Path, frames: Frames) -> None:
        with_potential(fitted)(folder, frames)
        numbers = frames.numbers.copy()
        numbers[0] = 13
        write_pool(folder, replace(frames, numbers=numbers))

    assert_alike(both('pace_select', prepare, '-p', 'output_potential.yaml', 'pool.pckl.gzip'))


def test_the_real_engine_continues_from_a_fake_potential(real, fitted, rattled, tmp_path):
    folder = tmp_path / 'folder'
    folder.mkdir()
    fit(fit=SHORT)(folder, rattled)
    (folder / 'initial_potential.yaml').write_text(fitted.text('output_potential.yaml'))
    outcome = real.run('pacemaker', folder, 'input.yaml', '--no-predict', '-p', 'initial_potential.yaml')
    assert outcome.status == 0
    assert read_log(outcome.log).finished


@pytest.mark.parametrize(
    'functions',
    [
        {'ALL': {'nradmax_by_orders': [2], 'lmax_by_orders': [0]}},
        {'UNARY': {'nradmax_by_orders': [3, 2], 'lmax_by_orders': [0, 2]}},
        {
            'ALL': {'nradmax_by_orders': [2, 2], 'lmax_by_orders': [0, 1]},
            'BINARY': {'nradmax_by_orders': [1, 1], 'lmax_by_orders': [0, 0]},
            'OMg': {'nradmax_by_orders': [2, 2], 'lmax_by_orders': [0, 1]},
        },
        {'number_of_functions_per_element': 9, 'ALL': {'nradmax_by_orders': [3, 2], 'lmax_by_orders': [0, 2]}},
    ],
)
def test_the_basis_has_the_functions_of_the_real_one(both, functions):
    embeddings = {
        'ALL': {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1, 1, 1, 0.5], 'ndensity': 2},
        'O': {'npot': 'FinnisSinclair', 'fs_parameters': [1, 1], 'ndensity': 1},
    }
    bonds = {'ALL': BOND, 'BINARY': {**BOND, 'rcut': 4.0}}
    section = {'elements': ['O', 'Al', 'Mg'], 'functions': functions, 'embeddings': embeddings, 'bonds': bonds}
    reference = {**REFERENCE, 'Al': 0.0}
    prepare = fit(potential=section, data={'reference_energy': reference})
    outcomes = both('pacemaker', prepare, 'input.yaml', '--no-predict', '--dry-run')
    assert_alike(outcomes)
    summaries = [read_potential(outcome.text('target_potential.yaml')) for outcome in outcomes]
    assert replace(summaries[1], metadata={}) == replace(summaries[0], metadata={})
