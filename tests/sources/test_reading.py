"""How often the nodes of a merge are asked."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from aiida import orm

from aiida_pacemaker.calculations.functions.merging import merge_options
from aiida_pacemaker.sources.base import TrajectorySource
from aiida_pacemaker.sources.merge_options import MergeOptions
from aiida_pacemaker.sources.merging import merge_sources
from aiida_pacemaker.sources.reading import read_sources

pytestmark = pytest.mark.usefixtures('aiida_profile')


@pytest.fixture
def nodes(foreign_job, foreign_trajectory):
    """Return three trajectories of pw.x, each of one structure with labels, at one level of theory."""
    made = {}
    for index in range(3):
        kpoints = orm.KpointsData()
        kpoints.set_kpoints_mesh([2, 2, 2])
        cell = np.eye(3) * (3.9 + 0.1 * index)
        arrays = {
            'positions': np.array([[[0.0, 0.0, 0.0]]]),
            'cells': cell[None],
            'energy': np.array([-10.0]),
            'forces': np.zeros((1, 1, 3)),
            'stress': np.zeros((1, 3, 3)),
        }
        node = foreign_trajectory(['Cu'], arrays)
        parameters = orm.Dict({'CONTROL': {'calculation': 'scf'}, 'SYSTEM': {'ecutwfc': 30}})
        inputs = {'parameters': parameters, 'kpoints': kpoints}
        foreign_job('quantumespresso.pw', inputs=inputs, outputs={'output_trajectory': node}, version='5.1.0')
        made[f'source_{index:04d}'] = orm.load_node(node.pk)
    return made


@pytest.fixture
def asked(monkeypatch):
    """Return how often the creators of nodes, their frames and their levels of theory were asked for."""
    counts = Counter()
    creator = orm.Data.creator

    def counting(self):
        counts['creator'] += isinstance(self, orm.TrajectoryData)
        return creator.fget(self)

    monkeypatch.setattr(orm.Data, 'creator', property(counting))
    read = TrajectorySource.read

    def read_and_count(self, *args, **kwargs):
        counts['frames'] += 1
        return read(self, *args, **kwargs)

    monkeypatch.setattr(TrajectorySource, 'read', read_and_count)
    from aiida_pacemaker.quantumespresso.source import PwSource

    level = PwSource.level_of_theory

    def level_and_count(self, *args):
        counts['level'] += 1
        return level(self, *args)

    monkeypatch.setattr(PwSource, 'level_of_theory', level_and_count)
    return counts


def test_the_graph_is_asked_once_for_all_that_it_knows(nodes, asked):
    options = merge_options(nodes).get_dict()
    assert options['conventions'] == dict.fromkeys(nodes, 'quantumespresso')
    assert asked == {'creator': 3, 'level': 3}


@pytest.mark.parametrize('labelled', [True, False])
def test_a_merge_reads_each_source_once(nodes, asked, labelled):
    options = MergeOptions.model_validate(merge_options(nodes, labelled=labelled).get_dict())
    asked.clear()
    dataset, _, _ = merge_sources(None, nodes, options)
    assert dataset.n_frames == 3
    assert asked['frames'] == 3
    assert asked['creator'] == 3
    # Those of labels stand in the options.
    assert asked['level'] == (0 if labelled else 3)


def test_what_a_source_gives(nodes):
    options = MergeOptions.model_validate(merge_options(nodes).get_dict())
    sources = list(read_sources(nodes, options))
    assert [source.label for source in sources] == list(nodes)
    assert [source.uuid for source in sources] == [node.uuid for node in nodes.values()]
    assert [len(source.reading.frames) for source in sources] == [1, 1, 1]
    assert {source.level.cutoffs.wavefunction for source in sources} == {sources[0].level.cutoffs.wavefunction}
