"""What the jobs of active sets, selections and evaluations send, keep and bring back."""

import json

import numpy as np
import pytest
from aiida import orm

from aiida_pacemaker.baseline.evaluation import subtract
from aiida_pacemaker.calculations.staging import structure_files, training_files
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.pickles.reading import read_dataset, read_table
from aiida_pacemaker.pace.config.options import ActiveSetOptions, SelectOptions


@pytest.fixture
def prepare_job(prepare, pace_codes_fake, recorded_potential):
    codes = {'activeset': 'activeset', 'select': 'select', 'evaluate': 'python'}

    def run(job, **inputs):
        return prepare(
            f'pacemaker.{job}', {'code': pace_codes_fake[codes[job]], 'potential': recorded_potential, **inputs}
        )

    return run


def test_options_become_arguments():
    assert ActiveSetOptions().arguments() == ['-g', '1.01', '-i', '300', '-r', '5']
    full = ActiveSetOptions(kind='full', all_atoms=True, max_force_error=0.5, memory_limit='2GB', batch_size=10)
    assert ' '.join(full.arguments()) == '-g 1.01 -i 300 -b 10 -r 5 -m 2GB -f -a -e 0.5'
    assert SelectOptions().arguments() == ['-g', '1.01', '-i', '300', '-r', '2']
    some = SelectOptions(memory_limit='500MB', max_structures=7)
    assert ' '.join(some.arguments()) == '-g 1.01 -i 300 -r 2 -mem 500MB -m 7'


def test_an_active_set_of_a_dataset(prepare_job, dataset, recorded_potential, lj_baseline, rattled):
    prepared = prepare_job('activeset', dataset=dataset, options={'kind': 'full'})
    (command,) = prepared.commands
    (data,) = set(prepared.files) - {'potential.yaml'}
    assert command == ['-d', data, *ActiveSetOptions(kind='full').arguments(), 'potential.yaml']
    assert prepared.kept == {}
    # Outliers are found by forces that the potential was fitted to: those less the baseline.
    read, _ = read_dataset(prepared.files[data], 'x')
    assert np.allclose(read.forces, subtract(lj_baseline, rattled).forces, rtol=0, atol=1e-12)
    assert prepared.files['potential.yaml'] == recorded_potential.get_b_basis()
    assert prepared.info.retrieve_list == [
        'stdout.txt',
        'stderr.txt',
        'potential.asi.nonlinear',
        'exit_status',
        'stage.lost',
    ]


def test_an_active_set_of_what_a_fit_has_left(prepare_job, pace_codes_fake, tmp_path):
    parent = orm.RemoteData(computer=pace_codes_fake['train'].computer, remote_path=str(tmp_path)).store()
    prepared = prepare_job('activeset', parent_folder=parent)
    assert prepared.commands[0][:2] == ['-d', 'fitting_data_info.pckl.gzip']
    assert set(prepared.files) == {'potential.yaml'}
    assert prepared.staged == {'potential.yaml': 'sent', 'fitting_data_info.pckl.gzip': 'from'}
    assert 'potential.asi' in prepared.info.retrieve_list


def test_a_selection(prepare_job, others, recorded_active_set, recorded_potential):
    zinc, alpha = (PaceDatasetData(others.select(rows)) for rows in (range(3), range(3, 9)))
    prepared = prepare_job(
        'select',
        candidates={'zinc': zinc, 'alpha': alpha},
        active_set=recorded_active_set,
        options={'max_structures': 4},
    )
    (command,) = prepared.commands
    *arguments, first, second = command
    options = SelectOptions(max_structures=4).arguments()
    assert arguments == ['-p', 'potential.yaml', '-a', 'potential.asi', '-o', 'selected.pkl.gz', *options]
    # The candidates in the order of their labels, without the labels of the frames.
    for name, frames in ((first, others.select(range(3, 9))), (second, others.select(range(3)))):
        columns = read_table(prepared.files[name]).columns
        assert set(columns) == {'ase_atoms', 'name'}
        assert np.array_equal(np.concatenate([atoms.positions for atoms in columns['ase_atoms']]), frames.positions)
    assert prepared.kept == {}
    assert prepared.info.retrieve_temporary_list == ['selected.pkl.gz']
    assert prepared.staged == dict.fromkeys([first, second, 'potential.yaml', 'potential.asi'], 'sent')
    assert '-a' not in prepare_job('select', candidates={'zinc': zinc}).commands[0]


def test_an_evaluation(prepare_job, dataset, others, recorded_active_set, recorded_potential):
    grown = PaceDatasetData(others.select(range(4)), parents=[dataset]).store()
    prepared = prepare_job('evaluate', datasets={'old': dataset, 'new': grown}, active_set=recorded_active_set)
    assert prepared.commands == [['evaluate.py']]
    assert set(prepared.kept) == {'evaluate.py', 'handedness.py', 'summary.py', 'tables.py', 'evaluate.json'}
    request = json.loads(prepared.files['evaluate.json'])
    old, new = (list(structure_files(node).values()) for node in (dataset, grown))
    assert request == {
        'potential': 'potential.yaml',
        'active_set': 'potential.asi',
        'posterior': None,
        'error_bars': [],
        'datasets': {'old': old, 'new': new},
    }
    assert set(old) < set(new)
    # A shard that both have is sent once.
    assert prepared.staged == dict.fromkeys(['potential.yaml', 'potential.asi', *new], 'sent')
    assert set(prepared.info.retrieve_temporary_list) == {'evaluation_old.npz', 'evaluation_new.npz'}
    assert 'evaluation.json' in prepared.info.retrieve_list


def test_structures_are_read_from_the_files_of_a_training(
    prepare, pace_codes_fake, recorded_potential, dataset, others
):
    """They are on the computer already; what is not is sent without labels, which are of no use there."""
    new = PaceDatasetData(others.select(range(4)), parents=[dataset]).store()
    baseline = recorded_potential.baseline
    (trained,) = training_files(dataset, baseline).values()
    inputs = {'code': pace_codes_fake['python'], 'potential': recorded_potential, 'datasets': {'all': new}}
    prepared = prepare('pacemaker.evaluate', inputs, trained)
    *_, sent = structure_files(new).values()
    assert json.loads(prepared.files['evaluate.json'])['datasets'] == {'all': [trained, sent]}
    assert prepared.staged == {'potential.yaml': 'sent', trained: 'held', sent: 'sent'}
    assert trained not in prepared.files
