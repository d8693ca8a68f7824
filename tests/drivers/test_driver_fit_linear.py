"""The driver of linear fits, run as in a job: against Pacemaker, in parts, again, and where it has to say no."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from driver_runs import PHYSICAL, Folder, first_row
from linear_cases import REFERENCES, emt_frame, read_mgo, section

pytestmark = pytest.mark.engine

METALS = {'Al': 0.0, 'Cu': 0.0}
POLICY = {'type': 'EnergyBasedWeightingPolicy', 'DE': 0.7, 'DF': 0.5}
#: Name of the case: what the driver is told, what Pacemaker is told, and how many frames it leaves out.
LOSSES = {
    'uniform': ({'offsets': None}, None, 0),
    'convex hull': ({'offsets': [0.7, 0.5]}, POLICY, 0),
    'lowest energy': (
        {'offsets': [0.7, 0.5], 'energy': 'cohesive', 'upper': 0.3},
        {**POLICY, 'energy': 'cohesive', 'DElow': 0.1, 'DEup': 0.3},
        2,
    ),
}


@pytest.fixture
def folder(tmp_path) -> Folder:
    """Return a folder to fit in."""
    return Folder(tmp_path)


@pytest.fixture
def folders(tmp_path) -> Callable[[str], Folder]:
    """Return a function that makes a folder of a name to fit in."""

    def make(name: str) -> Folder:
        (tmp_path / name).mkdir()
        return Folder(tmp_path / name)

    return make


def small_frames():
    """Return frames of EMT of several compositions, of which the lowest is in the last three."""
    symbols = ['Cu', 'Al', 'AlCu', 'AlCu', 'AlCu', 'AlCu', 'AlCu', 'AlCu', 'AlCu', 'AlCu', 'Cu']
    return [emt_frame(seed, one, (1, 1, 1), 0.1 if seed < 10 else 0.02) for seed, one in enumerate(symbols)]


@pytest.mark.slow
@pytest.mark.parametrize('name', LOSSES)
def test_pacemaker_has_the_same_loss_and_finds_nothing_better(name, folder):
    """With the same weights, whose reference is over training and test, and its own penalty; the loss to 1e-9."""
    weighting, policy, n_left_out = LOSSES[name]
    frames, kappa, penalty = small_frames(), 0.2, 1e-6
    train, test = folder.write('train.pckl.gzip', frames[:7]), folder.write('test.pckl.gzip', frames[7:])
    potential = section(['Al', 'Cu'], 3, order=2)
    fit = folder.run(
        [train],
        METALS,
        test=[test],
        potential=potential,
        degree=None,
        weighting={'kind': 'pacemaker', 'kappa': kappa, 'reference': None, **weighting},
        prior='pacemaker',
        penalty=penalty,
    )
    ours = fit.metrics()
    assert fit.summary['n_frames'] == 7 - n_left_out
    document = {
        'cutoff': 5.5,
        'data': {'filename': train, 'test_filename': test, 'reference_energy': METALS},
        'potential': potential,
        'fit': {
            'loss': {'kappa': kappa, 'L1_coeffs': 0, 'L2_coeffs': penalty},
            'optimizer': 'BFGS',
            'maxiter': 3,
            'trainable_parameters': 'func',
            **({} if policy is None else {'weighting': policy}),
        },
        'backend': {'evaluator': 'pyace', 'batch_size': 100},
    }
    (folder.path / 'input.yaml').write_text(yaml.safe_dump(document))
    (folder.path / 'metrics.txt').unlink()
    command = [
        str(Path(sys.executable).with_name('pacemaker')),
        '-p',
        'output_potential.yaml',
        '--no-predict',
        'input.yaml',
    ]
    done = subprocess.run(command, cwd=folder.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    table = (folder.path / 'metrics.txt').read_text()
    theirs = first_row(table)
    for column in ('loss', 'rmse_epa', 'rmse_f_comp'):
        assert ours[column] == pytest.approx(theirs[column], rel=1e-9), column
    losses = [float(line.split()[3]) for line in table.splitlines()[1:]]
    assert min(losses) > losses[0] * (1 - 1e-9)


def test_the_loss_of_a_test_set_is_normalised_by_itself(folder):
    """The structures of the training, as a test set, have the loss of the training without its penalty."""
    frames = read_mgo()[:10]
    train, test = folder.write('train.pckl.gzip', frames), folder.write('test.pckl.gzip', frames[::-1])
    for weighting in (PHYSICAL, {'kind': 'pacemaker', 'kappa': 0.3, 'offsets': [1.0, 1.0], 'reference': None}):
        fit = folder.run([train], REFERENCES, test=[test], weighting=weighting)
        ours, theirs = fit.metrics(), fit.metrics('test_metrics.txt')
        for column in ('loss', 'rmse_epa', 'rmse_f_comp'):
            assert ours[column] == pytest.approx(theirs[column], rel=1e-8)


def same(one, other):
    """Return by how much coefficients differ, as a part of them."""
    return np.linalg.norm(one - other) / np.linalg.norm(other)


@pytest.mark.slow
def test_parts_in_any_order_by_any_number_of_processes(folders):
    """Stresses too; 10 more frames on the equations of 30 are 40 frames from scratch."""
    frames = read_mgo()[:40]
    options = {'virial': True, 'weighting': {**PHYSICAL, 'reference': -6.5}}
    whole = folders('whole')
    reference = whole.run([whole.write('all.pckl.gzip', frames)], REFERENCES, **options)

    parts = folders('parts')
    names = [parts.write(f'{i}.pckl.gzip', frames[i::3]) for i in range(3)]
    for order, workers in ((names, 1), (names[::-1], 2)):
        found = parts.run(order, REFERENCES, n_workers=workers, **options)
        assert same(found.coefficients, reference.coefficients) < 1e-8
        assert found.summary['cross_validation'] == pytest.approx(reference.summary['cross_validation'], rel=1e-6)

    more = folders('more')
    first = more.write('first.pckl.gzip', frames[:30])
    kept = {first: 'first.npz', 'second.pckl.gzip': 'second.npz'}
    before = more.run([first], REFERENCES, equations=kept, **options)
    assert before.summary['n_reused'] == 0
    second = more.write('second.pckl.gzip', frames[30:])
    found = more.run([first, second], REFERENCES, equations=kept, **options)
    assert found.summary['n_reused'] == 30
    assert same(found.coefficients, reference.coefficients) < 1e-8
    again = more.run([second, first], REFERENCES, equations=kept, **options)
    assert again.summary['n_reused'] == 40
    assert same(again.coefficients, reference.coefficients) < 1e-8


def test_equations_are_computed_again_where_anything_differs(folder):
    frames = read_mgo()[:8]
    name = folder.write('a.pckl.gzip', frames)
    pinned = {'weighting': {**PHYSICAL, 'reference': -6.0}, 'equations': {name: 'a.npz'}}
    first = folder.run([name], REFERENCES, **pinned)
    path = folder.path / 'a.npz'
    content = path.read_bytes()
    assert folder.run([name], REFERENCES, **pinned).summary['n_reused'] == 8

    def again(**changes):
        path.write_bytes(content)
        return folder.run([name], changes.pop('references', REFERENCES), **{**pinned, **changes})

    changed = [
        {'weighting': {**PHYSICAL, 'reference': -5.0}},
        {'virial': True},
        {'references': {**REFERENCES, 'O': -426.0}},
        {'potential': section(['Mg', 'O'], 4, cutoff=5.0)},
        {'degree': 3},
    ]
    for change in changed:
        fit = again(**change)
        assert fit.summary['n_reused'] == 0, change
        assert 'The equations of a.pckl.gzip are computed again' in fit.said
    # The ratio of energies and forces does not matter to them, nor does how many there are of others.
    fit = again(weighting={**PHYSICAL, 'reference': -6.0, 'ratio': 30.0})
    assert fit.summary['n_reused'] in (0, 8)

    for damaged in (content[: len(content) // 2], b'', b'PK', os.urandom(1000)):
        path.write_bytes(damaged)
        fit = folder.run([name], REFERENCES, **pinned)
        assert fit.summary['n_reused'] == 0
        assert 'are computed again' in fit.said
        np.testing.assert_array_equal(fit.coefficients, first.coefficients)
        assert path.read_bytes() == content

    folder.write('a.pckl.gzip', frames[1:])
    fit = folder.run([name], REFERENCES, **pinned)
    assert (fit.summary['n_reused'], fit.summary['n_frames']) == (0, 7)


def test_a_fit_that_is_killed_leaves_no_half_of_anything(folder):
    frames = read_mgo()
    names = [folder.write('a.pckl.gzip', frames[:4]), folder.write('b.pckl.gzip', frames[4:])]
    kept = {name: f'{name}.npz' for name in names}
    options = {'equations': kept, 'degree': 7, 'potential': section(['Mg', 'O'], 7), 'virial': True}
    options['weighting'] = {**PHYSICAL, 'reference': -6.5}
    command = folder.request(names, REFERENCES, **options)
    with subprocess.Popen(command, cwd=folder.path, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith('a.pckl.gzip: 4'):
                break
        time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (folder.path / 'a.pckl.gzip.npz').exists()
    assert not (folder.path / 'b.pckl.gzip.npz').exists()
    assert not (folder.path / 'linear_fit.json').exists()
    fit = folder.run(names, REFERENCES, **options)
    assert fit.summary['n_reused'] == 4


@pytest.mark.parametrize('given', [0.0, None])
def test_repulsion_leaves_the_data_as_they_are(given, folder):
    """And makes every pair repel, also one that the data do not have."""
    import pyace

    from aiida_pacemaker.linear.repulsion import TRIED

    elements = {'Al': 0.0, **METALS, 'Ni': 0.0} if given is None else METALS
    frames = [emt_frame(seed, 'AlCu', (1, 1, 1), 0.1) for seed in range(12)]
    name = folder.write('a.pckl.gzip', frames)
    said = {}
    for repulsion in (None, 0.9):
        fit = folder.run([name], elements, repulsion=repulsion)
        summary = fit.summary
        assert summary['largest_difference'] < 1e-10
        calculator = pyace.PyACECalculator(str(folder.path / 'output_potential.yaml'))
        predicted = []
        for atoms in frames:
            copy = atoms.copy()
            copy.calc = calculator
            predicted.append(np.append(copy.get_potential_energy(), copy.get_forces()))
        said[repulsion] = np.concatenate(predicted)
    np.testing.assert_allclose(said[0.9], said[None], rtol=0, atol=1e-10)
    pairs = {f'{a}-{b}' for a in elements for b in elements if a <= b}
    assert set(summary['repulsion']) == pairs
    for pair, distance in summary['shortest_distances'].items():
        # As close to the data as was asked for, or at one of the radii further below that are tried.
        assert any(summary['repulsion'][pair] == pytest.approx(0.9 * part * distance) for part in TRIED)
        assert 0 <= summary['dips'][pair]['depth'] < 10
    for suffix in ('yaml', 'yace'):
        calculator = pyace.PyACECalculator(str(folder.path / f'output_potential.{suffix}'))
        for pair in pairs:
            dimer = Atoms(pair.split('-'), [[0, 0, 0], [0.5, 0, 0]])
            dimer.calc = calculator
            assert dimer.get_potential_energy() > 50


def test_a_potential_is_continued_with_data_that_come_closer(folder):
    """The ZBL of the first fit would act on the new data."""
    frames = [emt_frame(seed, 'AlCu', (1, 1, 1), 0.05) for seed in range(8)]
    closer = emt_frame(20, 'AlCu', (1, 1, 1), 0.05)
    closer.set_distance(0, 1, 1.6)
    closer = emt_labels(closer)
    first = folder.run([folder.write('a.pckl.gzip', frames)], METALS, repulsion=0.9)
    (folder.path / 'output_potential.yaml').replace(folder.path / 'initial.yaml')
    names = ['a.pckl.gzip', folder.write('b.pckl.gzip', [closer])]
    second = folder.run(names, METALS, repulsion=0.9, initial='initial.yaml')
    assert min(second.summary['shortest_distances'].values()) < min(first.summary['repulsion'].values())
    fresh = folder.run(names, METALS, repulsion=0.9)
    assert same(second.coefficients, fresh.coefficients) < 1e-8
    # Where it is left as it is, the reason is given.
    refused = folder.run(names[::-1], METALS, initial='initial.yaml')
    assert refused.code != 0
    assert 'not linear in its coefficients' in refused.said
    assert 'where their inner cutoff of type zbl acts' in refused.said
    assert not (folder.path / 'output_potential.yaml').exists()
    assert (folder.path / 'refused_potential.yaml').exists()
    assert not (folder.path / 'linear_fit.json').exists()


def emt_labels(atoms):
    """Return a structure with labels of EMT."""
    from ase.calculators.emt import EMT
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = atoms.copy()
    atoms.calc = EMT()
    results = {'energy': atoms.get_potential_energy(), 'forces': atoms.get_forces(), 'stress': atoms.get_stress()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def test_a_density_that_is_cut_off_is_named(folder):
    potential = section(['Al', 'Cu'], 4)
    potential['bonds']['ALL'].update({'core-repulsion': [100.0, 1.0], 'r_in': 2.9, 'delta_in': 0.3})
    potential['embeddings']['ALL'].update({'rho_core_cut': 1e-3, 'drho_core_cut': 1e-4})
    frames = [emt_frame(seed, 'AlCu', (1, 1, 1)) for seed in range(6)]
    fit = folder.run([folder.write('a.pckl.gzip', frames)], METALS, potential=potential)
    assert fit.code != 0
    assert 'fit_linear: the potential is not linear in its coefficients' in fit.said
    assert 'the repulsion of cores (core-repulsion) on an atom of Cu reaches' in fit.said


def test_there_is_nothing_to_fit(folder):
    atoms = emt_labels(emt_frame(0, 'Cu', (1, 1, 1)))
    far = Atoms('Cu', cell=[20, 20, 20], pbc=True)
    fit = folder.run([folder.write('a.pckl.gzip', [emt_labels(far)])], METALS)
    assert fit.code != 0
    assert 'fit_linear: no function differs from zero on the data: there is nothing to fit' in fit.said
    zeros = folder.write('b.pckl.gzip', [atoms], weights=(0.0, 0.0))
    fit = folder.run([zeros], METALS)
    assert fit.code != 0
    assert 'there is nothing to fit' in fit.said


def test_a_single_frame_and_an_isolated_atom(folder):
    frames = [emt_frame(0, 'Cu', (1, 1, 1)), emt_labels(Atoms('Cu', cell=[20, 20, 20], pbc=True))]
    fit = folder.run([folder.write('a.pckl.gzip', frames[:1])], METALS, repulsion=0.9, virial=True)
    assert np.isfinite(fit.coefficients).all()
    content = json.loads(json.dumps(fit.summary), parse_constant=lambda text: None)
    assert content['cross_validation']['n_frames'] == 1
    fit = folder.run([folder.write('a.pckl.gzip', frames)], METALS, virial=True)
    assert np.isfinite(fit.coefficients).all()
    assert fit.summary['n_equations'] == {'energy': 2, 'forces': 15, 'virial': 12}


def test_weights_of_the_data(folder):
    """A frame without weight is as good as one that is not there."""
    frames = read_mgo()[:10]
    pinned = {'weighting': {**PHYSICAL, 'scale': None, 'reference': 0.0}}
    weight = np.array([1.0] * 8 + [0.0] * 2)
    n_atoms = [len(atoms) for atoms in frames]
    with_zeros = folder.write('a.pckl.gzip', frames, weights=(weight, np.repeat(weight, n_atoms)))
    found = folder.run([with_zeros], REFERENCES, **pinned)
    without = folder.run([folder.write('b.pckl.gzip', frames[:8])], REFERENCES, **pinned)
    assert found.summary['n_frames'] == 10
    scale = without.summary['noise'] / found.summary['noise']
    # The mean weight of frames is 1: all weights are larger by a quarter.
    assert scale == pytest.approx(np.sqrt(0.8), rel=1e-3)
    assert same(found.coefficients, without.coefficients) < 1e-3


def test_the_table_of_a_hostile_file_is_not_run(folder):
    """As everywhere: a pickle that names anything else is refused."""
    import gzip
    import pickle

    with gzip.open(folder.path / 'a.pckl.gzip', 'wb') as handle:
        pickle.dump({'ase_atoms': [os.system]}, handle)
    fit = folder.run(['a.pckl.gzip'], METALS)
    assert fit.code != 0
    assert 'has no place in a table of structures' in fit.said


def test_a_repulsion_is_not_set_beside_one_that_acts_on_the_data(folder):
    potential = section(['Al', 'Cu'], 4)
    potential['bonds']['ALL'].update({'core-repulsion': [100.0, 1.0], 'r_in': 2.9, 'delta_in': 0.3})
    name = folder.write('a.pckl.gzip', [emt_frame(seed, 'AlCu', (1, 1, 1)) for seed in range(6)])
    fit = folder.run([name], METALS, potential=potential, repulsion=0.9)
    assert fit.code != 0
    assert 'fit_linear: the inner cutoff of Al-Al (type distance, r_in 2.9) acts on the data' in fit.said
    assert folder.run([name], METALS, potential=potential).summary['largest_difference'] < 1e-10
    potential['bonds']['ALL']['r_in'] = 1.0
    assert folder.run([name], METALS, potential=potential, repulsion=0.9).summary['repulsion']['Al-Al'] > 1.0
