"""Which values of a structure of ASE are its labels."""

import io

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator
from ase.calculators.singlepoint import SinglePointCalculator

from aiida_pacemaker.frames.ase_io import from_atoms, read_all, reading_of
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.label_names import kind_of, label_names

VOLUME = 4.0**3


def copper(seed=1):
    atoms = bulk('Cu', cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def single_point(atoms):
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((len(atoms), 3)), stress=np.zeros(6))


def emt(atoms):
    atoms.calc = EMT()
    atoms.get_potential_energy()
    atoms.get_stress()


def sum_of_two(atoms):
    atoms.calc = SumCalculator([EMT(), LennardJones()])
    atoms.get_potential_energy()


class Bare:
    """A calculator of somebody who knows nothing of `check_state`."""

    def __init__(self, atoms):
        self.atoms = atoms.copy()
        self.results = {'energy': -1.0, 'forces': np.zeros((len(atoms), 3))}


def bare(atoms):
    atoms.calc = Bare(atoms)


CHANGES = {
    'positions': lambda atoms: atoms.rattle(0.2, seed=7),
    'cell': lambda atoms: atoms.set_cell(atoms.cell * 1.01),
    'numbers': lambda atoms: atoms.numbers.__setitem__(0, 47),
    'pbc': lambda atoms: atoms.set_pbc(False),
}


@pytest.mark.fault(
    'the results of a calculator of ASE belong to another structure: it was shared, or the atoms were moved',
    engine='whoever writes its file gives it the wrong labels',
    here='a `ValueError` that names the structure and what has changed',
    ends='none is made',
)
@pytest.mark.parametrize('change', CHANGES)
@pytest.mark.parametrize('calculated', [single_point, emt, sum_of_two, bare])
def test_results_of_another_structure_are_refused(calculated, change):
    images = [copper(), copper(2)]
    for atoms in images:
        calculated(atoms)
    assert from_atoms(images, 'good').labelled
    CHANGES[change](images[1])
    with pytest.raises(ValueError, match=f'structure 1 belong to another structure: .*{change}'):
        from_atoms(images, 'key')
    assert not from_atoms(images, 'key', labelled=False).labelled


def test_one_calculator_for_many_structures_is_refused():
    calculator, images = EMT(), [copper(seed) for seed in range(3)]
    for atoms in images:
        atoms.calc = calculator
        atoms.get_potential_energy()
    with pytest.raises(ValueError, match='the EMT of structure 0 belong to another structure: positions'):
        from_atoms(images, 'key')
    assert from_atoms(images[2:], 'key').energy.tolist() == [calculator.results['energy']]


def test_a_calculator_that_does_not_say_what_it_calculated_is_refused():
    atoms = copper()
    atoms.calc = EMT()
    atoms.calc.results = {'energy': -1.0}
    with pytest.raises(ValueError, match='structure 0 does not say which structure its results belong to'):
        from_atoms([atoms], 'key')


def test_nothing_is_calculated():
    class Never(Calculator):
        implemented_properties = ('energy',)

        def calculate(self, *_):
            raise AssertionError

    atoms = copper()
    atoms.calc = Never()
    assert not from_atoms([atoms], 'key').labelled


@pytest.mark.fault(
    'a code tells the energy extrapolated to zero smearing and the free energy apart (VASP, GPAW, CASTEP)',
    engine='fits to whichever was written into its file',
    here='takes the free energy, whose derivatives the forces are, and says so in the report',
    ends='none is made',
)
def test_the_energy_is_that_of_the_forces():
    images = [copper(), copper(2)]
    for atoms, energy in zip(images, (-6.9, -7.0), strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=energy, free_energy=-7.0, forces=np.zeros((4, 3)))
    reading = reading_of(images, 'key')
    assert reading.frames.energy.tolist() == [-7.0, -7.0]
    (warning,) = reading.warnings
    assert '1 frame(s) is the free energy' in warning
    assert '25 meV/atom' in warning
    del images[0].calc.results['energy']
    assert reading_of(images, 'key').frames.energy.tolist() == [-7.0, -7.0]
    assert reading_of(images, 'key').warnings == ()
    images[0].calc.results['energy'] = -6.9
    named = from_atoms(images, 'key', keys=LabelKeys(energy='energy'))
    assert named.energy.tolist() == [-6.9, -7.0]


def extxyz(comment, properties='', columns=0, n=2):
    rows = ['Cu 0 0 0' + ' 0.1 0 0' * columns, 'Cu 2 2 0' + ' -0.1 0 0' * columns]
    head = f'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3{properties} {comment} pbc="T T T"'
    return '\n'.join([str(n), head, *rows]) + '\n'


def reading(*frames, **keys):
    return read_all(io.BytesIO(''.join(frames).encode()), source_key='key', name='a.extxyz', keys=LabelKeys(**keys))


NINE = '"{0} 0 0 0 {0} 0 0 0 {0}"'
SILENT = extxyz(
    f'energy=-6.5 REF_energy=-7.0 stress={NINE.format(0.01)}', ':forces:R:3:REF_forces:R:3', columns=2
).replace('0.1 0 0 0.1', '0.3 0 0 0.1')


@pytest.mark.parametrize('prefix', ['REF_', 'dft_', 'qm-', 'VASP_', 'my_'])
def test_named_labels_are_read(prefix):
    text = extxyz(f'{prefix}energy=-7.0 {prefix}virial={NINE.format(0.64)}', f':{prefix}forces:R:3', 1)
    keys = {label: f'{prefix}{label}' for label in ('energy', 'forces', 'virial')}
    frames = reading(text, **keys).frames
    assert frames.energy.tolist() == [-7.0]
    assert frames.forces.tolist() == [[0.1, 0, 0], [-0.1, 0, 0]]
    np.testing.assert_allclose(frames.stress, [np.eye(3) * -0.64 / VOLUME], rtol=1e-15)
    bare = reading(text)
    assert not bare.frames.labelled
    for part in (f'found {prefix}forces, {prefix}energy, {prefix}virial', str(keys)):
        assert part in bare.missing[0]


@pytest.mark.fault(
    'a file has two sets of labels that differ, such as `energy` of a model beside `REF_energy` of the calculation',
    engine='fits to the column that it is told to',
    here='refuses the file until `keys` names one; the message lists both',
    ends='none is made',
)
def test_two_sets_of_labels_are_refused_until_one_is_named():
    with pytest.raises(ValueError, match=r'energy = -6\.5 and REF_energy = -7;.*REF_energy'):
        reading(SILENT)
    with pytest.raises(ValueError, match='forces and REF_forces'):
        reading(SILENT, energy='REF_energy')
    taken = reading(SILENT, energy='REF_energy', forces='REF_forces')
    assert taken.frames.energy.tolist() == [-7.0]
    assert taken.frames.forces[0, 0] == 0.1
    assert 'the stress of 1 frame(s) is under its plain name' in taken.warnings[0]
    assert reading(SILENT, energy='energy', forces='forces', stress='stress').frames.energy.tolist() == [-6.5]


def test_a_free_energy_beside_the_energy_that_is_named_is_said():
    text = extxyz('dft_energy=-6.9 dft_free_energy=-7.0', ':forces:R:3', 1)
    found = reading(text, energy='dft_energy')
    assert found.frames.energy.tolist() == [-6.9]
    assert '1 frame(s) also have `dft_free_energy`' in found.warnings[0]
    assert reading(text, energy='dft_free_energy').warnings == ()


def test_equal_sets_of_labels_are_one():
    text = extxyz('energy=-7.0 REF_energy=-7.000000001', ':forces:R:3:REF_forces:R:3', 2)
    assert reading(text).frames.energy.tolist() == [-7.0]
    # What was called the energy of a calculation that also has a free energy.
    text = extxyz('energy=-6.9 free_energy=-7.0 REF_energy=-6.9', ':forces:R:3', 1)
    assert reading(text).frames.energy.tolist() == [-7.0]


def test_other_energies_are_no_labels():
    text = extxyz('energy=-7.0 kinetic_energy=0.1 formation_energy=-0.2 energy_cutoff=500', ':forces:R:3', 1)
    assert reading(text).frames.energy.tolist() == [-7.0]


def test_the_calculator_and_the_structure_agree_or_are_refused():
    atoms = copper()
    single_point(atoms)
    atoms.info['energy'] = -1.0
    assert from_atoms([atoms], 'key').energy.tolist() == [-1.0]
    atoms.info['energy'] = -1.1
    with pytest.raises(ValueError, match='structure 0 has two values of `energy`'):
        from_atoms([atoms], 'key')


@pytest.mark.parametrize(('name', 'shape', 'most'), [('forces', (108, 3), 1e-4), ('stress', (6,), 1e-5)])
def test_forces_and_stresses_agree_as_well_in_large_cells(name, shape, most):
    atoms = bulk('Cu', cubic=True) * 3
    single_point(atoms)
    beside = atoms.arrays if name == 'forces' else atoms.info
    beside[name] = np.full(shape, 0.9 * most)
    assert not from_atoms([atoms], 'key').forces.any()
    beside[name] = np.full(shape, 3 * most)
    with pytest.raises(ValueError, match=f'structure 0 has two values of `{name}`'):
        from_atoms([atoms], 'key')


@pytest.mark.parametrize('name', ['virial', 'virials'])
def test_a_virial_makes_the_stress_and_is_said(name):
    found = reading(extxyz(f'energy=-7.0 {name}={NINE.format(0.64)}', ':forces:R:3', 1))
    np.testing.assert_allclose(found.frames.stress, [np.eye(3) * -0.01], rtol=1e-15)
    assert f'-virial/volume of `{name}`' in found.warnings[0]
    molecule = Atoms('Cu2', [[0, 0, 0], [2.0, 0, 0]], info={'energy': -1.0, name: np.eye(3)})
    assert np.isnan(from_atoms([molecule], 'key').stress).all()


def test_a_virial_beside_another_stress_is_refused():
    text = extxyz(f'energy=-7.0 stress={NINE.format(0)} virial={NINE.format(0.64)}', ':forces:R:3', 1)
    with pytest.raises(ValueError, match=r"stress and virial.*keys={'virial': 'virial'}"):
        reading(text)
    assert reading(text, stress='stress').frames.stress[0, 0, 0] == 0
    np.testing.assert_allclose(reading(text, virial='virial').frames.stress, [np.eye(3) * -0.01])
    agreeing = reading(text.replace(NINE.format(0), NINE.format(-0.01)))
    assert agreeing.frames.stress[0, 0, 0] == -0.01
    assert agreeing.warnings == ()


def test_a_stress_that_is_not_read_is_said():
    found = reading(extxyz(f'energy=-7.0 dft_virial={NINE.format(0.64)}', ':forces:R:3', 1))
    assert np.isnan(found.frames.stress).all()
    assert 'dft_virial' in found.missing[0]
    assert '1 frame(s) have no stress, but dft_virial, which is not read' in found.warnings[0]


def test_keys_that_are_no_labels_are_listed_where_a_label_is_missing():
    missing = reading(extxyz('energy_per_atom=-3.5', ':forces:R:3', 1)).missing
    assert missing[0].startswith('found forces')
    assert missing[0].endswith('its other keys are energy_per_atom')


def test_names_that_no_structure_has_are_refused():
    text = extxyz('Energy=-7.0', ':force:R:3', 1)
    with pytest.raises(
        ValueError, match=r'no structure has `energie`, which `keys` names for the energy; found .*Energy'
    ):
        reading(text, energy='energie')
    with pytest.raises(ValueError, match='both a stress'):
        LabelKeys(stress='stress', virial='virial')
    # Isolated atoms of the same file need not have all of them.
    atom = '1\nProperties=species:S:1:pos:R:3:force:R:3 Energy=0.1\nCu 0 0 0 0 0 0\n'
    frames = reading(text, atom, energy='Energy', forces='force').frames
    assert frames.energy.tolist() == [-7.0, 0.1]


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('energy', ('', 'energy')),
        ('free_energy', ('', 'energy')),
        ('TotEnergy', ('', 'energy')),
        ('REF_forces', ('ref', 'forces')),
        ('forces_dft', ('dft', 'forces')),
        ('dft-stress', ('dft', 'stress')),
        ('MACE_virials', ('mace', 'virial')),
        ('config_type', None),
        ('energy_force_weight', None),
    ],
)
def test_names_of_labels(name, kind):
    assert kind_of(name) == kind


def test_sets_of_labels():
    assert label_names(['x_energy', 'x_forces', 'y_energy', 'REF_energy']) == {
        'x': {'energy': ['x_energy'], 'forces': ['x_forces']},
        'ref': {'energy': ['REF_energy']},
    }


def labelled_pair(**info):
    images = [Atoms('Cu2', [[0, 0, 0], [2, 0, 0]], info={'energy': -1.0, **info}) for _ in range(2)]
    for image in images:
        image.set_array('forces', np.zeros((2, 3)))
    return images


@pytest.mark.parametrize(('weight', 'said'), [(5.0, True), (1.0, False)])
def test_weights_by_names_of_other_programs_are_told(weight, said):
    warnings = reading_of(labelled_pair(config_weight=weight), 'file').warnings
    assert any('2 frame(s) have `config_weight` other than 1, which is not read' in one for one in warnings) == said


def test_names_that_the_engine_scales_down_are_refused():
    with pytest.raises(ValueError, match='2 structures have names that begin with `augmented`'):
        reading_of(labelled_pair(name='augmented/zbl'), 'file')
