"""The options of explorations, the files of their runs, and what is made of them."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from aiida_pacemaker.drivers.exploration_files import Ending, read_endings, read_run
from aiida_pacemaker.errors import ExplorationFileError
from aiida_pacemaker.exploration.options import ExploreOptions, Reason
from aiida_pacemaker.exploration.results import candidate_frames, grades, report, trace_columns

OPTIONS = ExploreOptions(n_steps=20, check_every=10, gamma_low=1.0, gamma_high=5.0, max_frames_per_run=4, spacing=1)
N_ATOMS = 3


def arrays(**changes):
    """Return what a run of three atoms leaves that was looked at three times and kept two frames."""
    content = {
        'step': np.array([0, 10, 20]),
        'gamma_max': np.array([0.5, 2.0, 3.0]),
        'temperature': np.array([300.0, 310.0, 290.0]),
        'energy': np.array([-1.0, -0.9, -1.1]),
        'min_distance': np.array([2.0, np.inf, 1.9]),
        'kept_step': np.array([10, 20]),
        'positions': np.arange(18.0).reshape(6, 3),
        'cells': np.tile(10 * np.eye(3), (2, 1, 1)),
        'gamma': np.array([2.0, 0.5, 1.0, 0.1, 0.2, 3.0]),
        'energies': np.array([-3.0, -2.7]),
        'forces': np.arange(18.0).reshape(6, 3) / 10,
        **changes,
    }
    return {name: array for name, array in content.items() if array is not None}


ENDING = Ending(Reason.FINISHED, 20, '', 3, 2)


@pytest.fixture
def read(tmp_path):
    """Return a function that reads what a run has left."""

    def run(content, number=0):
        path = tmp_path / 'run.npz'
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.savez(path, **content)
        return read_run(path, number, ENDING, N_ATOMS, OPTIONS)

    return run


def test_a_run_is_read_as_it_was_written(read):
    run = read(arrays())
    for name in ('step', 'kept_step', 'positions', 'cells', 'gamma', 'energies', 'forces'):
        assert np.array_equal(getattr(run, name), arrays()[name])
    assert all(np.array_equal(column, arrays()[name]) for name, column in run.traces.items())


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'gamma': np.ones(5)}, 'shape (6,) is needed'),
        ({'gamma': None}, 'no array `gamma`'),
        ({'gamma': np.array([None] * 6)}, 'does not write for numbers'),
        ({'gamma': np.array([2.0, 0.5, 1.0, 0.1, 0.2, 0.3])}, 'gamma is not from 1 to 5'),
        ({'gamma': np.array([2.0, 0.5, 1.0, 0.1, 0.2, 5.1])}, 'gamma is not from 1 to 5'),
        ({'positions': np.full((6, 3), np.nan)}, '18 values of `positions` are not finite'),
        ({'positions': np.zeros((6, 3), dtype=np.float32)}, 'float64 of shape (6, 3) is needed'),
        ({'cells': np.full((2, 3, 3), np.inf)}, 'of `cells` are not finite'),
        ({'min_distance': np.array([np.nan, 1, 1])}, '`min_distance`'),
        ({'energies': np.array([0.0, np.inf])}, '1 values of `energies` are not finite'),
        ({'forces': np.zeros((5, 3))}, 'shape (6, 3) is needed'),
        ({'step': np.array([0, 20, 10])}, '`step` does not rise'),
        ({'step': np.array([-1, 10, 20])}, '`step` does not rise'),
        ({'kept_step': np.array([10, 21])}, '`kept_step` does not rise'),
        ({'extra': np.zeros(100_000)}, 'its arrays need'),
    ],
)
def test_runs_that_cannot_be_used(read, change, said):
    with pytest.raises(ExplorationFileError) as error:
        read(arrays(**change))
    assert said in str(error.value)


def test_files_that_are_no_archives(read):
    for content in (b'', b'PK', bytes(range(256)) * 8, b'\x80\x04cos\nsystem\n'):
        with pytest.raises(ExplorationFileError, match='damaged'):
            read(content)


def line(**changes):
    return json.dumps(
        {'run': 0, 'reason': 'finished', 'steps': 20, 'n_checks': 3, 'n_kept': 2, 'message': '', **changes}
    )


def endings(*lines, n_runs=2):
    return read_endings(io.BytesIO('\n'.join(lines).encode()), n_runs, OPTIONS)


def test_endings_are_those_of_the_lines():
    found = endings('{"begin": 0}', line(), '{"begin": 1}', line(run=1, reason='failed', message='E: x\x00y'))
    assert found == {0: ENDING, 1: Ending(Reason.FAILED, 20, 'E: x\\x00y', 3, 2)}
    # Of a run that was done twice, as by a job that was submitted twice, the first counts.
    assert endings(line(), line(steps=10))[0].steps == 20


@pytest.mark.parametrize(
    'bad',
    [
        *('', '{', '[]', '9' * 5000, '[' * 10_000, '\x00'),
        *(line(run=2), line(run=-1), line(run=True), line(run='0')),
        *(line(reason='bored'), line(reason=None), line(reason=[]), line(steps=21), line(steps=1.5)),
        *(line(n_checks=10**9), line(n_kept=5), line(n_kept=None)),
        line()[:-9],
    ],
)
def test_lines_that_make_no_sense_are_passed_over(bad):
    assert set(endings(bad, line(run=1))) == {1}


def test_what_is_made_of_runs(read, mgo_frames):
    starts = mgo_frames.select([0, 0]).without_labels()
    starts = type(starts)(**{**vars(starts), **columns_of_three(starts)})
    runs = [read(arrays()), read(arrays(), number=1)]
    frames = candidate_frames(starts, runs, ['a', 'b'])
    assert (len(frames), frames.source_keys, frames.step.tolist()) == (4, ('a', 'b'), [10, 20, 10, 20])
    assert np.array_equal(frames.positions[:6], arrays()['positions'])
    grade = grades(runs)
    assert grade['gamma_max'].tolist() == [2.0, 3.0, 2.0, 3.0]
    assert grade['run'].tolist() == [0, 0, 1, 1]
    assert grade['energy'].tolist() == [-3.0, -2.7, -3.0, -2.7]
    assert grade['forces'].shape == (12, 3)
    # LAMMPS does not report them: what is known of some of the frames is of no use.
    assert 'energy' not in grades([runs[0], replace(runs[1], energies=None, forces=None)])
    assert trace_columns(runs, 0.5)['time'].tolist() == [0, 5, 10, 0, 5, 10]
    said = report(runs, copies=2)
    assert said['reasons'] == {'finished': 2}
    assert said['gamma']['max'] == 3.0
    assert [(run['seed_frame'], run['copy'], run['gamma_max']) for run in said['runs']] == [(0, 0, 3.0), (0, 1, 3.0)]
    assert report([], copies=1)['gamma'] is None
    assert candidate_frames(starts, [], ['a', 'b']) is None


def columns_of_three(frames):
    """Return the columns that make two frames of three atoms each."""
    rows = [0, 1, 2, 0, 1, 2]
    return {'n_atoms': np.array([3, 3]), 'numbers': frames.numbers[rows], 'positions': frames.positions[rows]}


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ({'gamma_low': 2, 'gamma_high': 2}, 'gamma_low must be the smaller one'),
        ({'temperature': -1}, 'greater than 0'),
        ({'temperature': [300]}, 'at least 2 items'),
        ({'temperature': [300, float('inf')]}, 'finite'),
        ({'ensemble': 'nve', 'temperature': [300, 500]}, 'nve keeps the energy'),
        ({'pressure': 0.0}, 'a pressure is given, but the ensemble is nvt'),
        ({'n_step': 5}, 'n_step'),
        ({'perturbation': {'rattles': 5}}, 'rattles'),
    ],
)
def test_options_that_make_no_sense(options, said):
    with pytest.raises(ValidationError, match=said):
        ExploreOptions(**options)


def test_schedules():
    assert ExploreOptions(temperature=500).temperatures == (500.0,)
    assert ExploreOptions(temperature=[300, 900, 300]).temperatures == (300, 900, 300)
    assert ExploreOptions().pressures == ()
    assert ExploreOptions(ensemble='npt').pressures == (0.0,)
    assert ExploreOptions(ensemble='npt', pressure=[0, 10]).request()['pressures'] == [0, 10]


def test_every_option_is_described():
    fields = {**ExploreOptions.model_fields, **type(ExploreOptions().perturbation).model_fields}
    assert [name for name, field in fields.items() if not field.description] == []


def test_options_survive_the_database():
    options = ExploreOptions(temperature=[300, 500], perturbation={'supercell': [2, 1, 1], 'rattle': 0.1})
    assert ExploreOptions.model_validate(json.loads(json.dumps(options.model_dump(mode='json')))) == options
