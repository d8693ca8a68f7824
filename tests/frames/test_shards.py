"""Shards: exact, deterministic, and strict with what is not one."""

import io
import zipfile
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from disk_objectstore.utils import PackedObjectReader
from frame_cases import assert_equal, random_frames, simple_frame
from hypothesis import given
from hypothesis import strategies as st

from aiida_pacemaker.errors import ShardError
from aiida_pacemaker.frames.hashing import frame_hashes
from aiida_pacemaker.frames.shards import (
    read_columns,
    read_hashes,
    read_shard,
    shard_name,
    split_into_shards,
    write_shard,
)
from aiida_pacemaker.frames.table import Frames


@given(seed=st.integers(0, 10**6), n_frames=st.integers(0, 9), labelled=st.booleans())
def test_what_is_written_is_read(seed, n_frames, labelled):
    frames = random_frames(seed, n_frames, labelled=labelled, n_sources=3)
    content = write_shard(frames)
    assert_equal(read_shard(content), frames)
    assert_equal(read_shard(io.BytesIO(content)), frames)


@pytest.mark.parametrize('content', [write_shard(simple_frame()), b'', b'PK', b'PK\x05\x06' + bytes(18)])
def test_a_stream_that_is_a_part_of_a_file_is_read_as_the_file(content, tmp_path):
    """Those of packed objects of a repository return from `seek` what they were given, and can be moved out of."""
    (tmp_path / 'pack').write_bytes(b'before' * 99 + content + b'behind' * 99)
    with (tmp_path / 'pack').open('rb') as handle:
        packed = PackedObjectReader(handle, 6 * 99, len(content))
        if len(content) > 22:
            assert_equal(read_shard(packed), simple_frame())
            assert np.array_equal(read_hashes(packed), frame_hashes(simple_frame()))
        else:
            with pytest.raises(ShardError, match='empty' if not content else 'truncated'):
                read_shard(packed)


@given(seed=st.integers(0, 10**6), n_frames=st.integers(0, 9))
def test_weights_are_read(seed, n_frames):
    frames = random_frames(seed, n_frames, n_sources=3)
    weighted = frames.with_weights(np.abs(frames.energy), np.abs(frames.forces[:, 0]))
    content = write_shard(weighted)
    assert_equal(read_shard(content), weighted)
    # Whoever knows no weights says that the format is unknown, and drops nothing.
    assert read_columns(content, ['w_energy'])['w_energy'].tolist() == weighted.w_energy.tolist()
    assert write_shard(replace(weighted, w_energy=None, w_forces=None)) == write_shard(frames)


def test_values_that_are_not_numbers_survive():
    frames = random_frames(0, 3)
    frames = replace(frames, stress=np.full((3, 3, 3), np.nan), energy=np.array([np.inf, -0.0, np.nan]))
    assert_equal(read_shard(write_shard(frames)), frames)
    assert np.signbit(read_shard(write_shard(frames)).energy[1])


def test_the_bytes_never_change():
    """Names of stored shards are made from their bytes: this literal must never have to be corrected."""
    content = write_shard(simple_frame())
    assert sha256(content).hexdigest() == 'eeb5e41790573d981b069337920fcf77372032b0e3875ee1f38ba038178606a6'
    assert shard_name(content) == f'{sha256(content).hexdigest()}.npz'


def test_equal_frames_give_equal_bytes_however_their_sources_are_listed():
    frames = random_frames(1, 6, n_sources=2)
    other = replace(frames, source_keys=('unused', 'source-1', 'source-0'), source=2 - frames.source)
    assert write_shard(other) == write_shard(frames)
    assert write_shard(frames.with_generation(1)) != write_shard(frames)


def test_numpy_reads_a_shard_without_unpickling():
    frames = random_frames(2, 4)
    with np.load(io.BytesIO(write_shard(frames)), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays['positions'], frames.positions)
        np.testing.assert_array_equal(arrays['numbers'], frames.numbers)


class CountingFile(io.BytesIO):
    """A file that counts the bytes that are read."""

    count = 0

    def read(self, size=-1):
        content = super().read(size)
        self.count += len(content)
        return content


def test_single_columns_are_read_without_the_others():
    frames = random_frames(3, 300, max_atoms=27)
    file = CountingFile(write_shard(frames))
    np.testing.assert_array_equal(read_hashes(file), frame_hashes(frames))
    assert file.count < len(file.getvalue()) / 10
    columns = read_columns(file, ['energy', 'n_atoms', 'pbc'])
    assert list(columns) == ['energy', 'n_atoms', 'pbc']
    for name, column in columns.items():
        np.testing.assert_array_equal(column, getattr(frames, name))
        assert column.dtype == getattr(frames, name).dtype
    with pytest.raises(ShardError, match='the shard has no column hashes, nonsense'):
        read_columns(file, ['nonsense', 'hashes'])
    with pytest.raises(ShardError, match='no column energy'):
        read_columns(write_shard(frames.without_labels()), ['energy'])


@given(seed=st.integers(0, 10**6), max_bytes=st.integers(1, 5000))
def test_splitting_keeps_all_frames_and_the_bound(seed, max_bytes):
    frames = random_frames(seed, 12)
    parts = list(split_into_shards(frames, max_bytes))
    assert_equal(Frames.concatenate(parts), frames)
    headers = len(write_shard(frames.select([]))) + 200
    assert all(len(part) == 1 or len(write_shard(part)) <= max_bytes + headers for part in parts)


def test_no_frames_make_no_shards_and_the_bound_must_be_positive():
    assert list(split_into_shards(random_frames(0, 0), 100)) == []
    with pytest.raises(ValueError, match='a positive number is needed'):
        list(split_into_shards(random_frames(0, 1), 0))


@pytest.mark.parametrize(('column', 'value'), [('numbers', 300), ('numbers', -1), ('generation', 2**40)])
def test_a_value_that_does_not_fit_is_not_wrapped_around(column, value):
    frames = random_frames(0, 2)
    array = getattr(frames, column).copy()
    array[0] = value
    with pytest.raises(ShardError, match=f'column `{column}` holds {value}, which does not fit'):
        write_shard(replace(frames, **{column: array}))


def altered(content: bytes, changes: dict[str, bytes | None], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a shard with members replaced, added, or (None) left out."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, 'w', compression) as new:
        members = {name: old.read(name) for name in old.namelist()} | changes
        for name, data in members.items():
            if data is not None:
                new.writestr(name, data)
    return stream.getvalue()


def npy(array, **header) -> bytes:
    """Return an array as numpy saves it, with entries of its header replaced."""
    stream = io.BytesIO()
    described = np.lib.format.header_data_from_array_1_0(array) | header
    np.lib.format.write_array_header_1_0(stream, described)
    return stream.getvalue() + (b'' if array.dtype.hasobject else array.tobytes())


SHARD = write_shard(random_frames(7, 3))
ENERGY = random_frames(7, 3).energy


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'format.npy': npy(np.array(3, dtype='<i4'))}, 'the shard is of format 3, this version reads formats 1 and 2'),
        ({'format.npy': npy(np.array(2, dtype='<i4'))}, 'the shard has the members'),
        ({'w_energy.npy': npy(ENERGY)}, 'the shard has the members'),
        ({'format.npy': None}, 'has no member `format.npy`'),
        ({'positions.npy': None}, 'the shard has the members'),
        ({'energy.npy': None}, 'the shard has the members'),
        ({'extra.npy': npy(ENERGY)}, 'the shard has the members'),
        ({'energy.npy': npy(ENERGY.astype('<f4'))}, 'is of type float32, float64 in C order is needed'),
        ({'energy.npy': npy(np.array([{}], dtype=object))}, 'a header that NumPy does not write for numbers'),
        ({'energy.npy': npy(ENERGY, shape=(10**12,))}, r'declares an array of shape \(1000000000000,\), but holds 24'),
        ({'energy.npy': npy(ENERGY, shape=(-3, -1))}, r'a header that NumPy does not write for numbers.*\(-3, -1\)'),
        ({'energy.npy': npy(ENERGY)[:-8]}, 'but holds 16 bytes'),
        ({'energy.npy': npy(ENERGY[:2])}, r'column `energy` has shape \(2,\), \(3,\) is needed'),
        ({'energy.npy': b'not an array'}, '`energy` is not an array of NumPy'),
        ({'energy.npy': b''}, '`energy` is not an array of NumPy'),
        ({'hashes.npy': npy(np.zeros(3, dtype='V16'))}, 'its hashes are not those of its frames'),
        ({'hashes.npy': npy(np.zeros(2, dtype='V16'))}, 'its hashes are not those of its frames'),
        ({'pbc.npy': npy(np.full((3, 3), 7, dtype='u1'))}, '`pbc` is neither 0 nor 1'),
        ({'n_atoms.npy': npy(np.array([-1, 1, 1], dtype='<i4'))}, '`n_atoms` is negative'),
        ({'source_keys.npy': npy(np.frombuffer(b'[1]', dtype='u1'))}, 'are not a list of strings'),
        ({'source_keys.npy': npy(np.frombuffer(b'\xff', dtype='u1'))}, 'source keys of the shard cannot be read'),
        ({'source.npy': npy(np.array([9, 9, 9], dtype='<i4'))}, 'points outside `source_keys`'),
    ],
)
def test_what_is_not_a_shard_is_refused(changes, message):
    with pytest.raises(ShardError, match=message):
        read_shard(altered(SHARD, changes))


def test_a_copy_with_other_zip_details_is_still_read():
    assert_equal(read_shard(altered(SHARD, {})), read_shard(SHARD))


def test_a_compressed_shard_is_refused_before_it_is_inflated():
    with pytest.raises(ShardError, match='is compressed or encrypted'):
        read_shard(altered(SHARD, {}, zipfile.ZIP_DEFLATED))


@given(length=st.integers(0, len(SHARD) - 1))
def test_a_truncated_shard_is_refused(length):
    with pytest.raises(ShardError):
        read_shard(SHARD[:length])


@given(place=st.integers(0, len(SHARD) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_or_harmless(place, bit):
    damaged = bytearray(SHARD)
    damaged[place] ^= 1 << bit
    try:
        frames = read_shard(bytes(damaged))
    except ShardError:
        return
    assert_equal(frames, read_shard(SHARD))
