"""Configurations of exact linear fits: what they expand to, what they refuse, and the degree that the data can bear."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.pace.config.linear import LinearFit, for_data, functions_of, linear_fit_of
from aiida_pacemaker.pace.config.linear_checks import OTHERWISE, not_linear
from aiida_pacemaker.pace.config.rendering import render_input
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.cost.basis_size import count_functions
from aiida_pacemaker.pace.cost.memory import predict_linear_memory
from aiida_pacemaker.pace.cost.survey import Survey

SHORT = {'elements': ['O', 'Mg'], 'max_deg': 6}
OPEN = {'elements': ['O', 'Mg']}
PACEMAKER = {'prior': 'pacemaker'}
MANY = {'Mg': 10_000, 'O': 10_000}

LINEAR = {'npot': 'FinnisSinclair', 'fs_parameters': [1, 1], 'ndensity': 1}
ROOT = {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1, 0.5], 'ndensity': 1}
TWO = {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1, 1, 1, 0.5], 'ndensity': 2}
BOND = {'radbase': 'SBessel', 'radparameters': [5.25], 'rcut': 5.0, 'dcut': 0.01}
FUNCTIONS = {'ALL': {'nradmax_by_orders': [4, 2], 'lmax_by_orders': [0, 2]}}
POLICY = {'type': 'EnergyBasedWeightingPolicy', 'DE': 2.0}
ENERGY_BASED = {'kappa': 0.3, 'upper': 10.0, 'energy': 'convex_hull'}


def embedded(**embeddings):
    return {'potential': {'embeddings': embeddings}}


def complaints(**over):
    """Return the lines that complain about a right configuration changed in one place."""
    with pytest.raises(ConfigError) as raised:
        parse_config(SHORT | over)
    first, *lines = str(raised.value).splitlines()
    assert first == 'the configuration cannot be used:'
    return [line.strip() for line in lines]


def fit_of(atoms=None, **over):
    return linear_fit_of(parse_config(SHORT | over), atoms)


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
                    'radbase': 'ChebExpCos',
                    'radparameters': [5.25],
                    'rcut': 5.5,
                    'dcut': 0.01,
                    'NameOfCutoffFunction': 'cos',
                }
            },
            'functions': {'ALL': {'nradmax_by_orders': [8, 5, 4], 'lmax_by_orders': [0, 2, 1]}},
        },
        'data': {},
        # It has no iterations and another loss: nothing of the section is read.
        'fit': {},
        'backend': {'evaluator': 'linear'},
        'linear': {
            'basis': 'given',
            'energy_ratio': 10.0,
            'energy_scale': 1.0,
            'virial_ratio': 0.5,
            'prior': 'order_degree',
            'pair_functions': 8,
            'functions_per_atom': 1.0,
            'repulsion': 0.6,
        },
    }


@pytest.mark.parametrize(
    ('over', 'evaluator'),
    [
        ({}, 'linear'),
        ({'evaluator': 'pyace'}, 'pyace'),
        ({'backend': {'evaluator': 'tensorpot'}}, 'tensorpot'),
        ({'backend': {'evaluator': 'linear'}}, 'linear'),
        (embedded(ALL=LINEAR), 'linear'),
        (embedded(ALL=TWO), 'pyace'),
        (embedded(ALL=LINEAR, O={'fs_parameters': [1, 0.5]}), 'pyace'),
        # What is given for all elements acts on those alone that have nothing of their own.
        (embedded(ALL=TWO, Mg=LINEAR, O=LINEAR), 'linear'),
        ({'max_deg': None, 'potential': {'functions': FUNCTIONS}}, 'pyace'),
        ({'max_deg': None, 'potential': {'functions': FUNCTIONS}, 'evaluator': 'linear'}, 'linear'),
    ],
)
def test_the_evaluator_that_is_used(over, evaluator):
    config = parse_config(SHORT | {'r_cut': 5.0} | over)
    assert config.used_evaluator == config.sections()['backend']['evaluator'] == evaluator


def test_without_iterations_and_with_forces():
    config = parse_config(SHORT)
    assert (config.maxiter, config.fits_no_forces, config.cutoff) == (0, False, 5.5)
    without = parse_config(SHORT | {'linear': PACEMAKER, 'kappa': 0})
    assert (without.maxiter, without.fits_no_forces) == (0, True)


def test_what_the_driver_takes():
    fit = fit_of()
    assert fit == LinearFit(
        potential=parse_config(SHORT).sections()['potential'],
        degree=6,
        first=8,
        weighting={'kind': 'physical', 'ratio': 10.0, 'scale': 1.0, 'reference': None, 'virial': 0.5},
        prior='order_degree',
        penalty=0.0,
        virial=True,
        repulsion=0.6,
        n_workers=None,
        candidates=[],
    )
    assert json.loads(json.dumps(vars(fit))) == vars(fit)


@pytest.mark.parametrize(
    ('linear', 'changes'),
    [
        ({'energy_scale': 'equal'}, {'scale': None}),
        ({'energy_scale': 3, 'energy_ratio': 20}, {'scale': 3.0, 'ratio': 20.0}),
        ({'energy_reference': -7.5}, {'reference': -7.5}),
        ({'virial_ratio': 2.0}, {'virial': 2.0}),
    ],
)
def test_weights_in_physical_words(linear, changes):
    assert fit_of(linear=linear).weighting == fit_of().weighting | changes


def test_what_is_switched_off():
    off = fit_of(linear={'virial_ratio': 0, 'repulsion': 0, 'prior': 'order'}, backend={'n_workers': 3})
    assert (off.virial, off.repulsion, off.prior, off.n_workers) == (False, None, 'order', 3)


@pytest.mark.parametrize(
    ('over', 'weighting', 'penalty'),
    [
        ({}, {'kappa': 0.3, 'offsets': None}, 1e-8),
        ({'kappa': 0.5}, {'kappa': 0.5, 'offsets': None}, 1e-8),
        # Nothing is added to a loss that is given, as for the other evaluators.
        ({'fit': {'loss': {'kappa': 0.1}}}, {'kappa': 0.1, 'offsets': None}, 0.0),
        ({'fit': {'loss': {'L2_coeffs': 1e-6}}}, {'kappa': 0.3, 'offsets': None}, 1e-6),
        ({'fit': {'weighting': POLICY}}, ENERGY_BASED | {'offsets': [2.0, 1.0]}, 1e-8),
        (
            {'fit': {'weighting': POLICY | {'DF': 3, 'DEup': 2, 'energy': 'cohesive', 'seed': 1}}},
            ENERGY_BASED | {'offsets': [2.0, 3.0], 'upper': 2.0, 'energy': 'cohesive'},
            1e-8,
        ),
        ({'fit': {'weighting': {'type': 'ExternalWeightingPolicy'}}}, {'kappa': 0.3, 'offsets': None}, 1e-8),
    ],
)
def test_the_loss_of_pacemaker(over, weighting, penalty):
    fit = fit_of(linear=PACEMAKER, **over)
    assert fit.weighting == {'kind': 'pacemaker', 'reference': None} | weighting
    assert (fit.prior, fit.penalty, fit.virial) == ('pacemaker', penalty, False)


def test_the_words_of_the_engine_have_its_defaults():
    over = {'max_deg': None, 'evaluator': 'linear', 'potential': {'functions': FUNCTIONS}}
    fit = fit_of(**over, linear=PACEMAKER)
    assert (fit.degree, fit.first, fit.penalty, fit.weighting['kappa']) == (None, None, 0.0, 0)
    assert fit.potential['functions'] == FUNCTIONS
    config = parse_config(SHORT | over)
    assert not config.degree_is_open
    assert functions_of(config) == count_functions(config.sections()['potential'])
    assert for_data(config, {}) is config


def test_only_linear_fits():
    with pytest.raises(ConfigError, match='the evaluator is pyace, not linear'):
        fit_of(evaluator='pyace', r_cut=5.0)


@pytest.mark.parametrize('evaluator', ['pyace', 'tensorpot'])
def test_other_fits_are_left_as_they_are(evaluator):
    config = parse_config(SHORT | {'evaluator': evaluator, 'r_cut': 5.0})
    assert for_data(config, MANY) is config
    assert functions_of(config, MANY) == count_functions(config.sections()['potential'])


def test_no_input_of_pacemaker_is_made():
    with pytest.raises(ConfigError, match='evaluator: found linear, which pacemaker does not have'):
        render_input(parse_config(SHORT), data_files=['a.gzip'], reference_energy={'Mg': 0.0, 'O': 0.0})


# What is refused.


@pytest.mark.parametrize(
    ('over', 'line'),
    [
        ({'max_epochs': 9}, f'max_epochs: an exact linear fit has no iterations; leave it out, or {OTHERWISE}'),
        (
            {'kappa': 0.3},
            'kappa: a linear fit has linear.energy_ratio in its place; leave it out, or set linear.prior: pacemaker, '
            f'or {OTHERWISE}',
        ),
        (
            {'fit': {'loss': {'kappa': 0.3}}},
            'fit.loss.kappa: not read by the evaluator linear; leave it out, or set linear.prior: pacemaker for its '
            f'loss, or {OTHERWISE}',
        ),
        *(
            ({'fit': given}, f'fit.{path}: not read by the evaluator linear; leave it out, or {OTHERWISE}')
            for given, path in (
                ({'optimizer': 'BFGS'}, 'optimizer'),
                ({'maxiter': 10}, 'maxiter'),
                ({'ladder_step': 10}, 'ladder_step'),
                ({'fit_cycles': 2}, 'fit_cycles'),
                ({'repulsion': 'auto'}, 'repulsion'),
                ({'trainable_parameters': 'func'}, 'trainable_parameters'),
                ({'options': {'gtol': 1e-4}}, 'options.gtol'),
                ({'loss': {'L1_coeffs': 1e-8}}, 'loss.L1_coeffs'),
                # That it is of another evaluator is not told beside.
                ({'loss': {'w_orth': 1.0}}, 'loss.w_orth'),
                ({'min_relative_test_loss_per_iter': 1e-5}, 'min_relative_test_loss_per_iter'),
            )
        ),
        (
            {'linear': PACEMAKER, 'fit': {'weighting': {**POLICY, 'nfit': 3}}},
            f'fit.weighting.nfit: not read by the evaluator linear; leave it out, or {OTHERWISE}',
        ),
        (
            {'linear': PACEMAKER, 'kappa': 'auto'},
            'kappa: found auto, needed for the evaluator linear: a number from 0 to 1',
        ),
        (
            {'data': {'aug_factor': 0.1}},
            f'data.aug_factor: not read by the evaluator linear; leave it out, or {OTHERWISE}',
        ),
        ({'backend': {'display_step': 5}}, 'backend.display_step: not read by the evaluator linear; leave it out'),
        ({'backend': {'imagetype': 'png'}}, 'backend.imagetype: not read by the evaluator linear; leave it out'),
        ({'extra': {'fit': {'new': 1}}}, 'extra.fit: the evaluator linear passes nothing on; leave it out'),
        (
            {'backend': {'batch_size': 10}},
            'backend.batch_size: read by tensorpot only, and the evaluator is linear; leave it out, or set evaluator: '
            'tensorpot',
        ),
        (
            {'backend': {'parallel_mode': 'serial'}},
            'backend.parallel_mode: read by pyace only, and the evaluator is linear; leave it out, or set evaluator: '
            'pyace',
        ),
        (
            {'potential': {'bonds': {'ALL': BOND | {'r_in': 1.0, 'delta_in': 0.1}}}},
            'potential.bonds.ALL: r_in, delta_in would be overwritten by linear.repulsion; needed: only one, such as '
            'linear.repulsion: 0',
        ),
        (
            {'potential': {'bonds': {'ALL': BOND, 'O': {'core-repulsion': [100, 5]}}}},
            'potential.bonds.O: core-repulsion would be overwritten by linear.repulsion; needed: only one, such as '
            'linear.repulsion: 0',
        ),
        ({'max_deg': 2}, 'max_deg: found 2, needed: at least max_order, 3, one degree for each factor'),
        (
            {'max_deg': 24},
            'max_deg: found 24, which gives lmax_by_orders: found 11 for order 2, needed: at most 10',
        ),
        (
            {'max_deg': None, 'max_order': 6},
            'max_order: found 6 without max_deg, which gives nradmax_by_orders: found 3 for order 6, needed: at most '
            '1, where the table of the engine ends',
        ),
    ],
)
def test_what_a_linear_fit_does_not_read_is_refused(over, line):
    assert complaints(**over) == [line]


@pytest.mark.parametrize('key', ['energy_ratio', 'energy_scale', 'virial_ratio'])
def test_two_losses_are_not_mixed(key):
    assert complaints(linear={**PACEMAKER, key: 1.0}) == [
        f'linear.{key}: the loss of Pacemaker (linear.prior) has kappa and fit.weighting; keep one of them'
    ]


@pytest.mark.parametrize(
    ('over', 'path'),
    [
        (embedded(ALL=TWO), 'Mg O'),
        (embedded(ALL=LINEAR, O=TWO), 'O'),
        (embedded(ALL=LINEAR, Mg=ROOT), 'Mg'),
    ],
)
def test_an_embedding_that_is_not_linear(over, path):
    lines = complaints(evaluator='linear', **over)
    needed = 'needed for the evaluator linear: one density of exponent 1 (fs_parameters [1, 1])'
    for line, element in zip(lines, path.split(), strict=True):
        assert line.startswith(f'potential.embeddings ({element}): found ')
        assert f'{needed}; {OTHERWISE}' in line
    # Left to itself it is a fit by iterations, which needs a cutoff.
    assert complaints(**over) == ['r_cut: missing; needed: the outer cutoff in angstrom, or potential.bonds']
    (line,) = complaints(r_cut=5.0, **over, linear={})
    assert line == ('linear: read by linear only, and the evaluator is pyace; leave it out, or set evaluator: linear')


def test_why_an_embedding_is_not_linear():
    assert not_linear(None, ['Mg']) == {}
    assert not_linear({'ALL': LINEAR}, ['Mg', 'O']) == {}
    assert not_linear({'ALL': LINEAR | {'fs_parameters': [2.5, 1]}}, ['Mg']) == {}
    assert not_linear({'ALL': TWO, 'O': ROOT}, ['Mg', 'O']) == {'Mg': '2 densities', 'O': 'fs_parameters [1, 0.5]'}


@pytest.mark.parametrize(
    ('linear', 'start'),
    [
        ({'repulsion': 0.96}, 'linear.repulsion: found 0.96, needed: less than or equal to 0.95'),
        ({'repulsion': 1.0}, 'linear.repulsion: found 1.0, needed: less than or equal to 0.95'),
        ({'repulsion': -0.1}, 'linear.repulsion: found -0.1, needed: greater than or equal to 0'),
        ({'energy_scale': 0}, 'linear.energy_scale: found 0, needed: an energy above 0 in eV/atom'),
        ({'energy_scale': True}, 'linear.energy_scale: found True, needed: an energy above 0 in eV/atom'),
        ({'energy_scale': 'uniform'}, "linear.energy_scale: found 'uniform', needed: an energy above 0 in eV/atom"),
        ({'energy_scale': float('nan')}, 'linear.energy_scale: found nan, needed: '),
        ({'energy_scale': float('inf')}, 'linear.energy_scale: found inf, needed: '),
        ({'energy_ratio': 0}, 'linear.energy_ratio: found 0, needed: greater than 0'),
        ({'virial_ratio': -1}, 'linear.virial_ratio: found -1, needed: greater than or equal to 0'),
        ({'functions_per_atom': 0}, 'linear.functions_per_atom: found 0, needed: greater than 0'),
        ({'pair_functions': 0}, 'linear.pair_functions: found 0, needed: greater than or equal to 1'),
        ({'pair_functions': 41}, 'linear.pair_functions: found 41, needed: less than or equal to 40'),
        ({'prior': 'ridge'}, "linear.prior: found 'ridge', needed: 'order_degree', 'order' or 'pacemaker'"),
        ({'energy_ration': 2.0}, 'linear.energy_ration: unknown key; did you mean linear.energy_ratio?'),
    ],
)
def test_wrong_values(linear, start):
    assert complaints(linear=linear)[0].startswith(start)


@pytest.mark.parametrize(
    'over',
    [
        {'linear': {'repulsion': 0.95}},
        {'linear': {'repulsion': 0}, 'potential': {'bonds': {'ALL': BOND | {'r_in': 1.0, 'delta_in': 0.1}}}},
        {'data': {'ignore_weights': True}},
        {'backend': {'n_workers': 4}},
        {'extra': {'potential': {'new': 1}, 'fit': {}}},
    ],
)
def test_what_a_linear_fit_reads(over):
    assert parse_config(SHORT | over).used_evaluator == 'linear'


# The degree.


def test_an_open_degree_follows_from_the_data():
    config = parse_config(OPEN)
    assert config.degree_is_open
    assert not parse_config(SHORT).degree_is_open
    with pytest.raises(ConfigError, match='max_deg: missing; needed: a degree, or the number of atoms of each element'):
        linear_fit_of(config)
    # Without data it is the largest that can be chosen.
    assert functions_of(config) == functions_of(config, MANY) == functions_of(parse_config(OPEN | {'max_deg': 8}))
    few = linear_fit_of(config, {'Mg': 80, 'O': 500})
    assert few == linear_fit_of(parse_config(OPEN | {'max_deg': few.degree}))
    assert few.degree < linear_fit_of(config, MANY).degree == 8


def test_a_degree_that_is_given_stays():
    config = parse_config(SHORT)
    assert for_data(config, {'Mg': 1, 'O': 1}) is config
    assert linear_fit_of(config, {'Mg': 1, 'O': 1}).degree == 6


def test_the_scarcest_element_counts():
    config = parse_config(OPEN)
    assert functions_of(config, {'Mg': 100, 'O': 10_000}) == functions_of(config, {'Mg': 10_000, 'O': 100})
    # Of an element that the data do not have, nothing is known.
    absent = for_data(config, {'Mg': 10_000})
    assert (absent.max_deg, absent.linear_section['pair_functions']) == (3, 3)


def test_functions_for_each_atom():
    twice = OPEN | {'linear': {'functions_per_atom': 2.0}}
    assert functions_of(parse_config(twice), {'Mg': 70, 'O': 70}) == functions_of(
        parse_config(OPEN), {'Mg': 140, 'O': 140}
    )


numbers = st.integers(0, 3000)


@settings(max_examples=60, deadline=None)
@given(
    elements=st.lists(st.sampled_from(['Al', 'Cu', 'Ni']), min_size=1, max_size=3, unique=True),
    max_order=st.integers(1, 4),
    linear=st.fixed_dictionaries(
        {}, optional={'pair_functions': st.integers(1, 15), 'functions_per_atom': st.floats(0.1, 3)}
    ),
    atoms=st.fixed_dictionaries({'Al': numbers, 'Cu': numbers, 'Ni': numbers}),
    more=numbers,
)
def test_no_more_functions_than_the_data_can_bear(elements, max_order, linear, atoms, more):
    config = parse_config({'elements': elements, 'max_order': max_order, 'linear': linear})
    bearable = config.linear_section['functions_per_atom'] * min(atoms[element] for element in elements)
    chosen = for_data(config, atoms)
    (count,) = set(functions_of(chosen).values())
    assert functions_of(config, atoms) == functions_of(chosen)
    smallest = parse_config(
        {'elements': elements, 'max_order': max_order, 'max_deg': max_order, 'linear': {'pair_functions': max_order}}
    )
    assert count <= bearable or functions_of(chosen) == functions_of(smallest)
    # More data never lead to fewer functions.
    (grown,) = set(functions_of(config, {element: n + more for element, n in atoms.items()}).values())
    assert grown >= count
    # Nothing but the size is changed, and what was chosen stays.
    assert replace(linear_fit_of(config, atoms), weighting={}) == replace(linear_fit_of(chosen), weighting={})
    assert for_data(chosen, {}) is chosen


@settings(max_examples=60, deadline=None)
@given(
    linear=st.fixed_dictionaries(
        {},
        optional={
            'energy_ratio': st.floats(1e-3, 1e3),
            'energy_scale': st.one_of(st.just('equal'), st.floats(1e-3, 1e3)),
            'energy_reference': st.floats(-1e3, 1e3),
            'virial_ratio': st.floats(0, 10),
            'prior': st.sampled_from(['order_degree', 'order']),
            'pair_functions': st.integers(1, 40),
            'functions_per_atom': st.floats(0.1, 10),
            'repulsion': st.floats(0, 0.95),
        },
    ),
    shape=st.fixed_dictionaries(
        {}, optional={'r_cut': st.floats(1, 20), 'max_deg': st.integers(4, 12), 'max_order': st.integers(1, 4)}
    ),
)
def test_round_trip_through_json(linear, shape):
    config = parse_config({**OPEN, **shape, 'linear': linear})
    again = parse_config(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.sections() == config.sections()
    assert linear_fit_of(again, MANY) == linear_fit_of(config, MANY)


# Memory.


def memory(n_functions=500, n_frames=100, n_neighbours=10_000, **over):
    survey = Survey(n_frames, {'Mg': 16 * n_frames, 'O': 16 * n_frames}, n_neighbours, 1.9, (), (), ())
    return predict_linear_memory(parse_config(SHORT | over).sections(), survey, n_functions)


def test_memory_grows_with_the_square_of_the_functions():
    assert memory(1000).basis - memory(500).basis == 10 * 8 * (1000**2 - 500**2)
    assert replace(memory(1000), basis=0) == replace(memory(500), basis=0)


def test_memory_does_not_grow_with_the_equations():
    more = memory(n_neighbours=10**9)
    assert more == memory()
    many = memory(n_frames=10_000)
    assert many.structures == 100 * memory().structures
    assert replace(many, structures=0) == replace(memory(), structures=0)


def test_every_process_needs_its_libraries():
    one, two = memory(backend={'n_workers': 1}), memory(backend={'n_workers': 2})
    assert memory() == one
    assert two.program == 3 * one.program


def test_bases_to_choose_from():
    """What is left open is varied: radial functions, cutoff, and the degree up to what the data can bear."""
    fit = linear_fit_of(parse_config({'elements': ['Mg', 'O'], 'linear': {'basis': 'auto'}}), {'Mg': 130, 'O': 150})
    varied = [one['potential']['bonds']['ALL'] for one in fit.candidates]
    assert {(bond['radbase'], bond['rcut']) for bond in varied} == {
        (radbase, cutoff) for radbase in ('SBessel', 'ChebExpCos') for cutoff in (4.5, 5.5, 6.5)
    }
    assert all(one['degrees'] == [3, 4, 5, 6] for one in fit.candidates)
    given = {'elements': ['Mg', 'O'], 'r_cut': 5.0, 'max_deg': 4, 'linear': {'basis': 'auto'}}
    known = linear_fit_of(parse_config(given))
    assert [one['degrees'] for one in known.candidates] == [[4], [4]]
    assert {one['potential']['bonds']['ALL']['rcut'] for one in known.candidates} == {5.0}


@pytest.mark.parametrize(
    ('over', 'complaint'),
    [
        ({'linear': {'basis': 'auto', 'prior': 'pacemaker'}}, 'linear.basis: found auto, needed with the prior'),
        (
            {
                'evaluator': 'linear',
                'max_deg': None,
                'linear': {'basis': 'auto'},
                'potential': {'functions': {'ALL': {'nradmax_by_orders': [4, 2], 'lmax_by_orders': [0, 2]}}},
            },
            'linear.basis: found auto, but potential.functions gives all functions',
        ),
    ],
)
def test_no_choice_where_there_is_none(over, complaint):
    assert any(line.startswith(complaint) for line in complaints(**over))
