import gzip
import hashlib
import io
import pickletools
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_pacemaker.frames.pickles.reading import read_dataset, read_selection
from aiida_pacemaker.frames.pickles.writing import write_candidates, write_dataset
from aiida_pacemaker.frames.table import Frames

ROOT = Path(__file__).parents[2]
MGO = ase.io.read(ROOT / 'examples' / 'mgo-lda.extxyz', index=':5')


def unlabelled(numbers, positions, cells, pbc) -> Frames:
    n_frames = len(numbers)
    return Frames(
        n_atoms=np.array([len(frame) for frame in numbers]),
        numbers=np.concatenate(numbers),
        positions=np.concatenate(positions),
        cells=np.array(cells),
        pbc=np.array(pbc),
        energy=None,
        forces=None,
        stress=None,
        source_keys=('mgo',),
        source=np.zeros(n_frames, dtype=np.int64),
        step=np.arange(n_frames),
        generation=np.zeros(n_frames, dtype=np.int64),
    )


@pytest.fixture
def frames() -> Frames:
    columns = [[getattr(image, name) for image in MGO] for name in ('numbers', 'positions', 'cell', 'pbc')]
    return unlabelled(*columns)


@pytest.fixture
def targets() -> dict[str, np.ndarray]:
    return {
        'energy': np.array([image.get_potential_energy() for image in MGO]),
        'forces': np.concatenate([image.get_forces() for image in MGO]),
    }


def written(frames, **arguments) -> bytes:
    handle = io.BytesIO()
    (write_dataset if 'energy' in arguments else write_candidates)(frames, handle, **arguments)
    return handle.getvalue()


def test_pandas_loads_what_the_engine_needs(frames, targets):
    pandas = pytest.importorskip('pandas')
    names = [f'mgo-{step}' for step in range(5)]
    content = written(frames, **targets, energy_corrected=targets['energy'] + 1860.0, names=names)
    table = pandas.read_pickle(io.BytesIO(content), compression='gzip')

    assert list(table.columns) == ['ase_atoms', 'energy', 'energy_corrected', 'forces', 'name']
    assert list(table.index) == [0, 1, 2, 3, 4]
    assert table['energy'].dtype == table['energy_corrected'].dtype == np.float64
    assert list(table['name']) == names
    for row, image in enumerate(MGO):
        assert table['ase_atoms'][row] == image
        assert table['energy'][row] == image.get_potential_energy()
        assert table['energy_corrected'][row] == image.get_potential_energy() + 1860.0
        forces = table['forces'][row]
        np.testing.assert_array_equal(forces, image.get_forces())
        # The engine may change what it was given.
        forces *= 2
        table['ase_atoms'][row].positions += 1


def test_candidates_have_neither_labels_nor_calculators(frames, targets):
    pandas = pytest.importorskip('pandas')
    stress = np.zeros((5, 3, 3))
    content = written(frames.with_labels(**targets, stress=stress), names=list('abcde'))
    table = pandas.read_pickle(io.BytesIO(content), compression='gzip')
    assert list(table.columns) == ['ase_atoms', 'name']
    assert all(atoms == image and atoms.calc is None for atoms, image in zip(table['ase_atoms'], MGO, strict=True))


def test_only_public_constructors_are_called(frames, targets):
    content = gzip.decompress(written(frames, **targets, names=list('abcde')))
    called = {argument for opcode, argument, _ in pickletools.genops(content) if opcode.name == 'GLOBAL'}
    assert called == {
        'pandas DataFrame',
        'ase.atoms Atoms',
        'numpy ndarray',
        'numpy array',
        'numpy split',
        'builtins list',
        'builtins map',
        'itertools repeat',
    }
    assert max(opcode.proto for opcode, _, _ in pickletools.genops(content)) == 4


def test_equal_input_gives_equal_bytes(frames, targets, tmp_path):
    names = [''.join(['fra', 'me']) for _ in range(5)]  # Equal, but not one and the same object.
    reference = written(frames, **targets, names=['frame'] * 5)
    assert (
        written(frames.select(range(5)), **{key: value.copy() for key, value in targets.items()}, names=names)
        == reference
    )
    for name in ('one', 'other'):
        with (tmp_path / name).open('wb') as handle:
            write_dataset(frames, handle, **targets, names=names)
    assert (tmp_path / 'one').read_bytes() == (tmp_path / 'other').read_bytes() == reference


def test_format_is_frozen():
    """Files are named by their content and shared between jobs, so a change of format must be deliberate."""
    frames = unlabelled(
        [np.array([12, 8]), np.array([8])],
        [np.eye(3)[:2], np.ones((1, 3))],
        np.ones((2, 3, 3)),
        [[True] * 3, [False] * 3],
    )
    content = written(frames, energy=np.array([1.5, -2.0]), forces=np.zeros((3, 3)), names=['a', 'b'])
    assert (
        hashlib.sha256(gzip.decompress(content)).hexdigest()
        == 'ed7715fb1c5be0f5428eeeed52f63cb2ddd1da4cf20e86be76189430d5fcb171'
    )


def test_level_changes_the_size_only(frames, targets):
    sizes = []
    for level in (0, 1, 9):
        content = written(frames, **targets, level=level)
        assert gzip.decompress(content) == gzip.decompress(written(frames, **targets))
        sizes.append(len(content))
    assert sizes[0] > sizes[1] > sizes[2]


def test_pandas_is_not_needed(tmp_path):
    script = """
import sys
sys.modules.update(dict.fromkeys(['pandas', 'pyarrow']))  # None: cannot be imported
from pathlib import Path
from aiida_pacemaker.frames.pickles.reading import read_dataset
from aiida_pacemaker.frames.pickles.writing import write_candidates
frames, _ = read_dataset(Path(sys.argv[1]), 'mgo')
with open(sys.argv[2], 'wb') as handle:
    write_candidates(frames, handle)
"""
    source = ROOT / 'tests' / 'fixtures' / 'pickles' / 'pandas-3.1.1-pyarrow-selected.pkl.gz'
    subprocess.run([sys.executable, '-c', script, source, tmp_path / 'candidates'], check=True)
    assert read_selection(tmp_path / 'candidates').tolist() == [0, 1]


@given(
    n_atoms=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    seed=st.integers(0, 2**32 - 1),
    level=st.integers(0, 9),
)
def test_round_trip(n_atoms, seed, level):
    rng = np.random.default_rng(seed)
    frames = unlabelled(
        [rng.integers(1, 119, size=count) for count in n_atoms],
        [rng.normal(size=(count, 3)) for count in n_atoms],
        # Right-handed ones: others are not written as they are.
        [cell * np.sign(np.linalg.det(cell)) for cell in rng.normal(size=(len(n_atoms), 3, 3))],
        rng.random((len(n_atoms), 3)) < 0.5,
    )
    energy, forces = rng.normal(size=len(n_atoms)), rng.normal(size=(sum(n_atoms), 3))
    read, ignored = read_dataset(written(frames, energy=energy, forces=forces, level=level), 'mgo')
    for name in ('n_atoms', 'numbers', 'positions', 'cells', 'pbc', 'step'):
        np.testing.assert_array_equal(getattr(read, name), getattr(frames, name))
    np.testing.assert_array_equal(read.energy, energy)
    np.testing.assert_array_equal(read.forces, forces)
    assert np.isnan(read.stress).all()
    assert ignored == ()


def test_wrong_input_is_refused(frames, targets):
    not_finite = targets | {
        'forces': targets['forces'] * np.where(np.arange(len(targets['forces'])) == 3, np.nan, 1)[:, None]
    }
    with pytest.raises(ValueError, match='`forces` holds 3 values that are not finite'):
        written(frames, **not_finite)
    with pytest.raises(ValueError, match=r'`energy` has shape \(4,\), the frames need \(5,\)'):
        written(frames, **targets | {'energy': targets['energy'][:4]})
    with pytest.raises(ValueError, match=r'`energy_corrected` has shape \(5, 1\)'):
        written(frames, **targets, energy_corrected=targets['energy'][:, None])
    with pytest.raises(ValueError, match='2 names are given for 5 frames'):
        written(frames, names=['a', 'b'])
    with pytest.raises(ValueError, match='1 names begin with `augmented`, the first is `augmented-7`'):
        written(frames, names=['a', 'b', 'augmented-7', 'c', 'not-augmented'])
    with pytest.raises(ValueError, match='no frames to write'):
        written(frames.select([]))


def test_left_handed_cells_are_written_right_handed():
    """The engine stops at the others. Without a period a cell says nothing, and stays as it is."""
    pandas = pytest.importorskip('pandas')
    cell = np.array([[0, 3.0, 0], [4.0, 0.5, 0], [0, 0.1, 5.0]])
    pbc = [[True] * 3, [True] * 3, [False] * 3]
    frames = unlabelled([[12]] * 3, [[[0.0, 0, 0]]] * 3, [cell, cell[[1, 0, 2]], cell], pbc)
    table = pandas.read_pickle(io.BytesIO(written(frames)), compression='gzip')
    cells = [atoms.cell[:] for atoms in table['ase_atoms']]
    assert np.linalg.det(cell) < 0
    assert np.array_equal(cells, [cell[[1, 0, 2]], cell[[1, 0, 2]], cell])
