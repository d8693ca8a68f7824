"""The archive of a run with real DFT can be imported and asked, without the programs that made it."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiida import orm
from aiida.tools.archive import import_archive

from aiida_pacemaker.provenance import ancestors, frame_origin, levels_of, unsourced_frames
from aiida_pacemaker.workflows.loop.generations import TableRow
from aiida_pacemaker.workflows.loop.history import state_of
from aiida_pacemaker.workflows.loop.table import loop_table

ARCHIVE = Path(__file__).parents[2] / 'examples' / 'mgo_from_scratch.aiida'


@pytest.fixture
def loop(aiida_profile):
    filters = {'attributes.process_label': 'PaceActiveLearningWorkChain', 'label': {'==': ''}}
    query = orm.QueryBuilder().append(orm.WorkChainNode, filters=filters)
    before = set(query.all(flat=True))
    import_archive(ARCHIVE)
    (node,) = {node for node in query.all(flat=True) if 'reference_energies' in node.outputs} - before
    return node


def test_the_run_can_be_asked(loop):
    rows = loop_table(loop)
    assert [row['n_frames'] for row in rows] == [10, 18, 26]
    assert [row['explored']['reasons'].get('finished', 0) for row in rows] == [0, 3, 4]
    assert all(set(row) <= set(TableRow.__annotations__) for row in rows)
    dataset = loop.outputs.dataset
    assert unsourced_frames(dataset) == 0
    (use,) = levels_of(dataset)
    assert use.n_frames == 26
    assert use.level.functional == 'PZ'
    assert set(use.level.pseudopotentials) == {'Mg', 'O'}
    origin = frame_origin(dataset, 25)
    assert origin.generation == 2
    made_by = {job.process_label for job in ancestors(origin.source, orm.CalcJobNode)}
    assert {'PwCalculation', 'PaceSelectCalculation', 'PaceExploreCalculation', 'PaceTrainCalculation'} <= made_by

    # The labels of its links are those of the version that made it, and lead to all that the loop gave.
    state = state_of(loop)
    for name in ('dataset', 'potential', 'baseline', 'reference_energies', 'report', 'calibration'):
        assert getattr(state, name).uuid == loop.outputs[name].uuid
    assert state.unmerged_labels == []
    assert state.unread_results == []
