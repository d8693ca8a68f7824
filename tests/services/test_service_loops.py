"""The loop from end to end, through the daemon and with the real engine, on combinations of real services."""

from __future__ import annotations

import pytest
from combinations import COMBINATIONS

pytestmark = [pytest.mark.services, pytest.mark.engine, pytest.mark.slow]


@pytest.mark.parametrize(
    'combination', [pytest.param(combination, id=combination.name) for combination in COMBINATIONS]
)
def test_loop(combination, run_on, record_property):
    outcome = run_on(combination, 'loop')
    record_property('versions', outcome['versions'])
    assert outcome['exit'] == [0, None], outcome['report']
    assert outcome['stop_reason'] in ('MAX_GENERATIONS', 'GAMMA_CONVERGED'), outcome['report']
    assert outcome['has_c_tilde']
    before, after = outcome['frames']
    assert after > before
    # None had to be done twice: the services have let nothing fall.
    assert all(job.endswith(' 0') for job in outcome['jobs']), outcome['report']
