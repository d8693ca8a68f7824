"""Files that are small or large to do harm: they fill no memory, take no time, run nothing, and say what is wrong."""

import bz2
import gzip
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from guard import examine
from readers import Reader, all_readers, prepare

READERS = {reader.name: reader for reader in all_readers()}
MEGABYTE = 1024**2
PLAIN = "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }"


def npy(header=PLAIN, content=bytes(8), version=b'\x01\x00'):
    raw = header.encode() + b'\n'
    return b'\x93NUMPY' + version + len(raw).to_bytes(2 if version == b'\x01\x00' else 4, 'little') + raw + content


def archive(members, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return stream.getvalue()


def archives(**headers):
    """Return archives in which one header after the other stands at every place that some reader looks at."""
    names = ('Mg.npy', 'energy.npy', 'format.npy')
    return {kind: archive(dict.fromkeys(names, npy(header))) for kind, header in headers.items()}


def claiming(shape, descr='<f8'):
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"


ARCHIVES = {
    **archives(
        petabytes=claiming('(1000000000000000,)'),
        square=claiming('(1000000, 1000000)'),
        negative=claiming('(-1, -1)'),
        two_negatives=claiming('(-1, -8)'),
        empty_but_long=claiming('(1000000000000000, 0)'),
        wide=claiming('(1,)', '|V1099511627776'),
        objects=claiming('(1,)', '|O'),
        long_number=claiming(f'({"9" * 5000},)'),
        many_axes=claiming(f'({"1, " * 60})'),
        nested='(' * 60_000,
        negated='-' * 60_000 + '1',
        backtracking="{'descr': '<f8', 'fortran_order': False, 'shape': (" + '1' * 60_000,
        call="{'descr': __import__('os').system('touch ran'), 'fortran_order': False, 'shape': (1,), }",
    ),
    'deflated zeros': archive({'Mg.npy': bytes(50 * MEGABYTE)}, zipfile.ZIP_DEFLATED),
    'deflated matrix': archive({'Mg.npy': npy(claiming('(2048, 2048)'), bytes(8 * 2048**2))}, zipfile.ZIP_DEFLATED),
    'bzipped': archive({'energy.npy': bytes(10 * MEGABYTE)}, zipfile.ZIP_BZIP2),
    'lzma': archive({'format.npy': bytes(10 * MEGABYTE)}, zipfile.ZIP_LZMA),
    'many members': archive({f'{number}.npy': b'' for number in range(5000)}),
    'no members': archive({}),
    'names': archive({'../../ran.npy': npy(), '/tmp/ran.npy': npy(), 'a\x1b[2J.npy': npy()}),  # noqa: S108
    'version 9': archive({'Mg.npy': npy(version=b'\x09\x00')}),
    'long header': archive({'Mg.npy': npy(PLAIN + ' ' * 10 * MEGABYTE, version=b'\x02\x00')}),
    'claims more than the file': archive({'Mg.npy': npy()}).replace(
        len(npy()).to_bytes(4, 'little') * 2, (2**31).to_bytes(4, 'little') * 2
    ),
}


@pytest.mark.parametrize('kind', ARCHIVES)
@pytest.mark.parametrize('name', ['read_active_set', 'read_evaluation', 'read_run', 'shards'])
def test_archives(name, kind):
    reader, content = READERS[name], ARCHIVES[kind]
    outcome = examine(lambda: reader.read(content), reader.refusals, prepare(content))
    assert outcome.verdict == 'refused', outcome
    assert outcome.seconds < 1
    assert outcome.memory < 2 * len(content) + 10 * MEGABYTE


STAMP = '2026/11/23 14:52:21 I - '
YAML = {
    'laughs': 'a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nspecies: [*c]\n',
    'anchor': 'species: &a [*a]\n',
    'nested': 'species: ' + '[' * 1_000_000,
    'nested blocks': ''.join(' ' * depth + 'a:\n' for depth in range(2000)),
    'nested keys': '? ' * 100_000 + 'a',
    'dashes': '- ' * 1_000_000,
    'tags': '!!python/object/apply:os.system ["touch ran"]\n',
    'tagged list': 'species: !!python/object/apply:os.system ["touch ran"]\n',
    'merge': 'a: {b: c}\n<<: !!python/name:os.system\n',
    'many documents': '---\n' * 100_000,
    'many pieces': 'species: [' + '1,' * 10_000_000 + ']',
    'long line': 'species: ' + 'a' * 60 * MEGABYTE,
    'many species': 'species:\n  - {speciesblock: ' + 'Mg ' * 1_000_000 + '}\n',
    'binary': '\0\x01\x02',
    'control characters': 'species: "\\0\\e[2J"\n',
    'infinite': 'species:\n  - {speciesblock: Mg, ndensityi: .inf, npoti: a, rcutij: 1, nbody: []}\n',
    'not a number': 'species:\n  - {speciesblock: Mg, ndensityi: 1, npoti: a, rcutij: nan, nbody: []}\n',
    'digits': 'species:\n  - {speciesblock: Mg, ndensityi: ' + '9' * 5000 + ', npoti: a, rcutij: 1, nbody: []}\n',
}


@pytest.mark.parametrize('kind', YAML)
@pytest.mark.parametrize('name', ['read_potential', 'read_ctilde'])
def test_yaml(name, kind):
    reader, content = READERS[name], YAML[kind].encode()
    outcome = examine(lambda: reader.read(content), reader.refusals)
    assert outcome.verdict == 'refused', outcome


LOGS = {
    'one line': 'x' * 50 * MEGABYTE,
    'NUL': '\0' * 20 * MEGABYTE,
    'carriage returns': 'Eval 1: loss=1\r' * 2_000_000,
    'almost stamps': '2026/11/23 14:52:2' * 1_000_000,
    'almost names': ('2026/11/23 14:52:21 - ' + 'a' * 199 + ' ') * 50_000,
    'records': (STAMP + 'Batch size: 1\n') * 200_000,
    'datasets': (STAMP + 'Search for dataset file(s)\n' + STAMP + '7 structures found\n') * 100_000,
    'elements': ''.join(
        f'{STAMP}Element: X{number}, # atoms: 1, # B-func: 1, # projections: 1\n' for number in range(100_000)
    ),
    'digits': f'{STAMP}Batch size: {"9" * 3000}\n{STAMP}Fitting dataset size: {"9" * 3000} structures\n',
    'no date': '2099/99/99 99:99:99 I - Done\n' * 1000,
    'escapes': f'{STAMP}pacemaker/pyace version: \x1b[2J\0\n',
    'numbers that are none': f'{STAMP}Cutoff for neighbour lists construction is auto: ........ A\n',
}
SAID = {
    **LOGS,
    **{
        f'{words.strip()} times': words * (MEGABYTE // 2 // len(words))
        for words in (
            *('np.quantile(\n', ' 0 structures found\n', 'ValueError: \n', 'Number of finished fit cycles (1\n'),
            *('Insufficient atomic environments ', 'elements_to_index_map={', "TypeError: 'NoneType' object\n"),
            *('Traceback (most recent call last)\n', 'KeyError: \n', 'sh: \n', 'File \n', 'Error: \n', ' Killed \n'),
        )
    },
    'line breaks': '\n' * MEGABYTE,
    'digits of a species': 'Insufficient atomic environments for species type '
    + '9' * 30
    + ', x projections shape=(1, 2)',
    'braces': 'Traceback (most recent call last)\nValueError: {0.__class__} {program!r} {} {{}}\n',
    'a long name': "FileNotFoundError: [Errno 2] No such file or directory: '" + 'a' * 399 + "'\n",
    'escape': 'Traceback (most recent call last)\nValueError: \x1b]0;title\x07\x1b[2J\n',
}


@pytest.mark.parametrize('kind', LOGS)
@pytest.mark.parametrize('name', ['read_log', 'read_active_set_log', 'read_selection_log'])
def test_logs(name, kind):
    reader, content = READERS[name], LOGS[kind].encode()
    outcome = examine(lambda: reader.read(content), reader.refusals)
    assert not outcome.failed, outcome


@pytest.mark.parametrize('kind', SAID)
def test_reasons(kind):
    reader, content = READERS['diagnose'], SAID[kind].encode()
    outcome = examine(lambda: reader.read(content), reader.refusals)
    assert not outcome.failed, outcome


HEADER = 'ladder_step cycle_step iter_num loss rmse_epa rmse_f_comp mae_f_comp nfuncs ncoefs\n'
TABLES = {
    'long value': HEADER + '0 0 0 ' + '1' * MEGABYTE + ' 1 1 1 1 1\n' + '0 0 0 1 1 1 1 1 1\n' * 10_000,
    'long count': HEADER + '9' * 5000 + ' 0 0 1 1 1 1 1 1\n',
    'count beyond integers': HEADER + '0 0 9223372036854775808 1 1 1 1 1 1\n',
    'infinite count': HEADER + '0 0 inf 1 1 1 1 1 1\n',
    'one line': 'loss ' * 20 * MEGABYTE,
    'many columns': ' '.join(f'c{number}' for number in range(1_000_000)) + ' loss\n',
    'columns twice': 'loss loss\n1 1\n',
    'names of files': '../../ran loss\n1 1\n',
    'NUL': HEADER + '\0' * 1000 + '\n',
    'too long': ' ' * 17 * MEGABYTE,
    'too many lines': '\n' * 2 * MEGABYTE,
}


@pytest.mark.parametrize('kind', TABLES)
@pytest.mark.parametrize('name', ['read_metrics', 'TrainingMetrics, stitch'])
def test_metrics(name, kind):
    reader, content = READERS[name], TABLES[kind].encode()
    outcome = examine(lambda: reader.read(content), reader.refusals)
    assert outcome.verdict == 'refused', outcome


@pytest.mark.parametrize(
    'content',
    ['\n' * 900_000, HEADER + '0 0 0 1 1 1 1 1 1\n' * 400_000, 'loss ' * 3 * MEGABYTE],
    ids=['blank', 'rows', 'unfinished'],
)
def test_tables_as_long_as_they_may_be(content):
    reader = READERS['read_metrics']
    encoded = content.encode()
    outcome = examine(lambda: reader.read(encoded), reader.refusals)
    assert outcome.verdict == 'accepted', outcome


class Reduced:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


PICKLES = {
    'call': pickle.dumps(Reduced(os.system, 'touch ran')),
    'eval': pickle.dumps(Reduced(eval, '__import__("os").system("touch ran")')),
    'zeros': bytes(100 * MEGABYTE),
    'lists': b'\x80\x04' + b']' * 300_000 + b'.',
    'nested lists': b'\x80\x04' + b']' * 200_000 + b'a' * 199_999 + b'.',
    'nested tuples': b'\x80\x04)' + b'\x85' * 200_000 + b'.',
    'marks': b'\x80\x04' + b'(' * 200_000 + b'.',
    'far slot': b'\x80\x04]r\xff\xff\xff\x7f.',
    'long bytes': b'\x80\x04\x8e' + (2**62).to_bytes(8, 'little') + b'.',
    'long number': b'\x80\x04\x8b' + (10_000_000).to_bytes(4, 'little') + b'\xff' * 10_000_000 + b'.',
    'digits': b'I' + b'9' * 1_000_000 + b'\n.',
    'persistent': b'Ptouch ran\n.',
    'extension': b'\x80\x02\x82\x01.',
    'a name of a megabyte': b'c' + b'a' * MEGABYTE + b'\n\x1b[2J\n.',
}


@pytest.mark.fault(
    'a pickle that runs code or names foreign classes',
    engine='runs it',
    here='read opcode by opcode, with nothing called but what is on a list',
    ends='refused',
)
@pytest.mark.parametrize('zipped', [False, True])
@pytest.mark.parametrize('kind', PICKLES)
@pytest.mark.parametrize('name', ['read_table', 'read_dataset', 'read_selection'])
def test_pickles(name, kind, zipped):
    content = gzip.compress(PICKLES[kind], 1) if zipped else PICKLES[kind]
    reader = READERS[name]
    outcome = examine(lambda: reader.read(content), reader.refusals)
    assert outcome.verdict == 'refused', outcome


#: A few kilobytes each, as far as gzip brings them.
SMALL = {
    'lists': b'\x80\x04' + b']' * 4_000_000 + b'.',
    'dictionaries': b'\x80\x04' + b'}' * 2_000_000 + b'.',
    'marks': b'\x80\x04' + b'(' * 2_000_000 + b'.',
    'slots': b'\x80\x04]' + b'\x94' * 2_000_000 + b'.',
    'references': b'\x80\x04]\x94(' + b'h\x00' * 2_000_000 + b'e.',
    'instances': b'\x80\x04' + b'(ipandas\nDataFrame\n' * 20_000 + b'.',
    'foreign instances': b'\x80\x04' + b'(ia\nb\n' * 200_000 + b'.',
    'symbols': b'\x80\x04' + b'cpandas\nDataFrame\n' * 20_000 + b'.',
    'zeros': b'\x80\x04\x8e' + (100 * MEGABYTE).to_bytes(8, 'little') + bytes(100 * MEGABYTE) + b'.',
    'keys of one hash': b'\x80\x04}('
    + b''.join(b'\x8a\x0a' + ((2**61 - 1) * n).to_bytes(10, 'little') + b'N' for n in range(1, 40_001))
    + b'u.',
    'a long key': b'\x80\x04\x8b'
    + (10 * MEGABYTE).to_bytes(4, 'little')
    + b'\x7f' * (10 * MEGABYTE)
    + b'\x94}('
    + b'h\x00N' * 2000
    + b'u.',
}


@pytest.mark.fault(
    'a small pickle that unpacks to a large one, or makes many objects or costly keys',
    engine='fills the memory, or takes minutes',
    here='what it may hold and cost follows from its size',
    ends='refused',
)
@pytest.mark.parametrize('kind', SMALL)
def test_small_pickles_cost_little(kind):
    reader = READERS['read_dataset']
    for content in (gzip.compress(SMALL[kind], 6), bz2.compress(SMALL[kind], 1)):
        outcome = examine(lambda content=content: reader.read(content), reader.refusals)
        assert outcome.verdict == 'refused', outcome
        assert outcome.seconds < 4
        assert outcome.memory < 250 * MEGABYTE


LABELS = {
    'nested': '[' * 1_000_000,
    'digits': '{"frame": 0, "energy": ' + '9' * 100_000 + '}',
    'long line': '"' + 'a' * 50 * MEGABYTE + '"',
    'lines': '{"begin": 0}\n' * 1_000_000,
    'message': json.dumps({'frame': 0, 'reason': '\0\x1b[2J\ud800', 'message': '\0'}),
    'objects': '{"frame": 0, "energy": {"a": 1}, "forces": [[{}]], "stress": [[[[[[]]]]]]}',
}


@pytest.mark.parametrize('kind', LABELS)
def test_labels(kind):
    reader, content = READERS['read_labels'], LABELS[kind].encode('utf-8', errors='surrogatepass')
    outcome = examine(lambda: reader.read(content), reader.refusals)
    assert outcome.verdict == 'accepted', outcome


STRUCTURES = {
    'extxyz': {
        'more atoms than lines': b'1000000000000\n\nH 0 0 0\n',
        'digits': b'9' * 5000 + b'\n\nH 0 0 0\n',
        'wide': b'1\nProperties=species:S:1:pos:R:1000000000\nH 0 0 0\n',
        'energy': b'1\nProperties=species:S:1:pos:R:3 energy="_JSON {}"\nH 0 0 0\n',
        'nested': b'1\nProperties=species:S:1:pos:R:3 a="_JSON ' + b'[' * 100_000 + b'"\nH 0 0 0\n',
        'braces': b'1\nProperties=species:S:1:pos:R:3 a={' + b'{' * 100_000 + b'\nH 0 0 0\n',
        'numbers': b'1\nProperties=Z:I:1:pos:R:3\n9999 0 0 0\n',
    },
    'json': {
        'array': json.dumps(
            {'1': {'numbers': {'__ndarray__': [[10**14], 'float64', []]}}, 'ids': [1], 'nextid': 2}
        ).encode(),
        'object': json.dumps({'1': {'__ase_objtype__': 'os.system'}, 'ids': [1], 'nextid': 2}).encode(),
        'nested': b'[' * 1_000_000,
    },
    'traj': {'offsets': b'- of UlmASE-Trajectory' + b'\x7f' * 100, 'empty': b''},
    'vasp': {'atoms': b'a\n1\n1 0 0\n0 1 0\n0 0 1\nMg\n1000000000\nDirect\n0 0 0\n'},
    'gaussian-in': {'file': b'# hf\n\na\n\n0 1\nH 0 0 0\n\n@/etc/passwd\n\n'},
    'onetep-in': {'file': b'includefile /etc/passwd\n'},
}


@pytest.mark.parametrize(
    ('file_format', 'kind'), [(file_format, kind) for file_format, kinds in STRUCTURES.items() for kind in kinds]
)
def test_structures(file_format, kind):
    content = STRUCTURES[file_format][kind]
    from readers import use_structures

    read = use_structures(f'a.{file_format}')
    outcome = examine(lambda: read(content), ValueError)
    assert not outcome.failed, outcome


def test_what_runs_code_is_caught_by_the_watch():
    """The same watch over a reader without a gate: were there a hole, it would be seen."""
    broken = Reader('broken', pickle.loads, ValueError, [])
    for kind in ('call', 'eval'):
        outcome = examine(lambda kind=kind: broken.read(PICKLES[kind]), ValueError)
        assert outcome.verdict == 'ran away', outcome


@pytest.mark.parametrize(
    ('run', 'seen'),
    [
        (lambda: os.system('true'), 'os.system'),  # noqa: S605
        (lambda: eval('1 + 1'), 'compile'),  # noqa: S307
        (lambda: np.load(io.BytesIO(archive({'Mg.npy': npy()})))['Mg'], None),
        (lambda: Path('/etc/passwd').read_bytes(), 'open'),
        (lambda: Path('ran').write_bytes(b''), 'open'),
        (lambda: bytearray(600 * MEGABYTE), 'MB'),
        (lambda: [None for _ in iter(int, 1)], 'out of time'),
    ],
)
def test_the_watch_sees(run, seen, monkeypatch):
    monkeypatch.setattr('guard.TIME_LIMIT', 2)
    outcome = examine(run, ValueError)
    assert outcome.verdict == ('accepted' if seen is None else 'ran away')
    assert seen is None or seen in outcome.detail
