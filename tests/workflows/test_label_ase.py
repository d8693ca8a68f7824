"""The labelling chain, with a calculator that brings down its job."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.drivers.label_files import read_labels
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.workflows.label_ase import AseLabelWorkChain

#: Dies at structures of one energy or another; `lives` counts how often.
CALCULATOR = """
import os
import pathlib
import signal

from ase.calculators.emt import EMT


class Deadly(EMT):
    def __init__(self, counts, volume, lives, **kwargs):
        super().__init__(**kwargs)
        self.counts, self.volume, self.lives = pathlib.Path(counts), volume, lives

    def calculate(self, atoms, *arguments, **kwargs):
        with self.counts.open('a') as handle:
            handle.write(f'{atoms.get_volume():.6f}\\n')
        deaths = self.counts.read_text().split().count(f'{self.volume:.6f}')
        if abs(atoms.get_volume() - self.volume) < 1e-6 and deaths <= self.lives:
            os.kill(os.getpid(), signal.SIGKILL)
        super().calculate(atoms, *arguments, **kwargs)
"""


@pytest.fixture
def copper(aiida_profile):
    """Return six frames that differ in their volume, the third of an element that EMT does not know."""
    images = [bulk('Cu', a=3.5 + 0.02 * index) for index in range(6)]
    images[2] = bulk('Ti')
    return PaceDatasetData(from_atoms(images, 'copper')).store()


@pytest.fixture
def label(pace_codes_fake, copper, tmp_path):
    """Return a function that labels them with a calculator that dies at one of them, and what was calculated."""
    (tmp_path / 'deadly.py').write_text(CALCULATOR)

    def run(frame, lives, **inputs):
        counts = tmp_path / 'counts'
        volume = copper.to_ase()[frame].get_volume()
        calculator = {
            'calculator': 'deadly:Deadly',
            'arguments': {'counts': str(counts), 'volume': volume, 'lives': lives},
        }
        options = {'environment_variables': {'PYTHONPATH': str(tmp_path)}}
        _, node = run_get_node(
            AseLabelWorkChain,
            dataset=copper,
            code=pace_codes_fake['python'],
            calculator=orm.Dict(calculator),
            options=orm.Dict(options),
            **inputs,
        )
        return node, Counter(counts.read_text().split())

    return run


def energies(node):
    return sorted(
        energy for trajectory in node.outputs.trajectories.values() for energy in trajectory.get_array('energy')
    )


def expected(copper, *without):
    images = [image for frame, image in enumerate(copper.to_ase()) if frame not in (2, *without)]
    for image in images:
        image.calc = EMT()
    return pytest.approx(sorted(image.get_potential_energy() for image in images), abs=1e-12)


def jobs(node):
    return sorted((called for called in node.called if isinstance(called, orm.CalcJobNode)), key=lambda job: job.pk)


def test_undisturbed(label, copper):
    node, counts = label(0, 0)
    assert node.is_finished_ok, node.exit_message
    assert len(jobs(node)) == 1
    assert energies(node) == expected(copper)
    assert [entry['reason'] for entry in node.outputs.failures['failures']] == ['NotImplementedError']
    assert set(counts.values()) == {1}


@pytest.mark.fault(
    'a labelling job is killed or out of walltime',
    engine='all labels of the job are lost',
    here='each label is written as soon as it is there; another job goes on with the rest',
    ends='success',
)
def test_a_killed_job_loses_the_frame_that_it_was_at_and_no_other(label, copper):
    node, counts = label(3, 1)
    assert node.is_finished_ok, node.exit_message
    first, second = jobs(node)
    assert first.exit_status == first.process_class.exit_codes.ERROR_LABELS_INTERRUPTED.status
    assert second.inputs.dataset.n_frames == 3
    assert second.inputs.dataset.creator.process_label == 'interrupted_frames'
    assert energies(node) == expected(copper)
    # The failure of the first job is not forgotten, and nothing was calculated twice but what was lost.
    assert [entry['step'] for entry in node.outputs.failures['failures']] == [2]
    assert sorted(counts.values()) == [1, 1, 1, 1, 1, 2]


@pytest.mark.fault(
    'a frame brings down its job, whenever it is tried',
    engine='no frame after it is ever labelled',
    here='it goes to the end of the next job; the others are labelled',
    ends='AseLabelWorkChain.ERROR_MAXIMUM_ITERATIONS_EXCEEDED',
)
def test_a_frame_that_always_kills_costs_only_itself(label, copper):
    node, counts = label(1, 99, max_iterations=orm.Int(3))
    assert node.exit_status == AseLabelWorkChain.exit_codes.ERROR_MAXIMUM_ITERATIONS_EXCEEDED.status
    assert '3 jobs in a row' in node.exit_message
    assert 'frames still to label' in node.exit_message
    assert energies(node) == expected(copper, 1)
    assert {entry['step']: entry['reason'] for entry in node.outputs.failures['failures']} == {
        2: 'NotImplementedError',
        1: 'running',
    }
    assert sorted(counts.values()) == [1, 1, 1, 1, 1, 3]


def test_what_fails_in_all_frames(pace_codes_fake, copper):
    _, node = run_get_node(
        AseLabelWorkChain,
        dataset=copper,
        code=pace_codes_fake['python'],
        calculator=orm.Dict({'calculator': 'builtins:dict'}),
    )
    assert node.exit_status == AseLabelWorkChain.exit_codes.ERROR_UNRECOVERABLE.status
    assert 'None of 6 frames' in node.exit_message
    assert len(node.outputs.failures['failures']) == 6


@pytest.mark.fault(
    'AiiDA submits a job twice, as its worker died before it had noted the first submission',
    engine='two programs write to the same files',
    here='the second waits for the first and takes over what it has done',
    ends='success',
)
def test_a_job_that_is_run_twice_in_one_folder_labels_once(label, copper, tmp_path):
    """As when the machine that submitted it went down before it had noted that; the first run was killed, too."""
    node, counts = label(3, 1)
    first, _ = jobs(node)
    folder = first.outputs.remote_folder.get_remote_path()
    python = first.inputs.code.filepath_executable
    before = sum(counts.values())
    environment = {'PYTHONPATH': str(tmp_path), 'PATH': '/usr/bin:/bin'}
    runs = [subprocess.Popen([python, 'label_ase.py'], cwd=folder, env=environment) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    after = Counter((tmp_path / 'counts').read_text().split())
    assert sum(after.values()) == before + 3
    with Path(folder, 'labels.jsonl').open('rb') as handle:
        labels = read_labels(handle, copper.get_frames())
    assert np.isfinite(labels.energy).tolist() == [True, True, False, True, True, True]
    assert set(labels.failures) == {2}
    assert labels.running is None
