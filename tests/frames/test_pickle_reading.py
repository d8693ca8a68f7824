import bz2
import datetime
import gzip
import io
import lzma
import pickle
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from aiida_pacemaker.errors import ForbiddenPickleError, UnreadablePickleError
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.pickles.reading import Structure, read_dataset, read_selection, read_table, said_of_columns

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / 'tests' / 'fixtures' / 'pickles'
MGO = ase.io.read(ROOT / 'examples' / 'mgo-lda.extxyz', index=':3')
OLD = ['pandas-0.25.3', 'pandas-1.2.5', 'pandas-1.3.5']
PANDAS = ['pandas-1.5.3', 'pandas-2.0.3', 'pandas-2.2.2', 'pandas-3.1.1', 'pandas-3.1.1-pyarrow']
ENGINES = ['engine-pandas-2.2.2', 'engine-pandas-3.1.1']
LABELS = [
    *[(tag, f'protocol-{number}.pckl.gzip') for tag in OLD for number in (2, 4)],
    *[(tag, f'protocol-{number}.pckl.gzip') for tag in PANDAS for number in (4, 5)],
]


def pickled(columns: dict, **arguments) -> bytes:
    """Pickle a table with the installed pandas."""
    pandas = pytest.importorskip('pandas')
    handle = io.BytesIO()
    pandas.DataFrame(columns, **arguments).to_pickle(handle)
    return handle.getvalue()


@pytest.mark.parametrize(('tag', 'kind'), LABELS)
def test_dataset_of_any_version(tag, kind):
    frames, ignored = read_dataset(RECORDED / f'{tag}-{kind}', 'mgo')
    assert ignored == ('converged', 'name', 'remark', 'step')
    assert frames.w_energy.tolist() == [1.0, 2.0, 4.0]
    assert frames.w_forces.tolist() == [0.5] * len(frames.numbers)
    assert frames.source_keys == ('mgo',)
    assert frames.step.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(frames.energy, [image.get_potential_energy() for image in MGO])
    np.testing.assert_array_equal(frames.stress, [image.get_stress(voigt=False) for image in MGO])
    np.testing.assert_array_equal(frames.cells, [image.cell for image in MGO])
    np.testing.assert_array_equal(frames.pbc, [image.pbc for image in MGO])
    for image, rows in zip(MGO, frames.slices(), strict=True):
        np.testing.assert_array_equal(frames.numbers[rows], image.numbers)
        np.testing.assert_array_equal(frames.positions[rows], image.positions)
        np.testing.assert_array_equal(frames.forces[rows], image.get_forces())


@pytest.mark.parametrize(('tag', 'kind'), LABELS)
def test_table_of_any_version(tag, kind):
    table = read_table(RECORDED / f'{tag}-{kind}')
    assert table.index.tolist() == [0, 1, 2]
    assert list(table.columns['name']) == ['mgo-0', 'mgo-1', 'mgo-2']
    assert list(table.columns['w_energy']) == [1.0, 2.0, 4.0]
    assert list(table.columns['step']) == [0, 1, 2]
    assert list(table.columns['converged']) == [True, False, True]
    first, missing, third = table.columns['remark']
    assert (first, third) == ('', 'größer')
    assert missing is None or np.isnan(missing)
    assert [weights.tolist() for weights in table.columns['w_forces']] == [[0.5] * len(image) for image in MGO]


@pytest.mark.parametrize('tag', [*OLD, *PANDAS])
def test_selection_of_any_version(tag):
    selection = read_selection(RECORDED / f'{tag}-selected.pkl.gz')
    assert selection.dtype == np.int64
    assert selection.tolist() == [2, 0]
    assert read_selection(RECORDED / f'{tag}-empty.pkl.gz').tolist() == []
    frames, _ = read_dataset(RECORDED / f'{tag}-selected.pkl.gz', 'mgo')
    np.testing.assert_array_equal(frames.energy, [MGO[2].get_potential_energy(), MGO[0].get_potential_energy()])
    assert len(read_dataset(RECORDED / f'{tag}-empty.pkl.gz', 'mgo')[0]) == 0


@pytest.mark.parametrize('tag', ENGINES)
def test_outputs_of_the_engine(tag):
    assert read_selection(RECORDED / f'{tag}-selected.pkl.gz').tolist() == [2, 5]
    assert read_selection(RECORDED / f'{tag}-empty.pkl.gz').tolist() == []

    fitted, ignored = read_dataset(RECORDED / f'{tag}-fitting_data_info.pckl.gzip', 'mgo')
    assert len(fitted) == 8
    assert fitted.labelled
    assert {'energy_corrected', 'comp_dict'} < set(ignored)
    assert fitted.weighted
    assert fitted.w_energy.sum() == pytest.approx(1)

    predicted = read_table(RECORDED / f'{tag}-test_pred.pckl.gzip').columns
    assert predicted['name'] == ['test-0', 'test-1', 'test-2']
    assert predicted['comp_dict'][0] == {'Mg': 1, 'O': 1}
    assert predicted['comp_tuple'][0] == (('Mg', 0.5), ('O', 0.5))
    assert [forces.shape for forces in predicted['forces_pred']] == [forces.shape for forces in predicted['forces']]
    assert np.isfinite(predicted['energy_pred']).all()


@pytest.mark.parametrize('path', sorted(RECORDED.glob('*gz*')), ids=lambda path: path.name)
@pytest.mark.filterwarnings('ignore:numpy.core:DeprecationWarning')
def test_recorded_files_agree_with_pandas(path):
    """Where the installed pandas can load a file, it finds the same values."""
    pandas = pytest.importorskip('pandas')
    if 'pyarrow' in path.name:
        pytest.importorskip('pyarrow')
    reference, table = pandas.read_pickle(path, compression='gzip'), read_table(path)
    assert list(table.columns) == list(reference.columns)
    assert table.index.tolist() == reference.index.tolist()
    for name, column in table.columns.items():
        for value, expected in zip(column, reference[name], strict=True):
            if isinstance(value, Structure):
                np.testing.assert_array_equal(value.numbers, expected.numbers)
                np.testing.assert_array_equal(value.positions, expected.positions)
                # ASE of today cannot say the cell of a structure that 3.17 has pickled.
                kept = vars(expected)
                np.testing.assert_array_equal(value.cell, kept['_cellobj' if '_cellobj' in kept else '_cell'])
                np.testing.assert_array_equal(value.pbc, kept['_pbc'])
            else:
                np.testing.assert_array_equal(value, expected)


def test_sources_are_a_path_a_handle_or_the_content():
    path = RECORDED / 'pandas-2.2.2-selected.pkl.gz'
    with path.open('rb') as handle:
        assert read_selection(handle).tolist() == [2, 0]
    assert read_selection(path.read_bytes()).tolist() == [2, 0]
    plain = gzip.decompress(path.read_bytes())
    for content in (plain, bz2.compress(plain), lzma.compress(plain)):
        assert read_selection(content).tolist() == [2, 0]


def test_labels_may_be_missing():
    forces = [image.get_forces() for image in MGO]
    frames, ignored = read_dataset(pickled({'ase_atoms': MGO}), 'mgo')
    assert not frames.labelled
    frames, ignored = read_dataset(pickled({'ase_atoms': MGO, 'energy': [1.0, None, 3.0], 'forces': forces}), 'mgo')
    np.testing.assert_array_equal(frames.energy, [1.0, np.nan, 3.0])
    assert np.isnan(frames.stress).all()
    assert ignored == ()
    frames, _ = read_dataset(pickled({'ase_atoms': MGO, 'forces': [forces[0], None, forces[2]]}), 'mgo')
    assert np.isnan(frames.energy).all()
    first, second, third = frames.slices()
    np.testing.assert_array_equal(frames.forces[first], forces[0])
    assert np.isnan(frames.forces[second]).all()
    np.testing.assert_array_equal(frames.forces[third], forces[2])


def test_corrected_energies_are_not_taken_for_energies():
    content = pickled({'ase_atoms': MGO, 'energy_corrected': [1.0, 2.0, 3.0]})
    with pytest.raises(UnreadablePickleError, match=r'no column `energy` among .* by `keys`'):
        read_dataset(content, 'mgo')
    frames, ignored = read_dataset(content, 'mgo', keys=LabelKeys(energy='energy_corrected'))
    assert frames.energy.tolist() == [1.0, 2.0, 3.0]
    assert ignored == ()
    with pytest.raises(UnreadablePickleError, match='no column `energie`'):
        read_dataset(content, 'mgo', keys=LabelKeys(energy='energie'))


@pytest.mark.fault(
    'a pickled dataset has two columns of energies or forces that differ, such as `energy` and `free_energy`',
    engine='fits to `energy`, whatever the forces belong to',
    here='refuses the file until `keys` names one; the message lists both',
    ends='none is made',
)
@pytest.mark.parametrize('other', ['REF_energy', 'free_energy', 'energy_pred'])
def test_two_columns_of_energies_are_refused_until_one_is_named(other):
    """As in files that ASE reads: the forces belong to one of them, and the table does not say to which."""
    images = [bulk('Cu', cubic=True, a=a) for a in (3.5, 3.6)]
    columns = {'ase_atoms': images, 'energy': [-1.0, -1.1], 'forces': [np.zeros((4, 3))] * 2}
    content = pickled({**columns, other: [-1.0, -3.1]})
    with pytest.raises(
        UnreadablePickleError, match=rf"`energy` and `{other}` differ, first in row 1.*'energy': '{other}'"
    ):
        read_dataset(content, 'x')
    for name, energies in (('energy', [-1.0, -1.1]), (other, [-1.0, -3.1])):
        assert read_dataset(content, 'x', keys=LabelKeys(energy=name))[0].energy.tolist() == energies
    for equal in ({other: columns['energy']}, {'energy_corrected': [-5.0, -5.1]}, {'energy_per_atom': [-0.25, -0.3]}):
        assert read_dataset(pickled({**columns, **equal}), 'x')[0].energy.tolist() == columns['energy']


def test_two_columns_of_forces_are_refused_until_one_is_named():
    images = [bulk('Cu', cubic=True)]
    columns = {'ase_atoms': images, 'energy': [-1.0], 'forces': [np.zeros((4, 3))], 'dft_forces': [np.ones((4, 3))]}
    with pytest.raises(UnreadablePickleError, match='`forces` and `dft_forces` differ'):
        read_dataset(pickled(columns), 'x')
    assert (read_dataset(pickled(columns), 'x', keys=LabelKeys(forces='dft_forces'))[0].forces == 1).all()


def test_labels_may_be_lists_and_matrices():
    columns = {
        'ase_atoms': MGO,
        'energy': np.array([-1, -2, -3], dtype=np.int32),
        'forces': [image.get_forces().tolist() for image in MGO],
        'stress': [
            MGO[0].get_stress(voigt=False),
            MGO[1].get_stress(voigt=False).tolist(),
            MGO[2].get_stress().astype(np.float32),
        ],
    }
    frames, _ = read_dataset(pickled(columns), 'mgo')
    assert frames.energy.tolist() == [-1.0, -2.0, -3.0]
    np.testing.assert_array_equal(frames.forces, np.concatenate([image.get_forces() for image in MGO]))
    np.testing.assert_array_equal(frames.stress[:2], [image.get_stress(voigt=False) for image in MGO[:2]])
    np.testing.assert_allclose(frames.stress[2], MGO[2].get_stress(voigt=False), rtol=1e-6)


@pytest.mark.parametrize(
    ('columns', 'message'),
    [
        ({'energy': [1.0, 2.0, 3.0]}, 'no column `ase_atoms`'),
        ({'ase_atoms': [*MGO[:2], None]}, 'row 2 of `ase_atoms` holds NoneType'),
        ({'ase_atoms': MGO, 'energy': [1.0, '2.0', 3.0]}, 'the energy in row 1 is not a number'),
        (
            {'ase_atoms': MGO, 'forces': [image.get_forces()[:-1] for image in MGO]},
            r'`forces` in row 0 has the shape \(\d+, 3\), \(\d+, 3\) is needed',
        ),
        (
            {'ase_atoms': MGO, 'forces': [image.get_forces().tolist()[:-1] for image in MGO]},
            '`forces` in row 0 is a list',
        ),
        ({'ase_atoms': MGO, 'stress': [np.zeros(9)] * 3}, r'`stress` in row 0 .* \(3, 3\) or \(6,\) is needed'),
    ],
)
def test_wrong_columns_are_named(columns, message):
    with pytest.raises(UnreadablePickleError, match=message):
        read_dataset(pickled(columns), 'mgo')


@pytest.mark.parametrize('index', [['a', 'b', 'c'], [0, 1, 1], [-1, 0, 1], [0.0, 1.0, 2.0]])
def test_selection_needs_positions(index):
    with pytest.raises(UnreadablePickleError, match='distinct positions'):
        read_selection(pickled({'step': [1, 2, 3]}, index=index))


def test_structures_may_carry_what_is_not_read():
    from ase.constraints import FixAtoms
    from ase.spacegroup import crystal

    sodium = crystal('Na', [(0, 0, 0)], spacegroup=229, cellpar=[4.2] * 3 + [90] * 3)
    sodium.set_constraint(FixAtoms([0]))
    sodium.set_initial_magnetic_moments([1.0, -1.0])
    frames, _ = read_dataset(pickled({'ase_atoms': [sodium]}), 'sodium')
    np.testing.assert_array_equal(frames.positions, sodium.positions)


def test_tables_of_other_things_are_refused():
    with pytest.raises(
        ForbiddenPickleError, match=r'`datetime.date`, which does not belong in a table .* Nothing was run'
    ):
        read_table(pickle.dumps(datetime.date(2020, 1, 1)))
    with pytest.raises(
        UnreadablePickleError, match=r'a table of pandas 0\.25 or newer is needed, the pickle holds dict'
    ):
        read_table(pickle.dumps({'ase_atoms': []}))
    with pytest.raises(UnreadablePickleError, match='names of the columns are not all strings'):
        read_table(pickled({'energy': [1.0], 5: [2.0]}))


def test_columns_of_foreign_objects_are_passed_over():
    """What engines of old kept beside the structures: compiled neighbour lists and the like."""
    content = pickled(
        {
            'ase_atoms': MGO,
            'energy': [1.0, 2.0, 3.0],
            'atomic_env': [image.symbols for image in MGO],
            'made': [datetime.datetime(2020, 1, day, tzinfo=datetime.timezone.utc) for day in (1, 2, 3)],
            'numbers': [{1, 2}, {3}, frozenset()],
            'bonds': [{(1.5, 2): 3}] * 3,
        }
    )
    frames, left_out = read_dataset(content, 'mgo')
    assert frames.energy.tolist() == [1.0, 2.0, 3.0]
    assert left_out == ('atomic_env', 'bonds', 'made', 'numbers')
    assert said_of_columns(left_out) == (
        'the columns `atomic_env`, `bonds`, `made`, `numbers` were left out: a dataset has no place for them',
    )
    table = read_table(content)
    assert list(table.columns) == ['ase_atoms', 'energy']
    assert 'ase.symbols.Symbols' in str(table.skipped['atomic_env'])
    with pytest.raises(ForbiddenPickleError, match=r'column `atomic_env` cannot be read: .*Symbols.*Nothing was run'):
        read_dataset(content, 'mgo', keys=LabelKeys(energy='atomic_env'))


def test_an_energy_that_the_engine_would_fit_is_not_left_out_in_silence():
    content = pickled({'ase_atoms': MGO, 'energy': [-10.0, -20.0, -30.0], 'energy_corrected': [-1.0, -2.0, -3.0]})
    frames, left_out = read_dataset(content, 'mgo')
    assert (frames.energy.tolist(), left_out) == ([-10.0, -20.0, -30.0], ('energy_corrected',))
    (said,) = said_of_columns(left_out)
    assert "keys={'energy': 'energy_corrected'}" in said
    named, left_out = read_dataset(content, 'mgo', keys=LabelKeys(energy='energy_corrected'))
    assert (named.energy.tolist(), left_out) == ([-1.0, -2.0, -3.0], ('energy',))


def test_weights_need_both_columns_and_every_row():
    per_atom = [np.arange(len(image)) + 0.5 for image in MGO]
    energy = {'energy': [1.0, 2.0, 3.0]}
    frames, left_out = read_dataset(pickled({'ase_atoms': MGO, **energy, 'w_energy': [1.0, 0.0, 3.0]}), 'mgo')
    assert not frames.weighted
    assert left_out == ('w_energy',)
    assert 'only where both of `w_energy`, `w_forces` are there' in said_of_columns(left_out)[0]
    both = {'ase_atoms': MGO, **energy, 'w_energy': [1.0, 0.0, 3.0], 'w_forces': per_atom}
    frames, left_out = read_dataset(pickled(both), 'mgo')
    assert (frames.w_energy.tolist(), frames.w_forces.tolist()) == ([1.0, 0.0, 3.0], np.concatenate(per_atom).tolist())
    assert left_out == ()
    # The engine multiplies both.
    frames, left_out = read_dataset(pickled({**both, 'w_factor': [2.0, 1.0, 0.5]}), 'mgo')
    assert frames.w_energy.tolist() == [2.0, 0.0, 1.5]
    assert frames.w_forces[: len(MGO[0])].tolist() == (2 * per_atom[0]).tolist()
    for column, change in (
        ('w_energy', [1.0, None, 1.0]),
        ('w_energy', [1.0, -1.0, 1.0]),
        ('w_forces', [*per_atom[:2], None]),
    ):
        with pytest.raises(UnreadablePickleError, match=r'1 frames have a weight .* missing, negative or not finite'):
            read_dataset(pickled({**both, column: change}), 'mgo')
    with pytest.raises(UnreadablePickleError, match='`w_forces` in row 0 has the shape'):
        read_dataset(pickled({**both, 'w_forces': [np.ones(1), *per_atom[1:]]}), 'mgo')


def test_names_that_mean_something_to_the_engine_are_refused():
    columns = {'ase_atoms': MGO, 'energy': [1.0, 2.0, 3.0]}
    with pytest.raises(
        UnreadablePickleError, match='1 rows have names that begin with `augmented`, the first is row 1 with'
    ):
        read_dataset(pickled({**columns, 'name': ['bulk', 'augmented/zbl', 'not augmented']}), 'mgo')


def test_a_virial_is_read_where_it_is_named():
    virial = [np.diag([1.0, 2.0, 3.0]) for _ in MGO]
    content = pickled({'ase_atoms': MGO, 'energy': [1.0, 2.0, 3.0], 'virials': virial})
    frames, _ = read_dataset(content, 'mgo', keys=LabelKeys(virial='virials'))
    np.testing.assert_allclose(frames.stress[0], -virial[0] / MGO[0].get_volume())


@pytest.mark.parametrize('level', [1, 9])
def test_honest_tables_stay_below_all_limits(level):
    """500 structures that compress well: scaled cells, no forces, and energies on a line."""
    images = [MGO[0].copy() for _ in range(500)]
    for step, image in enumerate(images):
        image.set_cell(image.cell * (1 + 1e-4 * step), scale_atoms=True)
    columns = {
        'ase_atoms': images,
        'energy': np.arange(500.0),
        'forces': [np.zeros((len(image), 3)) for image in images],
    }
    pandas = pytest.importorskip('pandas')
    content = gzip.compress(pickle.dumps(pandas.DataFrame(columns)), level)
    assert len(read_dataset(content, 'mgo')[0]) == 500
