"""Fits from tables and inputs of the engine, through a job and by `pacemaker` alone: the same potential."""

import os
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import yaml
from aiida import orm
from ase.build import bulk
from ase.calculators.emt import EMT
from small_fits import COARSE

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.calculations.functions.references import default_baseline
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.pace.config.input_files import read_input_file
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.testing.fake import basis

pytestmark = [pytest.mark.engine, pytest.mark.slow]

#: Of the shape of the examples of the engine, with keys that it does not read.
INPUT = """
cutoff: 4.5 # for neighbour list construction
seed: 42
metadata: {comment: Example}
potential:
  deltaSplineBins: 0.01
  elements: [ Cu, Ag ]
  embeddings: {ALL: {npot: 'FinnisSinclairShiftedScaled', fs_parameters: [1, 1, 1, 0.5], ndensity: 2}}
  bonds: {ALL: {radbase: ChebExpCos, radparameters: [5.25], rcut: 4.5, dcut: 0.01, NameOfCutoffFunction: cos}}
  functions:
    ALL: {nradmax_by_orders: [2, 1], lmax_by_orders: [0, 0]}
data: {filename: alloys.pckl.gzip}
fit:
  loss: {kappa: 0.35, L1_coeffs: 1e-8, L2_coeffs: 1e-8, w0_rad: 1e-8, w1_rad: 1e-8, w2_rad: 1e-8, w1_coeffs: 0}
  optimizer: BFGS
  maxiter: 2
backend: {evaluator: pyace, display_step: 50}
"""
#: What the examples add to it.
CASES = {
    'ladder': {'fit': {'ladder_step': 10, 'ladder_type': 'body_order', 'trainable_parameters': 'func'}},
    'core': {'fit': {'repulsion': 'auto', 'trainable_parameters': 'func', 'loss': {'kappa': 'auto'}}},
    'weighting': {
        'fit': {
            'trainable_parameters': 'func',
            'weighting': {'type': 'EnergyBasedWeightingPolicy', 'DElow': 1.0, 'DEup': 10.0, 'energy': 'convex_hull'},
        }
    },
    'all parameters': {'fit': {'maxiter': 1}},
}
#: Energies of the single atoms in eV, subtracted in the column `energy_corrected`.
ISOLATED = {'Ag': -100.25, 'Au': -300.5, 'Cu': -200.75}


def alloy(symbols, seed):
    """Return a cell of four atoms with its labels by EMT."""
    atoms = bulk('Cu', cubic=True, a=3.8 * (0.97 + 0.01 * (seed % 7)))
    atoms.symbols[:] = symbols
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    atoms.get_potential_energy(), atoms.get_forces()
    return atoms


@pytest.fixture
def table(tmp_path):
    """Return a function that writes labelled structures as a dataset of the engine."""

    def write(name, images):
        path = tmp_path / name
        corrected = [image.get_potential_energy() for image in images]
        isolated = [sum(map(ISOLATED.get, image.symbols)) for image in images]
        columns = {
            'name': [f'alloy/{number}' for number in range(len(images))],
            'ase_atoms': [image.copy() for image in images],
            'energy': np.add(corrected, isolated),
            'forces': [image.get_forces() for image in images],
            'energy_corrected': corrected,
        }
        pd.DataFrame(columns).to_pickle(path, compression='gzip', protocol=4)
        return path

    return write


@pytest.fixture
def by_hand(tmp_path, pace_codes):
    """Return a function that runs `pacemaker` on an input, and returns the losses and the potential."""

    def run(text, *files):
        folder = tmp_path / 'by_hand'
        folder.mkdir()
        (folder / 'input.yaml').write_text(text)
        for path in files:
            shutil.copy(path, folder)
        environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
        command = [pace_codes['train'].filepath_executable, 'input.yaml', '--no-predict']
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        losses = pd.read_csv(folder / 'metrics.txt', sep=r'\s+')['loss']
        return losses.to_numpy(), (folder / 'output_potential.yaml').read_text()

    return run


def fit(text):
    """Return a potential without what the engine notes of its fit, its numbers apart."""
    text = text.partition('\nspecies:')[2]
    number = r'-?\d+\.?\d*(?:e[+-]?\d+)?'
    return re.sub(number, '', text), np.array(re.findall(number, text), dtype=float)


def assert_same(node, losses, potential):
    """Assert that a job has made the fit that was made by hand."""
    assert node.is_finished_ok, node.exit_message
    np.testing.assert_allclose(node.outputs.learning_curves.get_array('train_loss'), losses, rtol=1e-9, atol=0)
    (shape, numbers), (expected_shape, expected) = fit(node.outputs.potential.get_b_basis().decode()), fit(potential)
    assert len(numbers) > 50
    assert shape == expected_shape
    np.testing.assert_allclose(numbers, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize('case', CASES)
def test_an_input_of_the_engine_with_its_table(run_job, pace_codes, by_hand, table, tmp_path, case):
    given = yaml.safe_load(INPUT.replace('1e-8', '1.0e-8'))
    for key, value in CASES[case]['fit'].items():
        given['fit'][key] = {**given['fit'][key], **value} if key == 'loss' else value
    text = yaml.safe_dump(given)
    path = tmp_path / 'input.yaml'
    path.write_text(text)
    images = [alloy(['Cu'] * (4 - silver) + ['Ag'] * silver, 10 * silver + i) for silver in range(5) for i in range(2)]
    data = table('alloys.pckl.gzip', images)

    read = read_input_file(path)
    # The engine fits this column where nothing is said of reference energies.
    dataset, _ = merge_frames(data, keys={'energy': 'energy_corrected'}, require_stress=False)
    baseline = default_baseline(dataset, orm.Bool(False)).get_dict()
    if case == 'core':
        baseline = DeltaBaseline.for_elements(['Ag', 'Cu'], mode='core').model_dump(mode='json')
    node = run_job(
        'pacemaker.train',
        code=pace_codes['train'],
        dataset=dataset,
        config=read.config.to_dict(),
        baseline=baseline,
        reference_energies={'Ag': 0.0, 'Cu': 0.0},
    )
    assert_same(node, *by_hand(text, data))


@pytest.mark.parametrize('several', [False, True], ids=['one potential', 'two potentials'])
def test_potentials_are_extended_to_elements_that_they_do_not_have(
    run_job, pace_codes, by_hand, table, tmp_path, several
):
    """Their own functions stay as they were, those of a third element and of what joins all of them are fitted."""
    short = {'evaluator': 'pyace', 'r_cut': 4.5, 'max_deg': 2, 'max_order': 2, 'max_epochs': 2, 'potential': COARSE}
    baseline = DeltaBaseline.for_elements(['Ag', 'Au', 'Cu'])
    initial = {}
    for element in ('Ag', 'Cu') if several else ('Cu',):
        made = basis.build(parse_config({'elements': [element], **short}).sections()['potential'])
        for number, function in enumerate(made.functions(), start=1):
            function['c'] = [0.01 * number]
        described = {'baseline': baseline, 'reference_energies': ISOLATED}
        initial[element] = PacePotentialData(made.dump().encode(), **described).store()
    new = ['Au', 'BINARY', 'TERNARY'] if several else ['Ag', 'Au', 'BINARY', 'TERNARY']
    config = {'elements': ['Ag', 'Au', 'Cu'], **short, 'fit': {'trainable_parameters': new}}
    symbols = [
        3 * ['Cu'] + ['Ag'],
        ['Cu', 'Ag', 'Au', 'Au'],
        4 * ['Au'],
        ['Ag', 'Ag', 'Au', 'Cu'],
        4 * ['Ag'],
        4 * ['Cu'],
    ]
    data = table('alloys.pckl.gzip', [alloy(one, seed) for seed, one in enumerate(symbols)])
    dataset, report = merge_frames(data, require_stress=False)
    assert any('energy_corrected' in text for text in report['warnings'])

    node = run_job(
        'pacemaker.train',
        code=pace_codes['train'],
        dataset=dataset,
        config=config,
        baseline=baseline.model_dump(mode='json'),
        reference_energies=ISOLATED,
        **({'initial_potentials': initial} if several else {'potential': initial['Cu'], 'potential_mode': 'extend'}),
    )
    sections = parse_config(config).sections()
    files = [tmp_path / f'{element}.yaml' for element in initial]
    for path, potential in zip(files, initial.values(), strict=True):
        path.write_bytes(potential.get_b_basis())
    names = [path.name for path in files]
    sections['potential']['initial_potential'] = names if several else names[0]
    sections['data'] = {'filename': data.name, 'reference_energy': ISOLATED}
    sections['fit']['ladder_step'] = 1000
    assert_same(node, *by_hand(yaml.safe_dump({'cutoff': 4.5, **sections}), data, *files))

    blocks = {block.species: block for block in basis.parse(node.outputs.potential.get_b_basis().decode()).blocks}
    assert {species for species in blocks if len(species) == 1} == {('Ag',), ('Au',), ('Cu',)}
    for element, potential in initial.items():
        (before,) = basis.parse(potential.get_b_basis().decode()).blocks
        coefficients = {basis.key_of(function): function['c'] for function in blocks[element,].functions}
        assert coefficients == {basis.key_of(function): function['c'] for function in before.functions}
    assert np.abs([c for function in blocks['Au',].functions for c in function['c']]).max() > 0
