"""Who made a trajectory: what is known, what a user states, what is refused."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import calcfunction
from ase import Atoms
from ase.build import bulk

from aiida_pacemaker.calculations.functions.merging import merge, merge_frames, merge_options
from aiida_pacemaker.data.conventions import say_convention
from aiida_pacemaker.errors import RefusedError
from aiida_pacemaker.frames.conventions import Convention
from aiida_pacemaker.provenance import core_hours, levels_of
from aiida_pacemaker.sources import registry
from aiida_pacemaker.sources.base import TrajectorySource

pytestmark = pytest.mark.usefixtures('aiida_profile')

RYDBERG = 13.605693


def plain(**more):
    """Return the arrays of two atoms in whatever units."""
    return {
        'positions': np.array([[[0, 0, 0], [1.3, 1.3, 1.3]]]),
        'cells': np.array([[[0, 2.6, 2.6], [2.6, 0, 2.6], [2.6, 2.6, 0]]]),
        'energy': np.array([-8.0]),
        'forces': np.array([[[0.1, 0, 0], [-0.1, 0, 0]]]),
        'stress': np.zeros((1, 3, 3)),
        **more,
    }


def vasp(**more):
    arrays = plain(positions=np.array([[[0, 0, 0], [0.25, 0.25, 0.25]]]), stress=np.array([np.eye(3) * 12.5]), **more)
    del arrays['energy']
    return {'energy_extrapolated': np.array([-10.8]), 'energy_free': np.array([-10.9]), **arrays}


@pytest.mark.fault(
    'a trajectory of a plugin whose units nobody knows',
    engine='takes its numbers for eV and angstrom',
    here='refused until its convention is stated (`conventions`) or its plugin has a class',
    ends='`RefusedError`, 410',
)
def test_the_trajectory_of_an_unknown_job_is_refused_until_its_convention_is_stated(foreign_job, foreign_trajectory):
    node = foreign_trajectory(['Si', 'Si'], plain())
    foreign_job('siesta.siesta', outputs={'output_trajectory': node})
    for options in ({}, {'labelled': False}):
        with pytest.raises(RefusedError, match=r'made by `siesta\.siesta`(.|\n)*conventions(.|\n)*`vasp`(.|\n)*class'):
            merge_frames(node, **options)
    dataset, _ = merge_frames(node, conventions={'source_0000': 'eV-ASE'})
    assert dataset.get_energies().tolist() == [-8.0]
    with pytest.raises(ValueError, match=r"'vsap'.* did you mean 'vasp'"):
        merge_frames(node, conventions={'source_0000': 'vsap'})
    with pytest.raises(RefusedError, match='speaks of source_0001'):
        merge_frames(node, conventions={'source_0001': 'eV-ASE'})


def test_what_a_trajectory_says_itself_comes_first(foreign_job, foreign_trajectory):
    """So a job of a user's own can label, whatever its plugin is called."""
    node = foreign_trajectory(['Si', 'Si'], plain())
    say_convention(node, 'eV-ASE')
    foreign_job('mypackage.label', outputs={'labelled': node})
    assert merge_frames(node)[0].get_energies().tolist() == [-8.0]


def test_functions_of_users_are_in_our_convention(foreign_trajectory):
    @calcfunction
    def label(energy):
        return foreign_trajectory(['Si', 'Si'], plain(energy=np.array([energy.value])))

    assert merge_frames(label(orm.Float(-7.0)))[0].get_energies().tolist() == [-7.0]


def test_vasp_by_its_job(foreign_job, foreign_trajectory):
    node = foreign_trajectory(['Si', 'Si'], vasp(electronic_steps=np.array([60])), pbc=None)
    kpoints = orm.KpointsData()
    kpoints.set_kpoints_mesh([4, 4, 4])
    incar = {'encut': 400, 'ismear': 0, 'sigma': 0.05, 'gga': 'PE', 'NELM': 60, 'ediff': 1e-6, 'prec': 'accurate'}
    misc = orm.Dict({'run_stats': {'elapsed_time': 7200.0}, 'version': '6.4.2', 'run_status': {}})
    made = foreign_job(
        'vasp.vasp',
        inputs={'parameters': orm.Dict(incar), 'kpoints': kpoints},
        outputs={'trajectory': node, 'misc': misc},
        options={'job_id': '7', 'process_state': 'finished', 'resources': {'num_machines': 1, 'tot_num_mpiprocs': 8}},
    )
    with pytest.raises(RefusedError, match='60 electronic steps'):
        merge_frames(node)
    dataset, report = merge_frames(node, allow_unconverged=True)
    (image,) = dataset.to_ase()
    np.testing.assert_allclose(image.positions[1], [1.3, 1.3, 1.3])
    np.testing.assert_allclose(image.get_stress(), [-0.0078019] * 3 + [0] * 3, atol=1e-7)
    assert image.calc.results['energy'] == -10.9
    assert len(report['warnings']) == 1
    (use,) = levels_of(dataset)
    assert (use.level.code, use.level.functional, use.level.cutoffs.wavefunction) == ('vasp', 'PE', 400)
    assert use.level.arguments == {'prec': 'accurate'}
    assert core_hours(made)['total'] == pytest.approx(16.0)


def test_vasp_without_the_energy_that_forces_belong_to(foreign_job, foreign_trajectory):
    arrays = vasp()
    del arrays['energy_free']
    node = foreign_trajectory(['Si', 'Si'], arrays)
    foreign_job('vasp.vasp', outputs={'trajectory': node})
    dataset, report = merge_frames(node)
    assert dataset.get_energies().tolist() == [-10.8]
    assert '`energy_extrapolated`, which is not what the forces are the derivative of' in report['warnings'][0]


@pytest.mark.parametrize('status', [{'contains_nelm_breach': True}, {'electronic_converged': False}])
def test_vasp_says_that_something_is_not_converged(foreign_job, foreign_trajectory, status):
    """By default its parser does not keep the numbers of electronic steps: there is 1 for each."""
    node = foreign_trajectory(['Si', 'Si'], vasp(electronic_steps=np.array([1])))
    foreign_job('vasp.vasp', outputs={'trajectory': node, 'misc': orm.Dict({'run_status': status})})
    with pytest.raises(RefusedError, match='vasp'):
        merge_frames(node)
    assert merge_frames(node, allow_unconverged=True)[0].n_frames == 1


def test_vasp_prints_how_many_electronic_steps_each_step_took(foreign_job, foreign_trajectory):
    step = '<calculation>{}</calculation>'
    text = '<i type="int" name="NELM">  2</i>' + step.format('<scstep>' * 2) + step.format('<scstep>')
    retrieved = orm.FolderData()
    retrieved.base.repository.put_object_from_bytes(text.encode(), 'vasprun.xml')
    arrays = {name: np.concatenate([values] * 2) for name, values in vasp(electronic_steps=np.array([1])).items()}
    node = foreign_trajectory(['Si', 'Si'], arrays)
    foreign_job('vasp.vasp', outputs={'trajectory': node, 'retrieved': retrieved})
    with pytest.raises(
        RefusedError, match=r'1 of 2 frames(.|\n)*frame 0(.|\n)*all 2 electronic steps that NELM allows'
    ):
        merge_frames(node)


def test_vasp_by_its_arrays(foreign_trajectory):
    assert merge_frames(foreign_trajectory(['Si', 'Si'], vasp()))[0].get_energies().tolist() == [-10.9]
    for arrays in (vasp() | {'energy': np.array([-10.8])}, vasp() | {'positions': plain()['positions']}):
        with pytest.raises(RefusedError, match=r'may be of vasp(.|\n)*conventions'):
            merge_frames(foreign_trajectory(['Si', 'Si'], arrays))


def test_positions_that_look_fractional(foreign_trajectory):
    arrays = plain(positions=vasp()['positions'])
    node = foreign_trajectory(['Si', 'Si'], arrays)
    with pytest.raises(RefusedError, match=r'looks like fractional(.|\n)*`vasp`'):
        merge_frames(node, labelled=False)
    pool, _ = merge_frames(node, labelled=False, conventions={'source_0000': 'vasp'})
    np.testing.assert_allclose(pool.get_frames().positions[1], [1.3, 1.3, 1.3])


def cp2k_inputs(structure, **motion):
    parameters = {
        'GLOBAL': {'RUN_TYPE': 'GEO_OPT'},
        'MOTION': motion,
        'FORCE_EVAL': {
            'DFT': {'XC': {'XC_FUNCTIONAL': {'_': 'PBE'}}, 'MGRID': {'CUTOFF': 400}, 'SCF': {'EPS_SCF': 1e-7}},
            'SUBSYS': {'KIND': [{'_': 'H', 'BASIS_SET': 'DZVP', 'POTENTIAL': 'GTH-PBE'}]},
        },
    }
    return {'parameters': orm.Dict(parameters), 'structure': orm.StructureData(ase=structure)}


def test_cp2k_by_its_job(foreign_job, foreign_trajectory):
    """Without a file of cells AiiDA notes no periodicity; the cell of the input is that of all frames."""
    molecule = Atoms('H2', positions=[[0, 0, 0], [0, 0, 0.75]], cell=[10] * 3, pbc=True)
    arrays = {
        'positions': np.array([molecule.positions, molecule.positions * 1.1]),
        'energies': np.array([-0.25, -0.26]),
        'forces': np.array([[[0, 0, 0.01], [0, 0, -0.01]]] * 2),
    }
    node = foreign_trajectory(['H', 'H'], arrays, pbc=[False] * 3)
    said = orm.Dict({'motion_step_info': {'scf_converged': [True, False]}, 'cp2k_version': 9.1})
    foreign_job('cp2k', inputs=cp2k_inputs(molecule), outputs={'output_trajectory': node, 'output_parameters': said})
    with pytest.raises(RefusedError, match=r'frame 1(.|\n)*SCF run NOT converged'):
        merge_frames(node, require_stress=False)
    dataset, _ = merge_frames(node, require_stress=False, max_failed_fraction=0.5)
    (image,) = dataset.to_ase()
    assert image.pbc.all()
    assert image.cell.lengths().tolist() == [10.0] * 3
    assert image.calc.results['energy'] == pytest.approx(-6.80284656, abs=1e-7)
    assert image.get_forces()[0, 2] == pytest.approx(0.51422067, abs=1e-7)
    (use,) = levels_of(dataset)
    assert use.level.functional == 'PBE'
    assert use.level.arguments['kinds'] == {'H': {'basis_set': 'DZVP', 'potential': 'GTH-PBE'}}


@pytest.mark.parametrize(
    ('motion', 'message'),
    [
        ({'PRINT': {'TRAJECTORY': {'UNIT': 'bohr'}}}, 'TRAJECTORY` in bohr, angstrom is needed'),
        ({'MD': {'ENSEMBLE': 'NPT_I'}}, 'CP2K has printed no cells'),
    ],
)
def test_cp2k_that_cannot_be_read(foreign_job, foreign_trajectory, motion, message):
    molecule = Atoms('H2', positions=[[0, 0, 0], [0, 0, 0.75]], cell=[10] * 3, pbc=True)
    node = foreign_trajectory(['H', 'H'], {'positions': molecule.positions[None], 'energies': [-0.25]}, pbc=[False] * 3)
    foreign_job('cp2k', inputs=cp2k_inputs(molecule, **motion), outputs={'output_trajectory': node})
    with pytest.raises(RefusedError, match=message):
        merge_frames(node, require_stress=False)


def test_energies_alone_do_not_tell_cp2k(foreign_trajectory):
    arrays = plain()
    arrays['energies'] = arrays.pop('energy')
    node = foreign_trajectory(['Si', 'Si'], arrays)
    with pytest.raises(RefusedError, match=r'may be of cp2k(.|\n)*hartree'):
        merge_frames(node)
    dataset, _ = merge_frames(node, conventions={'source_0000': 'cp2k'})
    assert dataset.get_energies()[0] == pytest.approx(-8 * 27.211386, abs=1e-4)


class Rydbergs(TrajectorySource):
    """A program with a plugin of its own."""

    convention = Convention('rydbergs', 'Ry, Ry/Å, positions in Å', energy_factor=RYDBERG, forces_factor=RYDBERG)


class _EntryPoint:
    name, value = 'mypackage.program', 'mypackage.sources:Rydbergs'

    def load(self):
        return Rydbergs


def test_a_class_of_another_package_makes_its_plugin_known(foreign_job, foreign_trajectory, monkeypatch):
    known = registry.entry_points(group=registry.GROUP)
    monkeypatch.setattr(registry, 'entry_points', lambda group: [*known, _EntryPoint()])
    registry.sources_by_process.cache_clear()
    try:
        node = foreign_trajectory(['Si', 'Si'], plain())
        foreign_job('mypackage.program', outputs={'output_trajectory': node})
        assert merge_options({'one': node})['conventions'] == {'one': 'rydbergs'}
        dataset, _ = merge_frames(node)
        assert dataset.get_energies()[0] == pytest.approx(-8 * RYDBERG)
    finally:
        registry.sources_by_process.cache_clear()


def test_a_stale_installation_says_so(monkeypatch):
    monkeypatch.setattr(registry, 'entry_points', lambda group: [_EntryPoint()])
    registry.sources_by_process.cache_clear()
    try:
        with pytest.raises(RuntimeError, match='install the package again'):
            registry.sources_by_process()
    finally:
        registry.sources_by_process.cache_clear()


@pytest.mark.fault(
    'a node that is no source of frames (a structure, a folder, an array, a trajectory of LAMMPS)',
    engine='does not know nodes',
    here='refused with its type, what is accepted, and what to do with it',
    ends='`RefusedError`, 410',
)
def test_nodes_that_are_no_source():
    for node in (orm.StructureData(ase=bulk('Cu')), orm.ArrayData(), orm.FolderData(), orm.Dict(), orm.Int(1)):
        with pytest.raises(RefusedError, match=f'{type(node).__name__} is no source of frames(.|\n)*TrajectoryData'):
            merge_frames(node)
    _, process = merge.run_get_node(options=merge_options({}), one=orm.StructureData(ase=bulk('Cu')))
    assert process.exit_status == 410
    assert 'labelled=False' in process.exit_message
