"""Evaluations and labels: what the drivers of this package bring back."""

import io
import json

import numpy as np
import pytest
from aiida import orm
from aiida.engine import ExitCode

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
        ({'energy': np.array([None] * 3)}, 'float64'),
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


def test_evaluations_without_their_files(parse_evaluation):
    assert parse_evaluation({}).label == 'ERROR_NO_REASON_GIVEN'
    parsed = parse_evaluation({'evaluation.json': SUMMARY})
    assert parsed.label == 'ERROR_EVALUATION_INVALID'
    assert 'there is no file with results' in parsed.code.message
    stderr = "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'pyace'\n"
    assert parse_evaluation({'stderr.txt': stderr}).label == 'ERROR_ENGINE_NOT_IMPORTABLE'
    assert parse_evaluation({}, verdict=ExitCode(120, 'late')).label == 'ERROR_SCHEDULER_OUT_OF_WALLTIME'


def labels_of(frames, failed=()):
    arrays = {'energy': frames.energy.copy(), 'forces': frames.forces.copy(), 'stress': frames.stress.copy()}
    rows = list(frames.slices())
    for frame in failed:
        arrays['energy'][frame] = np.nan
        arrays['forces'][rows[frame]] = np.nan
    return arrays


def summary_of(*failures):
    entries = [{'frame': frame, 'reason': 'KeyError', 'message': f'frame {frame}'} for frame in failures]
    return json.dumps({'failures': entries, 'seconds': 0.5, 'versions': {'ase': '3.29'}})


def test_labels_that_failed_are_named_and_the_others_attached(parse_labels, mgo_frames):
    frames = mgo_frames.select([0, 1, 2])
    parsed = parse_labels({'labels.npz': npz(**labels_of(frames, [1])), 'labels.json': summary_of(1)})
    assert parsed.label == 'OK'
    (failure,) = parsed.outputs['failures']['failures']
    assert failure['hash'] == parsed.node.inputs.dataset.get_hashes()[1].tobytes().hex()
    assert (failure['step'], failure['reason'], failure['message']) == (1, 'KeyError', 'frame 1')
    energies = np.concatenate([node.get_array('energy') for node in parsed.outputs['trajectories'].values()])
    assert sorted(energies) == sorted(frames.energy[[0, 2]])


def test_a_frame_whose_forces_are_not_finite_has_failed(parse_labels, mgo_frames):
    frames = mgo_frames.select([0, 1, 2])
    labels = labels_of(frames)
    labels['forces'][-1, 2] = np.inf
    parsed = parse_labels({'labels.npz': npz(**labels), 'labels.json': summary_of()})
    (failure,) = parsed.outputs['failures']['failures']
    assert (failure['step'], failure['reason']) == (2, 'unknown')


def test_all_labels_failed(parse_labels, mgo_frames):
    labels = labels_of(mgo_frames.select([0, 1, 2]), [0, 1, 2])
    parsed = parse_labels({'labels.npz': npz(**labels), 'labels.json': summary_of(0, 1, 2)})
    assert parsed.label == 'ERROR_ALL_LABELS_FAILED'
    assert 'None of 3 frames' in parsed.code.message
    assert 'KeyError: frame 0' in parsed.code.message
    assert len(parsed.outputs['failures']['failures']) == 3


@pytest.mark.parametrize(
    'summary',
    ['', '{}', '[]', 'null', '{"failures": [{}]}', '{"failures": 3}', '{"failures": [[]]}', '[' * 100_000, '\x00\xff'],
)
def test_a_summary_of_labels_that_cannot_be_read(parse_labels, mgo_frames, summary):
    parsed = parse_labels({'labels.npz': npz(**labels_of(mgo_frames.select([0, 1, 2]))), 'labels.json': summary})
    assert parsed.label == 'ERROR_LABELS_INVALID'


def test_labels_without_their_files(parse_labels):
    assert parse_labels({}).label == 'ERROR_NO_REASON_GIVEN'
    assert parse_labels({'labels.npz': b'PK', 'labels.json': summary_of()}).label == 'ERROR_LABELS_INVALID'
    assert parse_labels({}, verdict=ExitCode(140, 'gone')).label == 'ERROR_SCHEDULER_NODE_FAILURE'
