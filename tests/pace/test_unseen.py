"""Interactions that data never had: what is listed, which atoms have them, and which frames are to be labelled."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.pace.output.potentials import PotentialSummary, read_potential
from aiida_pacemaker.pace.unseen import (
    Unseen,
    all_surroundings,
    cover,
    dropped_from,
    ranked,
    unseen_atoms,
    unseen_counts,
    unseen_in,
)

ELEMENTS = ('Ag', 'Au', 'Cu')


def frames_of(*structures: Atoms):
    return from_atoms(list(structures), 'source')


def potential(cutoffs: float | dict[tuple[str, str], float] = 3.6, order: int = 3) -> PotentialSummary:
    """Return a potential of three elements with one function for each of all surroundings up to an order."""
    if isinstance(cutoffs, float):
        cutoffs = {(one, other): cutoffs for one in ELEMENTS for other in ELEMENTS}
    sets = [()]
    for _ in range(order):
        sets = sorted({tuple(sorted({*near, symbol})) for near in sets for symbol in ELEMENTS} | set(sets))
    types = {(centre, near): 1 for centre in ELEMENTS for near in sets if near}
    return PotentialSummary(ELEMENTS, 0, 0, {}, 0, {}, {}, {}, {}, pair_cutoffs=cutoffs, functions_by_type=types)


def unseen_by(summary: PotentialSummary, *structures: Atoms) -> Unseen:
    return unseen_in(all_surroundings(frames_of(*structures), summary.pair_cutoffs), summary)


PURE = [bulk(symbol, cubic=True) for symbol in ELEMENTS]


def test_pure_elements_have_no_pairs_of_two():
    unseen = unseen_by(potential(), *PURE)
    assert unseen.names == ['Ag-Au', 'Ag-Cu', 'Au-Cu']
    for name in unseen.names:
        assert name in unseen.warning
    # What needs an unlike neighbour has none, and what needs like ones only has all.
    assert {block for block in unseen.blocks if set(block[1]) == {block[0]}} == set()
    assert len(unseen.blocks) == 3 * 6


@pytest.mark.fault(
    'a pair of elements that no frame of the data has', engine='gamma is 0', here='gamma is infinite', ends='told'
)
def test_rocksalt_after_pure_elements():
    """Unlike atoms are neighbours and like ones out of reach: nothing that is known is there."""
    unseen = unseen_by(potential(), *PURE)
    known, mixed = bulk('Cu', cubic=True, a=3.7), bulk('CuAg', 'rocksalt', a=5.5, cubic=True)
    frames = frames_of(known, mixed)
    assert unseen_atoms(frames, unseen).tolist() == [False] * 4 + [True] * 8
    # Farther apart than they can see each other.
    assert not unseen_atoms(frames_of(bulk('CuAg', 'rocksalt', a=7.3, cubic=True)), unseen).any()


def test_an_impurity():
    host = bulk('Cu', cubic=True) * 3
    host.symbols[0] = 'Ag'
    strangers = unseen_atoms(frames_of(host), unseen_by(potential(), *PURE))
    # The foreign atom and its twelve neighbours.
    assert strangers.sum() == 13
    assert strangers[0]
    unseen = unseen_by(potential(), *PURE, host)
    assert ('Cu', ('Ag', 'Cu')) not in unseen.blocks
    assert ('Ag', ('Ag', 'Cu')) in unseen.blocks
    # Two of them side by side have never been seen.
    host.symbols[neighbour_of(host, 0)] = 'Ag'
    assert unseen_atoms(frames_of(host), unseen)[0]


def neighbour_of(atoms: Atoms, index: int) -> int:
    first, second = neighbor_list('ij', atoms, 2.8)
    return int(second[first == index][0])


def test_triples_without_data_though_all_pairs_are_there():
    def molecule(symbols):
        return Atoms(symbols, [(0, 0, 0), (0, 0, 2.6), (0, 2.6, 0)][: len(symbols)], cell=[15] * 3, pbc=True)

    dimers = [molecule([one, other]) for one in ELEMENTS for other in ELEMENTS]
    unseen = unseen_by(potential(), *dimers)
    assert ('Cu', ('Ag',)) not in unseen.blocks
    assert 'Cu with Ag, Au' in unseen.names
    assert unseen_atoms(frames_of(molecule(['Cu', 'Ag', 'Au'])), unseen).tolist() == [True, False, False]
    # A basis of pair functions does not care.
    assert not unseen_by(potential(order=1), *dimers)


def test_the_cutoff_is_that_of_the_pair():
    """The largest cutoff of a potential says nothing of how far other pairs see each other."""
    cutoffs = dict(potential(6.0).pair_cutoffs) | {('Cu', 'Ag'): 2.4, ('Ag', 'Cu'): 2.4}
    dimer = Atoms('CuAg', [(0, 0, 0), (0, 0, 2.6)])
    unseen = unseen_by(potential(cutoffs), *PURE, dimer)
    assert 'Ag-Cu' in unseen.names
    assert not unseen_atoms(frames_of(dimer), unseen).any()
    dimer.positions[1, 2] = 2.3
    assert unseen_atoms(frames_of(dimer), unseen).all()


def test_a_pair_that_is_seen_from_one_end_only_is_named_so():
    cutoffs = dict(potential(3.6).pair_cutoffs) | {('Cu', 'Ag'): 2.4}
    unseen = unseen_by(potential(cutoffs, order=1), *PURE, Atoms('CuAg', [(0, 0, 0), (0, 0, 2.6)]))
    assert 'Ag around Cu' in unseen.names
    assert 'Ag-Cu' not in unseen.names


def test_nothing_is_unseen():
    unseen = unseen_by(potential(order=1), Atoms('CuAgAu', [(0, 0, 0), (0, 0, 2), (0, 1.8, 1)], cell=[3] * 3, pbc=True))
    assert not unseen
    assert (unseen.warning, unseen.request(), unseen.names) == ('', None, [])


def test_a_frame_whose_neighbours_cannot_be_listed_is_unknown():
    flat = bulk('Cu', cubic=True)
    flat.cell[2] = flat.cell[1]
    assert unseen_atoms(frames_of(flat, PURE[0]), unseen_by(potential(), *PURE)).tolist() == [True] * 4 + [False] * 4


def test_it_survives_as_plain_data():
    unseen = unseen_by(potential(), *PURE)
    assert Unseen.from_plain(unseen.plain()) == unseen


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_atoms_are_those_that_a_search_by_hand_finds(seed):
    random = np.random.default_rng(seed)

    def structure():
        count = int(random.integers(1, 7))
        cell = np.diag(random.uniform(3, 8, 3)) + random.uniform(-1, 1, (3, 3))
        return Atoms(
            random.choice(ELEMENTS, count), random.uniform(0, 6, (count, 3)), cell=cell, pbc=random.random(3) < 0.5
        )

    summary = potential({(one, other): random.uniform(1.5, 5) for one in ELEMENTS for other in ELEMENTS})
    data, others = structure(), [structure() for _ in range(3)]

    def near(atoms):
        found = [set() for _ in atoms]
        for first, second, distance in zip(*neighbor_list('ijd', atoms, 5.0), strict=True):
            pair = atoms.symbols[first], atoms.symbols[second]
            if distance < summary.pair_cutoffs[pair]:
                found[first].add(pair[1])
        return found

    seen = list(zip(data.symbols, near(data), strict=True))
    blocks = [
        (centre, there)
        for centre, there in summary.blocks
        if not any(centre == symbol and set(there) <= around for symbol, around in seen)
    ]
    unseen = unseen_by(summary, data)
    assert set(unseen.blocks) == set(blocks)
    frames = frames_of(*others)
    expected = [
        [centre == symbol and set(there) <= around for centre, there in unseen.blocks]
        for atoms in others
        for symbol, around in zip(atoms.symbols, near(atoms), strict=True)
    ]
    table = np.array(expected, dtype=bool).reshape(len(frames.numbers), len(unseen.blocks))
    assert unseen_atoms(frames, unseen).tolist() == table.any(axis=1).tolist()
    by_frame = np.array([table[rows].sum(axis=0) for rows in frames.slices()])
    np.testing.assert_array_equal(unseen_counts(frames, unseen), by_frame)


# --- What is labelled for it ---


def test_a_cover_takes_few_frames_and_the_same_ones_each_time():
    counts = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 2], [1, 1, 0], [0, 0, 0]])
    assert cover(counts, np.array([1, 1, 1])) == [1, 2]
    # Three atoms are wanted where there are three functions.
    assert cover(counts, np.array([3, 1, 1])) == [1, 0, 2, 3]
    assert cover(counts, np.array([3, 1, 1]), most=2) == [1, 0]
    assert ranked(counts, np.array([1, 1, 1]), most=10) == [1, 2, 3, 0]
    assert ranked(counts, np.array([1, 1, 1]), most=3) == [1, 2, 3]
    assert cover(counts[4:], np.array([1, 1, 1])) == []


# --- What a file says ---

FUNCTIONS = """\
species:
  - speciesblock: Cu
    {common}
    nbody:
      - {{type: Cu Cu, nr: [1], nl: [0], c: [0.5]}}
  - speciesblock: Ag
    {common}
    nbody: []
  - speciesblock: Cu Ag
    rcutij: 4.25
    nbody:
      - {{type: Cu Ag, nr: [1], nl: [0], c: [0]}}
      - {{type: Cu Ag Cu, nr: [1, 1], nl: [0, 0], c: [0]}}
      - {{type: Cu Cu Ag, nr: [1, 2], nl: [0, 0], c: [0]}}
  - speciesblock: Ag Cu
    rcutij: 4.5
    nbody: []
""".format(common='{rcutij: 3.5, ndensityi: 1, npoti: FinnisSinclair}'.strip('{}').replace(', ', '\n    '))


def test_blocks_of_a_file_count_functions_without_a_coefficient():
    summary = read_potential(FUNCTIONS)
    assert summary.blocks == {('Cu', ('Ag',)): 1, ('Cu', ('Ag', 'Cu')): 2, ('Cu', ('Cu',)): 1}
    assert summary.pair_cutoffs == {('Cu', 'Cu'): 3.5, ('Ag', 'Ag'): 3.5, ('Cu', 'Ag'): 4.25, ('Ag', 'Cu'): 4.5}
    assert summary.blocks_in_order('Cu') == [('Ag',), ('Cu',), ('Ag', 'Cu'), ('Ag', 'Cu')]


def test_what_has_dropped_out_of_an_active_set_though_the_data_have_it():
    summary = read_potential(FUNCTIONS)
    assert dropped_from({'Cu': np.array([3e-7, 20.0, 1e-8, 4e-7])}, summary) == {
        ('Cu', ('Ag',)): 1,
        ('Cu', ('Ag', 'Cu')): 2,
    }
    # One function of a block that is seen is enough.
    assert dropped_from({'Cu': np.array([3e-7, 20.0, 1e-8, 0.3])}, summary) == {('Cu', ('Ag',)): 1}
    # Another potential's.
    assert dropped_from({'Cu': np.array([3e-7, 20.0])}, summary) == {}


@pytest.mark.engine
def test_functions_are_in_the_order_of_the_engine(tmp_path):
    import pyace

    functions = {
        'number_of_functions_per_element': 60,
        'ALL': {'nradmax_by_orders': [2, 2, 1], 'lmax_by_orders': [0, 1, 1]},
    }
    bond = {'radbase': 'ChebExpCos', 'radparameters': [5.25], 'rcut': 4.0, 'dcut': 0.01, 'NameOfCutoffFunction': 'cos'}
    embedding = {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1, 1], 'ndensity': 1}
    config = pyace.create_multispecies_basis_config(
        {
            'elements': list(ELEMENTS),
            'embeddings': {'ALL': embedding},
            'bonds': {'ALL': bond},
            'functions': functions,
            'deltaSplineBins': 0.01,
        }
    )
    path = tmp_path / 'potential.yaml'
    config.save(str(path))
    summary, basis = read_potential(path.read_bytes()), pyace.ACEBBasisSet(str(path))
    names = basis.elements_name
    for number, element in enumerate(names):
        found = [*basis.basis_rank1[number], *basis.basis[number]]
        order = [tuple(sorted({names[other] for other in function.mus})) for function in found]
        assert summary.blocks_in_order(element) == order
        assert len(set(order)) > 5
