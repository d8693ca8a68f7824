"""The command `aiida-pacemaker`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


@click.group(context_settings={'help_option_names': ['-h', '--help']})
@click.version_option(None, '-v', '--version', package_name='aiida-pacemaker', message='%(prog)s, version %(version)s')
def main() -> None:
    """Fit Atomic Cluster Expansion potentials with Pacemaker under AiiDA."""


@main.command()
@click.argument('computer', default='localhost')
@click.option('--profile', default=None, help='Profile to use; one named `pacemaker` is made if there is none at all.')
@click.option('--path', default=None, help='Environment of the engine on the computer, or the folder of its programs.')
@click.option('--module', 'modules', multiple=True, help='Module to load first (`module load`); may be repeated.')
@click.option('--conda', default=None, help='Name or prefix of the conda environment that the engine is in.')
@click.option('--suffix', default='', help='Behind the labels of the codes (`pacemaker-SUFFIX`): for a second engine.')
@click.option('--replace', is_flag=True, help='Have codes of another engine make way: they get their pk as a suffix.')
@click.option(
    '--check/--no-check',
    default=None,
    help='Whether a small fit and what follows from it are run (14 s and the queue); by default not on localhost.',
)
@click.option('--queue', default=None, help='Queue (partition) of the jobs of the check.')
@click.option('--account', default=None, help='Account of the jobs of the check.')
@click.option(
    '--walltime',
    type=click.IntRange(min=1),
    default=600,
    show_default=True,
    help='Walltime of each job of the check in seconds.',
)
@click.option(
    '--option',
    'extra',
    multiple=True,
    metavar='NAME=VALUE',
    help='Another of `metadata.options` of the jobs of the check, as YAML: `qos=debug`.',
)
@click.option(
    '--write-yaml',
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help='Make no codes but a file for each in this folder, for `verdi code create core.code.installed --config FILE`.',
)
def setup(
    computer: str,
    profile: str | None,
    path: str | None,
    modules: tuple[str, ...],
    conda: str | None,
    suffix: str,
    replace: bool,
    check: bool | None,
    queue: str | None,
    account: str | None,
    walltime: int,
    extra: tuple[str, ...],
    write_yaml: Path | None,
) -> None:
    """Find the engine on COMPUTER and make a code for each of its programs; what is there is kept.

    Without COMPUTER it is this machine, for which a profile and the computer `localhost` are made too. Others have to
    be known to AiiDA (`verdi computer setup`, `verdi computer configure`). The engine is looked for where `--path`,
    `--module` or `--conda` say; without them in the search path of a login shell, and where
    `aiida-pacemaker engine install` puts it.
    """
    from aiida_pacemaker._aiida.processes import without_broker
    from aiida_pacemaker.cli.setup.check import check_options
    from aiida_pacemaker.cli.setup.engine import Place
    from aiida_pacemaker.cli.setup.localhost import ensure_profile
    from aiida_pacemaker.cli.setup.setting_up import set_up, write_files
    from aiida_pacemaker.errors import SetupError

    if path and conda:
        raise click.UsageError('give either --path or --conda')
    if suffix and not re.fullmatch(r'[A-Za-z0-9][A-Za-z0-9._-]*', suffix):
        raise click.UsageError(f'--suffix {suffix}: labels of codes have letters, digits, and `.`, `_` and `-` inside')
    place = Place(path=path, modules=modules, conda=conda)
    try:
        click.echo(f'profile: {ensure_profile(profile)}')
        options = check_options(queue, account, walltime, extra)
        with without_broker():
            if write_yaml is not None:
                write_files(computer, place, suffix, write_yaml)
            else:
                set_up(computer, place, suffix, replace, options if check or check is None else None, check is None)
    except SetupError as exception:
        raise click.ClickException(str(exception)) from exception


@main.command()
@click.argument('file', type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    '-o', '--output', type=click.Path(dir_okay=False, path_type=Path), default=None, help='File for the configuration.'
)
def config(file: Path, output: Path | None) -> None:
    """Read FILE, an `input.yaml` of the engine, as the configuration of a fit.

    The configuration is printed as YAML; what was left out, and what to give in its place, goes to the standard error.
    """
    import yaml

    from aiida_pacemaker.errors import ConfigError
    from aiida_pacemaker.pace.config.input_files import read_input_file

    try:
        found = read_input_file(file)
    except ConfigError as exception:
        raise click.ClickException(f'{file}: {exception}') from exception
    text = yaml.safe_dump(found.config.to_dict(), sort_keys=False, default_flow_style=None, width=100)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text)
    for note in found.notes:
        click.echo(note, err=True)


@main.group()
def engine() -> None:
    """Install the engine."""


@engine.command()
@click.option(
    '--path',
    type=click.Path(path_type=Path),
    default=None,
    help='Folder of the new environment; ~/.local/share/aiida-pacemaker/engine by default.',
)
@click.option('--tensorpot', is_flag=True, help='With the evaluator tensorpot: TensorFlow for CPUs, 2 GB in all.')
@click.option(
    '--python', default=sys.executable, help='Python to make it with, 3.9 to 3.13; that of this command by default.'
)
def install(path: Path | None, tensorpot: bool, python: str) -> None:
    """Make an environment for the engine on this machine, apart from that of AiiDA."""
    from aiida_pacemaker.cli.setup.environments import data_home, install_engine, name_of
    from aiida_pacemaker.errors import InstallError

    folder = path or data_home() / name_of(tensorpot)
    click.echo('python-ace is under the Academic Software Licence: free for academic, non-commercial use')
    try:
        answer = install_engine(folder, tensorpot, python, click.echo)
    except InstallError as exception:
        raise click.ClickException(str(exception)) from exception
    click.echo(f'engine: python-ace {answer.version}, evaluators: {", ".join(answer.evaluators)}')
    click.echo(f'next: aiida-pacemaker setup --path {_quoted(folder)}')


def _quoted(folder: Path) -> str:
    from shlex import quote

    return quote(str(folder.expanduser().absolute()))


@main.group()
def cache() -> None:
    """Look at what computers keep of earlier jobs, so that it is not sent again; put it elsewhere, or clean it."""


@cache.command('show')
@click.argument('computer')
@click.option('--profile', default=None, help='Profile to use.')
def show_cache(computer: str, profile: str | None) -> None:
    """Tell where the cache of COMPUTER is, and what is in it."""
    from aiida_pacemaker.cli.cache import CacheOf

    _with_cache(computer, profile, lambda found, transport: CacheOf(found, transport).describe())


@cache.command('clean')
@click.argument('computer')
@click.option(
    '--unused-for',
    'days',
    type=click.FloatRange(min=0),
    default=0.0,
    help='Only what no job has used for so many days.',
)
@click.option('--profile', default=None, help='Profile to use.')
def clean_cache(computer: str, days: float, profile: str | None) -> None:
    """Remove what is in the cache of COMPUTER. Jobs that run or wait lose nothing: it is sent again where needed."""
    from aiida_pacemaker.cli.cache import CacheOf

    _with_cache(computer, profile, lambda found, transport: CacheOf(found, transport).clean(days))


@cache.command('set')
@click.argument('computer')
@click.argument('directory', required=False)
@click.option('--profile', default=None, help='Profile to use.')
def set_cache(computer: str, directory: str | None, profile: str | None) -> None:
    """Put the cache of COMPUTER into DIRECTORY, an absolute path there; without one, back into its work directory.

    The files of jobs are hard links where the file system has them, so that it is best on that of the work directory.
    """
    from aiida_pacemaker.cli.cache import put_elsewhere

    _with_cache(computer, profile, lambda found, transport: put_elsewhere(found, transport, directory))


def _with_cache(label: str, profile: str | None, action: Callable[[Any, Any], str]) -> None:
    """Do something with the cache of a computer, over a connection to it, and print what is said."""
    from aiida_pacemaker._aiida.processes import without_broker
    from aiida_pacemaker.cli.setup.engine import ready
    from aiida_pacemaker.errors import SetupError

    _load(profile)
    try:
        with without_broker():
            computer = ready(label)
            with computer.get_transport() as transport:
                click.echo(action(computer, transport))
    except SetupError as exception:
        raise click.ClickException(str(exception)) from exception


@main.group('import')
def imports() -> None:
    """Import what was made elsewhere."""


@imports.command('potential')
@click.argument('file', type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option('--yace', type=click.Path(exists=True, dir_okay=False, path_type=Path), help='The `.yace` made of it.')
@click.option(
    '--reference-energy',
    'energies',
    multiple=True,
    metavar='ELEMENT=EV',
    help='Energy of an isolated atom in eV that was subtracted from the labels, where the file does not say it.',
)
@click.option('--no-baseline', is_flag=True, help='Nothing else was subtracted from the labels.')
@click.option(
    '--baseline',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON file with the baseline that was subtracted (a `DeltaBaseline`).',
)
@click.option('--profile', default=None, help='Profile to use.')
def import_potential(
    file: Path,
    yace: Path | None,
    energies: tuple[str, ...],
    no_baseline: bool,
    baseline: Path | None,
    profile: str | None,
) -> None:
    """Import the potential FILE, a B-basis `.yaml` that was fitted elsewhere, as a node to go on from.

    What the file says of itself is read and held against what is given. Files that `write_files` has written need no
    more than FILE.
    """
    from aiida_pacemaker.cli.importing import imported
    from aiida_pacemaker.errors import ImportFileError

    if no_baseline and baseline is not None:
        raise click.UsageError('give either --no-baseline or --baseline')
    _load(profile)
    try:
        click.echo(imported(file, yace, energies, baseline, no_baseline))
    except ImportFileError as exception:
        raise click.ClickException(str(exception)) from exception


@main.command()
@click.argument('pk')
@click.option('--profile', default=None, help='Profile to use.')
def status(pk: str, profile: str | None) -> None:
    """Tell how a loop, a training or a job goes: its generations, what is running, and what there is to warn of."""
    from aiida import orm
    from aiida.common.exceptions import MultipleObjectsError, NotExistent

    from aiida_pacemaker.cli.status import status_of

    _load(profile)
    try:
        node: Any = orm.load_node(pk)
    except (NotExistent, MultipleObjectsError, OverflowError, ValueError) as exception:
        raise click.ClickException(
            f'there is no node {pk} ({exception}): see `verdi process list -a` for what there is'
        ) from exception
    if not isinstance(node, orm.ProcessNode):
        raise click.ClickException(f'{node} is no process: give the PK of a loop, a training or a job')
    click.echo(status_of(node))


def _load(profile: str | None) -> None:
    """Load a profile: the one that is named, or the default one if there is none yet."""
    from aiida.manage.configuration import get_profile

    from aiida_pacemaker.cli.setup.localhost import load_named
    from aiida_pacemaker.errors import SetupError

    if profile is not None or get_profile() is None:
        try:
            load_named(profile)
        except SetupError as exception:
            raise click.ClickException(str(exception)) from exception
