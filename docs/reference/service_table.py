"""The page of services: the table of cells of the tests, and what became of each when it was last recorded."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'services'))

from cells import BROKERS, CELLS, ENGINES, PLAIN, SCHEDULERS, STORAGES, TRANSPORTS, Cell  # noqa: E402

#: Written by `pytest -m services --record-services=docs/reference/services.json`.
RECORD = Path(__file__).parent / 'services.json'
LOOPS = 'tests/services/test_service_loops.py'

#: What stands in a cell that no test runs, and in one whose test has not been recorded.
NOT_TRIED, NOT_RECORDED = 'not tried', 'not recorded'

Row = tuple[str, ...]

_PROFILES = tuple(product(STORAGES, BROKERS))
MATRIX_HEAD = (
    'Transport',
    'Scheduler',
    'Engine',
    *(f'`{storage.removeprefix("core.")}`, `{broker.removeprefix("core.")}`' for storage, broker in _PROFILES),
)
TESTS_HEAD = ('Test', 'Last result', 'Seconds', 'Date', 'With')


def record() -> dict[str, Any]:
    """Return what is recorded: versions, and the result of each test by its name."""
    content: dict[str, Any] = json.loads(RECORD.read_text(encoding='utf-8'))
    return content


def matrix() -> Iterator[Row]:
    """Iterate over the rows of the matrix."""
    results = record()['tests']
    for transport, scheduler, engine in product(TRANSPORTS, SCHEDULERS, ENGINES):
        cells = [Cell(storage, broker, transport, scheduler, engine) for storage, broker in _PROFILES]
        yield f'`{transport}`', f'`{scheduler}`', engine, *(_shown(cell, results) for cell in cells)


def tests() -> Iterator[Row]:
    """Iterate over all tests that are recorded."""
    for name, result in record()['tests'].items():
        path, _, function = name.partition('::')
        yield (
            f'[`{function}`](../../{path})',
            _outcome(result),
            str(result['seconds']),
            result['date'],
            ', '.join(result['versions']),
        )


def _shown(cell: Cell, results: dict[str, Any]) -> str:
    if cell in PLAIN:
        return f'[in the plain tests](../../{PLAIN[cell]})'
    if cell not in CELLS:
        return NOT_TRIED
    result = results.get(f'{LOOPS}::test_loop[{cell.name}]')
    if result is None:
        return f'[{NOT_RECORDED}](../../{LOOPS})'
    return f'[{_outcome(result)}](../../{LOOPS}), {result["date"]}'


def _outcome(result: dict[str, Any]) -> str:
    return f'{result["outcome"]}: {result["reason"]}' if 'reason' in result else str(result['outcome'])
