"""What the short form becomes."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_pacemaker.pace.config.expansion import shape_of
from aiida_pacemaker.pace.config.trainer_config import parse_config

SHORT = {'elements': ['O', 'Mg'], 'evaluator': 'pyace', 'r_cut': 5.0, 'max_deg': 6}
BONDS = {'ALL': {'radbase': 'ChebPow', 'radparameters': [2.0], 'rcut': 4.0, 'dcut': 0.01}, 'Mg O': {'rcut': 4.5}}
FUNCTIONS = {'ALL': {'nradmax_by_orders': [4, 2], 'lmax_by_orders': [0, 2]}, 'number_of_functions_per_element': 20}


@given(max_order=st.integers(1, 5), share=st.integers(1, 3), rest=st.integers(0, 4))
def test_degree_is_shared_by_the_factors(max_order, share, rest):
    max_deg = share * max_order + min(rest, max_order - 1)
    shape = shape_of(max_deg, max_order)
    nradmax, lmax = shape['nradmax_by_orders'], shape['lmax_by_orders']
    assert len(nradmax) == len(lmax) == max_order
    assert (nradmax[0], lmax[0]) == (max_deg, 0)
    assert nradmax[1:] == lmax[1:]
    for order, n in enumerate(nradmax, start=1):
        # The factors together stay within the degree, and one more degree for each would not.
        assert order * n <= max_deg < order * (n + 1)


def test_short_form():
    assert parse_config(SHORT).sections() == {
        'seed': 42,
        'metadata': {},
        'potential': {
            'elements': ['Mg', 'O'],
            'deltaSplineBins': 0.001,
            'embeddings': {'ALL': {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1.0, 1.0], 'ndensity': 1}},
            'bonds': {
                'ALL': {
                    'radbase': 'SBessel',
                    'radparameters': [5.25],
                    'rcut': 5.0,
                    'dcut': 0.01,
                    'NameOfCutoffFunction': 'cos',
                }
            },
            'functions': {'ALL': {'nradmax_by_orders': [6, 3, 2], 'lmax_by_orders': [0, 3, 2]}},
        },
        'data': {},
        'fit': {
            'loss': {'kappa': 0.3, 'L1_coeffs': 1e-8, 'L2_coeffs': 1e-8},
            'optimizer': 'BFGS',
            'maxiter': 100,
            'trainable_parameters': 'func',
        },
        'backend': {'evaluator': 'pyace', 'parallel_mode': 'serial', 'display_step': 20},
    }


TENSORPOT = {'evaluator': 'tensorpot'}


@pytest.mark.parametrize('over', [TENSORPOT, {'evaluator': None, 'backend': TENSORPOT}])
def test_tensorpot(over):
    sections = parse_config(SHORT | over).sections()
    assert sections['backend'] == {'evaluator': 'tensorpot', 'batch_size': 100, 'display_step': 20}
    assert sections['fit']['trainable_parameters'] == 'ALL'


def test_fit_and_backend_override_key_by_key():
    fit = {'loss': {'L2_coeffs': 0.0}, 'fit_cycles': 2, 'trainable_parameters': {'ALL': ['func', 'radial']}}
    over = {'max_epochs': 7, 'kappa': 'auto', 'fit': fit, 'backend': {'display_step': 5}}
    sections = parse_config(SHORT | over).sections()
    assert sections['fit'] == {
        # Nothing is added to a loss that is given.
        'loss': {'kappa': 'auto', 'L2_coeffs': 0.0},
        'optimizer': 'BFGS',
        'maxiter': 7,
        'trainable_parameters': {'ALL': ['func', 'radial']},
        'fit_cycles': 2,
    }
    assert sections['backend'] == {'evaluator': 'pyace', 'parallel_mode': 'serial', 'display_step': 5}


@pytest.mark.fault(
    'a config has the basis in the words of the engine, and says nothing of regularisation and of what is fitted',
    engine='fits all parameters, without regularisation, and no forces',
    here='the same, with a warning where forces have no weight; the short form has defaults of its own',
    ends='-',
)
def test_a_basis_in_the_words_of_the_engine_comes_with_its_defaults():
    config = {'elements': ['O', 'Mg'], 'potential': {'bonds': BONDS, 'functions': FUNCTIONS}}
    sections = parse_config(config).sections()
    assert sections['fit'] == {'loss': {'kappa': 0}, 'optimizer': 'BFGS', 'maxiter': 100}
    assert sections['backend'] == {'evaluator': 'pyace'}
    assert parse_config(config).fits_no_forces
    assert parse_config(config | {'kappa': 0.2, 'evaluator': 'tensorpot'}).sections()['fit']['loss'] == {'kappa': 0.2}
    assert not parse_config(config | {'kappa': 0.2}).fits_no_forces
    assert not parse_config(SHORT).fits_no_forces
    assert parse_config(SHORT).sections()['fit']['trainable_parameters'] == 'func'


def test_given_parts_of_the_potential_replace_the_expanded_ones():
    config = parse_config({'elements': ['O', 'Mg'], 'potential': {'bonds': BONDS, 'functions': FUNCTIONS}})
    potential = config.sections()['potential']
    assert potential['bonds'] == BONDS
    assert potential['functions'] == FUNCTIONS
    assert potential['embeddings']['ALL']['ndensity'] == 1
    assert config.cutoff == 4.5


def test_cutoff_is_the_largest_that_acts():
    everywhere = {'ALL': BONDS['ALL'] | {'rcut': 9.0}, 'UNARY': {'rcut': 4.0}, 'BINARY': {'rcut': 5.0}}
    config = {'elements': ['O', 'Mg'], 'max_deg': 4}
    assert parse_config(config | {'potential': {'bonds': everywhere}}).cutoff == 5.0
    assert parse_config(config | {'potential': {'bonds': everywhere | {'OMg': {'rcut': 3.0}}}}).cutoff == 4.0


def test_same_value_in_short_form_and_section_is_no_contradiction():
    config = parse_config(SHORT | {'r_cut': 4.5, 'potential': {'bonds': BONDS}, 'max_epochs': 9, 'fit': {'maxiter': 9}})
    assert (config.cutoff, config.maxiter) == (4.5, 9)


def test_weighting_gets_the_seed_of_the_fit():
    weighting = {'type': 'EnergyBasedWeightingPolicy', 'DEup': 5.0}
    fit = parse_config(SHORT | {'seed': 7, 'fit': {'weighting': weighting}}).sections()['fit']
    assert fit['weighting'] == weighting | {'seed': 7}
    fit = parse_config(SHORT | {'seed': 7, 'fit': {'weighting': weighting | {'seed': 1}}}).sections()['fit']
    assert fit['weighting']['seed'] == 1


def test_extra_is_merged_last_and_kept():
    extra = {'fit': {'new_option': 1, 'loss': {'w3_rad': 0.5}}, 'potential': {'functions': {'SENARY': {'x': 1}}}}
    config = parse_config(SHORT | {'extra': extra})
    assert config.sections()['fit']['loss']['w3_rad'] == 0.5
    assert config.sections()['fit']['new_option'] == 1
    assert config.sections()['potential']['functions']['SENARY'] == {'x': 1}
    assert config.to_dict()['extra'] == extra


def test_sections_are_the_callers_to_change():
    config = parse_config(SHORT | {'fit': {'loss': {'w0_rad': 1.0}}, 'extra': {'fit': {'new': {'a': 1}}}})
    before = json.dumps(config.sections())
    changed = config.sections()
    for section in ('potential', 'fit', 'backend', 'data'):
        changed[section].clear()
    config.sections()['fit']['loss'].clear()
    config.sections()['fit']['new'].clear()
    config.sections()['potential']['embeddings']['ALL'].clear()
    config.sections()['potential']['embeddings'].clear()
    assert json.dumps(config.sections()) == before
    assert parse_config(SHORT).sections()['potential']['embeddings']['ALL']['ndensity'] == 1


FULL = SHORT | {
    'evaluator': None,
    'r_cut': None,
    'max_deg': None,
    'seed': 3,
    'active_set_size': 20,
    'potential': {
        'elements': ['Mg', 'O'],
        'bonds': {'ALL': BONDS['ALL'] | {'core-repulsion': [100, 5.0], 'r_in': 1.0, 'delta_in': 0.1}},
        'functions': FUNCTIONS,
        'embeddings': {'ALL': {'npot': 'FinnisSinclair', 'fs_parameters': [1, 1, 1, 0.5], 'ndensity': 2}},
    },
    'fit': {'ladder_step': [5, 0.1], 'options': {'gtol': 1e-5, 'disp': True}, 'trainable_parameters': ['UNARY', 'MgO']},
    'data': {'aug_factor': 1e-3},
    'metadata': {'purpose': 'test'},
    'extra': {'fit': {'new_option': None}},
}


@settings(max_examples=40, deadline=None)
@given(
    st.fixed_dictionaries(
        {'elements': st.lists(st.sampled_from(['Mg', 'O', 'Al', 'No', 'Y']), min_size=1, max_size=3, unique=True)},
        optional={
            'kappa': st.one_of(st.floats(0, 1), st.just('auto')),
            'seed': st.integers(0, 2**32 - 1),
            'max_epochs': st.integers(1, 10**6),
            'metadata': st.dictionaries(st.text(min_size=1), st.text()),
        },
    )
)
def test_round_trip_through_json(short):
    config = parse_config({'evaluator': 'pyace', 'r_cut': 5.0, 'max_deg': 6} | short)
    assert parse_config(json.loads(json.dumps(config.to_dict()))) == config


def test_round_trip_of_all_sections():
    config = parse_config(FULL)
    again = parse_config(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.sections() == config.sections()
    assert again.sections()['fit']['new_option'] is None
    assert config.to_dict()['potential']['bonds']['ALL']['core-repulsion'] == [100.0, 5.0]
