"""Selections by the posterior: what the parser makes of the files that the driver brings back."""

import io
import json

import numpy as np
import pytest
from aiida import orm
from damages import KINDS, Ending, check, damage

from aiida_pacemaker.data.arrays import array_data
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.hashing import frame_hashes

SUMMARY = json.dumps({'n_candidates': 6, 'seconds': 1.5, 'versions': {'pyace': '0.4.0rc1'}})


def npz(positions, gains):
    stream = io.BytesIO()
    np.savez(stream, positions=np.asarray(positions), gains=np.asarray(gains))
    return stream.getvalue()


FILES = {'selection.json': SUMMARY, 'selection.npz': npz([4, 0, 1], [0.5, 0.2, 0.1])}


@pytest.fixture
def candidates(mgo_frames):
    """Return two sets of candidates, of two and of four frames, in the order of their labels."""
    return {
        'alpha': PaceDatasetData(mgo_frames.select(range(2))),
        'beta': PaceDatasetData(mgo_frames.select(range(2, 6))),
    }


@pytest.fixture
def parse_choice(parse, potential, candidates, active_set):
    def run(files, **changes):
        inputs = {
            'potential': potential.clone(),
            'posterior': array_data({'coefficients': np.zeros(1)}),
            'options': orm.Dict({'method': 'posterior', 'max_structures': 3}),
            **{f'candidates__{label}': dataset.clone() for label, dataset in candidates.items()},
            **changes,
        }
        return parse('pacemaker.select.posterior', files, inputs)

    return run


def test_a_choice(parse_choice, mgo_frames):
    """Frames in the order of their rank, positions in each set of candidates, and what each is worth."""
    parsed = parse_choice(FILES)
    assert parsed.label == 'OK'
    assert parsed.outputs['output_parameters'].get_dict() == {
        'n_candidates': 6,
        'n_selected': 3,
        'n_unseen': 0,
        'gains': [0.5, 0.2, 0.1],
        'seconds': 1.5,
        'versions': {'pyace': '0.4.0rc1'},
    }
    indices = parsed.outputs['indices']
    assert indices.get_array('alpha').tolist() == [0, 1]
    assert indices.get_array('beta').tolist() == [2]
    selected = parsed.outputs['selected'].get_frames()
    assert np.array_equal(frame_hashes(selected), frame_hashes(mgo_frames.select([4, 0, 1])))


def test_nothing_chosen(parse_choice):
    parsed = parse_choice({**FILES, 'selection.npz': npz(np.zeros(0, dtype=np.int64), np.zeros(0))})
    assert parsed.label == 'OK'
    assert 'selected' not in parsed.outputs
    assert parsed.outputs['output_parameters']['n_selected'] == 0


@pytest.mark.parametrize(
    ('positions', 'gains', 'reason'),
    [
        ([4, 6], [0.5, 0.2], 'positions 4 to 6 were chosen of 6 candidates'),
        ([-1, 2], [0.5, 0.2], 'positions -1 to 2'),
        ([2, 2], [0.5, 0.2], 'chosen twice'),
        ([2, 3], [0.5, np.nan], 'not finite'),
        ([2, 3], [0.5], 'not positions'),
        ([2.0, 3.0], [0.5, 0.2], 'not positions'),
    ],
)
def test_a_choice_that_is_none(parse_choice, positions, gains, reason):
    parsed = parse_choice({**FILES, 'selection.npz': npz(positions, gains)})
    assert parsed.label == 'ERROR_SELECTION_INVALID'
    assert reason in parsed.code.message
    assert not parsed.outputs


def test_a_job_that_came_to_nothing(parse_choice):
    missing = parse_choice({'selection.json': SUMMARY, 'exit_status': '0'})
    assert missing.label == 'ERROR_SELECTION_INVALID'
    assert 'selection.npz is not there' in missing.code.message
    said = {'stderr.txt': "ModuleNotFoundError: No module named 'pyace'", 'exit_status': '1'}
    assert parse_choice(said).label == 'ERROR_ENGINE_NOT_IMPORTABLE'
    assert parse_choice({'exit_status': '1'}).label == 'ERROR_NO_REASON_GIVEN'


@pytest.mark.parametrize('kind', KINDS)
def test_damaged_files(parse_choice, kind):
    expected = parse_choice({**FILES, 'exit_status': '0'})
    broken = {**FILES, 'selection.npz': damage(FILES['selection.npz'], kind), 'exit_status': '0'}
    invalid = Ending('ERROR_SELECTION_INVALID', says='damaged', without=['selected', 'indices', 'output_parameters'])
    check(parse_choice(broken), expected, invalid)
