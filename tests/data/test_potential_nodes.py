"""The potential, its active set, and what they are handed on as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.common.exceptions import ModificationNotAllowed

from aiida_pacemaker.baseline.ase_calculator import EvaluatedBaseline
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.data.trajectories import trajectories_from_atoms

pytestmark = pytest.mark.usefixtures('aiida_profile')

FIXTURES = Path(__file__).parents[1] / 'fixtures'
B_BASIS = (FIXTURES / 'yaml2yace' / 'default' / 'output_potential.yaml').read_bytes()
C_TILDE = (FIXTURES / 'yaml2yace' / 'default' / 'output_potential.yace').read_bytes()
ACTIVE_SET = (FIXTURES / 'activeset' / 'linear' / 'output_potential.asi').read_bytes()
BASELINE = DeltaBaseline.for_elements(['Mg', 'O'], lj=True)


@pytest.fixture
def potential(reference_energies):
    """Return a function that makes a potential of recorded files."""

    def build(**changes) -> PacePotentialData:
        return PacePotentialData(
            **{'b_basis': B_BASIS, 'baseline': BASELINE, 'reference_energies': reference_energies, **changes}
        )

    return build


def test_potential_round_trip(potential, reference_energies):
    """All that the potential was fitted against comes back from the database."""
    node = orm.load_node(potential(c_tilde=C_TILDE).store().pk)
    assert node.get_b_basis() == B_BASIS
    assert node.get_c_tilde() == C_TILDE
    assert node.elements == ['Mg', 'O']
    assert node.baseline == BASELINE
    assert node.reference_energies == pytest.approx(reference_energies, rel=1e-13)
    assert sum(node.n_functions_per_element.values()) == node.n_functions > 0
    assert node.cutoff > 0
    assert str(node).endswith(f'ACE of Mg-O, {node.n_functions} functions, {node.cutoff} Å')


def test_potential_is_immutable(potential):
    node = potential().store()
    with pytest.raises(ModificationNotAllowed):
        node.base.attributes.set('baseline', {})


@pytest.mark.parametrize('missing', ['b_basis', 'baseline', 'reference_energies'])
def test_potential_is_nothing_without_what_was_taken_off(potential, missing):
    with pytest.raises(ValueError, match='needs its B-basis file, its baseline and its reference energies'):
        potential(**{missing: None})


def test_potential_needs_all_reference_energies(potential):
    with pytest.raises(ValueError, match='no reference energy for O'):
        potential(reference_energies={'Mg': -27.0})


def test_files_that_are_no_potential(potential):
    with pytest.raises(ValueError, match=r'.'):
        potential(b_basis=b'species: []')
    with pytest.raises(ValueError, match=r'.'):
        potential(c_tilde=b'{}')


def test_equal_potentials_have_equal_hashes(potential):
    one, two = potential().store(), potential().store()
    other = potential(baseline=DeltaBaseline.for_elements(['Mg', 'O'])).store()
    assert one.base.caching.get_hash() == two.base.caching.get_hash() != other.base.caching.get_hash()


def test_written_files_belong_together(potential, tmp_path):
    """The LAMMPS lines name the files beside them, and have the baseline."""
    active_set = PaceActiveSetData(ACTIVE_SET)
    paths = potential(c_tilde=C_TILDE).write_files(tmp_path / 'new', active_set=active_set, stem='mgo')
    assert sorted(path.name for path in paths) == sorted(
        [
            'mgo.yaml',
            'mgo.yace',
            'mgo.asi',
            'mgo.in.lammps',
            'mgo.extrapolation.in.lammps',
            'mgo.table',
            'mgo.baseline.json',
        ]
    )
    lines = (tmp_path / 'new' / 'mgo.in.lammps').read_text()
    assert 'mgo.yace' in lines
    assert 'zbl' in lines
    assert 'mgo.table Mg-O' in lines
    assert (tmp_path / 'new' / 'mgo.table').read_text().count('RSQ') == 3
    extrapolation = (tmp_path / 'new' / 'mgo.extrapolation.in.lammps').read_text()
    assert 'mgo.yaml' in extrapolation
    assert 'mgo.asi' in extrapolation
    assert (tmp_path / 'new' / 'mgo.asi').read_bytes() == ACTIVE_SET


@pytest.mark.fault(
    'a potential without `.yace` is handed on',
    engine='`pair_style pace` stops at a file that is not there',
    here='what is left out, and the command that makes it',
    ends='warning, and a file beside the potential',
)
def test_without_c_tilde_it_is_said_how_to_convert(potential, tmp_path):
    node = potential()
    assert not node.has_c_tilde
    with pytest.warns(UserWarning, match=r'mgo.yace and mgo.in.lammps are not written(.|\n)*pace_yaml2yace mgo.yaml'):
        paths = node.write_files(tmp_path, stem='mgo')
    assert {path.name for path in paths} == {'mgo.yaml', 'mgo.without_yace.txt', 'mgo.table', 'mgo.baseline.json'}
    said = (tmp_path / 'mgo.without_yace.txt').read_text()
    assert '`pace_yaml2yace mgo.yaml -o mgo.yace`' in said
    assert said.endswith(potential(c_tilde=C_TILDE).to_lammps(stem='mgo'))
    with pytest.raises(ValueError, match=r'no \.yace(.|\n)*`pace_yaml2yace potential.yaml -o potential.yace`'):
        node.to_lammps()
    assert 'mgo.yace' not in node.to_lammps(active_set=True, stem='mgo')
    with pytest.raises(FileNotFoundError):
        node.get_c_tilde()


@pytest.mark.engine
def test_calculator_adds_the_baseline(potential, mgo_images):
    """The sum of what the engine says and of the baseline, with gamma."""
    pyace = pytest.importorskip('pyace')
    node = potential()
    path = FIXTURES / 'yaml2yace' / 'default' / 'output_potential.yaml'
    atoms, bare = (mgo_images[60].copy() for _ in range(2))
    atoms.calc = node.to_ase()
    bare.calc = pyace.PyACECalculator(str(path))
    energy, forces, stress = EvaluatedBaseline(BASELINE).evaluate(atoms)
    assert abs(energy) > 1e-3
    assert atoms.get_potential_energy() == pytest.approx(bare.get_potential_energy() + energy)
    assert np.allclose(atoms.get_forces(), bare.get_forces() + forces)
    assert np.allclose(atoms.get_stress(voigt=False), bare.get_stress(voigt=False) + stress)


def test_active_set_round_trip():
    node = orm.load_node(PaceActiveSetData(ACTIVE_SET).store().pk)
    assert node.content == ACTIVE_SET
    assert node.kind == 'linear'
    assert node.elements == ['Mg', 'O']
    with np.load(FIXTURES / 'activeset' / 'linear' / 'output_potential.asi') as arrays:
        assert node.sizes == {element: len(arrays[element]) for element in arrays}
    assert all(number >= 1 for number in node.condition_numbers.values())


def test_kinds_of_active_sets_have_names_of_their_own():
    """The engine tells them apart by their names."""
    content = (FIXTURES / 'activeset' / 'full' / 'output_potential.asi.nonlinear').read_bytes()
    assert PaceActiveSetData(content, kind='full').filename == 'active_set.asi.nonlinear'
    assert PaceActiveSetData(ACTIVE_SET).filename == 'active_set.asi'
    with pytest.raises(ValueError, match=r"'full', 'linear'.*not `half`"):
        PaceActiveSetData(ACTIVE_SET, kind='half')


@pytest.mark.parametrize('content', [None, b'', b'not an archive'])
def test_what_is_no_active_set(content):
    with pytest.raises(ValueError, match=r'needs|empty|archive'):
        PaceActiveSetData(content)


def test_trajectories_from_atoms(mgo_images):
    """One for each composition, in order, with the labels that there are."""
    nodes = trajectories_from_atoms(mgo_images)
    assert sum(node.numsteps for node in nodes) == len(mgo_images)
    assert len({tuple(node.symbols) for node in nodes}) == len(nodes)
    first = nodes[0].store()
    assert list(first.symbols) == mgo_images[0].get_chemical_symbols()
    assert first.get_array('energy')[0] == mgo_images[0].get_potential_energy()
    assert np.array_equal(first.get_array('forces')[0], mgo_images[0].get_forces())
    assert np.allclose(first.get_array('stress')[0], mgo_images[0].get_stress(voigt=False))
    bare = trajectories_from_atoms([image.copy() for image in mgo_images[:2]])
    assert not {'energy', 'forces', 'stress'} & {name for node in bare for name in node.get_arraynames()}
