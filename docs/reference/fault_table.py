"""The page of faults: read from the tests that show them and from the recorded runs of the engine."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from aiida.plugins import CalculationFactory, WorkflowFactory
from aiida.plugins.entry_point import get_entry_points

ROOT = Path(__file__).parents[2]
TESTS = ROOT / 'tests'
#: The job whose parser reads what each program has left, and the test that shows it.
PROGRAMS = {
    'train': ('pacemaker.train', 'parsers/test_parser_train.py::test_recorded_fits'),
    'fit_linear': ('pacemaker.train.linear', 'parsers/test_parser_linear.py::test_recorded_linear_fits'),
    'activeset': ('pacemaker.activeset', 'parsers/test_parser_selecting.py::test_recorded_active_sets'),
    'select': ('pacemaker.select', 'parsers/test_parser_selecting.py::test_recorded_selections'),
    'yaml2yace': ('pacemaker.train', 'parsers/test_parser_train.py::test_recorded_conversions'),
}
#: What each program makes, by the name that it has in the recorded runs.
RESULTS = {
    'train': ('output_potential.yaml', 'a potential'),
    'fit_linear': ('output_potential.yaml', 'a potential'),
    'activeset': ('output_potential.asi', 'an active set'),
    'select': ('selected.pkl.gz', 'a selection'),
    'yaml2yace': ('output_potential.yace', 'a `.yace`'),
}
KILLED = {137: 'SIGKILL', 143: 'SIGTERM'}
LONGEST = 100

Row = tuple[str, ...]


def shown_by_tests() -> Iterator[Row]:
    """Iterate over the faults that tests are marked with: `pytest.mark.fault(name, engine=..., here=..., ends=...)`."""
    codes = _exit_codes()
    for path in sorted(TESTS.rglob('test_*.py')):
        for function in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if not isinstance(function, ast.FunctionDef):
                continue
            for mark in (node for part in function.decorator_list for node in ast.walk(part)):
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr == 'fault':
                    (name,) = (ast.literal_eval(argument) for argument in mark.args)
                    said = {keyword.arg: ast.literal_eval(keyword.value) for keyword in mark.keywords}
                    ends = said['ends'] if isinstance(said['ends'], tuple) else (said['ends'],)
                    ending = ', '.join(codes.get(end, end) if '.' not in end else codes[end] for end in ends)
                    where = f'`{path.relative_to(TESTS)}::{function.name}`'
                    yield name, said['engine'], said['here'], ending, where


def recorded_runs() -> Iterator[Row]:
    """Iterate over the recorded runs of the engine that end in an exit code of a job."""
    cases = _load(TESTS / 'parsers' / 'recorded_cases.py')
    for program, runs in cases.RECORDED.items():
        entry_point, test = PROGRAMS[program]
        labels = CalculationFactory(entry_point).exit_codes
        for run, (label, _) in sorted(runs.items()):
            if label != 'OK':
                code = labels[label]
                message = code.message.replace('{{', '{').replace('}}', '}')
                folder = cases.FIXTURES / program / run
                yield (
                    f'`{program}/{run}`',
                    _of_engine(program, folder),
                    f'{code.status} `{label}`',
                    message,
                    f'`{test}`',
                )


def _of_engine(program: str, folder: Path) -> str:
    """Return what the plain program did: its exit status, whether there was a result, and its last words."""
    status = int((folder / 'exit_status').read_text())
    name, result = RESULTS[program]
    done = f'killed by {KILLED[status]}' if status in KILLED else f'exit {status}'
    if (folder / name).exists():
        done += f', with {result}'
    # Where it thought that it had succeeded, its last words say so.
    return done if status in KILLED or not status else f'{done}: {_last_words(folder)}'


def _last_words(folder: Path) -> str:
    for name in ('stderr.txt', 'log.txt', 'stdout.txt'):
        path = folder / name
        lines = path.read_text(errors='replace').splitlines() if path.exists() else []
        said = [line.strip().replace('`', "'") for line in lines if line.strip()]
        if said:
            return f'`{said[-1] if len(said[-1]) <= LONGEST else said[-1][:LONGEST] + "..."}`'
    return 'without a word'


def _exit_codes() -> dict[str, str]:
    """Return status and label of each exit code by the class of its process and its label."""
    codes = {}
    for group, factory in (('aiida.workflows', WorkflowFactory), ('aiida.calculations', CalculationFactory)):
        for point in get_entry_points(group):
            process: Any = factory(point.name) if point.name.startswith('pacemaker.') else None
            if hasattr(process, 'exit_codes'):
                for label, code in process.exit_codes.items():
                    codes[f'{process.__name__}.{label}'] = f'{code.status} `{label}`'
    return codes


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
