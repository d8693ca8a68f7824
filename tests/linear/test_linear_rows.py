"""Equations of structures: against numerical derivatives, and against the calculator of the saved potential."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from linear_cases import basis_of, emt_frame, section

from aiida_pacemaker.frames.handedness import right_handed
from aiida_pacemaker.linear.basis import Basis, configuration_of
from aiida_pacemaker.linear.rows import VOIGT, Label, RowMaker
from aiida_pacemaker.linear.saving import largest_difference, reasons_of, save
from aiida_pacemaker.linear.weighting import Pacemaker, Physical

pytestmark = pytest.mark.engine

#: In angstrom, and as a strain.
STEP = 2e-5
#: A repulsion of cores where atoms come this close, which is no part of what coefficients say.
CORE = {'core-repulsion': [100.0, 2.0], 'r_in': 1.9, 'delta_in': 0.3}


def crystal(symbols: str, seed: int = 0) -> Atoms:
    """Return a skewed periodic cell whose atoms are not at places of symmetry."""
    rng = np.random.default_rng(seed)
    atoms = bulk('Cu', cubic=True)
    atoms.symbols = Atoms(symbols).get_chemical_symbols()
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + 0.05 * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.positions += 0.15 * rng.normal(size=(len(atoms), 3))
    return atoms


def cluster(symbols: str) -> Atoms:
    places = np.array([[0, 0, 0], [2.3, 0.2, 0], [0.4, 2.4, 0.3], [1.1, 0.9, 2.2]])
    return Atoms(symbols, places[: len(Atoms(symbols))])


def left_handed(symbols: str) -> Atoms:
    atoms = crystal(symbols)
    atoms.set_cell(atoms.cell[[1, 0, 2]])
    assert np.linalg.det(atoms.cell[:]) < 0
    return right_handed(atoms)


CASES = {
    'one element': (('Cu',), crystal('Cu4')),
    'two elements': (('Al', 'Cu'), crystal('AlCuAlCu')),
    'one of two elements': (('Al', 'Cu'), crystal('Cu4')),
    'cluster': (('Al', 'Cu'), cluster('AlCuCuAl')),
    'left-handed cell': (('Al', 'Cu'), left_handed('AlCuAlCu')),
}


def energies(maker, atoms):
    """Return what each function contributes to the energy in eV, and what is there without them."""
    terms = maker.terms_of(atoms)
    return len(atoms) * np.append(terms.rows['energy'][0], terms.constant['energy'])


@pytest.mark.parametrize(
    'bond', [{}, {**CORE, 'r_in': 2.8, 'core-repulsion': [1000.0, 1.0]}], ids=['plain', 'with cores']
)
@pytest.mark.parametrize('case', CASES)
def test_derivatives(case, bond):
    """Forces and virials of each function are the derivatives of its energy."""
    elements, atoms = CASES[case]
    maker = RowMaker(basis_of(elements, 4, bond=bond), Physical())
    terms = maker.terms_of(atoms, virial=bool(atoms.pbc.all()))
    found = {kind: np.column_stack([rows, terms.constant[kind]]) for kind, rows in terms.rows.items()}
    scale = np.abs(found['forces']).max()
    if bond:
        assert np.abs(terms.constant['forces']).max() > 0.1
    for atom in range(len(atoms)):
        for axis in range(3):
            moved = []
            for sign in (1, -1):
                other = atoms.copy()
                other.positions[atom, axis] += sign * STEP
                moved.append(energies(maker, other))
            derivative = -(moved[0] - moved[1]) / (2 * STEP)
            np.testing.assert_allclose(found['forces'][3 * atom + axis], derivative, rtol=0, atol=1e-6 * scale)
    if not atoms.pbc.all():
        assert 'virial' not in found
        return
    scale = np.abs(found['virial']).max()
    for row, (first, second) in enumerate(VOIGT):
        moved = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[first, second] += sign * STEP / 2
            strain[second, first] += sign * STEP / 2
            other = atoms.copy()
            other.set_cell(atoms.cell[:] @ strain, scale_atoms=True)
            moved.append(energies(maker, other) / len(atoms))
        derivative = (moved[0] - moved[1]) / (2 * STEP)
        np.testing.assert_allclose(found['virial'][row], derivative, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize('periodic', [True, False])
def test_an_isolated_atom_has_no_terms(periodic):
    maker = RowMaker(basis_of(('Al', 'Cu'), 4), Physical(), virial=True)
    atoms = Atoms('Cu', cell=[20, 21, 22], pbc=periodic)
    label = Label('isolated', 0.25, np.zeros((1, 3)), np.zeros((3, 3)))
    frame = maker.equations_of(atoms, label)
    assert set(frame.rows) == ({'energy', 'forces', 'virial'} if periodic else {'energy', 'forces'})
    assert not any(rows[:, :-1].any() for rows in frame.rows.values())
    assert frame.rows['energy'][0, -1] == 0.25
    assert frame.nearest == {}


def test_functions_of_an_element_that_is_not_there_are_zero():
    basis = basis_of(('Al', 'Cu'), 4)
    terms = RowMaker(basis, Physical()).terms_of(crystal('Cu4'), virial=True)
    there = np.array(basis.centres) == 'Cu'
    for rows in terms.rows.values():
        assert not rows[:, ~there].any()
        assert rows[:, there].any()


def test_the_order_of_components_and_the_sign_are_those_of_ase(tmp_path):
    """A label of stress is a row of virials; the right-hand side is in eV/atom."""
    atoms = emt_frame(3)
    stress = atoms.get_stress(voigt=False)
    label = Label('', atoms.get_potential_energy(), atoms.get_forces(), stress)
    frame = RowMaker(basis_of(('Cu',), 4), Physical(), virial=True).equations_of(atoms, label)
    expected = atoms.get_stress(voigt=True) * atoms.get_volume() / len(atoms)
    np.testing.assert_allclose(frame.rows['virial'][:, -1], expected, rtol=1e-12)
    np.testing.assert_array_equal(frame.rows['forces'][:, -1], atoms.get_forces().ravel())


def configuration(elements, **changes):
    """Return a configuration of small bases; of `changes`, those of single elements and pairs are by their names."""
    content = section(elements, 4)
    for part in ('embeddings', 'bonds'):
        for name, values in changes.get(part, {}).items():
            content[part][name] = {**content[part]['ALL'], **values}
    return configuration_of(content, 4, 8)


ZBL = {'inner_cutoff_type': 'zbl', 'delta_in': 0.2, 'core-repulsion': [1.0, 1.0], 'rho_core_cut': 1, 'drho_core_cut': 1}
PREFACTOR = {'fs_parameters': [2.5, 1.0]}
LINEAR = {
    'plain': {},
    'prefactor': {'embeddings': {'ALL': PREFACTOR}},
    'Finnis-Sinclair': {'embeddings': {'ALL': {'npot': 'FinnisSinclair', **PREFACTOR}}},
    'an embedding for each element': {
        'embeddings': {'Al': {'fs_parameters': [0.3, 1.0]}, 'Cu': {'npot': 'FinnisSinclair', **PREFACTOR}}
    },
    'a cutoff for each bond': {
        'bonds': {'AlAl': {'rcut': 5.0}, 'CuCu': {'rcut': 4.2}, 'AlCu': {'rcut': 4.7}, 'CuAl': {'rcut': 4.7}}
    },
    'a radial basis for each bond': {'bonds': {'CuCu': {'radbase': 'SBessel'}, 'AlAl': {'radparameters': [3.0]}}},
    'cores': {'bonds': {'ALL': CORE}, 'embeddings': {'ALL': PREFACTOR}},
    'zbl below the data': {'bonds': {'ALL': {**ZBL, 'r_in': 1.5}}},
}
STRUCTURES = [
    cluster('AlCuCuAl'),
    Atoms('AlCu', [[0, 0, 0], [1.7, 0, 0]]),
    crystal('AlCuAlCu'),
    crystal('Cu4', seed=1),
    left_handed('AlCuAl2'),
]


@pytest.mark.parametrize('name', LINEAR)
def test_files_say_what_the_equations_say(name, tmp_path):
    """Energies, forces and virials of `.yaml` and `.yace`, of which the constant part is a part."""
    basis = Basis.of_configuration(configuration(('Al', 'Cu'), **LINEAR[name]))
    coefficients = np.random.default_rng(0).normal(size=basis.n_functions)
    path = str(tmp_path / 'potential')
    save(basis, coefficients, path)
    difference = largest_difference(basis, coefficients, STRUCTURES, path)
    assert difference.max() < 1e-13
    assert reasons_of(basis, STRUCTURES, path) == []
    if name == 'cores':
        assert RowMaker(basis, Physical()).terms_of(STRUCTURES[1]).constant['energy'][0] > 0.1


NOT_LINEAR = {
    'zbl inside the data': (
        {'bonds': {'ALL': {**ZBL, 'r_in': 1.8}}},
        ['Al-Cu come as close as 1.700 angstrom', 'r_in 1.800'],
    ),
    'density cut off': (
        {'bonds': {'ALL': CORE}, 'embeddings': {'ALL': {'rho_core_cut': 1.0, 'drho_core_cut': 0.9}}},
        ['an atom of Al reaches', 'an atom of Cu reaches', 'rho_core_cut 1, from 0.1'],
    ),
    'density of one element cut off': (
        {
            'bonds': {'ALL': CORE},
            'embeddings': {'Al': {}, 'Cu': {'rho_core_cut': 1.0, 'drho_core_cut': 0.9}},
        },
        ['an atom of Cu reaches'],
    ),
}


@pytest.mark.parametrize('name', NOT_LINEAR)
def test_what_is_not_linear_is_found_and_named(name, tmp_path):
    changes, said = NOT_LINEAR[name]
    basis = Basis.of_configuration(configuration(('Al', 'Cu'), **changes))
    coefficients = np.random.default_rng(0).normal(size=basis.n_functions)
    path = str(tmp_path / 'potential')
    save(basis, coefficients, path)
    assert largest_difference(basis, coefficients, STRUCTURES, path).max() > 1e-6
    reasons = reasons_of(basis, STRUCTURES, path)
    assert len(reasons) == sum('an atom' in text or 'come as' in text for text in said)
    for text in said:
        assert text in ' '.join(reasons)


@pytest.mark.parametrize(
    ('embedding', 'said'),
    [
        ({'fs_parameters': [1.0, 0.5]}, r'the embedding of Cu is not linear: it has 1 densities .*\[1.0, 0.5\]'),
        (
            {'fs_parameters': [1.0, 1.0, 1.0, 0.5], 'ndensity': 2},
            'the embedding of Cu is not linear: it has 2 densities',
        ),
    ],
    ids=['exponent', 'two densities'],
)
def test_embeddings_that_are_not_linear_are_refused(embedding, said):
    changes = {'embeddings': {'Al': {}, 'Cu': embedding}}
    with pytest.raises(ValueError, match=said):
        Basis.of_configuration(configuration(('Al', 'Cu'), **changes))


def test_two_makers_in_one_process_which_outlive_what_they_were_made_of():
    """Each keeps its functions, evaluator and calculator; none has what another has computed."""

    def made(elements, degree):
        return RowMaker(basis_of(elements, degree), Physical())

    atoms = crystal('AlCuAlCu')
    makers = [made(('Al', 'Cu'), 3), made(('Al', 'Cu'), 5), made(('Al', 'Cu', 'Ni'), 4)]
    alone = [maker.terms_of(atoms, virial=True) for maker in makers]
    gc.collect()
    for _ in range(3):
        for maker, expected in zip(makers, alone, strict=True):
            found = maker.terms_of(atoms, virial=True)
            for kind, rows in expected.rows.items():
                np.testing.assert_allclose(found.rows[kind], rows, rtol=0, atol=1e-12)
    # Coefficients that are set later do not change the constant part: the functions of a maker are its own.
    makers[0].basis.set_coefficients(np.ones(makers[0].basis.n_functions))
    found = makers[0].terms_of(atoms)
    assert not found.constant['forces'].any()
    np.testing.assert_allclose(found.rows['forces'], alone[0].rows['forces'], rtol=0, atol=1e-12)


def test_the_collection_of_garbage_goes_on():
    maker = RowMaker(basis_of(('Cu',), 3), Physical())
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        maker.terms_of(crystal('Cu4'))
        assert gc.isenabled() is enabled
    gc.enable()


@pytest.mark.parametrize('weighting', [Physical(), Pacemaker(0.3, (1.0, 1.0))])
def test_labels_that_are_not_finite_are_refused(weighting):
    maker = RowMaker(basis_of(('Cu',), 3), weighting)
    forces = np.zeros((4, 3))
    forces[2, 1] = np.nan
    with pytest.raises(ValueError, match='structure abc are not finite'):
        maker.equations_of(crystal('Cu4'), Label('abc', -1.0, forces))


def test_structures_that_the_engine_does_not_take():
    maker = RowMaker(basis_of(('Cu',), 3), Physical())
    mixed = crystal('Cu4')
    mixed.pbc = [True, True, False]
    with pytest.raises(ValueError, match='periodic'):
        maker.terms_of(mixed)
    with pytest.raises(KeyError):
        maker.terms_of(crystal('Al4'))
