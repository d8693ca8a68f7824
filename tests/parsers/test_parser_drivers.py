"""Evaluations and labels: what the drivers of this package bring back."""

import io
import json

import numpy as np
import pytest
from aiida import orm
from aiida.engine import ExitCode
from damages import KINDS, Ending, check, damage

from aiida_pacemaker.baseline.evaluation import evaluate

SUMMARY = json.dumps({'counts': {'some': 3}, 'seconds': 1.5, 'versions': {'pyace': '0.4.0rc1'}})


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.fixture
def predicted(mgo_frames):
    """Return what a potential could say of three frames, as the driver writes it."""
    frames = mgo_frames.select([0, 1, 2])
    rng = np.random.default_rng(1)
    n_atoms = len(frames.numbers)
    return {
        'energy': rng.normal(size=3),
        'forces': rng.normal(size=(n_atoms, 3)),
        'stress': rng.normal(size=(3, 3, 3)),
        'gamma': rng.uniform(0, 2, n_atoms),
    }


@pytest.fixture
def parse_evaluation(parse, potential, small_dataset, active_set):
    def run(files, *, gamma=True, verdict=None):
        inputs = {'potential': potential.clone(), 'datasets__some': small_dataset.clone()}
        if gamma:
            inputs['active_set'] = active_set.clone()
        return parse('pacemaker.evaluate', files, inputs, verdict)

    return run


@pytest.fixture
def parse_labels(parse, small_dataset):
    def run(files, *, verdict=None):
        calculator = orm.Dict({'calculator': 'ase.calculators.emt:EMT'})
        return parse(
            'pacemaker.label.ase', files, {'dataset': small_dataset.clone(), 'calculator': calculator}, verdict
        )

    return run


def test_an_evaluation_is_comparable_with_labels(parse_evaluation, predicted, mgo_frames, baseline, reference_energies):
    files = {'evaluation.json': SUMMARY, 'evaluation_some.npz': npz(**predicted)}
    parsed = parse_evaluation(files)
    assert parsed.label == 'OK'
    frames = mgo_frames.select([0, 1, 2])
    terms = evaluate(baseline, frames)
    assert abs(terms.energy).min() > 0.1
    isolated = [
        sum(reference_energies[{12: 'Mg', 8: 'O'}[n]] for n in frames.numbers[rows]) for rows in frames.slices()
    ]
    arrays = parsed.outputs['evaluations']['some']
    assert np.allclose(arrays.get_array('energy'), predicted['energy'] + terms.energy + isolated, rtol=0, atol=1e-9)
    assert np.allclose(arrays.get_array('forces'), predicted['forces'] + terms.forces, rtol=0, atol=1e-12)
    assert np.allclose(arrays.get_array('stress'), predicted['stress'] + terms.stress, rtol=0, atol=1e-12)
    largest = [predicted['gamma'][rows].max() for rows in frames.slices()]
    assert np.array_equal(arrays.get_array('gamma_max'), largest)

    errors = parsed.outputs['errors'].get_dict()
    difference = arrays.get_array('forces') - frames.forces
    assert errors['datasets']['some']['rmse_forces'] == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-12)
    assert errors['datasets']['some']['gamma']['max'] == pytest.approx(max(largest), rel=1e-12)
    assert errors['seconds'] == 1.5
    assert errors['versions'] == {'pyace': '0.4.0rc1'}


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        ({'energy': np.zeros(2)}, 'shape (3,) is needed'),
        ({'energy': np.array([1.0, np.nan, 2.0])}, '1 values of `energy` are not finite'),
        ({'forces': np.zeros((1, 3))}, 'is needed'),
        ({'gamma': None}, 'gamma'),
        ({'energy': np.array([None] * 3)}, 'does not write for numbers'),
    ],
)
def test_evaluations_that_cannot_be_used(parse_evaluation, predicted, change, named):
    arrays = {name: array for name, array in {**predicted, **change}.items() if array is not None}
    parsed = parse_evaluation({'evaluation.json': SUMMARY, 'evaluation_some.npz': npz(**arrays)})
    assert parsed.label == 'ERROR_EVALUATION_INVALID'
    assert 'some' in parsed.code.message
    assert named in parsed.code.message
    assert 'evaluations' not in parsed.outputs


@pytest.mark.parametrize('summary', ['', '{', '[]', '{"seconds": NaN, "versions": {}}', '[' * 100_000])
def test_a_summary_that_cannot_be_read_does_not_cost_the_evaluation(parse_evaluation, predicted, summary):
    parsed = parse_evaluation({'evaluation.json': summary, 'evaluation_some.npz': npz(**predicted)})
    assert parsed.label == 'OK'
    assert parsed.outputs['errors'].get_dict().get('seconds') is None
    assert 'some' in parsed.outputs['evaluations']


EVALUATION = {
    'evaluation_some.npz': Ending(
        'ERROR_EVALUATION_INVALID', says='some: ', without=['evaluations.some'], other=['errors']
    ),
    'evaluation.json': Ending('OK', warns='evaluation.json is left out', other=['errors']),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', EVALUATION)
def test_damaged_files_of_an_evaluation(parse_evaluation, predicted, name, kind):
    files = {'evaluation.json': SUMMARY.encode(), 'evaluation_some.npz': npz(**predicted)}
    whole = parse_evaluation(files)
    assert whole.label == 'OK'
    check(parse_evaluation({**files, name: damage(files[name], kind)}), whole, EVALUATION[name])


def test_evaluations_without_their_files(parse_evaluation):
    assert parse_evaluation({}).label == 'ERROR_NO_REASON_GIVEN'
    parsed = parse_evaluation({'evaluation.json': SUMMARY})
    assert parsed.label == 'ERROR_EVALUATION_INVALID'
    assert 'there is no file with results' in parsed.code.message
    stderr = "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'pyace'\n"
    assert parse_evaluation({'stderr.txt': stderr}).label == 'ERROR_ENGINE_NOT_IMPORTABLE'
    assert parse_evaluation({}, verdict=ExitCode(120, 'late')).label == 'ERROR_SCHEDULER_OUT_OF_WALLTIME'


def lines_of(frames, *, failed=(), until=None):
    """Return what the labelling driver writes, up to a frame in whose labelling it is stopped."""
    lines = []
    for frame, rows in enumerate(frames.slices()):
        lines.append({'begin': frame})
        if frame == until:
            break
        label = {'energy': frames.energy[frame], 'forces': frames.forces[rows].tolist()}
        label['stress'] = frames.stress[frame].tolist()
        lines.append({'frame': frame, **({'reason': 'KeyError', 'message': f'{frame}'} if frame in failed else label)})
    return ''.join(json.dumps(line) + '\n' for line in lines)


LABELS_SUMMARY = json.dumps({'seconds': 0.5, 'versions': {'ase': '3.29'}})


@pytest.fixture
def frames(mgo_frames):
    return mgo_frames.select([0, 1, 2])


def energies_of(parsed):
    nodes = parsed.outputs.get('trajectories', {}).values()
    return sorted(energy for node in nodes for energy in node.get_array('energy'))


def test_labels_that_failed_are_named_and_the_others_attached(parse_labels, frames):
    parsed = parse_labels({'labels.jsonl': lines_of(frames, failed=[1]), 'labels.json': LABELS_SUMMARY})
    assert parsed.label == 'OK'
    (failure,) = parsed.outputs['failures']['failures']
    assert failure['hash'] == parsed.node.inputs.dataset.get_hashes()[1].tobytes().hex()
    assert (failure['step'], failure['reason'], failure['message']) == (1, 'KeyError', '1')
    # To the last digit.
    assert energies_of(parsed) == sorted(frames.energy[[0, 2]])
    assert parsed.outputs['failures']['versions'] == {'ase': '3.29'}


@pytest.mark.parametrize(
    'line',
    [
        '{"frame": 2, "energy": Infinity, "forces": [], "stress": null}',
        '{"frame": 2, "energy": 1.0, "forces": [[0, 0, 0]], "stress": null}',
        '{"frame": 2, "energy": 1.0}',
        '{"frame": 2, "energy": {}, "forces": {}, "stress": {}}',
        '{"frame": 3, "energy": 1.0}',
        '{"frame": -1, "energy": 1.0}',
        '{"frame": true, "reason": "x"}',
        '[' * 100_000,
        '9' * 10_000,
        '\x00\xff',
    ],
)
def test_labels_that_make_no_sense_are_none(parse_labels, frames, line):
    text = lines_of(frames.select([0, 1]))
    parsed = parse_labels({'labels.jsonl': text + line + '\n', 'labels.json': LABELS_SUMMARY})
    assert parsed.label == 'OK'
    (failure,) = parsed.outputs['failures']['failures']
    assert (failure['step'], failure['reason']) == (2, 'unknown')
    assert energies_of(parsed) == sorted(frames.energy[[0, 1]])


def test_the_first_label_of_a_frame_counts(parse_labels, frames):
    """As after a job that was started twice in the same folder."""
    text = lines_of(frames)
    parsed = parse_labels({'labels.jsonl': text + text.replace('"energy": ', '"energy": 1'), 'labels.json': '{}'})
    assert energies_of(parsed) == sorted(frames.energy)


def test_all_labels_failed(parse_labels, frames):
    parsed = parse_labels({'labels.jsonl': lines_of(frames, failed=[0, 1, 2]), 'labels.json': LABELS_SUMMARY})
    assert parsed.label == 'ERROR_ALL_LABELS_FAILED'
    assert 'None of 3 frames' in parsed.code.message
    assert 'KeyError: 0' in parsed.code.message
    assert len(parsed.outputs['failures']['failures']) == 3


@pytest.mark.parametrize(
    ('said', 'advice'),
    [
        ({'reason': 'ModuleNotFoundError', 'message': "No module named 'torch'"}, 'Install torch'),
        ({'reason': 'KeyError', 'message': "'Mg'"}, 'for Mg in its `arguments`'),
        ({'reason': 'FileNotFoundError', 'message': "[Errno 2] No such file or directory: 'pw.x'"}, 'file pw.x'),
        ({'reason': 'ValueError', 'message': 'unlucky'}, 'Repair the calculator or its arguments.'),
    ],
)
def test_what_to_do_about_a_calculator_that_fails_for_all_frames(parse_labels, said, advice):
    lines = ''.join(json.dumps({'frame': frame, **said}) + '\n' for frame in range(3))
    parsed = parse_labels({'labels.jsonl': lines, 'labels.json': LABELS_SUMMARY})
    assert parsed.label == 'ERROR_ALL_LABELS_FAILED'
    assert said['message'] in parsed.code.message
    assert advice in parsed.code.message


@pytest.mark.parametrize('cut', [1, 20, 400])
def test_a_job_that_was_stopped_keeps_what_it_has(parse_labels, frames, cut):
    """It may have been stopped within a line."""
    text = lines_of(frames, until=1) if cut == 1 else lines_of(frames)[:-cut]
    parsed = parse_labels({'labels.jsonl': text})
    assert parsed.label == 'ERROR_LABELS_INTERRUPTED'
    assert energies_of(parsed)[0] in frames.energy
    reasons = {entry['step']: entry['reason'] for entry in parsed.outputs['failures']['failures']}
    assert reasons == ({1: 'running', 2: 'interrupted'} if cut == 1 else {2: 'running'})
    assert (
        parse_labels({'labels.jsonl': text}, verdict=ExitCode(120, 'late')).label == 'ERROR_SCHEDULER_OUT_OF_WALLTIME'
    )


@pytest.mark.parametrize('summary', ['{}', '[]', 'null', '{"seconds": []}', '[' * 100_000, '\x00\xff'])
def test_a_summary_of_labels_that_cannot_be_read_does_not_cost_them(parse_labels, frames, summary):
    parsed = parse_labels({'labels.jsonl': lines_of(frames), 'labels.json': summary})
    assert parsed.label == 'OK'
    assert energies_of(parsed) == sorted(frames.energy)


def test_labels_without_their_files(parse_labels):
    assert parse_labels({}).label == 'ERROR_NO_REASON_GIVEN'
    assert parse_labels({'labels.jsonl': b'\x80PK' * 1000}).label == 'ERROR_LABELS_INTERRUPTED'
    assert parse_labels({}, verdict=ExitCode(140, 'gone')).label == 'ERROR_SCHEDULER_NODE_FAILURE'


@pytest.mark.parametrize('kind', KINDS)
def test_damaged_labels(parse_labels, frames, kind):
    """Frames without a whole line are listed with the others that failed; none has a label that nobody made."""
    parsed = parse_labels({'labels.jsonl': damage(lines_of(frames).encode(), kind), 'labels.json': LABELS_SUMMARY})
    energies = energies_of(parsed)
    assert set(energies) < set(frames.energy)
    failures = parsed.outputs['failures']['failures']
    assert [failure['reason'] for failure in failures] == ['unknown'] * (3 - len(energies))
    assert parsed.label == ('OK' if energies else 'ERROR_ALL_LABELS_FAILED')
    assert kind not in ('cut', 'end only') or energies, 'the half that is left has whole lines'


@pytest.mark.parametrize('kind', KINDS)
def test_a_damaged_summary_of_labels(parse_labels, frames, kind):
    files = {'labels.jsonl': lines_of(frames).encode(), 'labels.json': LABELS_SUMMARY.encode()}
    whole, parsed = parse_labels(files), parse_labels({**files, 'labels.json': damage(files['labels.json'], kind)})
    assert len(energies_of(whole)) == 3
    # The versions are in the level of theory of the labels.
    check(parsed, whole, Ending('OK', other=['failures', 'trajectories.composition_0000']))
    assert energies_of(parsed) == energies_of(whole)
