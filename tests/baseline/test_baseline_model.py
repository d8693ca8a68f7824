from __future__ import annotations

import json
import math

import numpy as np
import pytest
from ase.data import chemical_symbols, covalent_radii, reference_states
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_pacemaker.baseline.lj import default_pair
from aiida_pacemaker.baseline.model import DeltaBaseline, LJBaseline, LJPair, ZBLBaseline, ZBLPair
from aiida_pacemaker.baseline.pair_terms import PairTerm, lj, zbl
from aiida_pacemaker.baseline.zbl import default_cutoffs

PAIR = {'elements': ['O', 'Mg'], 'epsilon': 0.02, 'sigma': 1.9, 'cutoff': 5.0}


def nearest_distances() -> dict[str, float]:
    """Return the bond lengths and nearest-neighbour distances of the elements that ASE has cells of."""
    lengths = {'U': 2.75}  # alpha uranium (orthorhombic): C. S. Barrett et al., Phys. Rev. 129, 625 (1963)
    for symbol, state in zip(chemical_symbols, reference_states, strict=False):
        if state is None or ('a' not in state and 'd' not in state):
            continue
        of_symmetry = {
            'diatom': lambda s: s['d'],
            'sc': lambda s: s['a'],
            'fcc': lambda s: s['a'] / math.sqrt(2),
            'bcc': lambda s: s['a'] * math.sqrt(3) / 2,
            'diamond': lambda s: s['a'] * math.sqrt(3) / 4,
            'hcp': lambda s: s['a'] * min(1, math.sqrt(1 / 3 + s['c/a'] ** 2 / 4)),
        }
        if state['symmetry'] in of_symmetry:
            lengths[symbol] = of_symmetry[state['symmetry']](state)
    return lengths


@pytest.mark.parametrize('mode', ['delta', 'core', 'both'])
@pytest.mark.parametrize('lj', [False, True])
def test_a_baseline_survives_json(mode, lj):
    baseline = DeltaBaseline.for_elements(['O', 'H', 'Mg'], lj=lj, mode=mode)
    again = DeltaBaseline.model_validate(json.loads(json.dumps(baseline.model_dump(mode='json'))))
    assert again == baseline
    assert hash(again) == hash(baseline)


def test_the_order_of_elements_and_pairs_does_not_matter():
    assert DeltaBaseline.for_elements(['O', 'Mg'], lj=True) == DeltaBaseline.for_elements(['Mg', 'O', 'Mg'], lj=True)
    pairs = DeltaBaseline.for_elements(['O', 'Mg'], lj=True).lj.pairs
    turned = tuple(pair.model_copy(update={'elements': pair.elements[::-1]}).model_dump() for pair in reversed(pairs))
    assert LJBaseline(pairs=turned) == LJBaseline(pairs=pairs)


def test_mode_says_what_is_subtracted_and_what_the_engine_does():
    delta, core, both = (DeltaBaseline.for_elements(['O'], lj=True, mode=mode) for mode in ('delta', 'core', 'both'))
    assert delta.subtracted() == both.subtracted() == (delta.zbl, delta.lj)
    assert core.subtracted() == (core.lj,)
    assert [baseline.engine_repulsion for baseline in (delta, core, both)] == [False, True, False]
    assert [bool(baseline.engine_inner_cutoffs(['O'])) for baseline in (delta, core, both)] == [False, False, True]
    assert DeltaBaseline.for_elements(['O'], mode='core').subtracted() == ()


def test_default_zbl_is_zero_where_elements_bond():
    lengths = nearest_distances()
    assert len(lengths) > 60
    for symbol, length in lengths.items():
        (pair,) = DeltaBaseline.for_elements([symbol]).zbl.pairs
        assert pair.outer < length, symbol


def test_default_zbl_of_a_pair_follows_both_atoms_and_the_data():
    cutoffs = {pair.elements: (pair.inner, pair.outer) for pair in DeltaBaseline.for_elements(['O', 'Mg']).zbl.pairs}
    assert cutoffs == {('Mg', 'Mg'): (0.987, 1.974), ('Mg', 'O'): (0.7245, 1.449), ('O', 'O'): (0.462, 0.924)}
    # Mg-O comes close in the data, O-O does not, and Mg-Mg is not there.
    near = DeltaBaseline.for_elements(['O', 'Mg'], shortest={('Mg', 'O'): 1.2194, ('O', 'O'): 1.81}).zbl
    assert {pair.elements: pair.outer for pair in near.pairs} == {
        ('Mg', 'Mg'): 1.974,
        ('Mg', 'O'): 1.097,
        ('O', 'O'): 0.924,
    }


def assert_repulsive(shortest: np.ndarray | None = None) -> None:
    """Check that ZBL of all pairs of the first 94 elements falls all the way from 0.4 angstrom to its end."""
    first, second = np.triu_indices(94)
    symbols = chemical_symbols[1:95]
    limits = [None] * len(first) if shortest is None else shortest
    cutoffs = [
        default_cutoffs(symbols[a], symbols[b], limit) for a, b, limit in zip(first, second, limits, strict=True)
    ]
    assert len(cutoffs) == 4465
    inner, outer = np.array(cutoffs).T
    assert shortest is None or (outer < shortest).all()
    assert (outer > 0.4).all()
    rows = (0.4 + np.linspace(0, 1, 100)[:, np.newaxis] * (outer - 0.4)).ravel()
    numbers = (np.tile(one + 1.0, 100) for one in (first, second))
    energy, slope = (part.reshape(100, -1) for part in zbl(rows, *numbers, np.tile(inner, 100), np.tile(outer, 100)))
    assert (np.diff(energy, axis=0)[:98] < 0).all()
    assert (slope[:98] < 0).all()
    assert energy[-1].max() < 1e-6


def test_default_zbl_repels_all_the_way_for_every_pair_of_elements():
    assert_repulsive()


@pytest.mark.parametrize('seed', range(3))
def test_zbl_repels_all_the_way_to_whatever_the_data_show(seed):
    assert_repulsive(np.random.default_rng(seed).uniform(0.6, 3, 4465))


@settings(max_examples=50, deadline=None)
@given(outer=st.floats(0.4, 5), share=st.floats(0.01, 0.99), numbers=st.tuples(st.integers(1, 94), st.integers(1, 94)))
def test_zbl_repels_all_the_way_whatever_cutoffs_a_user_gives(outer, share, numbers):
    distance = np.linspace(0.3, outer, 200)[:-2]
    energy, slope = zbl(
        distance, *np.full((2, 198), np.array(numbers, dtype=float)[:, np.newaxis]), share * outer, outer
    )
    assert (slope < 0).all()
    assert (np.diff(energy) < 1e-12 * energy[0]).all()


@pytest.mark.fault(
    'large atoms collide beside small ones',
    engine='one inner and one outer cutoff for all pairs in `pair_style zbl`',
    here='cutoffs of each pair from the radii of both atoms, below the shortest distance of the pair in the data',
    ends='success',
)
def test_large_atoms_repel_beside_small_ones():
    """The engine's own core has 41 eV for Mg-Mg at 1 angstrom; with the cutoffs of O-O there was nothing."""
    energy, _ = PairTerm(DeltaBaseline.for_elements(['Mg', 'O']).plain_terms(['Mg', 'O'])[0]).evaluate(
        np.array([1.0]), np.array([12]), np.array([12])
    )
    assert 0.8 * 41 < energy[0] < 41


def test_a_user_can_set_the_cutoffs_of_a_pair():
    zbl_of_all = ZBLBaseline(inner=0.7, outer=1.4, pairs=(ZBLPair(elements=('O', 'Mg'), inner=0.4, outer=1.1),))
    found = {pair.elements: pair.outer for pair in zbl_of_all.pairs_of(['Mg', 'O'])}
    assert found == {('Mg', 'Mg'): 1.4, ('Mg', 'O'): 1.1, ('O', 'O'): 1.4}
    # What is not listed follows from the radii, and is listed where the elements are known.
    listed = DeltaBaseline(zbl=ZBLBaseline(pairs=(ZBLPair(elements=('O', 'O'), inner=0.4, outer=0.8),)))
    complete = listed.complete_for(['Mg', 'O'])
    assert [(pair.elements, pair.outer) for pair in complete.zbl.pairs] == [
        (('Mg', 'Mg'), 1.974),
        (('Mg', 'O'), 1.449),
        (('O', 'O'), 0.8),
    ]
    assert complete.plain_for(['O', 'Mg']) == listed.plain_for(['Mg', 'O'])


def test_baselines_of_older_potentials_mean_what_they_meant():
    lj_pair = {'elements': ['Mg', 'Mg'], 'epsilon': 0.01, 'sigma': 2.5, 'cutoff': 6.2}
    old = {'mode': 'delta', 'zbl': {'inner': 0.5, 'outer': 1.0}, 'lj': {'pairs': [lj_pair], 'shift': True}}
    stored = DeltaBaseline.from_stored(old)
    assert stored.zbl.pairs_of(['Mg']) == (ZBLPair(elements=('Mg', 'Mg'), inner=0.5, outer=1.0),)
    assert (stored.lj.pairs[0].off, stored.lj.pairs[0].on) == (None, None)
    assert DeltaBaseline.from_stored(stored.model_dump(mode='json')) == stored
    # What is given today is switched.
    assert DeltaBaseline.model_validate(old).lj.pairs[0].off == 2.5


def test_default_lj_has_its_minimum_at_the_sum_of_the_covalent_radii():
    epsilon, sigma, cutoff = (np.array([value]) for value in default_pair('Mg', 'O'))
    bond = np.array([covalent_radii[12] + covalent_radii[8]])
    energy, slope = lj(bond, epsilon, sigma, cutoff, shift=False)
    np.testing.assert_allclose(energy, -epsilon, rtol=1e-6)
    assert abs(slope[0]) < 1e-4
    assert (
        lj(bond * 0.99, epsilon, sigma, cutoff, shift=False)[1] < 0 < lj(bond * 1.01, epsilon, sigma, cutoff, False)[1]
    )


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({}, 'zbl is needed'),
        ({'zbl': None}, 'zbl is needed'),
        ({'zbl': {'inner': 2, 'outer': 1}}, 'between inner=2 and outer=1 angstrom; inner must be the smaller one'),
        ({'zbl': {'inner': 2, 'outer': 2}}, 'inner must be the smaller one'),
        ({'zbl': {'inner': 0, 'outer': 2}}, 'greater than 0'),
        ({'zbl': {'inner': 1, 'outer': math.inf}}, 'finite'),
        ({'zbl': {'inner': 1, 'outer': 2}, 'modus': 'delta'}, r'modus\n.*not permitted'),
        ({'zbl': {'inner': 1, 'outer': 2}, 'mode': 'off'}, "'core', 'both' or 'none'"),
        ({'zbl': {'inner': 1}}, 'inner and outer belong together'),
        ({'zbl': {}}, 'there are no cutoffs; give those of each pair'),
        (
            {'zbl': {'pairs': [{'elements': ['O', 'O'], 'inner': 1, 'outer': 2}] * 2}},
            'ZBL cutoffs are given more than once for O-O',
        ),
        ({'zbl': {'inner': 1, 'outer': 2}, 'lj': {'pairs': [{**PAIR, 'off': 1}]}}, 'off and on belong together'),
        ({'zbl': {'inner': 1, 'outer': 2}, 'lj': {'pairs': [{**PAIR, 'cutoff': 2}]}}, 'needed: off < on < cutoff'),
        ({'zbl': {'inner': 1, 'outer': 2}, 'lj': {'pairs': []}}, 'at least 1 item'),
        ({'zbl': {'inner': 1, 'outer': 2}, 'lj': {'pairs': [{**PAIR, 'sigma': -1}]}}, 'greater than 0'),
        (
            {'zbl': {'inner': 1, 'outer': 2}, 'lj': {'pairs': [{**PAIR, 'elements': ['Mg', 'Ox']}]}},
            "'Ox' is not the symb",
        ),
        (
            {'zbl': {'inner': 1, 'outer': 2}, 'lj': {'pairs': [PAIR, {**PAIR, 'elements': ['Mg', 'O']}]}},
            'LJ parameters are given more than once for Mg-O',
        ),
    ],
)
def test_wrong_parameters_are_explained(values, message):
    with pytest.raises(ValueError, match=message):
        DeltaBaseline.model_validate(values)


def test_parameters_cannot_change():
    baseline = DeltaBaseline.for_elements(['O'])
    with pytest.raises(ValueError, match='frozen'):
        baseline.zbl.inner = 1.0


@pytest.mark.parametrize(
    ('elements', 'message'),
    [
        ([], 'there are no elements'),
        (['Mg', 'X'], "'X' is not the symbol"),
        (['mg'], "'mg' is not the symbol"),
        (['O', 'Bk'], 'covalent radius of Bk is not known .*explicitly'),
    ],
)
def test_there_is_no_default_without_a_radius(elements, message):
    with pytest.raises(ValueError, match=message):
        DeltaBaseline.for_elements(elements)


def test_parameters_of_all_pairs_of_elements():
    baseline = DeltaBaseline.for_elements(['O', 'Mg', 'H'], lj=True).lj
    assert [pair.elements for pair in baseline.pairs_of(['O', 'Mg'])] == [('Mg', 'Mg'), ('Mg', 'O'), ('O', 'O')]
    only = LJBaseline(pairs=(LJPair(**PAIR),))
    with pytest.raises(ValueError, match=r'no parameters for Mg-Mg, O-O \(it has Mg-O\)'):
        only.pairs_of(['O', 'Mg'])


@pytest.mark.engine
def test_in_mode_both_the_engine_switches_ace_off_where_the_repulsion_is_on():
    from ase import Atoms
    from pyace import ACEBBasisSet, PyACECalculator, create_multispecies_basis_config

    baseline = DeltaBaseline(mode='both', zbl=ZBLBaseline(inner=0.7, outer=1.1))
    bonds = {'radbase': 'SBessel', 'radparameters': [5.25], 'rcut': 5, 'dcut': 0.01, 'NameOfCutoffFunction': 'cos'}
    configuration = create_multispecies_basis_config(
        {
            'deltaSplineBins': 0.001,
            'elements': ['Mg', 'O'],
            'embeddings': {'ALL': {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1, 1], 'ndensity': 1}},
            'bonds': {'ALL': bonds | baseline.engine_inner_cutoffs(['Mg'])['Mg', 'Mg']},
            'functions': {
                'number_of_functions_per_element': 3,
                'ALL': {'nradmax_by_orders': [3], 'lmax_by_orders': [0]},
            },
        }
    )
    configuration.set_all_coeffs(np.ones(len(configuration.get_all_coeffs())))
    calculator = PyACECalculator(ACEBBasisSet(configuration))
    energies = [
        calculator.get_potential_energy(Atoms('MgO', [[0, 0, 0], [0, 0, r]])) for r in (0.3, 0.69, 0.75, 1.0, 1.2)
    ]
    assert energies[:2] == [0, 0]
    assert all(abs(energy) > 1e-6 for energy in energies[2:])


def test_a_potential_from_elsewhere_can_have_no_baseline():
    none = DeltaBaseline(mode='none')
    assert none == DeltaBaseline.for_elements(['Cu'], mode='none')
    assert none.subtracted() == ()
    assert not none.engine_repulsion
    with pytest.raises(ValueError, match='leave out zbl and lj'):
        DeltaBaseline(mode='none', zbl=ZBLBaseline(inner=1.0, outer=2.0))
    with pytest.raises(ValueError, match='zbl is needed'):
        DeltaBaseline(mode='delta')
