"""The loop with labels by the real pw.x, the fits by the fake engine: what DFT has been paid for is not paid again."""

from __future__ import annotations

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from ase.build import bulk

from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.provenance import levels_of
from aiida_pacemaker.quantumespresso.label import QuantumEspressoLabelWorkChain
from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain
from aiida_pacemaker.workflows.loop.history import state_of

pytestmark = [pytest.mark.qe, pytest.mark.slow]


def silicon(shift, a=5.43):
    """Return two atoms; their positions have more digits than an input file of pw.x."""
    atoms = bulk('Si', a=a)
    atoms.positions[1] += shift * np.array([1.0, np.sqrt(2), -np.pi]) / 3
    return atoms


@pytest.fixture
def label(pw_code, pseudo_family):
    """Return the labeller, with settings that converge nothing but take seconds."""
    inputs = {
        'code': pw_code,
        'pseudo_family': pseudo_family.label,
        'protocol': 'fast',
        'kpoints_distance': 0.9,
        'electronic_type': 'insulator',
        'options': {'withmpi': False, 'max_wallclock_seconds': 120, 'resources': {'num_machines': 1}},
    }
    return {'entry_point': 'pacemaker.label.quantumespresso', 'inputs': inputs}


class Dying:
    """Stands in for a calculation function, and brings down who calls it."""

    @staticmethod
    def run_get_node(**_):
        raise RuntimeError('died')


def n_calculations():
    filters = {'attributes.process_label': 'PwCalculation'}
    return orm.QueryBuilder().append(orm.CalcJobNode, filters=filters).count()


@pytest.mark.fault(
    'a labeller is stopped before it has made labels of its DFT calculations',
    engine='(no part of it) the results are in folders that nobody reads, and are calculated again',
    here='`get_builder_from_run` makes labels of them, which the next run merges first',
    ends='success',
)
def test_dft_that_is_done_is_not_done_again(pace_codes_fake, label, monkeypatch):
    inputs = {name: orm.to_aiida_type(value) for name, value in label['inputs'].items() if name != 'code'}
    inputs['code'] = label['inputs']['code']
    known = PaceDatasetData(from_atoms([silicon(0.02 * step, a=5.4 + 0.02 * step) for step in range(8)], 'known'))
    outputs, _ = run_get_node(QuantumEspressoLabelWorkChain, dataset=known.store(), **inputs)
    dataset, _ = merge_frames(*outputs['trajectories'].values())
    assert dataset.n_frames == 8
    pool = PaceDatasetData(from_atoms([silicon(0.2 + 0.05 * step, a=5.3) for step in range(5)], 'pool')).store()
    settings = {'first_iterations': 8, 'later_iterations': 4, 'frames_per_generation': 2, 'max_generations': 1}
    builder = PaceActiveLearningWorkChain.get_builder_from_protocol(
        pacemaker=pace_codes_fake['train'],
        pace_activeset=pace_codes_fake['activeset'],
        pace_select=pace_codes_fake['select'],
        python=pace_codes_fake['python'],
        protocol='fast',
        overrides={
            'config': {'evaluator': 'pyace', 'r_cut': 4.5, 'max_deg': 3, 'max_order': 2},
            'settings': {**settings, 'max_generations': 2, 'gamma_threshold': 1.01},
        },
        dataset=dataset,
        pool=pool,
        label={**label, 'inputs': inputs},
    )

    with monkeypatch.context() as patched:
        patched.setattr('aiida_pacemaker.quantumespresso.label.collect_labels', Dying)
        _, first = run_get_node(builder)
    assert first.exit_status == PaceActiveLearningWorkChain.exit_codes.ERROR_LABELLING_FAILED.status
    state = state_of(first)
    assert state.unmerged_labels == []
    ((labeller, results),) = state.unread_results
    selected = labeller.inputs.dataset
    assert len(results) == selected.n_frames == 2
    before = n_calculations()

    continued = PaceActiveLearningWorkChain.get_builder_from_run(first, settings=orm.Dict({**settings}))
    _, second = run_get_node(continued)
    assert second.is_finished_ok, second.exit_message
    assert n_calculations() == before
    # They are the very frames that were selected, at the level of theory of all others.
    assert set(selected.get_hashes().tolist()) <= set(second.outputs.dataset.get_hashes().tolist())
    assert len(levels_of(second.outputs.dataset)) == 1
