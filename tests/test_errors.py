"""The errors of the package are one tree."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import aiida_pacemaker
from aiida_pacemaker import errors

ROOT = Path(aiida_pacemaker.__file__).parent
CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__]


def raised_elsewhere() -> set[str]:
    """Return the classes of errors that other modules define, drivers apart: these run without this package."""
    known = {'Exception', 'BaseException', 'ValueError', 'RuntimeError', 'TypeError', 'OSError', 'KeyError'}
    known |= {cls.__name__ for cls in CLASSES}
    return {
        f'{path.relative_to(ROOT)}: {node.name}'
        for path in ROOT.rglob('*.py')
        if path.name != 'errors.py' or path.parent != ROOT
        if 'drivers' not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and (base.id in known or base.id.endswith('Error')) for base in node.bases)
    }


def test_all_errors_stand_in_one_tree():
    assert raised_elsewhere() == set()
    assert all(issubclass(cls, errors.PacemakerError) for cls in CLASSES)
    assert len(CLASSES) > 20


@pytest.mark.parametrize('cls', CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_is_named_and_described(cls):
    assert cls.__name__.endswith('Error')
    assert cls.__doc__


@pytest.mark.parametrize(
    ('cls', 'base'),
    [
        (errors.ConfigError, ValueError),
        (errors.FramesRefusedError, ValueError),
        (errors.RefusedError, ValueError),
        (errors.FileError, ValueError),
        (errors.SetupError, RuntimeError),
        (errors.TrainerError, RuntimeError),
    ],
)
def test_what_python_calls_it_is_caught_too(cls, base):
    assert issubclass(cls, base)
