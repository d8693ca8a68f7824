"""Finding the engine on a computer, over the transport that AiiDA has to it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiida import orm
from aiida.common.exceptions import NotExistent
from pydantic import ValidationError

from aiida_pacemaker._aiida.processes import quoted
from aiida_pacemaker.cli.setup.recipes import HOW_TO_INSTALL, Answer, no_engine
from aiida_pacemaker.errors import EngineMissingError, SetupError

#: The programs of the engine, and the plugin that each is called by. The last is the Python that the engine is in.
PROGRAMS = {
    'pacemaker': 'pacemaker.train',
    'pace_yaml2yace': None,
    'pace_activeset': 'pacemaker.activeset',
    'pace_select': 'pacemaker.select',
    'pace_python': 'pacemaker.evaluate',
}
MARK = '@pace@ '
#: Has a Python answer a question, and marks each line of the answer.
ASK = f"""\
"$1" -c "$2" 2>&1 < /dev/null | while IFS= read -r line || [ -n "$line" ]; do printf '{MARK}said %s\\n' "$line"; done
echo '{MARK}end'
"""
#: Names the files that are no programs.
LOOK = f"""\
for it; do [ -f "$it" ] && [ -x "$it" ] || printf '{MARK}gone %s\\n' "$it"; done
echo '{MARK}end'
"""
PROBE = Path(__file__).with_name('probe.sh')
QUESTION = Path(__file__).with_name('question.py')


@dataclass(frozen=True)
class Place:
    """Where a person says that the engine is; nothing stands for the search path of a login shell.

    :param path: the environment of the engine, or the folder of its programs.
    :param modules: environment modules to load first.
    :param conda: name or prefix of a conda environment.
    :param first: folders that are searched before the search path.
    """

    path: str | None = None
    modules: tuple[str, ...] = ()
    conda: str | None = None
    first: tuple[str, ...] = ()

    @property
    def given(self) -> bool:
        """Whether a person has said anything."""
        return bool(self.path or self.modules or self.conda)


@dataclass(frozen=True)
class Engine:
    """An engine that was found.

    :param programs: the path of each program on the computer.
    :param prepend: what a job has to do before it calls one, as lines for bash.
    :param answer: what its Python says of itself.
    """

    programs: dict[str, str]
    prepend: str
    answer: Answer


@dataclass
class Candidate:
    """A folder with a `pacemaker`, and what was found in it."""

    folder: str
    programs: dict[str, str] = field(default_factory=dict)
    python: str = ''
    answer: Answer | None = None
    said: str = ''

    @property
    def problem(self) -> str | None:
        """Why it cannot be used, None if it can."""
        if self.answer is None:
            said = f' but says: {self.said}' if self.said else ''
            return f'no Python of it tells its version of python-ace{said}'
        if not self.answer.engine:
            return no_engine(self.answer)
        missing = [name for name in PROGRAMS if name not in self.programs and name != 'pace_python']
        if missing:
            names = ' and '.join(f'`{name}`' for name in missing)
            return f'python-ace {self.answer.version} is there without {names}: it is too old, or not there as a whole'
        return None


def find_engine(computer: orm.Computer, place: Place) -> Engine:
    """Find the engine on a computer and ask it for its version.

    :raises EngineMissingError: if it is not there, or not all of it.
    :raises SetupError: if the computer cannot be asked.
    """
    path = place.path or ''
    if path and computer.transport_type == 'core.local':
        # A relative path is meant from here.
        path = os.path.abspath(Path(path).expanduser())  # noqa: PTH100 (links are kept)
    # What is found in the search path of a login shell is called by its full path, but modules are loaded by jobs too.
    shell = shell_of(computer) if place.modules else ['bash', '-l']
    arguments = [QUESTION.read_text(), path, place.conda or '', ':'.join(place.first), *place.modules]
    printed, stderr = ask_computer(computer, [*shell, '-c', PROBE.read_text(), 'probe', *arguments])
    return _read(computer, place, printed, stderr)


def shell_of(computer: orm.Computer) -> list[str]:
    """Return the shell that runs the scripts of jobs on a computer."""
    return ['bash', '-l'] if '-l' in computer.get_shebang().split() else ['bash']


def ask_computer(computer: orm.Computer, command: Sequence[str]) -> tuple[str, str]:
    """Run a command on a computer and return what it prints on both channels.

    :raises SetupError: if there is no way to the computer.
    """
    line = ' '.join(quoted(word) for word in command)
    try:
        with computer.get_transport() as transport:
            status, printed, said = transport.exec_command_wait(line)
    except Exception as exception:  # each transport has errors of its own
        raise SetupError(
            f'the computer `{computer.label}` cannot be reached over {computer.transport_type}: '
            f'{str(exception) or type(exception).__name__}. Try `verdi computer test {computer.label}`, and see '
            f'`verdi computer configure show {computer.label}` for what is configured'
        ) from exception
    if MARK not in printed:
        raise SetupError(
            f'the computer `{computer.label}` does not answer as expected (exit status {status}): '
            f'{(said or printed).strip()[-500:] or "nothing was said"}. Try `verdi computer test {computer.label}`'
        )
    return printed, said


def _read(computer: orm.Computer, place: Place, printed: str, stderr: str) -> Engine:
    """Make an engine of what the probe has said."""
    found: dict[str, list[str]] = {}
    candidates: list[Candidate] = []
    for key, value in _marked(printed.splitlines()):
        if key in ('candidate', 'program', 'python', 'said'):
            _note(candidates, key, value)
        else:
            found.setdefault(key, []).append(value)
    if 'error' in found:
        raise EngineMissingError(_problem(computer, place, found['error'][0], stderr))
    for candidate in candidates:
        if candidate.problem is None and candidate.answer is not None:
            programs = {**candidate.programs, 'pace_python': candidate.python}
            activation = found.get('activate', [''])[0], found.get('prefix', [''])[0]
            return Engine({name: programs[name] for name in PROGRAMS}, _prepend(place, *activation), candidate.answer)
    raise EngineMissingError(_not_found(computer, place, candidates, stderr))


def _marked(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        # A banner without a line break at its end may stand before a mark.
        _, mark, rest = line.partition(MARK)
        if mark:
            key, _, value = rest.partition(' ')
            yield key, value


def _note(candidates: list[Candidate], key: str, value: str) -> None:
    """Add what was said of a candidate to it."""
    if key == 'candidate':
        candidates.append(Candidate(value))
        return
    candidate = candidates[-1]
    if key == 'program':
        candidate.programs[Path(value).name] = value
    elif key == 'said' and value.strip():
        try:
            answer = Answer.model_validate_json(value)
        except ValidationError:
            candidate.said = value.strip()
        else:
            if candidate.answer is None or answer.engine:
                candidate.answer = answer
    elif key == 'python' and not (candidate.answer and candidate.answer.engine):
        candidate.python = value


def _prepend(place: Place, conda: str, prefix: str) -> str:
    """Return the lines that make a job find what the engine needs."""
    lines = [f'module load {quoted(name)}' for name in place.modules]
    if conda:
        lines += [f'. {quoted(conda)}', f'conda activate {quoted(prefix)}']
    return '\n'.join(lines)


def _problem(computer: orm.Computer, place: Place, problem: str, stderr: str) -> str:
    """Return a message about what the probe could not do."""
    key, _, value = problem.partition(' ')
    said = f' It says: {stderr.strip()[-500:]}' if stderr.strip() else ''
    where = f'on `{computer.label}`'
    if key == 'no':
        return (
            f'the command `module` is not known {where} to the shell that jobs run in. If it is known when you log in, '
            'give the computer the shebang `#!/bin/bash -l` (`verdi computer duplicate`), or the environment of the '
            f'engine with `--path`.{said}'
        )
    if key == 'module':
        return f'`module load {value}` fails {where}: see `module avail` there.{said}'
    if key == 'conda':
        return f'there is no conda environment `{value}` {where}: see `conda env list` there.{said}'
    hint = ''
    if computer.transport_type != 'core.local' and value.startswith(str(Path.home())):
        hint = f" This is your home on this machine; write `--path '~{value[len(str(Path.home())) :]}'` for that there."
    return f'there is no folder {value} {where}.{hint} To make one, {HOW_TO_INSTALL}'


def _not_found(computer: orm.Computer, place: Place, candidates: list[Candidate], stderr: str) -> str:
    """Return a message about what was found in place of an engine."""
    where = f'on `{computer.label}`'
    if candidates:
        lines = [f'there is no engine that works {where}:', *(f'  {it.folder}: {it.problem}' for it in candidates)]
        return '\n'.join([*lines, f'To get one, {HOW_TO_INSTALL}'])
    if place.path:
        looked = f'in {place.path} or its `bin`'
    elif place.conda:
        looked = f'in the conda environment {place.conda}'
    elif place.modules:
        looked = f'after `module load {" ".join(place.modules)}`'
    else:
        looked = 'in the search path of a login shell; say where with `--path`, `--module` or `--conda`'
    said = f' The shell says: {stderr.strip()[-500:]}' if stderr.strip() else ''
    return f'the program `pacemaker` is not {where} ({looked}). To install it, {HOW_TO_INSTALL}.{said}'


def missing_of(computer: orm.Computer, paths: Iterable[str]) -> set[str]:
    """Return the paths that are no programs on a computer.

    :raises SetupError: if the computer cannot be asked.
    """
    printed, _ = ask_computer(computer, ['bash', '-c', LOOK, 'look', *paths])
    return {value for key, value in _marked(printed.splitlines()) if key == 'gone'}


def ask_python(computer: orm.Computer, python: str, prepend: str) -> Answer:
    """Ask the Python of an engine, as a job calls it, for its version.

    :param prepend: lines that a job runs before it.
    :raises EngineMissingError: if it does not answer, or has no python-ace.
    """
    # The lines are those of a code, which a job would run as they are.
    text = f'unset PYTHONPATH PYTHONHOME\n{prepend}\n{ASK}'
    printed, _ = ask_computer(computer, [*shell_of(computer), '-c', text, 'ask', python, QUESTION.read_text()])
    candidate = Candidate(str(Path(python).parent), dict.fromkeys(PROGRAMS, ''), python)
    for key, value in _marked(printed.splitlines()):
        if key == 'said':
            _note([candidate], key, value)
    if candidate.answer is None or candidate.problem is not None:
        raise EngineMissingError(
            f'{python} on `{computer.label}` does not tell its version of python-ace: {candidate.problem}. '
            f'To install it, {HOW_TO_INSTALL}'
        )
    return candidate.answer


def ready(label: str) -> orm.Computer:
    """Return a computer that jobs can be run on.

    :raises SetupError: if AiiDA does not know it, or not how to get there.
    """
    try:
        computer = orm.load_computer(label)
    except (NotExistent, ValueError) as exception:
        known = ', '.join(sorted(orm.QueryBuilder().append(orm.Computer, project='label').all(flat=True)))
        raise SetupError(
            f'AiiDA knows no computer `{label}` ({known or "none at all"}). Tell it how to get there first:\n'
            f'  verdi computer setup --label {label}\n  verdi computer configure TRANSPORT {label}\n'
            f'  verdi computer test {label}'
        ) from exception
    if not computer.is_configured:
        transport = computer.transport_type
        raise SetupError(
            f'the computer `{label}` is not configured for you: `verdi computer configure {transport} {label}`, then '
            f'`verdi computer test {label}`'
        )
    return computer
