"""What a training job sends, keeps and brings back."""

from pathlib import Path

import pytest
import yaml
from aiida.common.datastructures import CodeRunMode

from aiida_pacemaker.baseline.evaluation import subtract
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.frames.pickles.reading import read_dataset

FIXTURES = Path(__file__).parents[1] / 'fixtures'
MODES = {
    'continue': 'initial_potential.yaml',
    'reset': {'filename': 'initial_potential.yaml', 'reset': True},
}


@pytest.fixture
def prepare_train(prepare, pace_codes_fake, train_inputs):
    def run(**changes):
        return prepare('pacemaker.train', {'code': pace_codes_fake['train'], **train_inputs(**changes)})

    return run


def test_a_plain_fit(prepare_train, dataset, reference_energies):
    prepared = prepare_train()
    assert prepared.commands == [['input.yaml', '--no-predict']]
    (data,) = [name for name in prepared.files if name.endswith('.pckl.gzip')]
    assert set(prepared.files) == {'input.yaml', data}
    assert set(prepared.kept) == {'input.yaml'}
    info = prepared.info
    assert prepared.staged == {data: 'sent'}
    assert info.retrieve_temporary_list == []
    assert set(info.retrieve_list) == {
        'stdout.txt',
        'stderr.txt',
        'log.txt',
        'metrics.txt',
        'test_metrics.txt',
        'cycle_metrics.txt',
        'ladder_metrics.txt',
        'output_potential.yaml',
        'interim_potential_*.yaml',
        'exit_status',
        'stage.lost',
    }
    sections = yaml.safe_load(prepared.files['input.yaml'])
    assert sections['data'] == {'filename': [data], 'reference_energy': pytest.approx(reference_energies, rel=1e-13)}
    assert sections['fit']['maxiter'] == 3
    assert sections['potential']['elements'] == ['Mg', 'O']


def test_what_the_engine_reads_is_the_labels_less_the_baseline(prepare_train, tmp_path, rattled, lj_baseline):
    prepared = prepare_train()
    (name,) = set(prepared.files) - {'input.yaml'}
    read, others = read_dataset(prepared.files[name], 'x')
    target = subtract(lj_baseline, rattled)
    assert read.energy.tolist() == pytest.approx(target.energy.tolist(), abs=1e-9)
    assert read.forces.ravel().tolist() == pytest.approx(target.forces.ravel().tolist(), abs=1e-9)
    # Frames are named by their hashes, which say nothing more.
    assert others == ()


def test_further_outputs_are_brought_back_on_request(prepare_train, pace_codes_fake):
    prepared = prepare_train(predict=True, yace_code=pace_codes_fake['yace'])
    assert prepared.commands == [['input.yaml'], ['output_potential.yaml', '-o', 'output_potential.yace']]
    fit, conversion = prepared.info.codes_info
    assert prepared.info.codes_run_mode == CodeRunMode.SERIAL
    assert (fit.stdout_name, fit.stderr_name) == ('stdout.txt', 'stderr.txt')
    assert (conversion.stdout_name, conversion.stderr_name) == ('yaml2yace_stdout.txt', 'yaml2yace_stderr.txt')
    retrieved = prepared.info.retrieve_list
    assert {'output_potential.yace', 'yaml2yace_stderr.txt', ('report/*', '.', 2)} <= set(retrieved)
    # Predictions are pickles: they are read and not kept.
    assert prepared.info.retrieve_temporary_list == ['train_pred.pckl.gzip', 'test_pred.pckl.gzip']


@pytest.mark.fault(
    'the potential to start from says that it is finished',
    engine='nothing is fitted, exit 0',
    here='the note is taken out of what is sent',
    ends='success',
)
@pytest.mark.parametrize('mode', MODES)
def test_the_potential_to_start_from(prepare_train, lj_baseline, reference_energies, mode):
    content = (FIXTURES / 'train/killed_interim/interim_potential_0.yaml').read_bytes()
    # With this note the engine would take it for finished.
    finished = content.replace(b'metadata:\n', b'metadata:\n  _fit_cycles: 1\n')
    potential = PacePotentialData(finished, baseline=lj_baseline, reference_energies=reference_energies)
    prepared = prepare_train(potential=potential, potential_mode=mode, max_epochs=7)
    sections = yaml.safe_load(prepared.files['input.yaml'])
    assert sections['potential'] == MODES[mode]
    assert sections['fit']['maxiter'] == 7
    assert prepared.files['initial_potential.yaml'] == content


def test_extending_a_potential(prepare_train, recorded_potential):
    sections = yaml.safe_load(prepare_train(potential=recorded_potential, potential_mode='extend').files['input.yaml'])
    assert sections['potential']['initial_potential'] == 'initial_potential.yaml'
    assert sections['fit']['ladder_step'] > 0


@pytest.mark.parametrize('mode', ['core', 'both'])
def test_the_baseline_reaches_the_engine(prepare_train, mode):
    baseline = DeltaBaseline.for_elements(['Mg', 'O'], mode=mode)
    sections = yaml.safe_load(prepare_train(baseline=baseline.model_dump(mode='json')).files['input.yaml'])
    assert (sections['fit'].get('repulsion') == 'auto') == (mode == 'core')
    inner = {key: bond['r_in'] for key, bond in sections['potential']['bonds'].items() if 'r_in' in bond}
    assert inner == ({'Mg': 1.974, 'MgO': 1.449, 'O': 0.924} if mode == 'both' else {})


def test_test_frames_are_files_of_their_own(prepare_train, test_dataset):
    prepared = prepare_train(test_dataset=test_dataset)
    data = yaml.safe_load(prepared.files['input.yaml'])['data']
    assert set(data['filename']).isdisjoint(data['test_filename'])
    assert set(prepared.files) == {'input.yaml', *data['filename'], *data['test_filename']}
    assert set(prepared.kept) == {'input.yaml'}


def data_files(prepared):
    return yaml.safe_load(prepared.files['input.yaml'])['data']['filename']


def test_names_of_files_follow_content_and_baseline(prepare_train, dataset, rattled):
    names = data_files(prepare_train())
    # Another node with the same frames makes the same files; another baseline makes others.
    assert data_files(prepare_train(dataset=PaceDatasetData(rattled))) == names
    other = DeltaBaseline.for_elements(['Mg', 'O']).model_dump(mode='json')
    assert set(data_files(prepare_train(baseline=other))).isdisjoint(names)
    reordered = PaceDatasetData(rattled.select([1, 0, *range(2, len(rattled))]))
    assert data_files(prepare_train(dataset=reordered)) != names
