"""Which frames of a run are kept."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from aiida_pacemaker.calculations.explore import PaceExploreCalculation
from aiida_pacemaker.exploration.keeping import Keeping

RULE = Keeping(gamma_low=1.0, gamma_high=5.0, max_frames_per_run=3, spacing=10)


@pytest.mark.parametrize(
    ('kept', 'step', 'expected'), [([], 0, True), ([0], 9, False), ([0], 10, True), ([0, 10, 20], 30, False)]
)
def test_room(kept, step, expected):
    assert RULE.has_room(kept, step) is expected


@pytest.mark.parametrize(
    ('gamma', 'is_unseen', 'expected'),
    [
        (0.9, False, False),
        (1.0, False, True),
        (5.0, False, True),
        (5.1, False, False),
        (0.9, True, True),
        (6, True, False),
    ],
)
def test_worth(gamma, is_unseen, expected):
    assert RULE.is_worthy(gamma, is_unseen) is expected


@pytest.mark.parametrize(
    ('kept', 'wanted', 'expected'),
    [
        ([0], {31, 33}, (3, 1)),
        ([0], set(), None),
        # There is no room: it takes the place of the last one.
        ([0, 25], {31}, (1, 1)),
        ([0, 10, 20], {32}, (2, 2)),
        # What was kept at the last check is the edge itself.
        ([0, 30], {30}, None),
    ],
)
def test_the_edge_is_the_latest_that_is_wanted(kept, wanted, expected):
    passed = [30, 31, 32, 33]
    asked = []

    def is_wanted(position):
        asked.append(position)
        return passed[position] in wanted

    assert RULE.edge(kept, passed, is_wanted) == expected
    assert asked == list(range(len(passed)))[::-1][: len(asked)]


@pytest.mark.parametrize('module', PaceExploreCalculation.SHARED, ids=lambda module: module.__name__)
def test_what_is_put_beside_drivers_needs_nothing_of_the_package(module):
    tree = ast.parse(Path(module.__file__).read_text(encoding='utf-8'))
    unneeded = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and 'TYPE' in ast.unparse(node.test)
        for inner in node.body
    }
    imported = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) and node not in unneeded]
    names = {name.name for node in imported if isinstance(node, ast.Import) for name in node.names}
    names |= {str(node.module) for node in imported if isinstance(node, ast.ImportFrom)}
    assert {name.split('.')[0] for name in names} <= {'__future__', 'typing', 'numpy', 'ase'}
