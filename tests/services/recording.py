"""Writes what became of the tests of services: `pytest -m services --record-services=docs/reference/services.json`."""

from __future__ import annotations

import datetime
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest


class Recorder:
    """Keeps the last result of each test with the marker `services`; results of tests that were not run stay.

    :param path: where they are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: dict[str, dict[str, Any]] = {}
        self._seconds: dict[str, float] = {}

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember a test that has ended, or did not get to its call."""
        if 'services' not in report.keywords:
            return
        # `--dist loadgroup` puts the group of a test behind its name.
        name = report.nodeid.partition('@')[0]
        self._seconds[name] = self._seconds.get(name, 0.0) + report.duration
        if report.passed and report.when != 'call':
            return
        if report.failed and self._results.get(name, {}).get('outcome') == 'failed':
            return
        reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else None
        self._results[name] = {
            'outcome': report.outcome,
            'seconds': round(self._seconds[name]),
            'versions': dict(report.user_properties).get('versions', []),
            'date': datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
            **({'reason': reason} if reason else {}),
        }

    def pytest_sessionfinish(self) -> None:
        """Write the results, in the order of their names."""
        if not self._results:
            return
        known = json.loads(self._path.read_text())['tests'] if self._path.exists() else {}
        content = {
            'aiida-core': version('aiida-core'),
            'python': platform.python_version(),
            'tests': dict(sorted({**known, **self._results}.items())),
        }
        self._path.write_text(json.dumps(content, indent=1) + '\n')
