from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aiida_pacemaker.errors import PotentialFileError
from aiida_pacemaker.pace.output import potentials as potential_files
from aiida_pacemaker.pace.output.potentials import newest_interim, read_ctilde, read_potential, strip_fit_cycles

TRAIN = Path(__file__).parents[1] / 'fixtures' / 'train'
TEXT = (TRAIN / 'default' / 'output_potential.yaml').read_text()
CTILDE = (TRAIN / 'default' / 'output_potential.yace').read_text()
POTENTIALS = sorted(TRAIN.glob('*/*potential*.yaml'))
WHOLE = [path for path in POTENTIALS if path.parent.name != 'damaged_potential']


def ids(path):
    return f'{path.parent.name}-{path.name}'


@pytest.mark.parametrize('path', WHOLE, ids=ids)
def test_every_recorded_potential_reads_as_the_engine_reads_it(path):
    pyace = pytest.importorskip('pyace')
    summary = read_potential(path.read_bytes())
    config = pyace.BBasisConfiguration(str(path))
    basis = pyace.ACEBBasisSet(config)
    assert summary.elements == tuple(basis.elements_name)
    assert summary.cutoff == basis.cutoffmax
    assert summary.n_functions == config.total_number_of_functions
    assert summary.n_parameters == len(config.get_all_coeffs())
    functions = [len(one) + len(more) for one, more in zip(basis.basis_rank1, basis.basis, strict=True)]
    assert summary.n_functions_per_element == dict(zip(basis.elements_name, functions, strict=True))
    assert summary.metadata == {key: config.metadata[key] for key in config.metadata}


@pytest.mark.parametrize('path', WHOLE, ids=ids)
def test_the_stream_of_events_builds_what_a_yaml_loader_builds(path):
    document = yaml.load(path.read_text(), Loader=yaml.CBaseLoader)  # noqa: S506 - makes nothing but strings
    assert potential_files._build(path.read_text()) == document


def test_what_the_potential_says():
    summary = read_potential(TEXT)
    assert summary.elements == ('Mg', 'O')
    assert (summary.cutoff, summary.n_functions, summary.n_parameters) == (4.5, 24, 48)
    assert summary.n_functions_per_element == {'Mg': 12, 'O': 12}
    assert summary.n_densities == {'Mg': 1, 'O': 1}
    assert summary.embeddings == dict.fromkeys(('Mg', 'O'), 'FinnisSinclairShiftedScaled')
    assert summary.reference_energy == {'Mg': -27.441497613508435, 'O': -426.11747912713093}
    assert set(summary.core_repulsion.values()) == {(0.0, 0.0)}


def test_the_inner_zbl_of_the_engine_is_seen():
    summary = read_potential((TRAIN / 'repulsion' / 'output_potential.yaml').read_text())
    assert summary.core_repulsion == dict.fromkeys([('Mg', 'Mg'), ('Mg', 'O'), ('O', 'Mg'), ('O', 'O')], (1.0, 1.0))


def test_a_potential_without_metadata_has_no_reference_energy():
    summary = read_potential(TEXT[TEXT.index('global:') :])
    assert (summary.metadata, summary.reference_energy) == ({}, None)


@given(st.integers(0, len(TEXT) - 1))
def test_a_potential_cut_anywhere_is_refused_or_shorter(position):
    whole = read_potential(TEXT)
    try:
        cut = read_potential(TEXT[:position])
    except PotentialFileError:
        return
    # The format has no end mark: cut between two functions it is whole, with fewer of them. Cut behind the last one
    # only the line break is missing.
    assert cut.n_functions < whole.n_functions or position >= len(TEXT.rstrip())
    assert set(cut.elements) <= set(whole.elements)


@given(st.one_of(st.text(), st.binary()))
def test_anything_else_is_refused(content):
    with pytest.raises(PotentialFileError):
        read_potential(content)


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        ('', 'empty'),
        (b'\x89PNG\r\n', 'not text'),
        ('[' * 100_000, 'nested'),
        ('- ' * 100_000, 'nested'),
        ('{a: ' * 100_000, 'nested'),
        ('? ' * 100_000, 'nested'),
        ('a: &x [1]\nb: [*x, *x]', 'anchors'),
        ('a: 1\n---\nb: 2', '2 YAML documents'),
        ('{[[a]]: 1}', 'mapping for a key'),
        ('elements: [Mg]', 'no list `species`'),
        ('species:\n- speciesblock: Cu\n' + TEXT, 'more than one list `species`'),
        ('species: [{speciesblock: Mg}]', 'no `ndensityi`'),
        (TEXT.replace('speciesblock: Mg\n', 'speciesblock: Xx\n'), 'not chemical symbols'),
        (TEXT.replace('rcutij: 4.5', 'rcutij: far', 1), "'far' where a number belongs"),
        (TEXT.replace('core-repulsion: [0, 0]', 'core-repulsion: 0', 1), 'not a pair'),
        (TEXT.replace('"{\\"Mg\\"', '"[\\"Mg\\"'), '`reference_energy`'),
    ],
)
def test_hostile_and_broken_files_are_refused(content, reason):
    with pytest.raises(PotentialFileError, match=reason):
        read_potential(content)


def test_files_that_are_too_large_are_refused_unread(monkeypatch):
    monkeypatch.setattr(potential_files, 'MAX_BYTES', 100)
    with pytest.raises(PotentialFileError, match='no more than 100'):
        read_potential(TEXT)


@pytest.mark.parametrize('path', POTENTIALS, ids=ids)
def test_stripping_removes_fit_cycles_and_nothing_else(path):
    content = path.read_text()
    expected = ''.join(line for line in content.splitlines(True) if not line.startswith('  _fit_cycles:'))
    assert strip_fit_cycles(content) == expected
    assert strip_fit_cycles(expected) == expected


def test_stripping_makes_the_best_cycle_one_to_continue_from():
    content = (TRAIN / 'default' / 'interim_potential_best_cycle.yaml').read_text()
    assert read_potential(content).metadata['_fit_cycles'] == '1'
    assert '_fit_cycles' not in read_potential(strip_fit_cycles(content)).metadata


def test_only_metadata_is_stripped():
    content = 'metadata:\r\n  a: b\r\n  _fit_cycles: 3\r\nglobal:\r\n  _fit_cycles: 3\r\n'
    assert strip_fit_cycles(content) == 'metadata:\r\n  a: b\r\nglobal:\r\n  _fit_cycles: 3\r\n'


@pytest.mark.parametrize(
    ('names', 'newest'),
    [
        ([], None),
        (['log.txt', 'interim_potential_x.yaml', 'my_interim_potential_3.yaml'], None),
        (['interim_potential_best_cycle.yaml'], 'interim_potential_best_cycle.yaml'),
        (['interim_potential_best_cycle.yaml', 'interim_potential_0.yaml'], 'interim_potential_0.yaml'),
        ([f'interim_potential_{n}.yaml' for n in (2, 10, 9)], 'interim_potential_10.yaml'),
        (
            ['interim_potential_0.yaml', *(f'interim_potential_ladder_step_{n}.yaml' for n in (2, 11))],
            'interim_potential_ladder_step_11.yaml',
        ),
    ],
)
def test_the_newest_interim_potential(names, newest):
    assert newest_interim(names) == newest


def test_the_newest_interim_potential_of_recorded_kills():
    for case, newest in (
        ('killed_interim', 'interim_potential_0.yaml'),
        ('ladder_killed', 'interim_potential_ladder_step_0.yaml'),
        ('killed_early', None),
    ):
        assert newest_interim(path.name for path in (TRAIN / case).iterdir()) == newest


def test_a_ctilde_potential_agrees_with_the_potential_it_was_made_of():
    summary, whole = read_ctilde(CTILDE), read_potential(TEXT)
    assert summary.elements == whole.elements
    assert summary.cutoff == whole.cutoff


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (TEXT, 'not a .yace'),
        (CTILDE.partition('functions:')[0], 'not a .yace'),
        ('elements: [Mg, O]\nbonds: {}\nfunctions: {0: []}', '1 of 2 elements'),
        ('elements: [Mg]\nbonds: {}\nfunctions: {0: []}', 'empty'),
    ],
)
def test_what_is_not_a_ctilde_potential_is_refused(content, reason):
    with pytest.raises(PotentialFileError, match=reason):
        read_ctilde(content)


def test_a_potential_is_not_taken_for_a_ctilde_potential():
    with pytest.raises(PotentialFileError, match='no list `species`'):
        read_potential(CTILDE)
