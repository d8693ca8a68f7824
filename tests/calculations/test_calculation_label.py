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
    assert set(prepared.files) == {'label_ase.py', 'journal.py', 'structures.py', 'summary.py', 'label.json'}
    (shard,) = copper.shards
    request = json.loads(prepared.files['label.json'])
    assert request == {**calculator, 'stress': True, 'numerical_stress': False, 'shards': [shard['name']]}
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


@pytest.mark.fault(
    'the Python of a labeller does not have the module of its calculator',
    engine='a traceback',
    here='says which module is to be installed in the environment of that Python; nothing is said of the engine',
    ends='AseLabelCalculation.ERROR_CALCULATOR_NOT_IMPORTABLE',
)
def test_a_calculator_that_is_not_installed(run_job, pace_codes_fake, copper):
    calculator = {'calculator': 'no_such_module:Calculator'}
    node = run_job('pacemaker.label.ase', code=pace_codes_fake['python'], dataset=copper, calculator=calculator)
    assert node.exit_status == node.process_class.exit_codes.ERROR_CALCULATOR_NOT_IMPORTABLE.status
    assert 'Install no_such_module in the environment of that Python' in node.exit_message
    assert 'python-ace' not in node.exit_message


#: EMT without its stress, as in a calculator that never had one.
STRESSLESS = """
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT


class Stressless(EMT):
    implemented_properties = [name for name in EMT.implemented_properties if name != 'stress']

    def calculate(self, *arguments, **kwargs):
        super().calculate(*arguments, **kwargs)
        self.results.pop('stress', None)


class Abstract(EMT):
    def get_stress(self, atoms=None):
        raise NotImplementedError


class FreeEnergy(Stressless):
    def calculate(self, *arguments, **kwargs):
        super().calculate(*arguments, **kwargs)
        self.results['energy'] = 0.0
"""


@pytest.fixture
def stressless(run_job, pace_codes_fake, tmp_path):
    """Return a function that labels with a calculator that has no stress."""
    (tmp_path / 'stressless.py').write_text(STRESSLESS)

    def label(dataset, name='Stressless', **calculator):
        return run_job(
            'pacemaker.label.ase',
            code=pace_codes_fake['python'],
            dataset=dataset,
            calculator={'calculator': f'stressless:{name}', **calculator},
            metadata={'options': {'environment_variables': {'PYTHONPATH': str(tmp_path)}}},
        )

    return label


@pytest.fixture
def alloy(aiida_profile):
    """Return a sheared periodic frame of two elements, and one without periodicity."""
    sheared = bulk('Cu', cubic=True)
    sheared.numbers[0] = 79
    sheared.rattle(0.1, seed=3)
    sheared.set_cell(sheared.cell @ [[1.02, 0.03, 0.01], [0, 0.97, 0.02], [0, 0, 1.05]], scale_atoms=True)
    cluster = sheared.copy()
    cluster.pbc = False
    return PaceDatasetData(from_atoms([sheared, cluster], 'alloy')).store()


@pytest.mark.parametrize('name', ['Stressless', 'Abstract', 'FreeEnergy'])
def test_a_stress_by_finite_differences_is_that_of_the_calculator(stressless, alloy, name):
    node = stressless(alloy, name, numerical_stress=True)
    assert node.is_finished_ok, node.exit_message
    sheared = alloy.to_ase()[0]
    sheared.calc = EMT()
    stresses = [
        trajectory.get_array('stress')[0]
        for trajectory in node.outputs.trajectories.values()
        if 'stress' in trajectory.get_arraynames()
    ]
    # The forces are the derivatives of the free energy, whatever the calculator calls its energy.
    energies = [float(trajectory.get_array('energy')[0]) for trajectory in node.outputs.trajectories.values()]
    assert any(np.isclose(energy, sheared.get_potential_energy(), rtol=0, atol=1e-12) for energy in energies)
    for trajectory in node.outputs.trajectories.values():
        assert trajectory.base.attributes.get('level_of_theory')['energy'] == 'free'
    found = [stress for stress in stresses if np.isfinite(stress).all()]
    # The cluster has none.
    assert len(found) == 1
    assert np.abs(sheared.get_stress(voigt=False)).min() > 1e-4
    assert np.allclose(found[0], sheared.get_stress(voigt=False), rtol=0, atol=1e-7)


def test_no_stress_is_made_unless_asked_for(stressless, alloy):
    node = stressless(alloy)
    assert node.is_finished_ok, node.exit_message
    (failure,) = node.outputs.failures['failures']
    assert failure['reason'] == 'StressMissingError'
    assert '`numerical_stress: true`' in failure['message']
    assert '`stress: false`' in failure['message']
    assert stressless(alloy, stress=False).outputs.failures['failures'] == []


def test_a_stress_that_is_there_is_taken(run_job, pace_codes_fake, alloy):
    """The differences are for calculators that have none: these would have an error."""
    calculator = {'calculator': EMT_PATH, 'numerical_stress': True}
    node = run_job('pacemaker.label.ase', code=pace_codes_fake['python'], dataset=alloy, calculator=calculator)
    sheared = alloy.to_ase()[0]
    sheared.calc = EMT()
    stresses = [trajectory.get_array('stress')[0] for trajectory in node.outputs.trajectories.values()]
    assert any(np.allclose(stress, sheared.get_stress(voigt=False), rtol=0, atol=1e-14) for stress in stresses)


def test_contradictory_wishes_are_refused():
    with pytest.raises(ValueError, match='leave one of them out'):
        AseCalculator(calculator=EMT_PATH, stress=False, numerical_stress=True)
