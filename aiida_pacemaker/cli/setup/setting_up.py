"""What `aiida-pacemaker setup` does, step by step, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as with_changes
from pathlib import Path
from typing import Any

import click
from aiida import orm

from aiida_pacemaker.cli.setup import localhost
from aiida_pacemaker.cli.setup.check import check_engine
from aiida_pacemaker.cli.setup.codes import declare_engine, ensure_codes, write_yaml
from aiida_pacemaker.cli.setup.engine import Place, find_engine, ready
from aiida_pacemaker.cli.setup.recipes import Answer, problems_of
from aiida_pacemaker.pace.versions import untested


def set_up(
    label: str, place: Place, suffix: str, replace: bool, options: Mapping[str, Any] | None, elsewhere_only: bool
) -> None:
    """Make the codes on a computer, and run them once.

    :param label: the computer.
    :param options: of the jobs that are run; None if none are.
    :param elsewhere_only: whether nothing is run if the computer is this machine.
    :raises SetupError: with what there is to do first.
    """
    with localhost.one_at_a_time():
        computer, place = _where(label, place)
        codes, answer = ensure_codes(computer, place, suffix, replace)
    for key, code in codes.items():
        click.echo(f'code for {key}: {code.full_label} ({code.get_executable()})')
    if answer is None:
        click.echo('engine: in a container, which is not asked for its version and evaluators')
    else:
        declare_engine(codes, answer)
        _tell(answer)
    if options is None or (elsewhere_only and label == localhost.COMPUTER):
        return
    click.echo(
        f'check: a few small jobs, walltime {options["max_wallclock_seconds"]} s each (`--no-check` leaves it out)'
    )
    done = check_engine(codes, options, click.echo)
    click.echo(f'check: passed, {sum(step.seconds for step in done):.0f} s')


def write_files(label: str, place: Place, suffix: str, folder: Path) -> None:
    """Find the engine on a computer and write a file for each code.

    :raises SetupError: with what there is to do first.
    """
    computer, place = _where(label, place)
    engine = find_engine(computer, place)
    for path in write_yaml(folder, computer, engine, suffix):
        click.echo(f'verdi code create core.code.installed -n --config {path}')
    _tell(engine.answer)
    rest = f' --suffix {suffix}' if suffix else ''
    click.echo(f'When the codes are made, `aiida-pacemaker setup {label}{rest}` has them declare their evaluators')


def _where(label: str, place: Place) -> tuple[orm.Computer, Place]:
    """Return a computer that can be used, and where the engine is looked for on it."""
    if label != localhost.COMPUTER:
        return ready(label), place
    localhost.ensure_computer()
    return ready(label), place if place.given else with_changes(place, first=localhost.nearby())


def _tell(answer: Answer) -> None:
    """Say what an engine can do, and what it lacks."""
    click.echo(f'engine: python-ace {answer.version}, evaluators: {", ".join(answer.evaluators)}')
    for warning in filter(None, (untested(answer.version), *problems_of(answer))):
        click.echo(warning, err=True)
