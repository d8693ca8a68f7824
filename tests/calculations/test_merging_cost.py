"""The bytes that merges add, by the benchmark with small numbers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / 'benchmarks' / 'merging.py'


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location('merging_benchmark', BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_bytes_of_a_merge_do_not_grow(aiida_profile_clean, benchmark):
    """Whatever has accumulated, a merge adds its own frames only, and not much to the database."""
    benchmark.merge_costs(n_merges=1, n_frames=2)  # The first process also stores its own source code.
    costs = benchmark.merge_costs(n_merges=6, n_frames=60)
    added = [cost.repository_bytes for cost in costs]
    frame = 60 * (benchmark.N_ATOMS * 49 + 191)
    assert all(frame < size < 1.1 * frame for size in added), added
    assert max(added) < 1.02 * min(added)
    assert sum(cost.database_bytes for cost in costs[3:]) < 200_000
