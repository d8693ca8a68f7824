"""Making the codes of an engine, and files that they can be made of."""

from __future__ import annotations

import pytest
import yaml
from aiida import orm
from aiida.common.exceptions import NotExistent
from click.testing import CliRunner

from aiida_pacemaker.calculations.declarations import declared
from aiida_pacemaker.cli.setup.codes import ensure_codes
from aiida_pacemaker.cli.setup.engine import PROGRAMS, Place
from aiida_pacemaker.errors import SetupError


def test_codes_are_made_once(cluster, make_engine):
    place = Place(path=str(make_engine()))
    codes, _ = ensure_codes(cluster, place)
    assert [code.full_label for code in codes.values()] == [f'{name}@{cluster.label}' for name in PROGRAMS]
    for again in (place, Place()):
        assert {code.pk for code in ensure_codes(cluster, again)[0].values()} == {code.pk for code in codes.values()}


def test_a_code_whose_program_is_gone_makes_way(cluster, make_engine):
    """As after the environment of an earlier set-up was deleted."""
    gone = orm.InstalledCode(label='pacemaker', computer=cluster, filepath_executable='/gone/pacemaker').store()
    codes, _ = ensure_codes(cluster, Place(path=str(make_engine())))
    assert codes['pacemaker'].filepath_executable.name == 'pacemaker'
    assert orm.load_node(gone.pk).label == f'pacemaker-{gone.pk}'
    assert orm.load_code(f'pacemaker@{cluster.label}').pk == codes['pacemaker'].pk


def test_codes_are_not_launched_with_mpi(cluster, make_engine):
    place = Place(path=str(make_engine()))
    path = f'{place.path}/bin/pacemaker'
    before = orm.InstalledCode(label='pacemaker', computer=cluster, filepath_executable=path, with_mpi=True).store()
    with pytest.raises(SetupError, match=r'pacemaker@\S+: the code has `with_mpi: true`.*--replace'):
        ensure_codes(cluster, place)
    codes, _ = ensure_codes(cluster, place, replace=True)
    assert [code.with_mpi for code in codes.values()] == [False] * len(PROGRAMS)
    assert orm.load_node(before.pk).label == f'pacemaker-{before.pk}'


def test_a_second_engine(cluster, make_engine):
    first, second = Place(path=str(make_engine())), Place(path=str(make_engine('second')))
    codes, _ = ensure_codes(cluster, first)
    with pytest.raises(SetupError, match=r'(?s)codes of another engine:.*--suffix NAME.*--replace'):
        ensure_codes(cluster, second)
    others, _ = ensure_codes(cluster, second, suffix='tp')
    assert others['pacemaker'].label == 'pacemaker-tp'
    replaced, _ = ensure_codes(cluster, second, replace=True)
    assert orm.load_code(f'pacemaker@{cluster.label}').pk == replaced['pacemaker'].pk
    assert orm.load_node(codes['pacemaker'].pk).label == f'pacemaker-{codes["pacemaker"].pk}'


def test_codes_in_containers_are_kept(cluster, make_engine):
    """Their paths are not those of the computer."""
    code = orm.ContainerizedCode(
        label='pacemaker',
        computer=cluster,
        filepath_executable='/opt/pace/bin/pacemaker',
        image_name='pace.sif',
        engine_command='apptainer exec {image_name}',
    ).store()
    folder = make_engine('home/data/aiida-pacemaker/engine')
    codes, _ = ensure_codes(cluster, Place())
    assert codes['pacemaker'].pk == code.pk
    assert codes['pace_select'].filepath_executable.parent == folder / 'bin'


def test_the_command_makes_them_and_declares(cluster, make_engine, setup):
    versions = {'python-ace': '0.3.1', 'tensorpotential': '0.6.2.1', 'numpy': '2.0.2', 'pandas': '2.2.2'}
    result = setup(cluster.label, '--path', make_engine(tensorflow=True, versions=versions), '--no-check')
    assert result.exit_code == 0, result.output
    assert 'engine: python-ace 0.3.1, evaluators: pyace, tensorpot' in result.stdout
    assert 'tested: 0.4.0rc1' in result.stderr
    assert declared(orm.load_code(f'pacemaker@{cluster.label}')).evaluators == ('pyace', 'tensorpot')


def test_files_are_what_verdi_takes(cluster, make_engine, setup, tmp_path, home):
    """No code is made of them, before `verdi` does."""
    engine = make_engine()
    (home / '.bash_profile').write_text(f'module() {{ PATH={engine}/bin:$PATH; }}\nexport -f module\n')
    arguments = (
        cluster.label,
        '--module',
        'gcc',
        '--module',
        'pace/1',
        '--suffix',
        'tp',
        '--write-yaml',
        tmp_path / 'yaml',
    )
    result = setup(*arguments)
    assert result.exit_code == 0, result.output
    files = sorted((tmp_path / 'yaml').iterdir())
    assert len(files) == len(PROGRAMS)
    with pytest.raises(NotExistent):
        orm.load_code(f'pacemaker-tp@{cluster.label}')

    from aiida.cmdline.commands.cmd_verdi import verdi

    for file in files:
        made = CliRunner().invoke(verdi, ['code', 'create', 'core.code.installed', '-n', '--config', str(file)])
        assert made.exit_code == 0, made.output
    for program, plugin in PROGRAMS.items():
        code = orm.load_code(f'{program}-tp@{cluster.label}')
        assert code.default_calc_job_plugin == plugin
        assert code.prepend_text == "module load 'gcc'\nmodule load 'pace/1'"
    # The same files again are no matter, others are.
    assert setup(*arguments).exit_code == 0
    files[0].write_text(yaml.safe_dump({'label': 'mine'}))
    assert 'says something else' in setup(*arguments).output
    assert setup(cluster.label, '--suffix', 'tp', '--no-check').exit_code == 0
    assert declared(orm.load_code(f'pacemaker-tp@{cluster.label}')).version == '0.4.0rc1'
