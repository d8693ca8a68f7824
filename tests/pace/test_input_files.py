"""Input files of the engine as people have them."""

from __future__ import annotations

import pytest
import yaml
from command_line import call

from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.pace.config.input_files import read_input, read_input_file
from aiida_pacemaker.pace.config.rendering import render_input
from aiida_pacemaker.pace.config.trainer_config import parse_config

INPUT = """
cutoff: 6 # outdated
seed: 7
metadata: {origin: a paper, year: 2024}
potential:
  deltaSplineBins: 0.001
  elements: [Ni, Al]
  embeddings: {ALL: {npot: FinnisSinclairShiftedScaled, fs_parameters: [1, 1, 1, 0.5], ndensity: 2}}
  bonds:
    ALL: {radbase: ChebExpCos, radparameters: [5.25], rcut: 6, dcut: 0.01, NameofCutoffFunction: cos}
    (Al, Ni): {rcut: 5.5}
    NiAl: {rcut: 5.5}
  functions:
    number_of_functions_per_element: 300
    ALL: {nradmax_by_orders: [6, 2], lmax_by_orders: [0, 2]}
data:
  filename: train.pckl.gzip
  test_size: 0.1
  reference_energy: {Al: -0.2, Ni: -0.5}
fit:
  loss: {kappa: 0.1, L1_coeffs: 1e-8, L2_coeffs: 1e-8, w1_coeffs: 1, w2_coeffs: 1}
  weighting: {type: EnergyBasedWeightingPolicy, DEup: 10, wlow: None}
  trainable_parameters: {"(Al, Ni)": {"func", "radial"}, NiAl: all}
  fit_cycles: 1
  noise_relative_sigma: 0
  maxitr: 5
backend: {evaluator: tensorpot, batch_size_reduction: 'True', display_step: 50}
"""


def test_what_it_says_is_kept():
    found = read_input(INPUT)
    config = found.config
    sections = config.sections()
    assert config.elements == ('Ni', 'Al')
    assert config.cutoff == 6.0
    # Text for YAML 1.1, a number for the engine.
    assert sections['fit']['loss'] == {'kappa': 0.1, 'L1_coeffs': 1e-8, 'L2_coeffs': 1e-8}
    assert sections['potential']['bonds']['AlNi'] == {'rcut': 5.5}
    assert 'NiAl' not in sections['potential']['bonds']
    assert sections['fit']['trainable_parameters'] == {'AlNi': ['func', 'radial'], 'NiAl': 'all'}
    assert sections['fit']['weighting'] == {'type': 'EnergyBasedWeightingPolicy', 'DEup': 10.0, 'seed': 7}
    assert sections['backend'] == {'evaluator': 'tensorpot', 'batch_size_reduction': True, 'display_step': 50}
    assert (found.reference_energies, found.test_fraction) == ({'Al': -0.2, 'Ni': -0.5}, 0.1)
    rendered = render_input(config, data_files=['a.pckl.gzip'], reference_energy=found.reference_energies)
    assert parse_config(config.to_dict()) == config
    assert 'cutoff: 6.0' in rendered


@pytest.mark.fault(
    'an `input.yaml` of another project is to be fitted with here',
    engine='reads it, and leaves out what it does not know',
    here='`aiida-pacemaker config` and `read_input_file` read it, with what was left out and what to give in its place',
    ends='-',
)
def test_what_is_left_out_is_said():
    notes = '\n'.join(read_input(INPUT).notes)
    for said in (
        'cutoff: left out, written from the largest rcut',
        'data.filename: left out, give the data as the input `dataset`',
        'data.test_size: left out, split the data with `split_frames(dataset, test_fraction=..., seed=...)`',
        "data.reference_energy: left out, give {'Al': -0.2, 'Ni': -0.5} as the input `reference_energies`",
        'fit.loss.w1_coeffs: left out, read by no engine',
        'fit.loss.w2_coeffs: left out, read by no engine',
        'fit.maxitr: left out, the engine does not read it; did you mean fit.maxiter?',
        'potential.bonds.ALL.NameofCutoffFunction: left out, read by no engine',
        "backend.batch_size_reduction: 'True' is text, which the engine takes as true",
    ):
        assert said in notes
    assert 'L1_coeffs' not in notes, 'no key that is dead has a near one'


def changed(old, new):
    assert old in INPUT
    return read_input(INPUT.replace(old, new))


def test_energies_that_the_engine_takes_from_the_data():
    found = changed('  reference_energy: {Al: -0.2, Ni: -0.5}\n', '')
    assert found.reference_energies is None
    (note,) = (note for note in found.notes if note.startswith('data.reference_energy'))
    assert "merge with keys={'energy': 'energy_corrected'} and give {'Ni': 0.0, 'Al': 0.0}" in note


@pytest.mark.parametrize(('given', 'energies'), [('0', {'Ni': 0.0, 'Al': 0.0}), ('auto', None), ('null', None)])
def test_reference_energies(given, energies):
    assert changed('{Al: -0.2, Ni: -0.5}', given).reference_energies == energies


def test_repulsion_of_the_engine_wants_a_baseline_that_leaves_it_alone():
    found = changed('  fit_cycles: 1', '  repulsion: auto')
    assert found.config.sections()['fit']['repulsion'] == 'auto'
    assert "DeltaBaseline.for_elements(elements, mode='core')" in found.notes[-1]


def test_a_baseline_is_always_needed_but_not_beside_a_core():
    assert any('default_baseline(dataset, orm.Bool(False))' in note for note in read_input(INPUT).notes)
    core = 'rcut: 6, r_in: 1.0, inner_cutoff_type: zbl,'
    for old, new in (('  fit_cycles: 1', '  repulsion: auto'), ('rcut: 6,', core)):
        assert not any('default_baseline' in note for note in changed(old, new).notes)


@pytest.mark.parametrize('harmless', ['inner_cutoff_type: zbl', 'r_in: 0, delta_in: 0', 'core-repulsion: [0, 5]'])
def test_settings_that_change_nothing_beside_the_repulsion_of_the_engine(harmless):
    text = INPUT.replace('  fit_cycles: 1', '  repulsion: auto').replace('rcut: 6,', f'rcut: 6, {harmless},')
    read_input(text)


def test_settings_that_the_repulsion_of_the_engine_overwrites_are_refused_at_once():
    text = INPUT.replace('  fit_cycles: 1', '  repulsion: auto').replace('rcut: 6,', 'rcut: 6, r_in: 1.0,')
    with pytest.raises(ConfigError, match=r'potential.bonds.ALL: r_in would be overwritten by fit.repulsion auto'):
        read_input(text)


def test_equal_weights_by_name_and_weights_of_frames():
    assert (
        'weighting'
        not in changed(
            '{type: EnergyBasedWeightingPolicy, DEup: 10, wlow: None}', '{type: UniformWeightingPolicy}'
        ).config.sections()['fit']
    )
    found = changed(
        '{type: EnergyBasedWeightingPolicy, DEup: 10, wlow: None}', '{type: ExternalWeightingPolicy, filename: w.pckl}'
    )
    assert found.config.sections()['fit']['weighting']['type'] == 'ExternalWeightingPolicy'
    assert any('merge with `weights`' in note for note in found.notes)


@pytest.mark.parametrize('given', ['[]', '{}', 'null'])
def test_nothing_to_train_is_everything_as_for_the_engine(given):
    found = changed('{"(Al, Ni)": {"func", "radial"}, NiAl: all}', given)
    assert found.config.sections()['fit']['trainable_parameters'] == 'ALL'


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('potential: {a: [', 'the file is not YAML'),
        ('- 1', 'needed: the input of a fit'),
        ('potential: x.yaml', 'needed: the input of a fit'),
        ('potential: {elements: [Cu]}', 'r_cut: missing'),
        ('!!python/object/apply:os.system [id]', 'the file is not YAML'),
    ],
)
def test_what_is_no_input(text, said):
    with pytest.raises(ConfigError, match=said):
        read_input(text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match='cannot be read: No such file'):
        read_input_file(tmp_path / 'input.yaml')


def test_the_command(tmp_path):
    path, made = tmp_path / 'input.yaml', tmp_path / 'config.yaml'
    path.write_text(INPUT)
    result = call('config', path, '-o', made)
    assert result.exit_code == 0
    assert 'data.filename: left out' in result.stderr
    config = read_input(INPUT).config
    assert parse_config(yaml.safe_load(made.read_text())) == config
    assert parse_config(yaml.safe_load(call('config', path).stdout)) == config
    path.write_text('potential: {elements: [Cu]}')
    assert 'r_cut: missing' in call('config', path).output
