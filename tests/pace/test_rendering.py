"""The engine's input file, read back as the engine reads it."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.pace.config.rendering import InitialPotential, render_input
from aiida_pacemaker.pace.config.trainer_config import parse_config

GOLDEN = Path(__file__).parent / 'test_rendering'
SHORT = {'elements': ['O', 'Mg'], 'evaluator': 'pyace', 'r_cut': 5.0, 'max_deg': 6}
ENERGIES = {'O': -431.6, 'Mg': -1690}

LADDER = SHORT | {
    'evaluator': 'tensorpot',
    'kappa': 'auto',
    'fit': {
        'ladder_step': [10, 0.02],
        'ladder_type': 'power_order',
        'min_relative_test_loss_per_iter': 1e-5,
        'weighting': {'type': 'EnergyBasedWeightingPolicy', 'DEup': 10, 'DFup': 50.0},
    },
    'metadata': {'purpose': 'a ladder', 'cutoff': '1e5'},
}
SHAPED = {
    'elements': ['No', 'Y'],
    'seed': 7,
    'potential': {
        'embeddings': {'ALL': {'npot': 'FinnisSinclair', 'fs_parameters': [1, 1, 1, 0.5], 'ndensity': 2}},
        'bonds': {
            'ALL': {'radbase': 'ChebExpCos', 'radparameters': [5.25], 'rcut': 5, 'dcut': 0.01},
            'No': {'rcut': 4.5, 'r_in': 1.0, 'delta_in': 0.1, 'core-repulsion': [100, 5]},
            'NoY': {'rcut': 5.5},
        },
        'functions': {
            'number_of_functions_per_element': 100,
            'UNARY': {'nradmax_by_orders': [8, 4, 3], 'lmax_by_orders': [0, 3, 2]},
            'BINARY': {'nradmax_by_orders': [8, 2], 'lmax_by_orders': [0, 2], 'coefs_init': 'random'},
        },
    },
    'data': {'aug_factor': 0.001, 'ignore_weights': True},
    'extra': {'fit': {'option_of_the_future': 1}},
}


def read(text):
    """Read as the engine does."""
    return YAML(typ='safe', pure=True).load(text)


def render(config=SHORT, **over):
    arguments = {'data_files': ['shard-1.pckl.gzip'], 'reference_energy': ENERGIES} | over
    return render_input(parse_config(config), **arguments)


CORE = DeltaBaseline.for_elements(['Mg', 'O'], mode='core')

CASES = {
    'short': render,
    'ladder': lambda: render(LADDER, data_files=['a.pckl.gzip', 'b.pckl.gzip'], test_files=['test/c.pkl.gz']),
    'shaped': lambda: render(SHAPED, reference_energy={'Y': -1e-9, 'No': 0.0}),
    'continue': lambda: render(initial=InitialPotential('initial.yaml', 'continue'), max_epochs=10),
    'reset': lambda: render(initial=InitialPotential('initial.yaml', 'reset'), baseline=CORE),
    'extend': lambda: render(initial=InitialPotential('initial.yaml', 'extend')),
}


@pytest.mark.parametrize('name', CASES)
def test_golden_files(name):
    assert CASES[name]() == (GOLDEN / f'{name}.yaml').read_text()


@pytest.mark.parametrize('name', CASES)
def test_every_section_is_there_for_both_versions_of_yaml(name):
    text = CASES[name]()
    content = read(text)
    assert content == yaml.safe_load(text)
    assert list(content) == ['cutoff', 'seed', 'metadata', 'potential', 'data', 'fit', 'backend']
    assert isinstance(content['seed'], int)
    assert all(isinstance(value, float) for value in content['data']['reference_energy'].values())


def test_reading_gives_the_sections_back():
    config = parse_config(SHAPED)
    content = read(render(SHAPED, reference_energy={'Y': -1, 'No': 0}))
    expected = {'cutoff': 5.5, **config.sections()}
    expected['data'] |= {'filename': ['shard-1.pckl.gzip'], 'reference_energy': {'No': 0.0, 'Y': -1.0}}
    assert content == expected


@settings(max_examples=40, deadline=None)
@given(
    value=st.floats(0, 1e300, exclude_min=True),
    energy=st.floats(allow_nan=False, allow_infinity=False),
    metadata=st.dictionaries(st.text(min_size=1), st.text()),
)
def test_numbers_and_text_survive(value, energy, metadata):
    text = render(
        SHORT | {'fit': {'loss': {'L1_coeffs': value}}, 'metadata': metadata},
        reference_energy={'Mg': energy, 'O': -energy},
    )
    content = read(text)
    assert content['fit']['loss']['L1_coeffs'] == value
    assert content['data']['reference_energy'] == {'Mg': energy, 'O': -energy}
    assert content['metadata'] == metadata


@pytest.mark.parametrize(
    'text', ['1e5', '1.0', 'null', 'no', 'True', '0o17', '0x1F', '12:30', '~', '.inf', '', ' a', '#']
)
def test_text_that_looks_like_something_else_stays_text(text):
    assert read(render(SHORT | {'metadata': {text: text}}))['metadata'] == {text: text}


@pytest.mark.fault(
    'the input has no `cutoff`',
    engine='before 0.4: stops; later versions take one with a warning',
    here='always written, the largest of all bonds',
    ends='-',
)
def test_the_cutoff_is_that_of_the_longest_bond():
    assert read(render())['cutoff'] == 5.0
    assert read(render(SHAPED, reference_energy={'Y': 0.0, 'No': 0.0}))['cutoff'] == 5.5
    assert read(render(initial=InitialPotential('initial.yaml', 'continue')))['cutoff'] == 5.0


def test_weights_of_frames_are_no_policy_of_the_engine():
    config = SHORT | {'fit': {'weighting': {'type': 'ExternalWeightingPolicy'}}}
    assert 'weighting' not in read(render(config))['fit']


def test_order_of_elements_and_energies_does_not_matter():
    mirrored = SHORT | {'elements': ['Mg', 'O']}
    assert render() == render(mirrored, reference_energy=dict(reversed(ENERGIES.items())))


def test_epochs_of_the_run_and_repulsion():
    fit = read(render(SHORT | {'max_epochs': 50}, max_epochs=3, baseline=CORE))['fit']
    assert (fit['maxiter'], fit['repulsion']) == (3, 'auto')
    assert 'repulsion' not in read(render())['fit']


def test_modes_of_the_initial_potential():
    content = read(render(initial=InitialPotential('initial.yaml', 'continue')))
    assert content['potential'] == 'initial.yaml'
    content = read(render(initial=InitialPotential('initial.yaml', 'reset')))
    assert content['potential'] == {'filename': 'initial.yaml', 'reset': True}
    content = read(render(initial=InitialPotential('initial.yaml', 'extend')))
    assert content['potential'] == parse_config(SHORT).sections()['potential'] | {'initial_potential': 'initial.yaml'}
    # A given step stays; without one, all functions come at once.
    assert content['fit']['ladder_step'] == 1_000_000
    ladder = SHORT | {'fit': {'ladder_step': 0.5}}
    assert read(render(ladder, initial=InitialPotential('i.yaml', 'extend')))['fit']['ladder_step'] == 0.5


@pytest.mark.parametrize('mode', ['continue', 'reset'])
def test_a_ladder_can_only_extend(mode):
    with pytest.raises(ConfigError, match=f'fit.ladder_step: a ladder cannot {mode} i.yaml.*needed: the mode extend'):
        render(SHORT | {'fit': {'ladder_step': 5}}, initial=InitialPotential('i.yaml', mode))


OUTSIDE = ['../data.gzip', '/etc/data.gzip', 'a/../b.gzip', 'a//b.gzip', '$HOME.gzip']
UNSAFE = ['a b.gzip', '-d.gzip', '.gzip', 'a\n.gzip', 'a.gzip\n', "a'.gzip", 'ä.gzip', '']


@pytest.mark.parametrize('name', [*OUTSIDE, *UNSAFE, 'data.pckl'])
@pytest.mark.parametrize('argument', ['data_files', 'test_files'])
def test_file_names_stay_in_the_folder(argument, name):
    with pytest.raises(ConfigError, match=r'(data|test) file: found .* needed: '):
        render(**{argument: [name]})


@pytest.mark.parametrize('name', ['../i.yaml', 'i.yml', 'i i.yaml', '/i.yaml'])
def test_name_of_the_initial_potential(name):
    with pytest.raises(ConfigError, match='initial potential: found '):
        InitialPotential(name, 'continue')


def test_unknown_mode():
    with pytest.raises(ConfigError, match="found mode 'restart', needed: continue, reset, extend"):
        InitialPotential('i.yaml', 'restart')


@pytest.mark.parametrize(
    ('over', 'message'),
    [
        ({'data_files': []}, 'data file: found none'),
        ({'data_files': ['a.gzip', 'a.gzip']}, 'data file: found a.gzip, a.gzip, needed: each once'),
        ({'reference_energy': {'Mg': 1.0}}, 'reference_energy: missing for O, which the engine would take as zero'),
        ({'reference_energy': ENERGIES | {'shift': 1.0}}, 'reference_energy: found shift, needed: chemical symbols'),
        ({'reference_energy': ENERGIES | {'O': float('nan')}}, 'reference_energy: not a finite number for O'),
        ({'max_epochs': 0}, 'max_epochs: found 0, needed: at least 1'),
        ({'config': LADDER}, 'fit.min_relative_test_loss_per_iter: needed: test data'),
        (
            {'config': SHAPED, 'reference_energy': {'No': 0.0, 'Y': 0.0}, 'baseline': CORE},
            'potential.bonds.No: r_in, delta_in, core-repulsion would be overwritten by the ZBL of the engine',
        ),
    ],
)
def test_what_cannot_be_written(over, message):
    with pytest.raises(ConfigError, match=message):
        render(**over)
