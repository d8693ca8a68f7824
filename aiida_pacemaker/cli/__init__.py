"""The command `aiida-pacemaker`."""

from __future__ import annotations

import click


@click.group()
@click.help_option('-h', '--help')
def main() -> None:
    """Fit Atomic Cluster Expansion potentials with Pacemaker under AiiDA."""


@main.command()
@click.option('--profile', default=None, help='Profile to use; one named `pacemaker` is made if there is none at all.')
def setup(profile: str | None) -> None:
    """Make ready on this machine: a profile, the computer `localhost`, and a code for each program of the engine."""
    from aiida_pacemaker.cli.localhost import EngineMissingError, declare_engine, ensure_codes, ensure_profile
    from aiida_pacemaker.engine.versions import untested

    name = ensure_profile(profile)
    click.echo(f'profile: {name}')
    try:
        codes = ensure_codes()
        engine = declare_engine(codes)
    except EngineMissingError as exception:
        raise click.ClickException(str(exception)) from exception
    for key, code in codes.items():
        click.echo(f'code for {key}: {code.full_label} ({code.filepath_executable})')
    click.echo(f'engine: python-ace {engine.version}, evaluators: {", ".join(engine.evaluators or ())}')
    if warning := untested(engine.version):
        click.echo(warning, err=True)


@main.command()
@click.argument('pk')
@click.option('--profile', default=None, help='Profile to use.')
def status(pk: str, profile: str | None) -> None:
    """Tell how a loop, a training or a job goes: its generations, what is running, and what there is to warn of."""
    from aiida import orm
    from aiida.common.exceptions import NotExistent
    from aiida.manage.configuration import get_profile, load_profile

    from aiida_pacemaker.cli.status import status_of

    if profile is not None or get_profile() is None:
        load_profile(profile, allow_switch=True)
    try:
        node = orm.load_node(pk)
    except (NotExistent, ValueError) as exception:
        raise click.ClickException(f'{exception}: see `verdi process list -a` for what there is') from exception
    if not isinstance(node, orm.ProcessNode):
        raise click.ClickException(f'{node} is no process: give the PK of a loop, a training or a job')
    click.echo(status_of(node))
