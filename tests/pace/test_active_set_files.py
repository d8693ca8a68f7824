import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_pacemaker.errors import ActiveSetFileError
from aiida_pacemaker.pace.output import active_sets as active_set_files
from aiida_pacemaker.pace.output.active_sets import read_active_set

FIXTURES = Path(__file__).parents[1] / 'fixtures' / 'activeset'
LINEAR = (FIXTURES / 'linear' / 'output_potential.asi').read_bytes()
FULL = (FIXTURES / 'full' / 'output_potential.asi.nonlinear').read_bytes()


def archive(**matrices):
    stream = io.BytesIO()
    np.savez(stream, **matrices)
    return stream.getvalue()


@pytest.mark.parametrize('content', [LINEAR, FULL], ids=['linear', 'full'])
def test_a_real_active_set(content):
    blocks = read_active_set(content)
    with np.load(io.BytesIO(content)) as arrays:
        assert set(blocks) == set(arrays) == {'Mg', 'O'}
        for element, block in blocks.items():
            assert arrays[element].shape == (block.size, block.size)
            inverse = np.linalg.inv(arrays[element])
            norm = np.abs(arrays[element]).sum(axis=0).max() * np.abs(inverse).sum(axis=0).max()
            assert block.condition_number == pytest.approx(norm)


def test_a_singular_matrix_is_told_by_its_condition_number():
    assert read_active_set(archive(Mg=np.zeros((2, 2))))['Mg'].condition_number == np.inf


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'', 'empty'),
        (b'not an archive', 'not a whole archive'),
        (archive(), 'shorter than an archive of arrays'),
        (archive(Xx=np.eye(2)), 'a matrix for each element is needed'),
        # What the engine leaves for itself between batches names species types instead of elements.
        (archive(**{'0': np.eye(2)}), 'a matrix for each element is needed'),
        (archive(Mg=np.ones((2, 3))), r'shape \(2, 3\)'),
        (archive(Mg=np.ones(4)), r'shape \(4,\)'),
        (archive(Mg=np.ones((0, 0))), r'shape \(0, 0\)'),
        (archive(Mg=np.eye(2, dtype=np.float32)), 'float32'),
        (archive(Mg=np.array([[print]], dtype=object)), 'does not write for numbers'),
        (archive(Mg=np.array([[1.0, np.nan], [0.0, 1.0]])), 'NaN'),
    ],
)
def test_what_is_not_an_active_set_is_refused(content, reason):
    with pytest.raises(ActiveSetFileError, match=reason):
        read_active_set(content)


def test_a_header_that_claims_more_than_there_is_is_refused_before_memory_is_taken():
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {'descr': '<f8', 'fortran_order': False, 'shape': (10**6, 10**6)})
    content = io.BytesIO()
    with zipfile.ZipFile(content, 'w') as file:
        file.writestr('Mg.npy', stream.getvalue())
    with pytest.raises(ActiveSetFileError, match='but holds 0 bytes'):
        read_active_set(content.getvalue())


def test_a_compressed_bomb_is_refused_before_it_is_unpacked():
    content = io.BytesIO()
    with zipfile.ZipFile(content, 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('Mg.npy', bytes(10**7))
    assert len(content.getvalue()) < 10**5
    with pytest.raises(ActiveSetFileError, match='`Mg` is compressed'):
        read_active_set(content.getvalue())


def test_a_file_that_is_too_large_is_not_looked_into(monkeypatch):
    monkeypatch.setattr(active_set_files, 'MAX_BYTES', 1000)
    with pytest.raises(ActiveSetFileError, match=f'has {len(LINEAR)} bytes'):
        read_active_set(LINEAR)


@given(st.integers(0, len(LINEAR) - 1))
def test_a_file_cut_anywhere_is_refused(position):
    with pytest.raises(ActiveSetFileError):
        read_active_set(LINEAR[:position])


@given(st.integers(0, len(LINEAR) - 1), st.integers(1, 255))
def test_a_damaged_file_is_refused_or_reads_the_same(position, change):
    damaged = bytearray(LINEAR)
    damaged[position] ^= change
    try:
        blocks = read_active_set(bytes(damaged))
    except ActiveSetFileError:
        return
    # Only what carries no meaning, such as the time of writing, may change unseen.
    assert blocks == read_active_set(LINEAR)
