"""The codes of an engine: made in the database, or written as files that `verdi code create` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from aiida import orm
from aiida.common.exceptions import MultipleObjectsError, NotExistent

from aiida_pacemaker.calculations.declarations import Declaration, declare
from aiida_pacemaker.cli.setup.engine import PROGRAMS, Engine, Place, ask_python, find_engine, missing_of
from aiida_pacemaker.cli.setup.recipes import Answer
from aiida_pacemaker.errors import SetupError

Codes = dict[str, orm.AbstractCode]


def label_of(program: str, suffix: str = '') -> str:
    """Return the label of the code of a program; a second engine on the same computer has a suffix."""
    return f'{program}-{suffix}' if suffix else program


def ensure_codes(
    computer: orm.Computer, place: Place, suffix: str = '', replace: bool = False
) -> tuple[Codes, Answer | None]:
    """Return a code on a computer for each program of the engine, made if it is not there, and what the engine is.

    A code whose program no longer exists is renamed: its PK is appended to its label. It stays in the database as the
    code of its jobs.

    :param place: where to look for an engine. If a person says nothing, codes that are there are kept.
    :param suffix: behind the label of each code.
    :param replace: whether codes of another engine are renamed too.
    :returns: the codes, and what their Python says of itself; None if it is in a container, where it is not asked.
    :raises EngineMissingError: if a code has to be made and its program is missing.
    :raises SetupError: if there are codes of another engine, or the computer cannot be asked.
    """
    there = existing_codes(computer, suffix)
    launched = [code.full_label for code in there.values() if code.with_mpi]
    if launched and not replace:
        raise SetupError(
            f'{", ".join(launched)}: the code has `with_mpi: true`, but the engine has no MPI programs, so that no job '
            'could be submitted. Give `--replace` to have another made without (the old one gets its pk behind its '
            'label), or `--suffix NAME` to have others beside it.'
        )
    outside = {name: code for name, code in there.items() if _can_be_looked_at(code)}
    paths = {name: str(code.filepath_executable) for name, code in outside.items()}
    gone = missing_of(computer, paths.values()) if paths else set()
    leaving = {name for name, path in paths.items() if path in gone}
    leaving |= {name for name, code in there.items() if code.with_mpi}
    engine = None
    if place.given or leaving or len(there) < len(PROGRAMS):
        engine = find_engine(computer, place)
        others = {
            name for name in there if place.given and name not in leaving and not _is_of(there[name], name, engine)
        }
        if others and not replace:
            raise SetupError(_conflict(there, others, engine))
        leaving |= others
    codes = {}
    for program in PROGRAMS:
        if program in there and program not in leaving:
            codes[program] = there[program]
            continue
        if program in there:
            there[program].label = f'{there[program].label}-{there[program].pk}'
        # There is an engine where there is not every code.
        codes[program] = _new_code(computer, program, engine, suffix) if engine else there[program]
    return codes, _answer(computer, codes, engine)


def existing_codes(computer: orm.Computer, suffix: str) -> Codes:
    """Return the codes on a computer that have the labels of an engine."""
    codes: Codes = {}
    for program in PROGRAMS:
        label = f'{label_of(program, suffix)}@{computer.label}'
        try:
            codes[program] = orm.load_code(label)
        except NotExistent:
            continue
        except MultipleObjectsError as exception:
            raise SetupError(
                f'there are several codes `{label}`: give all but one another label (`verdi code relabel`)'
            ) from exception
    return codes


def declare_engine(codes: Codes, answer: Answer) -> Declaration:
    """Keep with each code what its engine can do, so that what it cannot do is refused before it is submitted."""
    declaration = Declaration(version=answer.version, evaluators=answer.evaluators)
    for code in codes.values():
        declare(code, declaration)
    return declaration


def write_yaml(folder: Path, computer: orm.Computer, engine: Engine, suffix: str = '') -> list[Path]:
    """Write a file for each code, as `verdi code create core.code.installed --config FILE` takes it.

    :raises SetupError: if a file of that name is there and says something else.
    """
    texts = {}
    for program in PROGRAMS:
        fields = {'computer': computer.label, **_fields(program, engine, suffix)}
        named = {name: value for name, value in fields.items() if value != ''}
        texts[folder / f'{label_of(program, suffix)}@{computer.label}.yaml'] = yaml.safe_dump(named, sort_keys=False)
    different = [path for path, text in texts.items() if path.exists() and path.read_text() != text]
    if different:
        raise SetupError(
            f'{different[0]} is there already and says something else: delete it, or write into another folder'
        )
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text)
    return list(texts)


def _fields(program: str, engine: Engine, suffix: str) -> dict[str, Any]:
    return {
        'label': label_of(program, suffix),
        'description': f'{"Python" if program == "pace_python" else program} of python-ace {engine.answer.version}',
        'default_calc_job_plugin': PROGRAMS[program],
        'filepath_executable': engine.programs[program],
        'prepend_text': engine.prepend,
        'with_mpi': False,
    }


def _new_code(computer: orm.Computer, program: str, engine: Engine, suffix: str) -> orm.InstalledCode:
    return orm.InstalledCode(computer=computer, **_fields(program, engine, suffix)).store()


def _can_be_looked_at(code: orm.AbstractCode) -> bool:
    """Whether the path of a code is one on its computer, not in a container or in the database."""
    return isinstance(code, orm.InstalledCode) and not isinstance(code, orm.ContainerizedCode)


def _is_of(code: orm.AbstractCode, program: str, engine: Engine) -> bool:
    """Whether a code calls a program of an engine, and in the same way."""
    return (
        _can_be_looked_at(code)
        and str(code.filepath_executable) == engine.programs[program]
        and code.prepend_text.strip() == engine.prepend.strip()
    )


def _conflict(codes: Codes, others: set[str], engine: Engine) -> str:
    lines = ['there are codes of another engine:']
    for name in sorted(others):
        before = codes[name].prepend_text.strip().replace('\n', '; ')
        lines.append(
            f'  {codes[name].full_label}: {codes[name].get_executable()}' + (f' after `{before}`' if before else '')
        )
    after = engine.prepend.replace('\n', '; ')
    lines.append(
        f'What was found is {Path(engine.programs["pacemaker"]).parent}' + (f' after `{after}`' if after else '') + '. '
        'Give `--suffix NAME` to have both (`pacemaker-NAME@...`), or `--replace` to have the old ones make way: they '
        'get their pk behind their labels.'
    )
    return '\n'.join(lines)


def _answer(computer: orm.Computer, codes: Codes, engine: Engine | None) -> Answer | None:
    """Return what the Python of the codes says of itself."""
    python = codes['pace_python']
    if not _can_be_looked_at(python):
        return None
    if engine is not None and _is_of(python, 'pace_python', engine):
        return engine.answer
    return ask_python(computer, str(python.filepath_executable), python.prepend_text)
