"""Files made to do harm, or damaged: nothing runs, memory stays bounded, and there is one kind of error."""

import builtins
import functools
import gzip
import io
import os
import pickle
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_pacemaker.errors import ForbiddenPickleError, UnreadablePickleError
from aiida_pacemaker.frames.pickles import limits as pickle_limits
from aiida_pacemaker.frames.pickles.reading import Table, read_dataset, read_selection, read_table
from aiida_pacemaker.frames.pickles.writing import write_dataset

RECORDED = Path(__file__).parents[2] / 'tests' / 'fixtures' / 'pickles'
ANY = RECORDED / 'pandas-2.2.2-selected.pkl.gz'
FAR = b'\xff\xff\xff\x7f'


class Reduced:
    """Pickled as a call, with a state or with items if given."""

    def __init__(self, function, arguments, *rest):
        self.reduced = (function, arguments, *rest)

    def __reduce__(self):
        return self.reduced


def tuple_(*items: bytes) -> bytes:
    return b'(' + b''.join(items) + b't'


def number(value: int) -> bytes:
    return b'\x8a\x08' + value.to_bytes(8, 'little', signed=True)


def number_of(size: int) -> bytes:
    return b'\x8b' + size.to_bytes(4, 'little') + b'\xff' * (size - 1) + b'\x7f'


def text(value: str) -> bytes:
    return b'X' + len(value).to_bytes(4, 'little') + value.encode()


def call(path: str, *arguments: bytes) -> bytes:
    module, name = path.rsplit('.', 1)
    return f'c{module}\n{name}\n'.encode() + tuple_(*arguments) + b'R'


def table(**columns: bytes) -> bytes:
    items = b''.join(text(name) + column for name, column in columns.items())
    return b'\x80\x04' + call('pandas.DataFrame', b'}(' + items + b'u') + b'.'


def array(shape: tuple[int, ...], dtype: str, content: bytes) -> bytes:
    size = len(content).to_bytes(8, 'little')
    return call('numpy.ndarray', tuple_(*map(number, shape)), text(dtype), b'\x8e' + size + content)


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ('function', 'culprit'),
    [
        (os.system, 'posix.system'),
        (subprocess.Popen, '(subprocess|commands).Popen'),
        (builtins.eval, 'eval'),
        (builtins.exec, 'exec'),
        (functools.partial(os.system), 'posix.system'),
        (np.load, r'numpy(\.lib\.[a-z_.]+)?\.load'),
    ],
)
def test_foreign_functions_are_named_and_not_called(tmp_path, function, culprit, protocol):
    ran = tmp_path / 'ran'
    python = f'open({str(ran)!r}, "w").close()'
    argument = python if function in {eval, exec} else f'touch {ran}'
    content = pickle.dumps(Reduced(function, (argument,)), protocol)
    for read in (read_table, read_selection, functools.partial(read_dataset, source_key='')):
        with pytest.raises(ForbiddenPickleError, match=f'refers to `[a-z_]*\\.?{culprit}`.*Nothing was run'):
            read(content)
    assert not ran.exists()
    if function in {os.system, eval, exec}:
        pickle.loads(content)
        assert ran.exists()


@pytest.mark.parametrize(
    ('content', 'culprit'),
    [
        (call('pandas.read_pickle', text('evil.pkl')), 'pandas.read_pickle'),
        (call('pandas.DataFrame', call('pandas.eval', text('1'))), 'pandas.eval'),
        (b'(S"touch ran"\nios\nsystem\n', 'STRING'),
        (b'(X\x01\x00\x00\x00aios\nsystem\n', 'os.system'),
        (text('os') + text('system') + b'\x93', 'os.system'),
        (number(1) + number(2) + b'\x93', 'something without a name'),
        (text('builtins') + text('getattr.__self__.eval') + b'\x93', 'getattr.__self__.eval'),
        (b'cnumpy\nndarray.__class__\n', 'numpy.ndarray.__class__'),
        (b'cos\nsys\x1b[2Jtem\n', r'sys\\x1b\[2Jtem'),
        (b'}\x94cpandas\nDataFrame\n)\x81}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb', 'os.system'),
        (b'\x82\x01', 'EXT1'),
        (b'Pevil\n', 'PERSID'),
    ],
)
def test_foreign_names_are_named(content, culprit):
    with pytest.raises(UnreadablePickleError, match=culprit):
        read_table(b'\x80\x04' + content + b'.')


def test_getattr_is_never_called(tmp_path):
    """ASE writes it with every calculator, but a result of it cannot be called."""
    system = call('builtins.getattr', call('builtins.getattr', b'cnumpy\nndarray\n', text('__class__')), text('mro'))
    with pytest.raises(ForbiddenPickleError, match='calls something that is not named in it'):
        read_table(b'\x80\x04' + system + b')R.')


def test_state_is_not_set_on_what_has_none():
    for target in (b']', b'}', b'cnumpy\nndarray\n', text('a')):
        with pytest.raises(UnreadablePickleError, match='state of something that has none'):
            read_table(b'\x80\x04' + target + b'}X\x01\x00\x00\x00aNsb.')


HUGE = 2**40
BOMBS = {
    'far memo slot': b'\x80\x04]r' + FAR + b'.',
    'long bytes': b'\x80\x04\x8e' + (2**62).to_bytes(8, 'little') + b'.',
    'long string': b'\x80\x04X' + FAR + b'.',
    'long frame': b'\x80\x04\x95' + (2**62).to_bytes(8, 'little') + b'N.',
    'nested key': b'\x80\x04})' + b'\x85' * 200_000 + b'Ns.',
    'nested state': b'\x80\x04cpandas\nDataFrame\n)R' + b']' * 100_000 + b'a' * 99_999 + b'b.',
    'nested cell': table(a=b'](' + b']' * 100_000 + b'a' * 99_999 + b'e'),
    'cell within itself': table(a=b'](]\x940h\x00h\x00ae'),
    'huge array': table(a=array((HUGE,), '<f8', b'12345678')),
    'huge empty array': table(a=array((HUGE, 0), '<f8', b''), b=array((HUGE, 0), '<f8', b'')),
    'negative shape': table(a=array((-1, -1), '<f8', b'12345678')),
    'wide type': table(a=array((1,), 'V1099511627776', b'1')),
    'objects over bytes': table(a=array((1,), '|O8', b'12345678')),
    'repeat': table(a=call('builtins.list', call('itertools.repeat', number(7)))),
    'repeated rows': table(
        a=call('builtins.list', call('builtins.map', b'case.atoms\nAtoms\n', *[call('itertools.repeat', b'N')] * 11))
    ),
    'allocating': table(
        a=call('numpy._core.multiarray._reconstruct', b'cnumpy\nndarray\n', tuple_(number(HUGE)), b'C\x01b')
    ),
    'bytearray': table(
        a=call('numpy.ndarray', tuple_(number(HUGE)), text('|b1'), call('builtins.bytearray', number(HUGE)))
    ),
    'symbol as a cell': table(a=b'](cnumpy\nndarray\ne'),
    'split within itself': table(
        a=call('numpy.split', array((2,), '<f8', bytes(16)), array((2,), '<i8', np.array([2, 0]).tobytes()))
    ),
    'long range': b'\x80\x04cpandas\nDataFrame\n)\x81}'
    + text('_mgr')
    + call(
        'pandas.core.internals.managers.BlockManager',
        b')',
        b']('
        + call(
            'pandas.core.indexes.base._new_Index',
            b'cpandas\nIndex\n',
            b'}' + text('data') + array((0,), '<f8', b'') + b's',
        )
        + call(
            'pandas.core.indexes.base._new_Index',
            b'cpandas\nRangeIndex\n',
            b'}(' + text('start') + number(0) + text('stop') + number(HUGE) + text('step') + number(1) + b'u',
        )
        + b'e',
    )
    + b'sb.',
    # Each list holds the one before ten times: 10**30 elements in 500 bytes.
    'billion laughs': table(
        ase_atoms=b']',
        energy=b'](](G'
        + bytes(8)
        + b'e\x94'
        + b''.join(b'0](' + b'h' + bytes([n]) * 1 + (b'h' + bytes([n])) * 9 + b'e\x94' for n in range(30))
        + b'e',
    ),
    'many columns of one array': table(
        **{f'c{n}': (array((200_000,), '|b1', bytes(200_000)) + b'\x94' if n == 0 else b'h\x00') for n in range(1000)}
    ),
}


@pytest.mark.parametrize('name', BOMBS)
def test_bombs_do_not_go_off(name):
    tracemalloc.start()
    try:
        for read in (read_table, functools.partial(read_dataset, source_key='')):
            with pytest.raises(UnreadablePickleError):
                read(BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_repeated_structures_are_not_copied_without_limit():
    """One structure of 24 kB, referred to by many rows."""
    empty = b'}('
    for name, part in {
        'numbers': array((1000,), '<i8', bytes(8000)),
        'positions': array((1000, 3), '<f8', bytes(24_000)),
    }.items():
        empty += text(name) + part
    state = {
        'arrays': empty + b'u',
        '_pbc': array((3,), '|b1', bytes(3)),
        '_cellobj': b'case.cell\nCell\n)\x81}' + text('array') + array((3, 3), '<f8', bytes(72)) + b'sb',
    }
    atoms = b'case.atoms\nAtoms\n)\x81}(' + b''.join(text(key) + value for key, value in state.items()) + b'ub\x94'
    content = table(ase_atoms=b'](' + atoms + b'h\x00' * 50_000 + b'e')
    assert len(read_table(content)) == 50_001
    with pytest.raises(UnreadablePickleError, match=r'50,001,000 atoms or more in 132,443 bytes.* than 54,727: split'):
        read_dataset(content, 'zeros')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        # Python would hash the number anew for each of the 2000 times.
        (number_of(10**7) + b'\x940' + b'}(' + b'h\x00N' * 2000 + b'u', 'a whole number of 79,999,9.. bits'),
        (b'}(' + b''.join(number(n) + b'N' for n in range(5000)) + b'u', 'a dictionary with more than 4096 keys'),
        (b'}(' + b''.join(number(n) + b'\x85N' for n in range(600)) + b'u', 'a dictionary with more than 512 keys'),
        (b']\x94r\x05\x00\x00\x000.', 'uses slot 5 of its memo before slot 1'),
    ],
    ids=['long number', 'many keys', 'many tuples', 'far slot'],
)
def test_keys_are_few_and_short(content, message):
    with pytest.raises(UnreadablePickleError, match=message):
        read_table(b'\x80\x04' + content + b'.')


def test_decompression_stops_at_the_allowed_size():
    content = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(UnreadablePickleError, match='larger than 1,000,000 bytes: allow more with `max_size`'):
            read_table(content, max_size=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_opcodes_are_counted(monkeypatch):
    monkeypatch.setattr(pickle_limits, 'MAX_OPCODES', 100)
    with pytest.raises(UnreadablePickleError, match='has 101 opcodes or more'):
        read_table(ANY)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'the file is empty'),
        (b'\x1f\x8b', 'truncated or damaged'),
        (b'\x1f\x8b\x08\x00junk', 'truncated or damaged'),
        (gzip.compress(b'', mtime=0), 'not a pickle, or is truncated'),
        (b'PK\x03\x04 a zip archive', 'not a pickle'),
        (b'Lattice="4.2 0 0"', 'not a pickle'),
        (bytes(range(256)), 'not a pickle'),
    ],
)
def test_other_files_are_refused(content, message):
    with pytest.raises(UnreadablePickleError, match=message):
        read_table(content)


def test_truncated_files_are_refused():
    content = ANY.read_bytes()
    for stop in range(0, len(content), 97):
        with pytest.raises(UnreadablePickleError):
            read_table(content[:stop])
    content = gzip.decompress(content)
    for stop in range(0, len(content), 97):
        with pytest.raises(UnreadablePickleError):
            read_table(content[:stop])


def ours() -> bytes:
    frames, _ = read_dataset(RECORDED / 'pandas-2.2.2-protocol-5.pckl.gzip', 'mgo')
    handle = io.BytesIO()
    write_dataset(frames, handle, energy=frames.energy, forces=frames.forces, names=['a', 'b', 'c'], level=0)
    return gzip.decompress(handle.getvalue())


VALID = [ours(), *(gzip.decompress(path.read_bytes()) for path in sorted(RECORDED.glob('*gz*')))]


# From pickletools, on opcodes of Python 2.
@pytest.mark.filterwarnings('ignore:invalid escape sequence:DeprecationWarning')
@settings(max_examples=300, deadline=None)
@given(
    content=st.sampled_from(VALID),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=5), st.integers(0, 5)), max_size=4
    ),
)
def test_changed_files_are_read_or_refused(content, changes):
    for where, inserted, removed in changes:
        start = int(where * len(content))
        content = content[:start] + inserted + content[start + removed :]
    try:
        assert isinstance(read_table(content), Table)
        read_dataset(content, 'mgo')
    except UnreadablePickleError as error:
        assert str(error)  # noqa: PT017 - either outcome is right
