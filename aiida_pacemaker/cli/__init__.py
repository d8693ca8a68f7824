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
    from aiida_pacemaker.cli.localhost import EngineMissingError, ensure_codes, ensure_profile

    name = ensure_profile(profile)
    click.echo(f'profile: {name}')
    try:
        codes = ensure_codes()
    except EngineMissingError as exception:
        raise click.ClickException(str(exception)) from exception
    for key, code in codes.items():
        click.echo(f'code for {key}: {code.full_label} ({code.filepath_executable})')
