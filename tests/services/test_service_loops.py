"""The loop from end to end, through the daemon and with the real engine, on all the services of the table of cells."""

from __future__ import annotations

import pytest
from cells import CELLS

pytestmark = [pytest.mark.services, pytest.mark.engine, pytest.mark.slow]


@pytest.mark.parametrize('cell', [pytest.param(cell, id=cell.name) for cell in CELLS])
def test_loop(cell, run_on, record_property):
    outcome = run_on(cell, 'loop')
    record_property('versions', outcome['versions'])
    assert outcome['exit'] == [0, None], outcome['report']
    assert outcome['stop_reason'] in ('MAX_GENERATIONS', 'GAMMA_CONVERGED'), outcome['report']
    assert outcome['has_c_tilde']
    before, after = outcome['frames']
    assert after > before
    # None had to be done twice: the services have let nothing fall.
    assert all(job.endswith(' 0') for job in outcome['jobs']), outcome['report']
