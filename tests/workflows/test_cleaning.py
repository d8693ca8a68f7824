"""When the folders of jobs go: when nothing needs them any more, and never those of what has failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiida import orm
from aiida.common.datastructures import StashMode
from aiida.engine import run_get_node

from aiida_pacemaker.workflows.loop import chain as active_learning
from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain


@pytest.fixture
def builder(pace_codes_fake, reference_energies, narrow, pool):
    def build(**settings):
        inputs = PaceActiveLearningWorkChain.get_builder_from_protocol(
            pacemaker=pace_codes_fake['train'],
            pace_activeset=pace_codes_fake['activeset'],
            pace_select=pace_codes_fake['select'],
            python=pace_codes_fake['python'],
            dataset=narrow,
            pool=pool,
            protocol='fast',
            overrides={
                'config': {'evaluator': 'pyace', 'r_cut': 4.5, 'max_deg': 3, 'max_order': 2},
                'settings': {'first_iterations': 6, 'later_iterations': 3, 'frames_per_generation': 3, **settings},
            },
            reference_energies=reference_energies,
        )
        inputs.clean_workdir = True
        return inputs

    return build


def folders(node):
    return [
        (job.outputs.remote_folder, Path(job.get_remote_workdir()))
        for job in node.called_descendants
        if isinstance(job, orm.CalcJobNode)
    ]


def test_the_folders_of_a_generation_go_at_its_end(builder, monkeypatch):
    """The next generation links what it needs from the cache, which stays."""
    left = []
    clean = active_learning.clean_folders

    def watched(process):
        before = sum(path.exists() for _, path in folders(process.node))
        clean(process)
        left.append((before, sum(path.exists() for _, path in folders(process.node))))

    monkeypatch.setattr(active_learning, 'clean_folders', watched)
    _, node = run_get_node(builder(max_generations=2))
    assert node.is_finished_ok, node.exit_message
    assert left == [(4, 0), (3, 0)]
    assert all(folder.is_cleaned and not path.exists() for folder, path in folders(node))


def test_what_has_failed_stays(builder):
    inputs = builder(max_generations=2)
    inputs.select['pace']['metadata']['options']['environment_variables'] = {'PACE_FAKE_FAULT': 'exit_status:status=3'}
    _, node = run_get_node(inputs)
    assert not node.is_finished_ok
    assert folders(node)
    assert all(path.exists() and not folder.is_cleaned for folder, path in folders(node))


def test_a_computer_that_cannot_be_reached_costs_no_result(builder, monkeypatch):
    from aiida.transports.plugins.local import LocalTransport

    def broken(self, path):
        raise OSError('the connection is gone')

    said = []
    monkeypatch.setattr(LocalTransport, 'rmtree', broken)
    monkeypatch.setattr(PaceActiveLearningWorkChain, 'report', lambda self, text, *_, **__: said.append(text))
    _, node = run_get_node(builder(max_generations=1))
    assert node.is_finished_ok, node.exit_message
    assert any('could not be cleaned' in text for text in said)
    assert all(path.exists() and not folder.is_cleaned for folder, path in folders(node))


def test_what_is_stashed_is_kept(builder, tmp_path):
    """Cleaning takes the folder of a job, not what AiiDA has copied out of it."""
    inputs = builder(max_generations=1)
    inputs.train['pace']['metadata']['options']['stash'] = {
        'source_list': ['fitting_data_info.pckl.gzip'],
        'target_base': str(tmp_path / 'stash'),
        'stash_mode': StashMode.COPY.value,
    }
    _, node = run_get_node(inputs)
    assert node.is_finished_ok, node.exit_message
    (training,) = [job for job in node.called_descendants if job.process_label == 'PaceTrainCalculation']
    assert training.outputs.remote_folder.is_cleaned
    stash = Path(training.outputs.remote_stash.target_basepath)
    assert stash.joinpath('fitting_data_info.pckl.gzip').stat().st_size > 0
