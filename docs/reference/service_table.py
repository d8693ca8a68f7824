"""The page of services: all combinations, and what became of the tests of each when they were last recorded."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'services'))

from combinations import BROKERS, COMBINATIONS, ENGINES, PLAIN, SCHEDULERS, STORAGES, TRANSPORTS, Combination  # noqa: E402

#: Written by `pytest -m services --record-services=docs/reference/services.json`.
RECORD = Path(__file__).parent / 'services.json'
LOOPS = 'tests/services/test_service_loops.py'

#: What stands in a cell of the table that no test runs, and in one whose test has not been recorded.
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
        combinations = [Combination(storage, broker, transport, scheduler, engine) for storage, broker in _PROFILES]
        yield (
            f'`{transport}`',
            f'`{scheduler}`',
            engine,
            *(_shown(combination, results) for combination in combinations),
        )


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


def _shown(combination: Combination, results: dict[str, Any]) -> str:
    if combination in PLAIN:
        return f'[in the plain tests](../../{PLAIN[combination]})'
    if combination not in COMBINATIONS:
        return NOT_TRIED
    result = results.get(f'{LOOPS}::test_loop[{combination.name}]')
    if result is None:
        return f'[{NOT_RECORDED}](../../{LOOPS})'
    return f'[{_outcome(result)}](../../{LOOPS}), {result["date"]}'


def _outcome(result: dict[str, Any]) -> str:
    return f'{result["outcome"]}: {result["reason"]}' if 'reason' in result else str(result['outcome'])
