"""The number of basis functions, against linear algebra, recorded potentials and the engine."""

import json
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from itertools import combinations_with_replacement, product
from math import comb
from pathlib import Path
from random import Random
from time import perf_counter

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aiida_pacemaker.pace.config.potential_checks import DISTINCT_OF_ORDER, LMAX_OF_ORDER
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.cost.basis_size import EXACT_ORDER, count_factors, count_functions, radial_sizes
from aiida_pacemaker.pace.output.potentials import read_potential

FIXTURES = Path(__file__).parents[1] / 'fixtures' / 'train'
ELEMENTS = ['Al', 'Cu', 'Mg', 'O', 'Zr']
needs_engine = pytest.mark.skipif(find_spec('pyace') is None, reason='needs python-ace')
GROUPS = ['UNARY', 'BINARY', 'TERNARY', 'QUATERNARY', 'QUINARY']

#: Run by a Python of its own, so that the engine's libraries stay out of this one: potential sections in, sizes out.
PROBE = """
import json, sys
from pyace import ACEBBasisSet, create_multispecies_basis_config

def probe(potential):
    configuration = create_multispecies_basis_config(potential)
    functions = {element: 0 for element in potential['elements']}
    for block in configuration.funcspecs_blocks:
        functions[block.elements_vec[0]] += len(block.funcspecs)
    basis = ACEBBasisSet(configuration)
    names = basis.elements_name
    factors = {
        name: sum(f.rank * len(f.ms_combs) for f in [*first, *others])
        for name, first, others in zip(names, basis.basis_rank1, basis.basis)
    }
    bonds = basis.map_bond_specifications.items()
    radial = {names[i] + ' ' + names[j]: [bond.nradbasemax, bond.nradmax, bond.lmax] for (i, j), bond in bonds}
    return {'functions': functions, 'factors': factors, 'radial': radial}

answers = [probe(potential) for potential in json.load(sys.stdin)]
print()
json.dump(answers, sys.stdout)
"""


def section(elements, functions):
    """Return a complete section."""
    bond = {'radbase': 'SBessel', 'radparameters': [5.25], 'rcut': 5.0, 'dcut': 0.01, 'NameOfCutoffFunction': 'cos'}
    return {
        'deltaSplineBins': 0.001,
        'elements': elements,
        'embeddings': {'ALL': {'npot': 'FinnisSinclair', 'fs_parameters': [1, 1], 'ndensity': 1}},
        'bonds': {'ALL': bond},
        'functions': functions,
    }


def shape(nradmax, lmax):
    return {'nradmax_by_orders': list(nradmax), 'lmax_by_orders': list(lmax)}


def of_order(order, nradmax, lmax):
    """Return a shape that has one order beside the single function of the first."""
    return shape([1] + [0] * (order - 2) + [nradmax], [0] * (order - 1) + [lmax])


def alone(order, n_radial, lmax):
    """Return the number of functions of one order for one element."""
    if order == 1:
        return count_functions(section(['Al'], {'ALL': shape([n_radial], [lmax])}))['Al']
    return count_functions(section(['Al'], {'ALL': of_order(order, n_radial, lmax)}))['Al'] - 1


def kernel_of_raising(order, n_radial, lmax):
    """Count invariants by linear algebra: what the raising operator takes to zero among the weights M = 0."""
    factors = [(n, ell, m) for n in range(n_radial) for ell in range(lmax + 1) for m in range(-ell, ell + 1)]
    monomials = [one for one in combinations_with_replacement(factors, order) if sum(ell for _, ell, _ in one) % 2 == 0]
    rows = {one: row for row, one in enumerate(one for one in monomials if sum(m for *_, m in one) == 1)}
    columns = [one for one in monomials if sum(m for *_, m in one) == 0]
    raising = np.zeros((max(1, len(rows)), len(columns)))
    for column, monomial in enumerate(columns):
        for position, (n, ell, m) in enumerate(monomial):
            if m < ell:
                raised = (*monomial[:position], (n, ell, m + 1), *monomial[position + 1 :])
                raising[rows[tuple(sorted(raised))], column] += np.sqrt(ell * (ell + 1) - m * (m + 1))
    return len(columns) - np.linalg.matrix_rank(raising)


@pytest.mark.parametrize(
    'size', [(1, 3, 0), (2, 2, 3), (3, 1, 3), (3, 2, 2), (4, 1, 2), (4, 2, 1), (5, 2, 1), (6, 1, 1), (7, 1, 1)]
)
def test_the_count_is_that_of_linear_algebra(size):
    assert alone(*size) == kernel_of_raising(*size)


@given(order=st.integers(1, 12), n_radial=st.integers(1, 30), lmax=st.integers(0, 10))
def test_closed_forms(order, n_radial, lmax):
    assert alone(order, n_radial, 0) == comb(n_radial + order - 1, order)
    assert alone(1, n_radial, lmax) == n_radial
    # Two factors couple only if their l is the same.
    assert alone(2, n_radial, lmax) == comb(n_radial + 1, 2) * (lmax + 1)


@given(
    nradmax=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    ells=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    n_elements=st.integers(1, 4),
)
def test_an_element_is_as_good_as_a_radial_index(nradmax, ells, n_elements):
    found = count_functions(section(ELEMENTS[:n_elements], {'ALL': shape(nradmax, ells[: len(nradmax)])}))
    more = shape([n * n_elements for n in nradmax], ells[: len(nradmax)])
    assert set(found.values()) == set(count_functions(section(['Al'], {'ALL': more})).values())


def test_a_limit_is_shared_by_all_blocks():
    functions = {'UNARY': shape([5], [0]), 'BINARY': shape([6, 4], [0, 3])}
    assert count_functions(section(['Mg', 'O'], functions)) == {'Mg': 115, 'O': 115}
    # Four blocks share twice 30: those of one element cannot use up their 15.
    assert count_functions(section(['Mg', 'O'], functions | {'number_of_functions_per_element': 30})) == {
        'Mg': 20,
        'O': 20,
    }


def test_a_production_basis_is_counted_at_once():
    short = {'elements': ['Al', 'Mg', 'O'], 'evaluator': 'pyace', 'r_cut': 6.0, 'max_deg': 12, 'max_order': 4}
    config = parse_config(short)
    start = perf_counter()
    assert set(count_functions(config.sections()['potential']).values()) == {75612}
    assert perf_counter() - start < 1.0


@cache
def recorded():
    """Return the sections of the fits that began from nothing, and what they made."""
    found = {}
    for path in sorted(FIXTURES.glob('*/output_potential.yaml')):
        potential = yaml.safe_load((path.parent / 'input.yaml').read_text()).get('potential')
        # A ladder that is continued with -p ends before its last functions.
        if isinstance(potential, dict) and 'elements' in potential and path.parent.name != 'ladder_restart':
            found[path.parent.name] = potential, read_potential(path.read_text())
    return found


@pytest.mark.parametrize('name', recorded())
def test_recorded_potentials(name):
    potential, summary = recorded()[name]
    functions = count_functions(potential)
    assert functions == summary.n_functions_per_element
    radial = sum(size.nradbase * size.nradmax * (size.lmax + 1) for size in radial_sizes(potential).values())
    coefficients = sum(n * summary.n_densities[element] for element, n in functions.items())
    # The file has the radial coefficients of both orders of a pair.
    assert coefficients + radial == summary.n_parameters


def random_potential(random):
    """Return a section that the engine can build in a fraction of a second."""
    elements = random.sample(ELEMENTS, random.choice([1, 1, 2, 2, 3, 4, 5]))
    longest = {1: 6, 2: 5, 3: 4, 4: 3, 5: 3}[len(elements)]

    def draw(n_elements):
        nradmax, lmax = [], []
        for order in range(1, random.randint(1, longest) + 1):
            largest = {1: 6, 2: 4, 3: 3, 4: 2}.get(order, 1) if n_elements < 3 else {1: 4, 2: 2}.get(order, 1)
            # The engine's table ends at few different factors.
            largest = min(largest, DISTINCT_OF_ORDER.get(order, 6) // n_elements)
            nradmax.append(random.randint(min(order, 1) if order == 1 else 0, largest))
            lmax.append(random.randint(0, min(LMAX_OF_ORDER[order - 1], 10 if n_elements < 3 else 3)))
        return shape(nradmax, lmax)

    functions = {'ALL': draw(len(elements))}
    for n_elements, group in enumerate(GROUPS[: len(elements)], start=1):
        if random.random() < 0.4:
            functions[group] = draw(n_elements)
    if len(elements) > 1 and random.random() < 0.4:
        one, *others = random.sample(elements, random.randint(2, min(3, len(elements))))
        functions[one + ''.join(sorted(others))] = draw(len(others) + 1)
        if len(others) == 1:
            functions[others[0] + one] = draw(2)
    if random.random() < 0.3:
        functions['number_of_functions_per_element'] = random.randint(40, 400)
    return section(elements, functions)


def ask_engine(potentials):
    run = subprocess.run(
        [sys.executable, '-c', PROBE], input=json.dumps(potentials), text=True, capture_output=True, check=False
    )
    assert run.returncode == 0, f'python-ace is needed: pip install python-ace==0.4.0rc1\n{run.stderr[-2000:]}'
    # Anything the libraries print comes before the answer.
    return json.loads(run.stdout.splitlines()[-1])


@needs_engine
@pytest.mark.engine
def test_the_engine_makes_as_many():
    random = Random(20)  # noqa: S311
    potentials = []
    while len(potentials) < 30:
        potential = random_potential(random)
        if sum(count_functions(potential).values()) < 2000:
            potentials.append(potential)
    for potential, real in zip(potentials, ask_engine(potentials), strict=True):
        assert count_functions(potential) == real['functions'], potential['functions']
        # What is left below a limit is taken to be simple.
        least = 0.1 if 'number_of_functions_per_element' in potential['functions'] else 0.6
        for element, factors in count_factors(potential).items():
            assert least < factors / real['factors'][element] < 1.5, potential['functions']


@needs_engine
@pytest.mark.engine
def test_the_engine_has_as_many_radial_functions():
    small, large = shape([4, 1], [0, 1]), shape([6, 3, 2], [0, 3, 2])
    potentials = [
        section(['Mg', 'O'], {'ALL': large}),
        section(['Mg', 'O'], {'UNARY': small, 'BINARY': large}),
        section(['Mg', 'O'], {'UNARY': large, 'BINARY': small}),
        section(['Al', 'Mg', 'O'], {'UNARY': small, 'BINARY': shape([3, 1], [0, 2]), 'TERNARY': large}),
        section(['Mg', 'O'], {'ALL': shape([6], [0])}),
    ]
    potentials.append(potentials[0] | {'bonds': {**potentials[0]['bonds'], 'MgO': {'nradmax': 5, 'lmax': 4}}})
    for potential, real in zip(potentials, ask_engine(potentials), strict=True):
        assert {' '.join(pair): list(size) for pair, size in radial_sizes(potential).items()} == real['radial']


@needs_engine
@pytest.mark.engine
def test_the_engine_has_all_functions_up_to_some_order():
    sizes = {1: 6, 2: 4, 3: 2, 4: 1, 5: 1} | dict.fromkeys(range(6, 13), 1)
    cases = [
        (order, elements)
        for order, elements in product(range(1, 13), (['Al'], ['Al', 'Cu']))
        if len(elements) <= DISTINCT_OF_ORDER.get(order, 2)
    ]
    potentials = [
        section(
            elements,
            {'ALL': of_order(order, sizes[order], LMAX_OF_ORDER[order - 1]) if order > 1 else shape([6], [0])},
        )
        for order, elements in cases
    ]
    for (order, _), potential, real in zip(cases, potentials, ask_engine(potentials), strict=True):
        counted = count_functions(potential)
        if order <= EXACT_ORDER:
            assert counted == real['functions'], potential['functions']
        else:
            assert all(real['functions'][element] <= n for element, n in counted.items()), potential['functions']
