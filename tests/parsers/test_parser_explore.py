"""What the parser makes of the files of explorations."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from aiida import orm
from aiida.engine import ExitCode
from damages import KINDS, Ending, check, damage

from aiida_pacemaker.baseline.reference_energies import reference_energy
from aiida_pacemaker.data.dataset import PaceDatasetData

OPTIONS = {'n_steps': 20, 'check_every': 10, 'gamma_low': 1.0, 'gamma_high': 5.0, 'copies': 2}
SUMMARY = json.dumps({'seconds': 1.5, 'versions': {'pyace': '0.4.0rc1'}})


@pytest.fixture
def structures(mgo_frames):
    """Return two structures; each is explored from twice."""
    return mgo_frames.select([0, 1])


@pytest.fixture
def parse_exploration(parse, potential, active_set, structures):
    def run(files, *, verdict=None):
        inputs = {
            'potential': potential.clone(),
            'active_set': active_set.clone(),
            'initial_structures': PaceDatasetData(structures),
            'random_seed': orm.Int(1),
            'options': orm.Dict(OPTIONS),
        }
        return parse('pacemaker.explore', files, inputs, verdict)

    return run


def run_file(n_atoms, n_kept=1, **changes):
    """Return what a run leaves that was looked at twice."""
    arrays = {
        'step': np.array([0, 10]),
        'gamma_max': np.array([0.5, 2.0]),
        'temperature': np.array([300.0, 310.0]),
        'energy': np.array([-1.0, -0.9]),
        'min_distance': np.array([2.0, 1.9]),
        'kept_step': np.array([10])[:n_kept],
        'positions': np.ones((n_atoms * n_kept, 3)),
        'cells': np.tile(8 * np.eye(3), (n_kept, 1, 1)),
        'gamma': np.full(n_atoms * n_kept, 2.0),
        'energies': np.full(n_kept, -3.0),
        'forces': np.full((n_atoms * n_kept, 3), 0.5),
        **changes,
    }
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.fixture
def files(structures):
    """Return a function that returns the files of some of the four runs."""

    def make(runs=range(4), whole=True, **changes):
        line = {'reason': 'finished', 'steps': 20, 'n_checks': 2, 'n_kept': 1, 'message': '', **changes}
        made = {'runs.jsonl': ''.join(json.dumps({'run': run, **line}) + '\n' for run in runs)}
        made |= {f'run_{run:06d}.npz': run_file(int(structures.n_atoms[run // 2]), line['n_kept']) for run in runs}
        return {**made, **({'exploration.json': SUMMARY} if whole else {})}

    return make


def test_all_outputs(parse_exploration, files, structures, potential):
    parsed = parse_exploration(files())
    assert parsed.label == 'OK'
    report = parsed.outputs['report'].get_dict()
    assert (report['n_runs'], report['n_planned'], report['n_candidates']) == (4, 4, 4)
    assert report['gamma'] == {'median': 1.25, 'p90': 2.0, 'p99': 2.0, 'max': 2.0, 'n_unseen': 0}
    assert report['versions'] == {'pyace': '0.4.0rc1'}
    candidates = parsed.outputs['candidates']
    assert candidates.get_frames().n_atoms.tolist() == np.repeat(structures.n_atoms, 2).tolist()
    assert np.array_equal(
        candidates.get_frames().numbers[: structures.n_atoms[0]], structures.numbers[: structures.n_atoms[0]]
    )
    grades = parsed.outputs['grades']
    assert grades.get_array('run').tolist() == [0, 1, 2, 3]
    # The driver's energy is relative to the isolated atoms, labels are not.
    frames = candidates.get_frames()
    assert np.allclose(grades.get_array('energy'), -3.0 + reference_energy(frames, potential.reference_energies))
    assert grades.get_array('forces').shape == frames.positions.shape
    assert len(parsed.outputs['traces'].get_array('time')) == 8


def test_equal_jobs_name_their_runs_alike(parse_exploration, files):
    first, second = (parse_exploration(files()).outputs['candidates'] for _ in range(2))
    assert first.sources == second.sources
    assert first.base.caching.compute_hash() == second.base.caching.compute_hash()


def test_nothing_was_kept(parse_exploration, files):
    parsed = parse_exploration(files(n_kept=0))
    assert parsed.label == 'OK'
    assert set(parsed.outputs) == {'report', 'traces'}


def test_a_job_that_was_stopped_keeps_the_runs_that_it_has(parse_exploration, files):
    parsed = parse_exploration(files(runs=[0, 1, 2], whole=False))
    assert parsed.label == 'ERROR_EXPLORATION_INTERRUPTED'
    assert '1 of 4 runs' in parsed.code.message
    assert parsed.outputs['candidates'].n_frames == 3
    late = parse_exploration(files(runs=[0], whole=False), verdict=ExitCode(120, 'late'))
    assert late.label == 'ERROR_SCHEDULER_OUT_OF_WALLTIME'
    assert late.outputs['report']['n_runs'] == 1


def test_files_that_cannot_be_used(parse_exploration, files, structures):
    n_atoms = int(structures.n_atoms[0])
    for damaged in (b'', b'PK' * 100, run_file(n_atoms + 1), run_file(n_atoms, gamma=np.full(n_atoms, 9.0))):
        parsed = parse_exploration({**files(), 'run_000001.npz': damaged})
        assert parsed.label == 'ERROR_EXPLORATION_INVALID'
        assert 'run_000001.npz' in parsed.code.message
        assert parsed.outputs['report']['n_runs'] == 3
        assert parsed.outputs['candidates'].n_frames == 3
    missing = {name: content for name, content in files().items() if name != 'run_000003.npz'}
    assert 'no file with the results of run 3' in parse_exploration(missing).code.message


def test_a_file_that_was_cut_by_the_end_of_its_job(parse_exploration, files):
    made = files(runs=[0], whole=False)
    made['run_000000.npz'] = made['run_000000.npz'][:-100]
    assert parse_exploration({**made, 'exit_status': ''}).label == 'ERROR_JOB_DIED'


def test_all_runs_failed(parse_exploration, files):
    parsed = parse_exploration(files(reason='failed', n_kept=0, message='ValueError: atoms lost'))
    assert parsed.label == 'ERROR_ALL_RUNS_FAILED'
    assert 'atoms lost' in parsed.code.message
    assert parsed.outputs['report']['reasons'] == {'failed': 4}


def test_without_files(parse_exploration):
    assert parse_exploration({}).label == 'ERROR_NO_REASON_GIVEN'
    assert parse_exploration({'runs.jsonl': ''}).label == 'ERROR_NO_REASON_GIVEN'
    assert parse_exploration({'runs.jsonl': '', 'exit_status': ''}).label == 'ERROR_JOB_DIED'
    stderr = "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'pyace'\n"
    assert parse_exploration({'stderr.txt': stderr}).label == 'ERROR_ENGINE_NOT_IMPORTABLE'
    assert parse_exploration({'runs.jsonl': '', 'exploration.json': SUMMARY}).label == 'ERROR_EXPLORATION_INTERRUPTED'


@pytest.mark.parametrize('summary', ['', '[]', '{"seconds": NaN}', '[' * 100_000, b'\x00\xff'])
def test_a_summary_that_cannot_be_read_does_not_cost_the_runs(parse_exploration, files, summary):
    parsed = parse_exploration({**files(), 'exploration.json': summary})
    assert parsed.label == 'OK'
    assert parsed.outputs['report']['n_runs'] == 4


LESS = ['report', 'traces', 'candidates', 'grades']
EXPLORATION = {
    'run_000001.npz': Ending('ERROR_EXPLORATION_INVALID', says='run_000001.npz', other=LESS),
    'runs.jsonl': Ending('ERROR_EXPLORATION_INTERRUPTED', says='of 4 runs', other=LESS),
    'exploration.json': Ending('OK', other=['report']),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', EXPLORATION)
def test_damaged_files_of_an_exploration(parse_exploration, files, name, kind):
    made = {file: content if isinstance(content, bytes) else content.encode() for file, content in files().items()}
    whole, parsed = parse_exploration(made), parse_exploration({**made, name: damage(made[name], kind)})
    assert whole.label == 'OK'
    check(parsed, whole, EXPLORATION[name])
    n_runs = parsed.outputs['report']['n_runs']
    # A damaged list of runs may have some lines that are whole.
    assert n_runs in {'run_000001.npz': [3], 'runs.jsonl': [0, 1, 2, 3], 'exploration.json': [4]}[name]
    assert ('candidates' in parsed.outputs) == (n_runs > 0)
