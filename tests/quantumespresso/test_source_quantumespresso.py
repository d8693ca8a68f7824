"""Trajectories of pw.x, of all versions of aiida-quantumespresso."""

import io

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from ase import Atoms

from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.calculations.functions.reference_atoms import energies_of_atoms
from aiida_pacemaker.errors import RefusedError

pytestmark = pytest.mark.usefixtures('aiida_profile')

#: Energies of pw.x for the structures that it had in steps 0 to 3, in eV.
ENERGIES = [-197.87601, -198.07172, -198.08860, -198.08864]


@pytest.fixture
def relax(relaxation, foreign_job, foreign_trajectory):
    """Return a function that makes the trajectory of a relaxation, with its job or without."""

    def build(
        *,
        calculation='relax',
        given=True,
        made=True,
        extra=0,
        version='4.13.0',
        from_xml=False,
        control=(),
        **options,
    ):
        arrays = {name: relaxation[name] for name in ('positions', 'cells', 'energy', 'forces', 'stress')}
        for name in ('energy', 'forces', 'stress'):
            arrays[name] = np.concatenate([arrays[name], arrays[name][:extra] - 1.0])
        arrays['scf_iterations'] = np.full(len(arrays['energy']), 9)
        if from_xml:
            arrays['positions'] = relaxation['true_positions']
        node = foreign_trajectory(['Si', 'Si'], arrays)
        if not made:
            return node
        inputs = {'parameters': orm.Dict({'CONTROL': {'calculation': calculation, **dict(control)}})}
        if given:
            atoms = Atoms('Si2', positions=relaxation['first_positions'], cell=relaxation['first_cell'], pbc=True)
            inputs['structure'] = orm.StructureData(ase=atoms)
        foreign_job(
            'quantumespresso.pw', inputs=inputs, outputs={'output_trajectory': node}, version=version, options=options
        )
        return node

    return build


def misses(dataset, relaxation):
    """Return by how much the energy of each frame misses that of its positions, in eV."""
    found = []
    for image in dataset.to_ase():
        step = np.abs(relaxation['true_positions'] - image.positions).max(axis=(1, 2)).argmin()
        assert np.abs(relaxation['true_positions'][step] - image.positions).max() < 1e-6
        found.append(image.calc.results['energy'] - ENERGIES[step])
        np.testing.assert_allclose(image.get_forces(), relaxation['forces'][step], atol=1e-12)
    return found


@pytest.mark.fault(
    'a relaxation or molecular dynamics parsed by aiida-quantumespresso up to 4.13: structures one step behind labels',
    engine='fits energies and forces of other structures',
    here='each label is given back to its structure, the input structure first; refused where that is not known',
    ends='success, or `RefusedError`, 410',
)
@pytest.mark.parametrize(
    ('version', 'calculation', 'extra', 'from_xml'),
    [
        ('4.13.0', 'relax', 0, False),
        ('3.5.2', 'md', 0, False),
        ('4.10.0', 'vc-relax', 1, False),
        ('5.1.0', 'relax', 0, True),
        (None, 'relax', 0, False),
        # Installed from the repository between two releases.
        ('4.13.0', 'relax', 0, True),
    ],
)
def test_each_structure_has_its_own_labels(relax, relaxation, version, calculation, extra, from_xml):
    dataset, report = merge_frames(relax(version=version, calculation=calculation, extra=extra, from_xml=from_xml))
    assert np.abs(misses(dataset, relaxation)).max() < 1e-5
    assert dataset.n_frames == 4
    assert not report['warnings']


def test_a_single_structure_stays_as_it_is(relaxation, foreign_job, foreign_trajectory):
    arrays = {name: relaxation[name][:1] for name in ('energy', 'forces', 'stress')}
    node = foreign_trajectory(
        ['Si', 'Si'], {**arrays, 'positions': relaxation['first_positions'][None], 'cells': relaxation['cells'][:1]}
    )
    parameters = orm.Dict({'CONTROL': {'calculation': 'scf'}})
    foreign_job(
        'quantumespresso.pw', inputs={'parameters': parameters}, outputs={'output_trajectory': node}, version='4.13.0'
    )
    dataset, report = merge_frames(node)
    assert np.array_equal(dataset.get_frames().positions, relaxation['first_positions'])
    assert not report['warnings']


def test_without_the_input_structure_it_is_refused(relax):
    with pytest.raises(
        RefusedError, match=r'one step behind its labels \(it is of aiida-quantumespresso 4\.13\)(.|\n)*4\.14'
    ):
        merge_frames(relax(given=False))
    assert merge_frames(relax(given=False), labelled=False)[0].n_frames == 3


def test_without_the_calculation_energies_and_forces_tell(relax):
    with pytest.raises(RefusedError, match=r'one step behind its labels \(by energies and forces along the path'):
        merge_frames(relax(made=False))


def test_what_nothing_tells_is_said(relaxation, foreign_trajectory):
    """Structures that are too far apart for energies and forces to tell anything."""
    far = relaxation['true_positions'] * np.linspace(1, 1.4, 4)[:, None, None]
    arrays = {name: relaxation[name] for name in ('cells', 'energy', 'forces', 'stress')}
    node = foreign_trajectory(['Si', 'Si'], {**arrays, 'positions': far, 'scf_iterations': np.full(4, 9)})
    dataset, report = merge_frames(node)
    assert dataset.n_frames == 4
    assert 'whether the labels of 4 frames belong to their structures is not known' in report['warnings'][0]


def test_a_convention_that_is_stated_does_not_undo_it(relax, relaxation):
    dataset, _ = merge_frames(relax(), conventions={'source_0000': 'eV-ASE'})
    assert np.abs(misses(dataset, relaxation)).max() < 1e-5


def test_a_restart_does_not_begin_with_its_input_structure(relax, relaxation):
    node = relax(control={'restart_mode': 'restart'})
    dataset, report = merge_frames(node)
    assert np.abs(misses(dataset, relaxation)).max() < 1e-5
    assert dataset.get_frames().step.tolist() == [1, 2, 3]
    assert 'the first of 4 steps is left out' in report['warnings'][0]


def test_a_new_plugin_without_the_xml_file_is_as_the_old(relax, relaxation):
    dataset, _ = merge_frames(relax(version='5.1.0', without_xml=True))
    assert np.abs(misses(dataset, relaxation)).max() < 1e-5


def test_an_exit_code_that_says_not_converged_counts(relaxation, foreign_job, foreign_trajectory):
    arrays = {name: relaxation[name][:1] for name in ('energy', 'forces', 'stress', 'cells')}
    node = foreign_trajectory(['Si', 'Si'], {**arrays, 'positions': relaxation['first_positions'][None]})
    inputs = {'parameters': orm.Dict({'CONTROL': {'calculation': 'scf'}})}
    foreign_job(
        'quantumespresso.pw', inputs=inputs, outputs={'output_trajectory': node}, version='5.1.0', exit_status=710
    )
    with pytest.raises(RefusedError, match='WARNING_ELECTRONIC_CONVERGENCE_NOT_REACHED'):
        merge_frames(node)
    assert merge_frames(node, allow_unconverged=True)[0].n_frames == 1


def test_what_was_parsed_again_is_judged_by_its_first_structure(relaxation, foreign_job, foreign_trajectory):
    """The function in which a parser runs once more notes no version of the plugin."""
    atoms = Atoms('Si2', positions=relaxation['first_positions'], cell=relaxation['first_cell'], pbc=True)
    inputs = {
        'structure': orm.StructureData(ase=atoms),
        'parameters': orm.Dict({'CONTROL': {'calculation': 'relax'}}),
    }
    retrieved = orm.FolderData()
    retrieved.base.repository.put_object_from_filelike(io.BytesIO(b''), 'aiida.out')
    foreign_job('quantumespresso.pw', inputs=inputs, outputs={'retrieved': retrieved}, version='4.13.0')
    arrays = {name: relaxation[name] for name in ('cells', 'energy', 'forces', 'stress')}
    node = foreign_trajectory(['Si', 'Si'], {**arrays, 'positions': relaxation['true_positions']})
    function = orm.CalcFunctionNode()
    function.set_process_label('Parser.parse_from_node.<locals>.parse_calcfunction')
    function.base.links.add_incoming(retrieved, link_type=LinkType.INPUT_CALC, link_label='retrieved')
    function.store()
    node.base.links.add_incoming(function, link_type=LinkType.CREATE, link_label='output_trajectory')
    node.store()
    dataset, report = merge_frames(node)
    assert np.abs(misses(dataset, relaxation)).max() < 1e-5
    assert not report['warnings']


def test_an_isolated_atom_that_is_not_converged_is_no_reference(relaxation, foreign_trajectory):
    arrays = {name: relaxation[name][:1] for name in ('energy', 'cells')}
    arrays |= {'positions': np.zeros((1, 1, 3)), 'energy_accuracy': np.array([0.02])}
    node = foreign_trajectory(['Si'], arrays)
    _, process = energies_of_atoms.run_get_node(elements=orm.List(['Si']), one=node)
    assert process.exit_status == 410
    assert '0.02 eV/atom' in process.exit_message
