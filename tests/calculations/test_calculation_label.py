"""Labels by calculators of ASE: which are allowed, what is sent, and real ones."""

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_pacemaker.calculations.label_ase import AseCalculator
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import from_atoms, to_atoms

EMT_PATH = 'ase.calculators.emt:EMT'


@pytest.fixture
def copper(aiida_profile):
    """Return three frames of copper and, second, one of an element that EMT does not know."""
    images = [bulk('Cu', cubic=True), bulk('Ti'), bulk('Cu', a=3.7), bulk('Cu', cubic=True)]
    images[3].pbc = False
    images[3].rattle(0.05, seed=1)
    images[3].center(vacuum=5)
    return PaceDatasetData(from_atoms(images, 'copper')).store()


@pytest.mark.parametrize(
    'path',
    [
        'EMT',
        'ase.calculators.emt.EMT',
        'os:system;',
        'os:system("true")',
        '../emt:EMT',
        'ase:',
        ':EMT',
        'a b:C',
        'a:B\n',
    ],
)
def test_import_paths_that_are_none(path):
    with pytest.raises(ValueError, match=r'needed: `module.path:Name`'):
        AseCalculator(calculator=path)


def test_import_paths():
    assert AseCalculator(calculator=EMT_PATH).arguments == {}


def test_wrong_calculators_are_refused_before_the_queue(prepare, pace_codes_fake, copper):
    inputs = {'code': pace_codes_fake['python'], 'dataset': copper}
    with pytest.raises(ValueError, match=r'needed: `module\.path:Name`'):
        prepare('pacemaker.label.ase', {**inputs, 'calculator': {'calculator': 'EMT'}})
    with pytest.raises(ValueError, match='calculater'):
        prepare('pacemaker.label.ase', {**inputs, 'calculator': {'calculater': EMT_PATH}})


def test_what_is_sent(prepare, pace_codes_fake, copper):
    calculator = {'calculator': EMT_PATH, 'arguments': {'asap_cutoff': True}}
    prepared = prepare(
        'pacemaker.label.ase', {'code': pace_codes_fake['python'], 'dataset': copper, 'calculator': calculator}
    )
    assert prepared.commands == [['label_ase.py']]
    assert set(prepared.files) == {'label_ase.py', 'structures.py', 'label.json'}
    (shard,) = copper.shards
    request = json.loads(prepared.files['label.json'])
    assert request == {**calculator, 'stress': True, 'shards': [shard['name']]}
    # The frames are sent from the dataset itself and are not in the provenance a second time.
    assert prepared.info.local_copy_list == [(copper.uuid, copper.shard_path(shard['name']), shard['name'])]
    # The labels are kept for good.
    assert 'labels.jsonl' in prepared.info.retrieve_list


def test_frames_that_fail_are_named_and_the_others_labelled(run_job, pace_codes_fake, copper):
    calculator = {'calculator': EMT_PATH}
    node = run_job('pacemaker.label.ase', code=pace_codes_fake['python'], dataset=copper, calculator=calculator)
    assert node.is_finished_ok, node.exit_message
    (failure,) = node.outputs.failures['failures']
    assert failure['step'] == 1
    assert failure['reason'] == 'NotImplementedError'
    assert failure['hash'] == copper.get_hashes()[1].tobytes().hex()

    labelled = {
        trajectory.get_array('energy')[step]: trajectory.get_array('forces')[step]
        for trajectory in node.outputs.trajectories.values()
        for step in range(len(trajectory.get_array('energy')))
    }
    images = to_atoms(copper.get_frames().select([0, 2, 3]))
    assert len(labelled) == len(images)
    for atoms in images:
        atoms.calc = EMT()
        energy = min(labelled, key=lambda value: abs(value - atoms.get_potential_energy()))
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        assert np.allclose(labelled[energy], atoms.get_forces(), rtol=0, atol=1e-10)


def test_a_calculator_that_cannot_be_made_fails_for_all_frames(run_job, pace_codes_fake, copper):
    calculator = {'calculator': 'ase.calculators.singlepoint:SinglePointCalculator'}
    node = run_job('pacemaker.label.ase', code=pace_codes_fake['python'], dataset=copper, calculator=calculator)
    assert node.exit_status == node.process_class.exit_codes.ERROR_ALL_LABELS_FAILED.status
    assert 'None of 4 frames' in node.exit_message
    assert len(node.outputs.failures['failures']) == 4


def test_a_calculator_that_is_not_installed(run_job, pace_codes_fake, copper):
    calculator = {'calculator': 'no_such_module:Calculator'}
    node = run_job('pacemaker.label.ase', code=pace_codes_fake['python'], dataset=copper, calculator=calculator)
    assert node.exit_status == node.process_class.exit_codes.ERROR_ENGINE_NOT_IMPORTABLE.status
    assert 'no_such_module' in node.exit_message
