"""What AiiDA and plumpy do not call public is used in one place, `aiida_pacemaker/_aiida`."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import aiida_pacemaker

ROOT = Path(aiida_pacemaker.__file__).parent
HERE = 'aiida_pacemaker._aiida'
#: Packages whose private names are meant, and those of which nothing at all is public.
FOREIGN, INTERNAL = ('aiida', 'aiida_quantumespresso', 'plumpy', 'kiwipy'), ('plumpy', 'kiwipy', 'sqlalchemy')
#: What the documentation of AiiDA has plugins define.
DEFINED = {'_process_class', '_validate', '_hash_ignored_attributes', '_CLS_NODE_CACHING'}
#: What it has plugins import from farther below, since no package exports it.
DOCUMENTED = {
    'aiida.common.folders': {'Folder'},
    'aiida.engine.processes.calcjobs.monitors': {'CalcJobMonitorAction', 'CalcJobMonitorResult'},
    'aiida.orm.pydantic': {'OrmMetadataField'},
}
#: Methods of named tuples, and what ends a process that has forked: public, whatever their names begin with.
OF_PYTHON = {'_asdict', '_replace', '_exit'}


def modules() -> list[str]:
    """Return the names of the modules that may not use such names; drivers and programs are imported elsewhere."""
    elsewhere = (HERE, 'aiida_pacemaker.drivers.', 'aiida_pacemaker.testing.', 'aiida_pacemaker.__main__')
    found = pkgutil.walk_packages([str(ROOT)], 'aiida_pacemaker.')
    return [module.name for module in found if not module.name.startswith(elsewhere)]


def is_private(name: str) -> bool:
    return name.startswith('_') and not name.startswith('__')


def is_public(module: str, name: str) -> bool:
    """Tell whether a package directly below `aiida` has what a module below it defines."""
    package = '.'.join(module.split('.')[:2])
    found = getattr(importlib.import_module(module), name, None)
    return package == module or getattr(importlib.import_module(package), name, None) is found is not None


def private_imports(tree: ast.AST) -> list[str]:
    """Return what is imported of AiiDA and the like that is not public."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.split('.')[0] in INTERNAL]
        if not isinstance(node, ast.ImportFrom) or node.level or node.module.split('.')[0] not in FOREIGN + INTERNAL:
            continue
        for name in node.names:
            path = f'{node.module}.{name.name}'
            is_documented = name.name in DOCUMENTED.get(node.module, ())
            is_aiida = node.module.split('.')[0] == 'aiida'
            if (
                any(map(is_private, path.split('.')))
                or node.module.split('.')[0] in INTERNAL
                or (is_aiida and not is_documented and not is_public(node.module, name.name))
            ):
                found.append(path)
    return found


def private_attributes(tree: ast.AST, inherited: frozenset[str] = frozenset()) -> list[str]:
    """Return private names that are taken from something and that the module itself does not define.

    :param inherited: those that `self` and `cls` may have of classes in other modules of this package.
    """
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    own |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_own_store(node)}
    own |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    taken = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and is_private(node.attr)
        and node.attr not in own | OF_PYTHON
        and not (node.attr in inherited and ast.unparse(node.value) in ('self', 'cls'))
    ]
    asked = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ('getattr', 'hasattr', 'setattr')
        and isinstance(node.args[1], ast.Constant)
        and is_private(str(node.args[1].value))
    ]
    return [ast.unparse(node) for node in (*taken, *asked)]


def is_own_store(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id == 'self'


def test_private_names_stand_in_one_place():
    trees = {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding='utf-8'))
        for path in sorted(ROOT.rglob('*.py'))
        if path.parent != ROOT / '_aiida'
    }
    bodies = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    inherited = frozenset(name for body in bodies for name in defined(body))
    found = {path: private_imports(tree) + private_attributes(tree, inherited) for path, tree in trees.items()}
    assert len(found) > 200
    assert {path: names for path, names in found.items() if names} == {}


def test_no_class_overrides_what_is_private():
    found = {}
    for name in modules():
        module = importlib.import_module(name)
        for body in ast.walk(ast.parse(inspect.getsource(module))):
            cls = getattr(module, body.name, None) if isinstance(body, ast.ClassDef) else None
            if cls is not None:
                foreign = [base for base in cls.__mro__ if base.__module__.split('.')[0] in FOREIGN]
                private = {own for own in defined(body) if is_private(own)} - DEFINED
                found[cls] = {own for own in private if any(own in vars(base) for base in foreign)}
    assert len(found) > 100
    assert {cls: names for cls, names in found.items() if names} == {}


def defined(body: ast.ClassDef) -> set[str]:
    """Return the names that the body of a class defines."""
    names = {node.name for node in body.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    names |= {target.id for node in body.body if isinstance(node, ast.Assign) for target in node.targets}
    return names | {node.target.id for node in body.body if isinstance(node, ast.AnnAssign)}


@pytest.mark.parametrize(
    ('source', 'expected'),
    [
        ('from plumpy import run_until_complete', ['plumpy.run_until_complete']),
        ('import plumpy.ports', ['plumpy.ports']),
        ('from aiida.engine.utils import instantiate_process', ['aiida.engine.utils.instantiate_process']),
        ('from aiida.common.links import LinkType', []),
        ('from aiida.common.folders import Folder', []),
        ('from aiida_quantumespresso._version import x', ['aiida_quantumespresso._version.x']),
        ('node.base.repository._repository.walk()', ['node.base.repository._repository']),
        ('builder._inputs(prune=True)', ['builder._inputs']),
        ("getattr(chain, '_process_class', None)", ["getattr(chain, '_process_class', None)"]),
        ('self._awaitables', ['self._awaitables']),
        ('self._mine = 1\nself._mine', []),
        ('def _mine(): ...\nself._mine', []),
        ('row._asdict()', []),
    ],
)
def test_a_private_name_is_found(source, expected):
    tree = ast.parse(source)
    assert private_imports(tree) + private_attributes(tree) == expected
