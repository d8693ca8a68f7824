"""Finding the engine on a computer."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from aiida import orm

from aiida_pacemaker.cli.setup.engine import Place, find_engine, ready
from aiida_pacemaker.cli.setup.recipes import Answer, problems_of
from aiida_pacemaker.errors import EngineMissingError, SetupError

#: What a cluster may have in the files that a login shell reads. A module is a line that sets the search path.
MODULES = """
module() { [ "$2" = 'pace/1 (new)' ] && PATH=$PACE:$PATH || { echo "no module $2" >&2; return 1; }; }
"""


def test_an_environment_or_the_folder_of_its_programs(cluster, make_engine):
    folder = make_engine("with a space and a $(quote)'")
    engine = find_engine(cluster, Place(path=str(folder)))
    assert engine == find_engine(cluster, Place(path=str(folder / 'bin')))
    assert engine.programs['pacemaker'] == str(folder / 'bin' / 'pacemaker')
    assert engine.programs['pace_python'] == str(folder / 'bin' / 'python')
    assert engine.prepend == ''


def test_home_of_the_computer(cluster, make_engine):
    folder = make_engine('home/pace')
    assert find_engine(cluster, Place(path='~/pace')).programs['pacemaker'] == str(folder / 'bin' / 'pacemaker')


def test_login_shell(cluster, make_engine, home):
    """Its search path, although it says things of its own, and although a program of that name is no engine."""
    other, engine = make_engine('other', engine=False), make_engine()
    with (home / '.bash_profile').open('a') as profile:
        profile.write(f'PATH="{other}/bin:{engine}/bin:$PATH"\n')
    assert find_engine(cluster, Place()).programs['pacemaker'] == str(engine / 'bin' / 'pacemaker')


def test_module(cluster, make_engine, home):
    engine = make_engine()
    profile = f'export PACE={engine}/bin\n{MODULES}\n'
    (home / '.bash_profile').write_text(profile)
    with pytest.raises(EngineMissingError, match=r'`module` is not known .* the shebang'):
        find_engine(cluster, Place(modules=('pace/1 (new)',)))
    (home / '.bash_profile').write_text(f'{profile}export -f module\n')
    found = find_engine(cluster, Place(modules=('pace/1 (new)',)))
    assert found.programs['pacemaker'] == str(engine / 'bin' / 'pacemaker')
    assert found.prepend == "module load 'pace/1 (new)'"
    with pytest.raises(EngineMissingError, match=r'(?s)`module load pace/2` fails .* says: .*no module pace/2'):
        find_engine(cluster, Place(modules=('pace/2',)))


def test_conda(cluster, make_engine, home):
    """By its name, although the shell does not know `conda`, as those that are not interactive do not."""
    environment = make_engine('home/miniforge3/envs/pace')
    (environment / 'conda-meta').mkdir()
    engine = find_engine(cluster, Place(conda='pace'))
    assert engine.programs['pacemaker'] == str(environment / 'bin' / 'pacemaker')
    assert engine.prepend == '', 'there is nothing to activate it with'
    profile = home / 'miniforge3/etc/profile.d/conda.sh'
    profile.parent.mkdir(parents=True)
    profile.write_text('conda() { :; }\n')
    expected = f"""\
. '{profile}'
conda activate '{environment}'"""
    assert find_engine(cluster, Place(conda='pace')).prepend == expected
    assert find_engine(cluster, Place(conda=str(environment))).prepend == expected
    with pytest.raises(EngineMissingError, match=r'no conda environment `ace`'):
        find_engine(cluster, Place(conda='ace'))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'without': ('pace_select',)}, 'python-ace 0.4.0rc1 is there without `pace_select`: it is too old'),
        ({'engine': False, 'versions': {}}, "no package python-ace: `pip install 'python-ace==0.4.0rc1'`"),
        (
            {'engine': False, 'versions': {'pyace': '1.0', 'pacemaker': '2.0'}},
            'belong to other people .* `pip uninstall pyace pacemaker`',
        ),
        ({'said': 'Segmentation fault'}, 'tells its version of python-ace but says: Segmentation fault'),
    ],
)
def test_what_is_no_engine(cluster, make_engine, changes, message):
    with pytest.raises(EngineMissingError, match=message) as caught:
        find_engine(cluster, Place(path=str(make_engine(**changes))))
    assert 'aiida-pacemaker engine install' in str(caught.value)


def test_other_peoples_packages_have_no_programs(cluster, make_engine):
    """An environment that was named is asked what it has in place of the engine."""
    programs = ('pacemaker', 'pace_select', 'pace_activeset', 'pace_yaml2yace')
    folder = make_engine(without=programs, engine=False, versions={'pyace': '1.0'})
    with pytest.raises(EngineMissingError, match=r'it has `pyace` from PyPI, which belong to other people'):
        find_engine(cluster, Place(path=str(folder)))


def test_no_such_folder(cluster, tmp_path):
    with pytest.raises(EngineMissingError, match=f'no folder {tmp_path}/gone on `hpc'):
        find_engine(cluster, Place(path=str(tmp_path / 'gone')))


def test_no_such_computer(aiida_profile):
    with pytest.raises(SetupError, match=r'(?s)no computer `gone`.*verdi computer setup --label gone'):
        ready('gone')


def test_computer_that_is_not_configured(aiida_profile, tmp_path):
    orm.Computer(
        'bare', 'hpc', workdir=str(tmp_path), transport_type='core.ssh_async', scheduler_type='core.slurm'
    ).store()
    with pytest.raises(SetupError, match=r'`verdi computer configure core.ssh_async bare`'):
        ready('bare')


def test_computer_that_does_not_answer(cluster, monkeypatch):
    def broken(_self):
        raise OSError('connection refused')

    monkeypatch.setattr(orm.Computer, 'get_transport', broken)
    with pytest.raises(SetupError, match=r'cannot be reached over core.local: connection refused.*verdi computer test'):
        find_engine(cluster, Place())


@pytest.mark.parametrize(
    ('tensorflow', 'versions', 'evaluators', 'message'),
    [
        (False, {}, ('pyace',), 'tensorpotential and TensorFlow missing'),
        (False, {'tensorpotential': '0.6.2.1'}, ('pyace',), ': TensorFlow missing. .* `pip install .*tensorflow-cpu'),
        (True, {'tensorpotential': '0.6.2.1', 'numpy': '2.4.6'}, ('pyace',), r"pip install 'numpy<2.4'"),
        (True, {'tensorpotential': '0.6.2.1', 'numpy': '2.3.5', 'pandas': '3.0'}, ('pyace',), r"'pandas<3'"),
        (True, {'tensorpotential': '0.6.2.1', 'numpy': '2.3.5', 'pandas': '2.3'}, ('pyace', 'tensorpot'), None),
        (True, {'tensorpotential': '0.7', 'numpy': '2.4.6'}, ('pyace', 'tensorpot'), None),
        (True, {'tensorpotential': '0.7', 'pacemaker': '2.0'}, ('pyace', 'tensorpot'), 'of other people'),
    ],
)
def test_evaluators(tensorflow, versions, evaluators, message):
    versions = {'python-ace': '0.4.0rc1', **versions}
    answer = Answer(python='3.11', engine=True, tensorflow=tensorflow, versions=versions)
    assert answer.evaluators == evaluators
    if message is None:
        assert problems_of(answer) == []
    else:
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(*problems_of(answer))


@pytest.mark.engine
def test_a_real_engine(cluster):
    pytest.importorskip('pyace', reason='python-ace is not installed: `pip install python-ace==0.4.0rc1`')
    answer = find_engine(cluster, Place(path=str(Path(sys.executable).parent))).answer
    assert answer.version == version('python-ace')
    assert 'pyace' in answer.evaluators
