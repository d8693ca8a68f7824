"""The loop through the daemon, with the broker that comes with AiiDA and the real engine."""

from __future__ import annotations

import pytest
from aiida import orm

from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.mark.usefixtures('started_daemon_client')
def test_loop(pace_codes, narrow, pool, frozen_test, reference_energies, submit_and_await):
    builder = PaceActiveLearningWorkChain.get_builder_from_protocol(
        pacemaker=pace_codes['train'],
        pace_yaml2yace=pace_codes['yace'],
        pace_activeset=pace_codes['activeset'],
        pace_select=pace_codes['select'],
        python=pace_codes['python'],
        dataset=narrow,
        pool=pool,
        test_dataset=frozen_test,
        protocol='fast',
        overrides={
            'settings': {'max_generations': 2, 'frames_per_generation': 4},
        },
        reference_energies=reference_energies,
    )
    node = submit_and_await(builder, timeout=400)
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.stop_reason.value in ('MAX_GENERATIONS', 'GAMMA_CONVERGED')
    jobs = [called for called in node.called_descendants if isinstance(called, orm.CalcJobNode)]
    assert len(jobs) >= 4
    assert node.outputs.potential.has_c_tilde
