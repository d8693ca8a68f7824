"""Explorations in many jobs, against the fake engine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.common import LinkType
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory
from ase.build import bulk

from aiida_pacemaker.calculations.functions.exploring import collect_explorations, plan_exploration
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.workflows.base.explore import PaceExploreBaseWorkChain
from aiida_pacemaker.workflows.explore import PaceExploreWorkChain

OPTIONS = {'n_steps': 10, 'check_every': 5, 'spacing': 5, 'gamma_low': 0.0, 'gamma_high': 1e6}


@pytest.fixture
def structures(aiida_profile):
    images = [bulk('MgO', 'rocksalt', a=4.25 + 0.02 * index, cubic=True) for index in range(3)]
    return PaceDatasetData(from_atoms(images, 'rocksalt')).store()


@pytest.fixture(scope='module')
def made():
    """Return where nodes are kept that all tests have for inputs."""
    return {}


@pytest.fixture
def fake(made, pace_codes_fake, training_inputs):
    """Return what an explorer takes, with a potential of the fake engine, and the Python of that engine."""
    if not made:
        training = run_get_node(CalculationFactory('pacemaker.train'), code=pace_codes_fake['train'], **training_inputs)
        made['potential'] = training.node.outputs.potential
        code, dataset = pace_codes_fake['activeset'], training_inputs['dataset']
        inputs = {'code': code, 'potential': made['potential'], 'dataset': dataset}
        chosen = run_get_node(CalculationFactory('pacemaker.activeset'), **inputs)
        made['active_set'] = chosen.node.outputs.active_set
    return dict(made), pace_codes_fake['python']


def job(code, **environment):
    options = {'resources': {'num_machines': 1}, 'environment_variables': environment}
    return {'code': code, 'metadata': {'options': options}}


def called(node, label):
    links = node.base.links.get_outgoing(link_type=(LinkType.CALL_WORK, LinkType.CALL_CALC), link_label_filter=label)
    return links.all_nodes()


def test_all_structures_under_all_conditions(fake, structures):
    inputs, code = fake
    conditions = {'hot': orm.Dict({'temperature': 900}), 'cold': orm.Dict({'temperature': 100})}
    outputs, node = run_get_node(
        PaceExploreWorkChain,
        **inputs,
        initial_structures=structures,
        random_seed=3,
        options=OPTIONS,
        conditions=conditions,
        structures_per_job=2,
        max_concurrent=3,
        job={'pace': job(code)},
    )
    assert node.is_finished_ok, node.exit_message
    report = outputs['report'].get_dict()
    assert (report['n_runs'], report['n_planned'], report['lost_jobs']) == (6, 6, [])
    assert [(run['condition'], run['seed_frame'], run['run']) for run in report['runs']] == [
        *(('cold', frame, frame) for frame in range(3)),
        *(('hot', frame, 3 + frame) for frame in range(3)),
    ]
    assert report['reasons'] == {'finished': 6}
    # At the first step of a run its structure is the initial one, whatever the condition: each is there once.
    assert report['n_duplicates'] == 3
    candidates, grades = outputs['candidates'], outputs['grades']
    assert candidates.n_frames == report['n_candidates'] == 15
    hashes = candidates.get_hashes()
    assert len(np.unique(hashes)) == len(hashes)
    gamma = grades.get_array('gamma')
    largest = [part.max() for part in np.split(gamma, candidates.get_frames().offsets[1:-1])]
    assert np.array_equal(grades.get_array('gamma_max'), largest)
    assert len(outputs['traces'].get_array('run')) == 18
    assert report['gamma']['max'] == pytest.approx(outputs['traces'].get_array('gamma_max').max())
    # Every job has random numbers of its own, and everything has an origin.
    chains = [called(node, f'explore_{name}')[0] for name in ('cold_0000', 'cold_0001', 'hot_0000', 'hot_0001')]
    assert len({chain.inputs.pace.random_seed.value for chain in chains}) == 4
    assert {chain.inputs.pace.random_seed.creator.process_label for chain in chains} == {'plan_exploration'}
    assert candidates.creator.process_label == 'collect_explorations'
    assert set(candidates.sources.values()) <= {chain.outputs.candidates.uuid for chain in chains}


def test_one_job_without_conditions(fake, structures):
    inputs, code = fake
    outputs, node = run_get_node(
        PaceExploreWorkChain,
        **inputs,
        initial_structures=structures,
        random_seed=3,
        options=OPTIONS,
        job={'pace': job(code)},
    )
    assert node.is_finished_ok, node.exit_message
    (chain,) = called(node, 'explore_default_0000')
    assert chain.inputs.pace.initial_structures.uuid == structures.uuid
    assert {run['condition'] for run in outputs['report']['runs']} == {'default'}


def test_all_jobs_fail(fake, structures):
    inputs, code = fake
    options = {**OPTIONS, 'ensemble': 'npt', 'pressure': 1e5, 'barostat_time': 1.0, 'gamma_low': 1e5}
    outputs, node = run_get_node(
        PaceExploreWorkChain,
        **inputs,
        initial_structures=structures,
        random_seed=3,
        options=options,
        job={'pace': job(code)},
    )
    assert node.exit_status == PaceExploreWorkChain.exit_codes.ERROR_ALL_JOBS_FAILED.status
    assert 'ArithmeticError' in node.exit_message
    # What is known of them is there all the same.
    assert outputs['report']['reasons'] == {'failed': 3}
    assert 'candidates' not in outputs


def test_conditions_are_checked_before_submission(fake, structures):
    inputs, code = fake
    for condition, said in (({'gamma_low': 1e7}, 'gamma_low must be the smaller'), ({'temperatur': 3}, 'temperatur')):
        with pytest.raises(ValueError, match=r'conditions\.odd') as error:
            run_get_node(
                PaceExploreWorkChain,
                **inputs,
                initial_structures=structures,
                random_seed=3,
                options=OPTIONS,
                conditions={'odd': orm.Dict(condition)},
                job={'pace': job(code)},
            )
        assert said in str(error.value)


def test_the_plan_does_not_change_structures_that_are_few(structures):
    plan = plan_exploration(structures, orm.Int(1), orm.Int(3))
    assert set(plan) == {'jobs', 'options_default', 'random_seed_default_0000'}
    parts = plan_exploration(structures, orm.Int(1), orm.Int(1))
    assert [parts[f'initial_structures_{part:04d}'].n_frames for part in range(3)] == [1, 1, 1]
    two = plan_exploration(structures, orm.Int(1), orm.Int(2), orm.Dict({'copies': 5}))
    assert [job['n_runs'] for job in two['jobs']['jobs']] == [10, 5]
    assert parts['initial_structures_0001'].source_uuids == structures.source_uuids


def test_a_lost_job_is_named():
    job = {'condition': 'default', 'n_runs': 1}
    jobs = [{'label': f'default_{part:04d}', 'first_frame': part, **job} for part in range(2)]
    report = {'runs': [{'run': 0, 'seed_frame': 0, 'copy': 0, 'condition': '', 'reason': 'finished'}]}
    collected = collect_explorations(orm.Dict({'jobs': jobs}), report_default_0001=orm.Dict(report))
    assert set(collected) == {'report'}
    assert collected['report']['lost_jobs'] == ['default_0000']
    # Its runs are counted, so that no one takes the others for all.
    assert (collected['report']['n_runs'], collected['report']['n_planned']) == (1, 2)
    assert [collected['report']['runs'][0][key] for key in ('seed_frame', 'run')] == [1, 1]
    assert collected['report']['gamma'] is None


#: Kills the Python that a job runs in when it comes to a structure, once.
DEADLY = """
import os, signal
import structures
read = structures.read_structures
def deadly(names):
    for number, atoms in enumerate(read(names)):
        if number >= int(os.environ['DIES_AT']) and not os.path.exists(os.environ['ALIVE']):
            open(os.environ['ALIVE'], 'w').close()
            os.kill(os.getpid(), signal.SIGKILL)
        yield atoms
structures.read_structures = deadly
"""


@pytest.fixture
def kill(fake, structures, tmp_path):
    """Return a function that runs the restart chain with a job that is killed at a structure."""

    def run(dies_at):
        inputs, code = fake
        prepend = f'cat > deadly.py << END\n{DEADLY}\nEND\nsed -i "s/^import json$/import json, deadly/" explore.py'
        pace = {
            **inputs,
            **job(code, DIES_AT=str(dies_at), ALIVE=str(tmp_path / 'alive')),
            'initial_structures': structures,
            'random_seed': 3,
        }
        pace['options'] = OPTIONS
        pace['metadata']['options']['prepend_text'] = prepend
        outputs, node = run_get_node(PaceExploreBaseWorkChain, pace=pace)
        assert node.is_finished_ok, node.exit_message
        return outputs, [job for job in node.called if isinstance(job, orm.CalcJobNode)]

    return run


@pytest.mark.fault(
    'an exploration job is killed or out of walltime',
    engine='what all its runs have found is lost',
    here='each run is written when it ends, and those will do; without any the job is repeated',
    ends='success',
)
@pytest.mark.parametrize(('dies_at', 'n_jobs', 'n_runs'), [(2, 1, 2), (0, 2, 3)])
def test_a_job_that_is_killed(kill, dies_at, n_jobs, n_runs):
    """With runs at their end it is good enough; without, it is repeated."""
    outputs, jobs = kill(dies_at)
    assert len(jobs) == n_jobs
    assert (outputs['report']['n_runs'], outputs['report']['n_planned']) == (n_runs, 3)
    assert outputs['candidates'].n_frames == outputs['report']['n_candidates'] == 3 * n_runs
    if n_runs == 2:
        check_that_the_rest_is_done_once(jobs[0])


def check_that_the_rest_is_done_once(job):
    """Run the driver again in the folder, twice at a time, as when AiiDA submits a job twice."""
    folder = Path(job.outputs.remote_folder.get_remote_path())
    environment = {**os.environ, **job.get_option('environment_variables')}
    command = [job.inputs.code.filepath_executable, 'explore.py']
    before = (folder / 'run_000000.npz').read_bytes()
    runs = [subprocess.Popen(command, cwd=folder, env=environment) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    done = [json.loads(line).get('run') for line in (folder / 'runs.jsonl').read_text().splitlines() if line]
    assert [run for run in done if run is not None] == [0, 1, 2]
    assert (folder / 'run_000000.npz').read_bytes() == before
    assert (folder / 'run_000002.npz').is_file()
