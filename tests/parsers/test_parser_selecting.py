"""Active sets and selections."""

import io
import zipfile

import numpy as np
import pytest
from aiida.engine import ExitCode
from recorded_cases import ACTIVE_SET, FIXTURES, SELECT, recorded

from aiida_pacemaker.frames.hashing import frame_hashes
from aiida_pacemaker.frames.pickles.reading import read_selection
from aiida_pacemaker.frames.pickles.writing import write_candidates


def matrices(**blocks):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as archive:
        for symbol, matrix in blocks.items():
            with archive.open(f'{symbol}.npy', 'w') as member:
                np.lib.format.write_array(member, np.asarray(matrix, dtype=float))
    return stream.getvalue()


@pytest.mark.parametrize('case', ACTIVE_SET)
def test_recorded_active_sets(parse_active_set, case):
    label, named = ACTIVE_SET[case]
    parsed = parse_active_set(recorded('activeset', case), kind='full' if case == 'full' else 'linear')
    assert parsed.label == label
    assert named in (parsed.code.message or '')
    assert ('active_set' in parsed.outputs) == (label == 'OK')


def test_an_active_set_with_what_the_program_says_of_it(parse_active_set):
    outputs = parse_active_set(recorded('activeset', 'linear')).outputs
    active_set = outputs['active_set']
    assert active_set.content == (FIXTURES / 'activeset/linear/output_potential.asi').read_bytes()
    assert active_set.kind == 'linear'
    assert active_set.sizes == {'Mg': 12, 'O': 12}
    for element in ('Mg', 'O'):
        said = outputs['output_parameters']['elements'][element]
        assert said['n_atoms'] == 48
        assert said['n_functions'] == active_set.sizes[element]
        assert 1 <= said['gamma_max'] <= 1.01


def test_a_full_active_set_is_known_as_such(parse_active_set):
    assert parse_active_set(recorded('activeset', 'full'), kind='full').outputs['active_set'].kind == 'full'
    # The job that asked for another kind finds none of its own.
    assert parse_active_set(recorded('activeset', 'full')).label == 'ERROR_NO_REASON_GIVEN'


def test_what_the_program_said_before_it_failed_is_kept(parse_active_set):
    parsed = parse_active_set(recorded('activeset', 'insufficient'))
    assert parsed.outputs['output_parameters']['elements']['Mg']['n_functions'] == 12
    assert not parsed.code.invalidates_cache


@pytest.mark.parametrize(
    ('content', 'named'),
    [
        (b'', 'empty'),
        (matrices(Mg=np.eye(2))[:60], 'not a whole archive'),
        (b'\x00' * 500, 'not a whole archive'),
        (matrices(Mg=np.eye(2)), 'no environments of O'),
        (matrices(Mg=np.eye(2), O=np.zeros((2, 2))), 'the matrix of O is singular'),
        (matrices(Mg=np.eye(2), O=np.full((2, 2), np.nan)), 'NaN'),
    ],
)
def test_active_sets_that_cannot_be_used(parse_active_set, content, named):
    parsed = parse_active_set({**recorded('activeset', 'linear'), 'potential.asi': content})
    assert parsed.label == 'ERROR_ACTIVE_SET_INVALID'
    assert named in parsed.code.message


def test_numbers_that_are_not_finite_are_no_numbers(parse_active_set):
    files = recorded('activeset', 'linear')
    stderr = files['stderr.txt'].decode()
    assert 'gamma_max: 1.0' in stderr
    parsed = parse_active_set({**files, 'stderr.txt': stderr.replace('gamma_max: 1.0', 'gamma_max: nan #')})
    assert parsed.label == 'OK'
    assert None in {said['gamma_max'] for said in parsed.outputs['output_parameters']['elements'].values()}


@pytest.mark.parametrize('case', SELECT)
def test_recorded_selections(parse_selection, case):
    label, named = SELECT[case]
    parsed = parse_selection(recorded('select', case))
    assert parsed.label == label
    assert named in (parsed.code.message or '')
    assert ('indices' in parsed.outputs) == (label == 'OK')


def test_a_selection_is_the_frames_it_points_at(parse_selection):
    parsed = parse_selection(recorded('select', 'default'))
    rows = read_selection((FIXTURES / 'select/default/selected.pkl.gz').read_bytes())
    pool = parsed.node.inputs.candidates.pool
    selected = parsed.outputs['selected']
    assert len(rows) == 5
    assert np.array_equal(parsed.outputs['indices'].get_array('pool'), rows)
    assert np.array_equal(selected.get_hashes(), pool.get_hashes()[rows])
    assert set(selected.sources.values()) == {pool.uuid}
    assert parsed.outputs['output_parameters']['n_candidates'] == pool.n_frames
    assert parsed.outputs['output_parameters']['n_selected'] == 5


def test_nothing_selected_is_a_success(parse_selection):
    parsed = parse_selection(recorded('select', 'nothing'))
    assert parsed.code.status == 0
    assert 'selected' not in parsed.outputs
    assert parsed.outputs['output_parameters']['n_selected'] == 0
    assert parsed.outputs['indices'].get_array('pool').shape == (0,)


def test_positions_beyond_the_candidates_are_refused(parse_selection, mgo_frames):
    stream = io.BytesIO()
    write_candidates(mgo_frames, stream)
    parsed = parse_selection({**recorded('select', 'default'), 'selected.pkl.gz': stream.getvalue()})
    assert parsed.label == 'ERROR_SELECTION_INVALID'
    assert 'row 99 was selected of 88 candidates' in parsed.code.message


@pytest.mark.parametrize('content', [b'', b'\x1f\x8b\x08', b'cos\nsystem\n(S"true"\ntR.'])
def test_selections_that_cannot_be_read(parse_selection, content):
    parsed = parse_selection({**recorded('select', 'default'), 'selected.pkl.gz': content})
    assert parsed.label == 'ERROR_SELECTION_INVALID'
    assert not parsed.outputs


@pytest.mark.fault(
    'a job dies while it writes its result',
    engine='a file that is cut',
    here='told by the exit status that its script did not write, and run again',
    ends='PaceSelectCalculation.ERROR_JOB_DIED',
)
@pytest.mark.parametrize(
    ('exit_status', 'label'),
    [
        ('0\n', 'ERROR_SELECTION_INVALID'),
        ('1\n', 'ERROR_SELECTION_INVALID'),
        ('137\n', 'ERROR_KILLED'),
        ('', 'ERROR_JOB_DIED'),
        ('nonsense', 'ERROR_JOB_DIED'),
        ('9' * 5000, 'ERROR_JOB_DIED'),
    ],
)
def test_a_job_that_died_while_it_wrote(parse_selection, exit_status, label):
    """A file that is cut is then no fault of the selection, and the job can be repeated."""
    files = {
        **recorded('select', 'default'),
        'selected.pkl.gz': b'\x1f\x8b',
        'exit_status': exit_status,
        'stderr.txt': '',
    }
    assert parse_selection(files).label == label


@pytest.mark.parametrize(
    ('exit_status', 'label'),
    [
        ('0\n', 'ERROR_NO_REASON_GIVEN'),
        ('3\n', 'ERROR_NO_REASON_GIVEN'),
        ('137\n', 'ERROR_KILLED'),
        ('', 'ERROR_JOB_DIED'),
    ],
)
def test_a_job_that_died(parse_active_set, exit_status, label):
    parsed = parse_active_set({'exit_status': exit_status})
    assert parsed.label == label
    assert 'pace_activeset' in parsed.code.message


@pytest.mark.parametrize('parse_it', ['parse_active_set', 'parse_selection'])
def test_silence_and_the_verdict_of_the_scheduler(request, parse_it):
    parse_it = request.getfixturevalue(parse_it)
    assert parse_it({}).label == 'ERROR_NO_REASON_GIVEN'
    verdict = ExitCode(110, 'The job ran out of memory.')
    assert parse_it({}, verdict=verdict).label == 'ERROR_SCHEDULER_OUT_OF_MEMORY'
    killed = {'_scheduler-stderr.txt': 'slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.0'}
    assert parse_it(killed).label == 'ERROR_MEMORY_EXHAUSTED'


def test_frames_hash_alike_in_nodes_and_tables(parse_selection):
    """What `test_a_selection_is_the_frames_it_points_at` compares are really the hashes of the frames."""
    selected = parse_selection(recorded('select', 'default')).outputs['selected']
    assert np.array_equal(selected.get_hashes(), frame_hashes(selected.get_frames()))
