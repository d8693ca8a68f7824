"""The labeller of the documentation, as a user would have written it, at work in a loop."""

from __future__ import annotations

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from ase.build import bulk
from ase.calculators.lj import LennardJones
from test_docs_reference import DOCS, code, load

from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain

PAGE = DOCS / 'howto' / 'write_a_labeller.md'
PARAMETERS = {'sigma': 2.3, 'epsilon': 0.4, 'rc': 6.0}


def copper(seed, amplitude):
    atoms = bulk('Cu', cubic=True)
    atoms.rattle(amplitude, seed=seed)
    return atoms


@pytest.fixture
def package(aiida_profile, entry_points, tmp_path):
    """Return the code of the page as the module of a package, with its entry point."""
    script = tmp_path / 'mypackage_labels.py'
    script.write_text(code(PAGE)[0][0])
    module = load('mypackage_labels', script)
    entry_points.add(module.LabelWithLJ, 'aiida.workflows:mypackage.label.lj')
    return module


@pytest.fixture
def loop(pace_codes_fake):
    """Return a function that runs a loop over copper with that labeller."""
    known = [copper(seed, 0.02) for seed in range(8)]
    for atoms in known:
        atoms.calc = LennardJones(**PARAMETERS)
        atoms.get_stress()
    pool = [copper(seed, 0.03 * seed) for seed in range(2, 8)]

    def run(**settings):
        builder = PaceActiveLearningWorkChain.get_builder_from_protocol(
            pacemaker=pace_codes_fake['train'],
            pace_activeset=pace_codes_fake['activeset'],
            pace_select=pace_codes_fake['select'],
            python=pace_codes_fake['python'],
            dataset=PaceDatasetData(from_atoms(known, 'known')).store(),
            pool=PaceDatasetData(from_atoms(pool, 'unknown')).store(),
            reference_energies={'Cu': 0.0},
            label={'entry_point': 'mypackage.label.lj', 'inputs': {'parameters': orm.Dict(PARAMETERS)}},
            protocol='fast',
            overrides={
                'config': {'evaluator': 'pyace', 'r_cut': 4.5, 'max_deg': 3, 'max_order': 2},
                'settings': {'first_iterations': 8, 'later_iterations': 4, 'frames_per_generation': 3, **settings},
            },
        )
        return run_get_node(builder).node

    return run


def test_it_is_as_short_as_the_page_says():
    lines = [line for line in code(PAGE)[0][0].splitlines() if line.strip() and not line.startswith('from ')]
    assert len(lines) <= 30


def test_it_labels_in_a_loop(package, loop):
    node = loop(max_generations=2)
    assert node.is_finished_ok, node.exit_message
    rows = node.outputs.report['generations']
    assert rows[0]['n_added'] == rows[0]['n_selected'] > 0
    assert len(rows) == 2
    labellers = [called for called in node.called if called.process_label == 'LabelWithLJ']
    assert [labeller.process_type for labeller in labellers] == ['aiida.workflows:mypackage.label.lj'] * len(labellers)
    # Its labels are in the dataset, and each says that it came from there.
    dataset = node.outputs.dataset
    new = np.flatnonzero(np.array(dataset.get_frames().generation) > 0)
    assert len(new) == sum(row['n_added'] for row in rows)
    frame = int(new[0])
    atoms = dataset.to_ase()[frame]
    energy = atoms.get_potential_energy()
    atoms.calc = LennardJones(**PARAMETERS)
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    source = orm.load_node(dataset.sources[dataset.get_frames().source_of(frame)])
    assert source.creator.process_label == 'label_with_lj'


def test_its_failures_are_reported(package, monkeypatch):
    """What it cannot label does not cost the rest; without a single label it has no trajectories."""

    class Moody(LennardJones):
        refused = 0

        def calculate(self, *arguments, **kwargs):
            if self.refused < self.limit:
                type(self).refused += 1
                raise RuntimeError('not today')
            super().calculate(*arguments, **kwargs)

    monkeypatch.setattr(package, 'LennardJones', Moody)
    pool = PaceDatasetData(from_atoms([copper(seed, 0.1) for seed in range(3)], 'pool')).store()

    Moody.limit = 1
    outputs, _ = run_get_node(package.LabelWithLJ, dataset=pool, parameters=orm.Dict(PARAMETERS))
    (failure,) = outputs['failures']['failures']
    assert failure == {
        'hash': pool.get_hashes()[0].tobytes().hex(),
        'source': pool.get_frames().source_of(0),
        'step': 0,
        'reason': 'RuntimeError',
        'message': 'not today',
    }
    labelled, _ = merge_frames(*outputs['trajectories'].values())
    assert set(labelled.get_hashes().tolist()) == set(pool.get_hashes()[1:].tolist())

    Moody.limit = 1000
    _, node = run_get_node(package.LabelWithLJ, dataset=pool, parameters=orm.Dict(PARAMETERS))
    assert node.is_finished_ok
    assert 'trajectories' not in node.outputs
    assert len(node.outputs.failures['failures']) == 3
