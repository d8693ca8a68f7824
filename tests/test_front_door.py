"""What scripts import from the top of the package."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aiida_pacemaker

ROOT = Path(__file__).parent.parent
#: An import in a script or in a block of code.
FROM = re.compile(r'^from (aiida_pacemaker[\w.]*) import ([\w, ]+)$', re.MULTILINE)
PAGE = ROOT / 'docs/reference/front_door.md'


def test_it_is_typed_loaded_and_listed_alike():
    """Type checkers read imports that are never run, Python a table; both, `__all__` and the docs say the same."""
    tree = ast.parse(Path(aiida_pacemaker.__file__).read_text())
    (guard,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in guard.body for alias in node.names}
    loaded = {name: f'aiida_pacemaker.{home}' for name, home in aiida_pacemaker._HOMES.items()}
    assert typed == loaded
    assert sorted(typed) == sorted(aiida_pacemaker.__all__)
    assert re.findall(r'^\| `(\w+)` \|', PAGE.read_text(), flags=re.MULTILINE) == sorted(typed, key=str.lower)


@pytest.mark.parametrize('name', aiida_pacemaker.__all__)
def test_each_name_is_there(name):
    assert getattr(aiida_pacemaker, name).__name__ == name


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match='no attribute'):
        aiida_pacemaker.merge  # noqa: B018


def test_importing_the_package_loads_nothing():
    code = 'import sys, aiida_pacemaker; print(sorted(n for n in sys.modules if n.split(".")[0] in ("aiida", "numpy")))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


def test_docs_and_examples_come_in_by_the_front_door():
    """What has a name there is not imported from where it happens to be."""
    homes = {f'aiida_pacemaker.{home}' for home in aiida_pacemaker._HOMES.values()} | {'aiida_pacemaker.provenance'}
    pages = [*ROOT.glob('docs/howto/*.md'), *ROOT.glob('docs/t*/*.md'), ROOT / 'README.md', *ROOT.glob('examples/*.py')]
    wrong = {}
    for page in pages:
        for module, names in re.findall(
            r'^from (aiida_pacemaker[\w.]*) import ([\w, ]+)$', page.read_text(), re.MULTILINE
        ):
            found = set(names.replace(' ', '').split(',')) & set(aiida_pacemaker.__all__)
            if module in homes and found:
                wrong.setdefault(page.name, []).extend(sorted(found))
    assert wrong == {}
