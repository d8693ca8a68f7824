"""Several loops at once on one daemon: the database is never locked for too long, and nothing is done twice."""

from __future__ import annotations

import pytest
from many_loops import complaints, run
from servers.missing import ServiceMissing

LOOPS = 4


@pytest.mark.services
@pytest.mark.parametrize('storage', ['sqlite', 'psql'])
def test_loops_at_once(storage):
    request = {'workers': 2, 'loops': LOOPS, 'generations': 2, 'seconds': 0.1, 'plain': 0}
    try:
        outcome = run(storage, request)
    except ServiceMissing as missing:
        pytest.skip(str(missing))
    assert list(complaints(outcome)) == []
    found = outcome['loops']
    # In each loop two trainings, active sets and evaluations, and what lies between: a selection and a label.
    assert found['jobs']['count'] == 8 * LOOPS
    assert found['counts']['PaceTrainCalculation'] == 2 * LOOPS
    datasets = {tuple(loop['dataset']) for loop in found['loops']}
    assert all(loop['delivered'] for loop in found['loops'])
    assert len(datasets) == 1, 'loops with the same inputs have come to different datasets'
