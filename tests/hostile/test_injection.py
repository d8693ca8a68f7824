"""Names, labels and texts of users and of remote files stay what they are: no path, no shell, no Python, no LAMMPS."""

import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from aiida import orm
from aiida.common.exceptions import StoringNotAllowed
from aiida.common.folders import SandboxFolder
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory
from guard import examine
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from readers import FIXTURES, mgo, written
from ruamel.yaml import YAML

from aiida_pacemaker.baseline.lammps import to_lammps
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.checks.inputs import validator_for
from aiida_pacemaker.calculations.label_ase import AseCalculator
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.arrays import array_data
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.errors import ConfigError, UnreadableFileError
from aiida_pacemaker.frames import ase_io
from aiida_pacemaker.pace.config.options import ActiveSetOptions, SelectOptions
from aiida_pacemaker.pace.config.rendering import InitialPotential, render_input
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.output.potentials import newest_interim

NASTY = [
    *('', ' ', '.', '..', '../ran', '../../ran.yaml', '/tmp/ran.yaml', '~/ran', 'a/../../ran.yaml', './/../ran'),  # noqa: S108
    *('$(touch ran)', '`touch ran`', '; touch ran', '| touch ran', '&& touch ran', '> ran', 'a\ntouch ran\n'),
    *("'; touch ran; '",),
    *('"; touch ran; "', '$HOME', '${IFS}', '*', '?', '-o', '--output=ran', '-', '\\', '\0', 'a\0b', '\x1b[2J'),
    *('\u202e',),
    *('__import__("os").system("touch ran")', 'eval("1")', 'os.system', '{0.__class__}', '{program}', '%(x)s'),
    *('!!python/name:os.system',),
    *('&a [*a]', '*a', '<<: x', 'a: b', '- a', '# a', '? a', '| ', '1e5', '0x10', '0o17', '1_000', 'no', 'on'),
    *('null', '~', '12:30', '.inf'),
    *('shell touch ran', 'a &', '${ran}', '$(1+1)', 'include ran', '"""', '\u2028', '\x85', '\ufeff', '\ud800'),
    *('é', 'a' * 5000),
]  # fmt: skip
CONFIG = {'elements': ['Mg', 'O'], 'evaluator': 'pyace', 'r_cut': 4.5, 'max_deg': 3, 'max_order': 2}
ENERGIES = {'Mg': -27.4, 'O': -426.1}


def render(config, **changes):
    given = {'data_files': ['train.pckl.gzip'], 'reference_energy': ENERGIES, **changes}
    return render_input(parse_config(config), **given)


# What the engine evaluates as Python.


@pytest.mark.fault(
    'Python in a memory limit',
    engine='evaluated',
    here='only a number and MB or GB pass',
    ends='refused',
)
@pytest.mark.parametrize('options', [SelectOptions, ActiveSetOptions])
@pytest.mark.parametrize(
    'value',
    [
        *NASTY,
        '1GB\n',
        '1GB ',
        '1 GB',
        '1gb',
        '0GB',
        '1e9',
        '1GB+1',
        '\uff11GB',
        '9' * 20 + 'GB',
        1,
        1.5,
        ['1GB'],
        {'a': 1},
    ],
)
def test_a_memory_limit_is_a_number_and_a_unit(aiida_profile, options, value):
    with pytest.raises(ValidationError):
        options(memory_limit=value)
    if not isinstance(value, str) or not set(value) & {'\0', '\ud800'}:
        assert validator_for(options)(orm.Dict({'memory_limit': value}), None)


@given(st.from_regex(r'[1-9][0-9]{0,6}(MB|GB)', fullmatch=True) | st.text(max_size=8))
def test_whatever_is_taken_for_a_memory_limit_can_be_evaluated(value):
    try:
        arguments = SelectOptions(memory_limit=value).arguments()
    except ValidationError:
        return
    limit = arguments[arguments.index('-mem') + 1]
    assert re.fullmatch(r'[0-9]+[MG]B', limit, re.ASCII)


@pytest.mark.parametrize('options', [SelectOptions, ActiveSetOptions])
@pytest.mark.parametrize('value', [*NASTY, float('nan'), float('inf'), -1, '1; touch ran', [1]])
def test_options_are_numbers_and_words_of_ours(options, value):
    for name in options.model_fields:
        try:
            arguments = options(**{name: value}).arguments()
        except ValidationError:
            continue
        # YAML and JSON have other words for true and false, and numbers may come as text.
        assert all(re.fullmatch(r'-{0,2}[A-Za-z0-9.+]+', argument, re.ASCII) for argument in arguments), arguments


# The input of the engine.


@pytest.mark.parametrize('nasty', [text for text in NASTY if '\ud800' not in text])
def test_texts_in_the_input_come_out_as_they_went_in(nasty):
    content = {'note': nasty, nasty: 'x'}
    config = {**CONFIG, 'metadata': content, 'extra': {'backend': {'novelty': nasty, 'more': [nasty, {nasty: nasty}]}}}
    text = render(config)
    # The two versions of the language: that of most tools, and that of the engine.
    for read in (yaml.safe_load(text), YAML(typ='safe', pure=True).load(text)):
        assert read['metadata'] == content
        assert (read['backend']['novelty'], read['backend']['more']) == (nasty, [nasty, {nasty: nasty}])
        assert read['data']['filename'] == ['train.pckl.gzip']
        assert set(read) == {'cutoff', 'seed', 'metadata', 'potential', 'data', 'fit', 'backend'}


@pytest.mark.parametrize(
    'change',
    [
        {'fit': {'callbacks': ['os.system']}},
        {'extra': {'fit': {'callbacks': ['os.system']}}},
        {'fit': {'weighting': {'type': 'ExternalWeightingPolicy', 'filename': '/etc/passwd'}}},
        {'extra': {'fit': {'weighting': {'type': 'ExternalWeightingPolicy'}}}},
        {'extra': {'fit': {'weighting': {}}}},
        {'data': {'filename': '/etc/passwd'}},
        {'extra': {'data': {'filename': '../ran'}}},
        {'extra': {'data': {'test_filename': '../ran'}}},
        {'extra': {'data': {'datapath': '/'}}},
        {'extra': {'potential': {'filename': '/etc/passwd'}}},
        {'extra': {'potential': {'initial_potential': '/etc/passwd'}}},
        {'extra': {'potential': {'metadata': {'a': 'b'}}}},
        {'extra': {'metadata': {'a': 'b'}}},
        {'extra': {'../ran': {}}},
        {'potential': '/etc/passwd'},
    ],
)
def test_keys_that_name_code_or_files_are_refused(change):
    with pytest.raises(ConfigError):
        parse_config({**CONFIG, **change})


@pytest.mark.parametrize('nasty', NASTY)
def test_names_of_files_in_the_input(nasty):
    for name in (nasty, f'{nasty}.gzip', f'../{nasty}.gzip'):
        if re.fullmatch(r'\w[\w.]*\.gzip', name, re.ASCII):
            continue
        for files in ({'data_files': [name]}, {'test_files': [name]}):
            with pytest.raises(ConfigError):
                render(CONFIG, **files)
    with pytest.raises(ConfigError):
        InitialPotential(f'../{nasty}.yaml', 'continue')
    with pytest.raises(ConfigError):
        InitialPotential('a.yaml', nasty)


@pytest.mark.parametrize('nasty', NASTY)
def test_elements(nasty):
    with pytest.raises(ConfigError):
        parse_config({**CONFIG, 'elements': ['Mg', nasty]})
    with pytest.raises(ConfigError):
        render(CONFIG, reference_energy={**ENERGIES, nasty: 0.0})
    with pytest.raises(ValueError, match='symbol'):
        to_lammps(DeltaBaseline.for_elements(['Mg', 'O']), ['Mg', nasty], 'potential.yace')
    with pytest.raises(ValueError, match='symbol'):
        DeltaBaseline.for_elements(['Mg', nasty])


# LAMMPS.


@pytest.mark.parametrize('nasty', NASTY)
@pytest.mark.parametrize('form', ['{}', '{}.yace', 'a{}.yace', 'a.yace{}'])
def test_names_of_files_in_lammps(nasty, form):
    name = form.replace('{}', nasty)
    try:
        lines = to_lammps(DeltaBaseline.for_elements(['Mg', 'O']), ['Mg', 'O'], name)
    except ValueError:
        return
    # One word of one line, that neither the shell nor LAMMPS reads anything into.
    assert shlex.split(name) == [name]
    assert not set(name) & set('$&#"\'\\*?;|<> \n\0')
    assert len(lines.splitlines()) == len(
        to_lammps(DeltaBaseline.for_elements(['Mg', 'O']), ['Mg', 'O'], 'a.yace').splitlines()
    )


# The jobs.


@pytest.mark.parametrize(
    'nasty', [*NASTY, 'os', 'os.system', ':', 'a:', ':a', 'a:b.c', 'a:b()', 'a b:c', 'a:b\n', '.a:b', 'a..b:c']
)
def test_where_a_calculator_is_imported_from(nasty):
    with pytest.raises(ValidationError):
        AseCalculator(calculator=nasty)


@pytest.fixture(scope='module')
def nodes(aiida_profile):
    energies = {'Mg': -27.441497613508435, 'O': -426.11747912713093}
    content = (FIXTURES / 'train/default/output_potential.yaml').read_bytes()
    baseline = DeltaBaseline.for_elements(['Mg', 'O'])
    return {
        'potential': PacePotentialData(content, baseline=baseline, reference_energies=energies).store(),
        'active_set': PaceActiveSetData((FIXTURES / 'activeset/linear/output_potential.asi').read_bytes()).store(),
        'dataset': PaceDatasetData(mgo()).store(),
        'baseline': baseline.model_dump(mode='json'),
        'reference_energies': energies,
    }


@pytest.fixture
def inputs(nodes, aiida_code_installed):
    code = aiida_code_installed(filepath_executable='/bin/true', label='true')
    parts = {'code': code, 'metadata': {'options': {'resources': {'num_machines': 1}}}}
    training = {name: nodes[name] for name in ('dataset', 'baseline', 'reference_energies')}
    return {
        'pacemaker.train': {**parts, **training, 'config': {**CONFIG, 'metadata': {'note': '$(touch ran)'}}},
        'pacemaker.train.linear': {**parts, **training, 'config': {**CONFIG, 'evaluator': 'linear'}},
        'pacemaker.activeset': {**parts, 'potential': nodes['potential'], 'dataset': nodes['dataset']},
        'pacemaker.select': {**parts, 'potential': nodes['potential'], 'candidates': {'pool': nodes['dataset']}},
        'pacemaker.select.posterior': {
            **parts,
            'potential': nodes['potential'],
            'posterior': posterior(),
            'candidates': {'pool': nodes['dataset']},
            'options': {'method': 'posterior'},
        },
        'pacemaker.evaluate': {
            **parts,
            'potential': nodes['potential'],
            'active_set': nodes['active_set'],
            'datasets': {'some': nodes['dataset']},
        },
        'pacemaker.label.ase': {
            **parts,
            'dataset': nodes['dataset'],
            'calculator': {'calculator': 'ase.calculators.emt:EMT', 'arguments': {'a"; touch ran': '$(touch ran)'}},
        },
    }


def posterior():
    """Return what is known of one coefficient."""
    arrays = {name: np.ones(1) for name in ('coefficients', 'scale')}
    arrays |= {'used': np.zeros(1, dtype=np.int64), 'root': np.ones((1, 1))}
    return array_data({**arrays, 'calibration': np.ones((2, 2)), 'precisions': np.ones(3)})


def make(entry_point, inputs):
    return instantiate_process(get_manager().get_runner(), CalculationFactory(entry_point), **inputs)


JOBS = (
    *('pacemaker.train', 'pacemaker.train.linear', 'pacemaker.activeset', 'pacemaker.select', 'pacemaker.evaluate'),
    *('pacemaker.select.posterior', 'pacemaker.label.ase'),
)


@pytest.mark.fault(
    'labels and names that lead elsewhere, or hold shell or Python',
    engine='followed or run',
    here='names of files are hashes or ours; texts are quoted',
    ends='refused or harmless',
)
@pytest.mark.parametrize('entry_point', JOBS)
def test_all_names_of_a_job_lie_in_its_folder(inputs, entry_point):
    with SandboxFolder() as folder:
        info = make(entry_point, inputs[entry_point]).prepare_for_submission(folder)
        written_files = folder.get_content_list()
    copied = [target for _, _, target in info.local_copy_list]
    linked = [target for _, _, target in info.remote_symlink_list + info.remote_copy_list]
    retrieved = [
        item if isinstance(item, str) else item[0] for item in info.retrieve_list + info.retrieve_temporary_list
    ]
    arguments = [argument for code in info.codes_info for argument in code.cmdline_params]
    for name in written_files + copied + linked:
        assert re.fullmatch(r'[A-Za-z0-9_][A-Za-z0-9_.-]*', name), name
    for name in retrieved:
        assert re.fullmatch(r'(report/)?[A-Za-z0-9_*][A-Za-z0-9_.*-]*', name), name
    for argument in arguments:
        assert shlex.quote(argument) == argument, argument


@pytest.mark.parametrize('nasty', [*NASTY, 'a\n', 'a.b', 'a-b', 'a/b'])
@pytest.mark.parametrize(
    ('entry_point', 'namespace'), [('pacemaker.select', 'candidates'), ('pacemaker.evaluate', 'datasets')]
)
def test_labels_of_datasets(inputs, nodes, entry_point, namespace, nasty):
    """They become names of files and of links: what is no name is refused before anything is written."""
    if re.fullmatch(r'\w+', nasty, re.ASCII):
        return
    with pytest.raises((ValueError, TypeError)):
        make(entry_point, {**inputs[entry_point], namespace: {nasty: nodes['dataset']}})


def test_a_dataset_whose_shards_are_elsewhere_is_not_stored(nodes):
    dataset = nodes['dataset'].clone()
    shards = dataset.shards
    dataset.base.attributes.set('shards', [{**shards[0], 'name': '../../ran'}])
    with pytest.raises(StoringNotAllowed, match='listed'):
        dataset.store()


@pytest.mark.parametrize('stem', ['../ran', '/tmp/ran', 'a/../../ran', '..', 'a b', 'a\nshell touch ran'])  # noqa: S108
def test_files_are_written_into_their_folder(nodes, tmp_path, stem):
    with pytest.raises(ValueError, match=r'stem|name'):
        nodes['potential'].write_files(tmp_path / 'inside', stem=stem)


# Files that come from elsewhere.


@pytest.mark.parametrize(
    'nasty', [*NASTY, 'a.py', 'a.gaussian-in', 'postgresql://a', 'http://a/b.xyz', '/etc/passwd.xyz', 'a.xyz@0:1']
)
def test_the_name_of_a_file_of_structures_only_tells_its_format(nasty):
    content = written('extxyz')
    for name in (nasty, f'{nasty}.extxyz', f'../{nasty}.xyz'):
        outcome = examine(
            lambda name=name: ase_io.read(io.BytesIO(content), source_key='source', name=name),
            UnreadableFileError,
        )
        assert not outcome.failed, outcome


@pytest.mark.parametrize('nasty', NASTY)
def test_the_file_to_continue_from_is_one_of_the_engine(nasty):
    names = [nasty, f'interim_potential_{nasty}.yaml', f'interim_potential_1.yaml{nasty or "x"}', f'../{nasty}']
    assert newest_interim(names) is None


def test_names_in_files_do_not_become_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stream = io.BytesIO()
    np.savez(stream, **{'../ran': np.eye(2), '/tmp/ran': np.eye(2)})  # noqa: S108
    with pytest.raises(ValueError, match='a matrix for each element'):
        PaceActiveSetData(stream.getvalue())
    assert not list(Path(tmp_path).iterdir())
