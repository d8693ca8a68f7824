"""The engine itself on what the schema lets through and what it stops."""

import json
import subprocess
import sys
from math import comb

import pytest

from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.pace.config.potential_checks import DISTINCT_OF_ORDER, LMAX_OF_ORDER
from aiida_pacemaker.pace.config.rendering import WHOLE_LADDER
from aiida_pacemaker.pace.config.trainer_config import parse_config

pytestmark = pytest.mark.engine

#: Run by a Python of its own, so that the engine's libraries stay out of this one: potential sections in, facts out.
PROBE = """
import json, pickle, sys
from importlib.resources import files
from pyace import ACEBBasisSet
from pyace.basisextension import construct_bbasisconfiguration, get_actual_ladder_step

def probe(potential):
    try:
        configuration = construct_bbasisconfiguration(potential)
        basis = ACEBBasisSet(configuration)
        basis.to_ACECTildeBasisSet()
    except Exception as exception:
        return {'error': f'{type(exception).__name__}: {exception}'}
    per_element = {element: 0 for element in potential['elements']}
    for block in configuration.funcspecs_blocks:
        per_element[block.elements_vec[0]] += len(block.funcspecs)
    return {'elements': list(basis.elements_name), 'cutoff': basis.cutoffmax, 'functions': per_element}

cases = json.load(sys.stdin)
with open(str(files('pyace.data').joinpath('mus_ns_uni_to_rawlsLS_np_rank.pckl')), 'rb') as file:
    table = pickle.load(file)
largest = {}
for factors, couplings in table.items():
    n_factors, distinct = len(factors), len(set(factors))
    ell = max(max(ls) for ls, _ in couplings)
    largest.setdefault(n_factors, []).append((distinct, ell))
print()
json.dump({
    'cases': {name: probe(potential) for name, potential in cases.items()},
    'table': largest,
    'ladder': [get_actual_ladder_step(int(sys.argv[1]), present, 100) for present in (0, 40, 99)],
}, sys.stdout)
"""

#: Functions per element that the engine makes, by elements, max_deg and max_order.
FUNCTIONS = {
    ('Al', 3, 2): 5,
    ('Al', 6, 3): 56,
    ('Al', 8, 4): 159,
    ('MgO', 3, 2): 12,
    ('MgO', 4, 3): 48,
    ('MgO', 6, 3): 256,
    ('AlCuNi', 3, 2): 21,
    ('AlCuNi', 4, 3): 103,
    ('AlCuNi', 2, 1): 6,
}
SHAPED = {
    'elements': ['Al', 'Cu', 'Ni'],
    'potential': {
        'embeddings': {
            'ALL': {'npot': 'FinnisSinclair', 'fs_parameters': [1, 1], 'ndensity': 1},
            'Ni': {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1, 1, 1, 0.5], 'ndensity': 2},
        },
        'bonds': {
            'ALL': {'radbase': 'ChebExpCos', 'radparameters': [5.25], 'rcut': 5.0, 'dcut': 0.01, 'r_in': 1.0},
            'BINARY': {'radbase': 'ChebPow', 'radparameters': [2], 'rcut': 5.5},
            'NiAl': {'rcut': 6.25, 'core-repulsion': [100, 5], 'delta_in': 0.1},
        },
        'functions': {
            'number_of_functions_per_element': 60,
            'UNARY': {'nradmax_by_orders': [8, 4, 3], 'lmax_by_orders': [0, 3, 2]},
            'BINARY': {'nradmax_by_orders': [8, 2], 'lmax_by_orders': [0, 2], 'coefs_init': 'random'},
            'Al Cu Ni': {'nradmax_by_orders': [1, 1], 'lmax_by_orders': [0, 1]},
        },
    },
}
EMBEDDING = {'npot': 'FinnisSinclair', 'fs_parameters': [1, 1], 'ndensity': 1}
BOND = {'radbase': 'SBessel', 'radparameters': [5.25], 'rcut': 5.0, 'dcut': 0.01}
SHAPE = {'nradmax_by_orders': [4, 2], 'lmax_by_orders': [0, 2]}


def complete(**over):
    """Return a section that the schema may refuse, for the engine to judge."""
    sections = {'embeddings': {'ALL': EMBEDDING}, 'bonds': {'ALL': BOND}, 'functions': {'ALL': SHAPE}}
    return {'elements': ['Al', 'Ni']} | sections | over


#: Sections that the schema refuses.
REFUSED = {
    'one order of a pair': complete(functions={'UNARY': SHAPE, 'AlNi': SHAPE}),
    'an element alone': complete(functions={'Al': SHAPE}),
    'few functions': complete(functions={'ALL': SHAPE, 'number_of_functions_per_element': 1}),
    'inner cutoffs': complete(bonds={'ALL': BOND, 'AlNi': {'inner_cutoff_type': 'zbl'}}),
    'densities': complete(embeddings={'ALL': EMBEDDING | {'ndensity': 2}}),
    'large l': complete(functions={'ALL': {'nradmax_by_orders': [4, 2], 'lmax_by_orders': [0, 11]}}),
    'radial functions': complete(bonds={'ALL': BOND | {'nradbase': 3}}),
    'high order': complete(functions={'ALL': {'nradmax_by_orders': [1] * 5 + [2], 'lmax_by_orders': [0] * 6}}),
}
LARGEST_L = complete(functions={'ALL': {'nradmax_by_orders': [4, 2], 'lmax_by_orders': [0, 10]}})


def short(elements, max_deg, max_order):
    symbols = {'Al': ['Al'], 'MgO': ['Mg', 'O'], 'AlCuNi': ['Al', 'Cu', 'Ni']}[elements]
    shape = {'r_cut': 5.0, 'max_deg': max_deg, 'max_order': max_order}
    return parse_config({'elements': symbols, 'evaluator': 'pyace', **shape})


@pytest.fixture(scope='module')
def facts():
    cases = {'-'.join(map(str, key)): short(*key).sections()['potential'] for key in FUNCTIONS}
    cases |= REFUSED | {'largest l': LARGEST_L, 'shaped': parse_config(SHAPED).sections()['potential']}
    command = [sys.executable, '-c', PROBE, str(WHOLE_LADDER)]
    run = subprocess.run(command, input=json.dumps(cases), text=True, capture_output=True, check=False)
    assert run.returncode == 0, f'python-ace is needed: pip install python-ace==0.4.0rc1\n{run.stderr[-2000:]}'
    # Anything the libraries print comes before the answer.
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize(('key', 'functions'), FUNCTIONS.items())
def test_expansion_is_a_basis_of_the_engine(facts, key, functions):
    config = short(*key)
    assert facts['cases']['-'.join(map(str, key))] == {
        'elements': list(config.elements),
        'cutoff': config.cutoff,
        'functions': dict.fromkeys(config.elements, functions),
    }


def test_shape_by_groups_and_elements(facts):
    found = facts['cases']['shaped']
    assert found['cutoff'] == parse_config(SHAPED).cutoff == 6.25
    assert found['elements'] == ['Al', 'Cu', 'Ni']
    assert all(0 < functions <= 60 for functions in found['functions'].values())


@pytest.mark.parametrize('name', REFUSED)
def test_refused_for_a_reason(facts, name):
    potential = dict(REFUSED[name])
    with pytest.raises(ConfigError):
        parse_config({'elements': potential['elements'], 'potential': potential})
    # Either the engine stumbles, or it makes something else of the input without a word.
    in_silence = {
        'an element alone': {'elements': ['Al'], 'cutoff': 5.0, 'functions': {'Al': 13, 'Ni': 0}},
        'few functions': {'elements': ['Al', 'Ni'], 'cutoff': 5.0, 'functions': {'Al': 0, 'Ni': 0}},
        'large l': facts['cases']['largest l'],
    }
    if name in in_silence:
        assert facts['cases'][name] == in_silence[name]
    else:
        assert 'Error' in facts['cases'][name]['error']


def test_limits_are_those_of_the_table(facts):
    table = {int(order): factors for order, factors in facts['table'].items()}
    assert sorted(table) == list(range(1, len(LMAX_OF_ORDER) + 1))
    for order, factors in table.items():
        assert {ell for _, ell in factors} == {LMAX_OF_ORDER[order - 1]}
        allowed = DISTINCT_OF_ORDER.get(order, order)
        # All ways to share the factors among so many different ones must be there.
        ways = sum(comb(order - 1, distinct - 1) for distinct in range(1, allowed + 1))
        assert sum(distinct <= allowed for distinct, _ in factors) == ways


def test_whole_ladder_is_one_step(facts):
    assert facts['ladder'] == [100, 60, 1]
