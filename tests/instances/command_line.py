"""The commands of `aiida-pacemaker`, called as a shell would."""

from __future__ import annotations

from click.testing import CliRunner, Result

from aiida_pacemaker.cli import main


def call(*arguments: object) -> Result:
    """Run a command in this process; what it says is shown where a test fails.

    :raises Exception: as it comes; a person would see a traceback, which is no way to be told what is wrong.
    """
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    print(result.output)
    return result
