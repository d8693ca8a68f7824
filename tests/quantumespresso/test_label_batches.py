"""How the labeller with Quantum ESPRESSO goes through its frames: without pw.x, whose work chain is replaced."""

from __future__ import annotations

import asyncio

import numpy as np
import plumpy
import pytest
from aiida import orm
from aiida.engine import WorkChain, calcfunction, run_get_node
from aiida.engine.persistence import AiiDAPersister
from aiida.engine.runners import Runner
from aiida.engine.utils import instantiate_process
from ase.build import bulk
from ase.units import GPa

from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.quantumespresso import label as label_quantumespresso
from aiida_pacemaker.quantumespresso.label import QuantumEspressoLabelWorkChain

pytestmark = pytest.mark.usefixtures('aiida_profile')

#: The volume of the frame that fails, in angstrom^3.
BAD = bulk('Al', a=4.2).get_volume()


@calcfunction
def calculate(structure):
    """Return what pw.x would: positions with fewer digits, and a stress in GPa."""
    n_atoms = len(structure.sites)
    node = orm.TrajectoryData()
    positions = np.array([site.position for site in structure.sites]).round(9)
    node.set_trajectory(
        symbols=[site.kind_name for site in structure.sites],
        positions=positions[None],
        cells=np.array(structure.cell)[None],
        pbc=[True] * 3,
    )
    node.set_array('energy', np.array([structure.get_cell_volume()]))
    node.set_array('forces', np.zeros((1, n_atoms, 3)))
    # The energy is the volume: a tension of 1 eV/angstrom^3, negative where compression is positive.
    node.set_array('stress', -np.eye(3)[None] / GPa)
    return node


class Calculated(WorkChain):
    """Stands for `PwBaseWorkChain`."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input('structure', valid_type=orm.StructureData)
        spec.output('output_trajectory', valid_type=orm.TrajectoryData, required=False)
        spec.outline(cls.calculate)
        spec.exit_code(310, 'ERROR_NOT_CONVERGED', message='it does not converge')

    def calculate(self):
        if abs(self.inputs.structure.get_cell_volume() - BAD) < 1e-6:
            return self.exit_codes.ERROR_NOT_CONVERGED
        self.out('output_trajectory', calculate(self.inputs.structure))
        return None


@pytest.fixture
def inputs(pw_code_that_is_not_run, pseudo_family_that_is_not_read, monkeypatch):
    """Return the inputs of the labeller for five frames, the third of which fails."""
    monkeypatch.setattr(label_quantumespresso, 'base_work_chain', lambda: Calculated)
    monkeypatch.setattr(label_quantumespresso, 'inputs_for', lambda structure, _: {'structure': structure})
    images = [bulk('Al', a=4.0 + 0.1 * index) for index in range(5)]
    for image in images:
        image.positions += 1 / 3
    return {
        'dataset': PaceDatasetData(from_atoms(images, 'made')).store(),
        'code': pw_code_that_is_not_run,
        'pseudo_family': pseudo_family_that_is_not_read.label,
        'overrides': {'pw': {'parameters': {'SYSTEM': {'ecutwfc': 12, 'ecutrho': 48}}}},
        'max_concurrent': 2,
    }


@pytest.fixture
def runner():
    """Return a runner that is known to nobody else: what is submitted to it does not begin."""
    runner = Runner(communicator=None, persister=AiiDAPersister())
    before = asyncio.all_tasks(runner.loop)
    yield runner
    # Else they would be found pending when they are collected, in the middle of another test.
    tasks = asyncio.all_tasks(runner.loop) - before
    for task in tasks:
        task.cancel()
    runner.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def labels(node):
    return sorted(link.link_label for link in node.base.links.get_outgoing().all() if link.node in node.called)


def test_batches(inputs):
    outputs, node = run_get_node(QuantumEspressoLabelWorkChain, **inputs)
    assert node.is_finished_ok, node.exit_message
    assert [label for label in labels(node) if label.startswith('frame')] == [f'frame_{i:04d}' for i in range(5)]
    assert [label for label in labels(node) if label.startswith('batch')] == [f'batch_{i:04d}' for i in range(3)]
    (failure,) = outputs['failures']['failures']
    assert (failure['step'], failure['reason']) == (2, 'ERROR_NOT_CONVERGED')
    assert failure['message'].startswith('it does not converge (Calculated<')
    dataset, _ = merge_frames(*outputs['trajectories'].values())
    given = inputs['dataset'].get_hashes()
    assert np.array_equal(np.sort(dataset.get_hashes()), np.sort(np.delete(given, 2)))


@pytest.mark.fault(
    'the daemon dies while frames are submitted one by one',
    engine='(no part of it) a script begins again, or nobody knows what is running',
    here='what was submitted is found by the label of its link and taken up; nothing is calculated twice',
    ends='success',
)
def test_a_step_that_is_taken_again_submits_nothing_twice(inputs, runner):
    """The worker dies at the end of the step, before the checkpoint, and another one takes the step."""
    persister = runner.persister
    process = instantiate_process(runner, QuantumEspressoLabelWorkChain, **inputs)
    process.setup()
    persister.save_checkpoint(process)
    with process._process_scope():
        process.run_batch()
    before = labels(process.node)
    assert before == ['frame_0000', 'frame_0001', 'structure_0000', 'structure_0001']
    again = persister.load_checkpoint(process.pid).unbundle(plumpy.LoadSaveContext(runner=runner, loop=runner.loop))
    with again._process_scope():
        again.run_batch()
    assert labels(again.node) == before
    assert again.ctx.batch == [0, 1]
