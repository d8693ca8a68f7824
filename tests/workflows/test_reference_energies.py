"""Energies of isolated atoms, by the labeller of the frames."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import run_get_node
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.data.trajectories import trajectories_from_atoms
from aiida_pacemaker.frames.theory import LevelOfTheory, differences
from aiida_pacemaker.sources.origin import theory_of
from aiida_pacemaker.workflows.label_ase import AseLabelWorkChain
from aiida_pacemaker.workflows.reference_energies import PaceReferenceEnergiesWorkChain

pytestmark = pytest.mark.usefixtures('aiida_profile')

EMT_LABELLER = {'calculator': 'ase.calculators.emt:EMT'}


@pytest.fixture
def labeller(pace_codes_fake):
    """Return EMT as the loop takes it."""
    inputs = {'code': pace_codes_fake['python'], 'calculator': orm.Dict(EMT_LABELLER)}
    return {'entry_point': 'pacemaker.label.ase', 'inputs': inputs}


def energy_of(element):
    atom = Atoms(element, cell=[12.0] * 3, pbc=True, calculator=EMT())
    return atom.get_potential_energy()


def test_emt(labeller):
    """They are at the level of theory of the frames that the same labeller has labelled."""
    outputs, node = run_get_node(PaceReferenceEnergiesWorkChain, elements=['Ni', 'Cu'], label=labeller)
    assert node.is_finished_ok, node.exit_message
    energies = outputs['reference_energies'].get_dict()
    assert energies == {element: pytest.approx(energy_of(element)) for element in ('Cu', 'Ni')}
    assert min(energies.values()) > 1
    assert outputs['reference_energies'].creator.process_label == 'energies_of_atoms'
    pool, _ = merge_frames(*trajectories_from_atoms([bulk('Cu')]), labelled=False)
    labelled, _ = run_get_node(AseLabelWorkChain, dataset=pool, **labeller['inputs'])
    (trajectory,) = labelled['trajectories'].values()
    assert differences(theory_of(trajectory), LevelOfTheory(**outputs['level_of_theory'].get_dict())) == []


def test_an_atom_that_fails(labeller):
    _, node = run_get_node(PaceReferenceEnergiesWorkChain, elements=['Cu', 'Ti'], label=labeller)
    assert node.exit_status == PaceReferenceEnergiesWorkChain.exit_codes.ERROR_ATOMS_FAILED.status
    assert 'the isolated atom of Ti has no energy: NotImplementedError' in node.exit_message
    _, node = run_get_node(PaceReferenceEnergiesWorkChain, elements=['Ti'], label=labeller)
    assert node.exit_status == PaceReferenceEnergiesWorkChain.exit_codes.ERROR_ATOMS_FAILED.status
    assert 'NotImplementedError' in node.exit_message


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'elements': ['Cu', 'Xx']}, r"\['Xx'\] are no chemical symbols"),
        ({'elements': []}, 'at least one element'),
        ({'box': 4.0}, 'does not isolate'),
        ({'label': {'entry_point': 'nobody'}}, '`label.entry_point`: there is no workflow'),
        ({'label': {}}, 'give a labeller'),
    ],
)
def test_refused_before_submission(labeller, changes, said):
    with pytest.raises(ValueError, match=said):
        run_get_node(PaceReferenceEnergiesWorkChain, **{'elements': ['Cu'], 'label': labeller, **changes})


def test_inputs_that_the_labeller_refuses(labeller):
    labeller['inputs']['calculator'] = orm.Dict({'calculator': 'no path'})
    _, node = run_get_node(PaceReferenceEnergiesWorkChain, elements=['Cu'], label=labeller)
    assert node.exit_status == PaceReferenceEnergiesWorkChain.exit_codes.ERROR_INPUTS_REFUSED.status
    assert 'module.path:Name' in node.exit_message


@pytest.mark.qe
def test_quantum_espresso(pw_code, pseudo_family):
    inputs = {
        'code': pw_code,
        'pseudo_family': orm.Str(pseudo_family.label),
        'protocol': orm.Str('fast'),
        'kpoints_distance': orm.Float(2.0),
        'options': orm.Dict({'withmpi': False, 'resources': {'num_machines': 1}}),
    }
    label = {'entry_point': 'pacemaker.label.quantumespresso', 'inputs': inputs}
    outputs, node = run_get_node(PaceReferenceEnergiesWorkChain, elements=['Al'], box=6.5, label=label)
    assert node.is_finished_ok, node.exit_message
    # What it takes to remove the three valence electrons: 5.99 + 18.83 + 28.45 = 53.3 eV by experiment.
    assert -60 < outputs['reference_energies']['Al'] < -45
    level = LevelOfTheory(**outputs['level_of_theory'].get_dict())
    assert list(level.pseudopotentials) == ['Al']
    assert level.smearing.kind == 'cold'
