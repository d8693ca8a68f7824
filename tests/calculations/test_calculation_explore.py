"""What exploration jobs send, keep and bring back, with the fake engine."""

from __future__ import annotations

import io
import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from aiida import orm
from ase.build import bulk
from exploring import OPTIONS, rocksalt, water

from aiida_pacemaker.calculations.explore import PaceExploreCalculation, run_keys, starting_frames
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.exploration.options import ExploreOptions
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.frames.perturbation import Perturbation, perturb
from aiida_pacemaker.frames.shards import read_shard


@pytest.fixture
def fake(once, pace_codes_fake, run_job, train_inputs):
    """Return a potential of the fake engine, its active set, and the Python of that engine."""

    def make():
        inputs = train_inputs()
        training = run_job('pacemaker.train', code=pace_codes_fake['train'], **inputs)
        assert training.is_finished_ok, training.exit_message
        potential = training.outputs.potential
        chosen = run_job(
            'pacemaker.activeset', code=pace_codes_fake['activeset'], potential=potential, dataset=inputs['dataset']
        )
        assert chosen.is_finished_ok, chosen.exit_message
        code = pace_codes_fake['python']
        return {'code': code, 'potential': potential, 'active_set': chosen.outputs.active_set}

    return once('fake', make)


@pytest.fixture
def explore(fake, run_job):
    """Return a function that runs an exploration, with changes to the options."""

    def run(structures=None, seed=1, **options):
        inputs = {
            **fake,
            'initial_structures': structures or rocksalt(),
            'random_seed': seed,
            'options': {**OPTIONS, **options},
        }
        return run_job('pacemaker.explore', **inputs)

    return run


@pytest.fixture
def refused(fake, prepare):
    """Return a function that returns why an exploration is refused before submission."""

    def run(structures=None, seed=1, active_set=None, **options):
        inputs = {
            **fake,
            'initial_structures': structures or rocksalt(),
            'random_seed': seed,
            'options': {**OPTIONS, **options},
        }
        if active_set is not None:
            inputs['active_set'] = active_set
        with pytest.raises(ValueError, match=r'.') as error:
            prepare('pacemaker.explore', inputs)
        return str(error.value)

    return run


def test_what_is_sent(fake, prepare):
    perturbation = {'rattle': 0.05, 'supercell': [2, 1, 1]}
    options = {**OPTIONS, 'copies': 2, 'temperature': 300, 'perturbation': perturbation}
    structures = rocksalt(3)
    prepared = prepare(
        'pacemaker.explore', {**fake, 'initial_structures': structures, 'random_seed': 5, 'options': options}
    )
    request = json.loads(prepared.files['explore.json'])
    assert request['runs'] == [{'frame': frame, 'copy': copy} for frame in range(3) for copy in range(2)]
    assert (request['seed'], request['options']['temperatures']) == (5, [300.0])
    # Formulas and rules come from the package itself; the structures follow from the inputs and are not kept.
    beside = {Path(module.__file__).name for module in PaceExploreCalculation.SHARED}
    assert {'pair_terms.py', 'near_elements.py', 'handedness.py', 'keeping.py'} < beside
    modules = {*PaceExploreCalculation.MODULES, *beside, 'explore.py', 'explore.json'}
    assert set(prepared.kept) == modules
    (name,) = request['shards']
    sent = read_shard(prepared.files[name])
    expected = perturb(structures.get_frames(), Perturbation(**perturbation), copies=2, seed=5)
    assert np.array_equal(sent.positions, expected.positions)
    assert not sent.labelled


def test_what_comes_back(explore):
    structures = rocksalt(2)
    node = explore(structures, perturbation={'rattle': 0.05}, copies=2)
    assert node.is_finished_ok, node.exit_message
    report = node.outputs.report.get_dict()
    assert report['n_runs'] == report['n_planned'] == 4
    assert report['reasons'] == {'finished': 4}
    assert [(run['seed_frame'], run['copy']) for run in report['runs']] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(run['steps'] == 20 and run['n_kept'] == 5 for run in report['runs'])

    traces = node.outputs.traces
    gamma = traces.get_array('gamma_max')
    assert len(gamma) == 20
    assert report['gamma']['max'] == pytest.approx(gamma.max(), rel=1e-12)
    assert np.array_equal(traces.get_array('step')[:5], [0, 5, 10, 15, 20])
    assert np.array_equal(traces.get_array('time'), 1.0 * traces.get_array('step'))
    assert (traces.get_array('min_distance') > 1.5).all()

    candidates, grades = node.outputs.candidates, node.outputs.grades
    assert candidates.n_frames == report['n_candidates'] == 20
    assert not candidates.labelled
    assert np.array_equal(candidates.get_frames().step, grades.get_array('step'))
    assert grades.get_array('gamma').shape == (candidates.n_atoms,)
    assert np.array_equal(grades.get_array('gamma_max'), gamma)
    # Each run is a source of its own, which has no node but this one.
    assert len(candidates.sources) == 4
    assert set(candidates.sources.values()) == {None}
    for name in ('candidates', 'grades', 'traces', 'report'):
        assert node.outputs[name].creator.uuid == node.uuid
    assert candidates.creator.inputs.initial_structures.uuid == node.inputs.initial_structures.uuid


def test_the_same_seed_gives_the_same_trajectory(explore):
    options = {'ensemble': 'nvt', 'friction': 0.1, 'perturbation': {'rattle': 0.05, 'strain': 0.01}}
    first, again = (explore(**options) for _ in range(2))
    assert first.outputs.candidates.base.caching.compute_hash() == again.outputs.candidates.base.caching.compute_hash()
    inputs = {name: first.inputs[name] for name in ('potential', 'options', 'random_seed')}
    starts = starting_frames(first.inputs.initial_structures, ExploreOptions(**options), 1)
    # A dataset adds a hash of their content to keys that have no node.
    assert run_keys(starts, inputs) == [key.split('@')[0] for key in first.outputs.candidates.sources]
    assert run_keys(starts, {**inputs, 'random_seed': orm.Int(2)}) != run_keys(starts, inputs)


def test_starting_structures_are_made_once(explore, monkeypatch):
    """The checks, the job and the parser share them; equal structures in another node are the same."""
    made = Mock(side_effect=perturb)
    monkeypatch.setattr('aiida_pacemaker.calculations.explore.perturb', made)
    node = explore(seed=11, perturbation={'rattle': 0.04}, copies=2)
    assert node.is_finished_ok, node.exit_message
    assert made.call_count == 1
    options = ExploreOptions(perturbation={'rattle': 0.04}, copies=2, check_every=3)
    again = PaceDatasetData(node.inputs.initial_structures.get_frames())
    starts = starting_frames(again, options, 11)
    assert made.call_count == 1
    with pytest.raises(ValueError, match='read-only'):
        starts.positions[0] = 0.0
    starting_frames(again, options, 12)
    starting_frames(again, options.model_copy(update={'copies': 3}), 11)
    assert made.call_count == 3


def test_runs_that_keep_nothing(explore):
    node = explore(gamma_high=1e-6, perturbation={'rattle': 0.1})
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.report['reasons'] == {'seed_beyond_gamma_high': 1}
    assert 'candidates' not in node.outputs
    assert 'grades' not in node.outputs
    assert len(node.outputs.traces.get_array('run')) == 1


def test_all_runs_failed(explore):
    node = explore(ensemble='npt', pressure=1e5, barostat_time=1.0, min_distance=0.0, gamma_low=1e5)
    assert node.exit_status == node.process_class.exit_codes.ERROR_ALL_RUNS_FAILED.status
    assert 'ArithmeticError' in node.exit_message


def test_molecules_are_explored_too(explore):
    node = explore(water(), ensemble='nvt', temperature=100)
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.candidates.get_frames().pbc.any() == np.False_


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ({'gamma_low': 5, 'gamma_high': 4}, 'gamma_low must be the smaller one'),
        ({'pressure': 1.0}, 'a pressure is given, but the ensemble is nve'),
        ({'temperature': [300, 500]}, 'nve keeps the energy'),
        ({'tempreature': 300}, 'tempreature'),
        ({'perturbation': {'vacancies': 8}}, '8 vacancies are asked for, but it has 8 atoms'),
        ({'perturbation': {'supercell': [0, 1, 1]}}, 'numbers of at least 1'),
    ],
)
def test_options_that_are_refused(refused, options, said):
    assert said in refused(**options)


def test_inputs_that_are_refused(refused, aiida_profile):
    assert 'npt needs periodic boundary conditions along all three axes' in refused(water(), ensemble='npt')
    assert 'no period along cell vector 1' in refused(water(), perturbation={'supercell': [2, 1, 1]})
    assert 'an integer from 0' in refused(seed=-1)
    assert 'which the potential does not describe' in refused(PaceDatasetData(from_atoms([bulk('Si')], 'silicon')))
    stream = io.BytesIO()
    np.savez(stream, Si=np.eye(3))
    silicon = PaceActiveSetData(stream.getvalue())
    assert 'the active set is for' in refused(active_set=silicon)
