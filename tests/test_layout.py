"""Which parts of the package may know which others, read from the code without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import aiida_pacemaker

PACKAGE = Path(aiida_pacemaker.__file__).parent
MODULES = sorted(PACKAGE.rglob('*.py'))
#: Each may import those before it.
ORDER = (
    'frames',
    'baseline',
    'pace',
    'analysis',
    'exploration',
    'drivers',
    'data',
    'sources',
    'provenance',
    'calculations',
    'parsers',
    'workflows',
    'quantumespresso',
)
#: Plain Python: these need no AiiDA.
PLAIN = ('frames', 'baseline', 'pace', 'analysis', 'exploration', 'drivers')
#: Found by its entry points alone, as labellers and sources of other packages are.
QUANTUM_ESPRESSO = 'aiida_pacemaker.quantumespresso'
#: Names by which code could tell Quantum ESPRESSO from others. Prose may mention it, and ASE has a
#: name of its own for the files of pw.x.
ITS_NAMES = re.compile(
    r'(aiida[\w.]*[:.])?(pacemaker\.label\.)?quantumespresso(\.\w+)*|aiida_quantumespresso[\w.]*|Pw[A-Z]\w+'
    r'|QuantumEspresso\w+'
)


def imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """Iterate over the modules that are imported anywhere in a module, and over the names that are taken of them.

    :param package: the package that the module is in.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = '.'.join([*start, *([node.module] if node.module else [])])
            yield module
            yield from (f'{module}.{alias.name}' for alias in node.names)


def imports_of(module: Path) -> set[str]:
    return set(imported(ast.parse(module.read_text()), module.relative_to(PACKAGE.parent).parts[:-1]))


def room_of(module: Path) -> str:
    """Return the folder of the package that a module is in, its own name if it is in none."""
    return module.relative_to(PACKAGE).parts[0]


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f'{package}.')


def test_all_forms_of_imports_are_seen():
    code = (
        'import a.b as c\nfrom d import e\ndef f():\n    from . import g\n    from ..h import i\n    from .j.k import l'
    )
    found = set(imported(ast.parse(code), ('x', 'y')))
    assert found == {'a.b', 'd', 'd.e', 'x.y', 'x.y.g', 'x.h', 'x.h.i', 'x.y.j.k', 'x.y.j.k.l'}
    assert {room_of(module) for module in MODULES} >= set(ORDER)


@pytest.mark.parametrize('package', [QUANTUM_ESPRESSO, 'aiida_quantumespresso'])
def test_nothing_else_imports_quantum_espresso(package):
    own = [module for module in MODULES if room_of(module) == 'quantumespresso']
    assert any(within(name, package) for module in own for name in imports_of(module))
    found = {
        str(module.relative_to(PACKAGE)): sorted(name for name in imports_of(module) if within(name, package))
        for module in MODULES
        if module not in own
    }
    assert {module: names for module, names in found.items() if names} == {}


def test_nothing_else_knows_quantum_espresso_by_name():
    found = {}
    for module in MODULES:
        texts = {
            node.value
            for node in ast.walk(ast.parse(module.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and ITS_NAMES.fullmatch(node.value)
        }
        if texts:
            found[room_of(module)] = sorted(texts)
    assert set(found) == {'quantumespresso'}, found


@pytest.mark.parametrize('room', ORDER)
def test_no_room_imports_one_above_it(room):
    above = [f'aiida_pacemaker.{other}' for other in ORDER[ORDER.index(room) + 1 :]]
    found = {
        str(module.relative_to(PACKAGE)): sorted(
            name for name in imports_of(module) if any(within(name, other) for other in above)
        )
        for module in MODULES
        if room_of(module) == room
    }
    assert {module: names for module, names in found.items() if names} == {}


@pytest.mark.parametrize('room', PLAIN)
def test_inner_rooms_need_no_aiida(room):
    found = [
        module for module in MODULES if room_of(module) == room and any(within(n, 'aiida') for n in imports_of(module))
    ]
    assert found == []


def test_source_of_quantum_espresso_knows_its_labeller_by_name():
    # It must not import the work chain, whose modules ask the registry for all sources.
    from aiida_pacemaker.quantumespresso.label import QuantumEspressoLabelWorkChain
    from aiida_pacemaker.quantumespresso.source import LABELLER

    assert QuantumEspressoLabelWorkChain.__name__ == LABELLER
