"""Labels by the real pw.x of Quantum ESPRESSO, with settings that converge nothing but take seconds."""

from __future__ import annotations

import re

import numpy as np
import pytest
from aiida import orm
from aiida.common.exceptions import MissingEntryPointError
from aiida.engine import run_get_node
from ase import units
from ase.build import bulk

from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.frames.hashing import hex_hashes
from aiida_pacemaker.provenance import frame_origin, levels_of
from aiida_pacemaker.quantumespresso import inputs as quantumespresso
from aiida_pacemaker.quantumespresso.functions import collect_labels
from aiida_pacemaker.quantumespresso.label import QuantumEspressoLabelWorkChain
from aiida_pacemaker.sources.origin import theory_of
from aiida_pacemaker.workflows.plugins import process_from

pytestmark = pytest.mark.usefixtures('aiida_profile')


def silicon(shift, a=5.43):
    """Return two atoms; their positions have more digits than an input file of pw.x."""
    atoms = bulk('Si', a=a)
    atoms.positions[1] += shift * np.array([1.0, np.sqrt(2), -np.pi]) / 3
    return atoms


@pytest.fixture
def frames():
    """Return a dataset of four: silicon twice, aluminium (an odd number of electrons), and an isolated molecule."""
    outside = silicon(0.1)
    outside.positions[1] -= outside.cell[0]
    molecule = silicon(0.0)
    molecule.pbc = False
    return PaceDatasetData(from_atoms([silicon(0.07), bulk('Al'), molecule, outside], 'made')).store()


@pytest.fixture
def inputs(pw_code, pseudo_family, frames):
    """Return the inputs of the labeller."""
    return {
        'dataset': frames,
        'code': pw_code,
        'pseudo_family': pseudo_family.label,
        'protocol': 'fast',
        'kpoints_distance': 0.9,
        'electronic_type': 'insulator',
        'max_concurrent': 3,
        'options': {'withmpi': False, 'max_wallclock_seconds': 120, 'resources': {'num_machines': 1}},
    }


@pytest.mark.qe
@pytest.mark.fault(
    'pw.x refuses a frame, or does not converge it',
    engine='(no part of it) a script of calculations ends there, or the frame is missing without a word',
    here='the frame is listed with the reason of its calculation; the others are labelled',
    ends='success',
)
def test_labels(inputs, frames):
    outputs, node = run_get_node(QuantumEspressoLabelWorkChain, **inputs)
    assert node.is_finished_ok, node.exit_message

    failures = outputs['failures'].get_dict()
    hashes = hex_hashes(frames.get_hashes())
    assert [(entry['step'], entry['hash']) for entry in failures['failures']] == [(1, hashes[1]), (2, hashes[2])]
    metal, molecule = failures['failures']
    assert metal['reason'].startswith('ERROR_')
    assert 'PwBaseWorkChain<' in metal['message']
    assert 'its last job says ERROR_' in metal['message']
    assert molecule['reason'] == 'not_periodic'
    assert 'vacuum' in molecule['message']
    assert failures['core_seconds'] == failures['seconds'] > 0

    # What comes back are the frames that were given, to the last bit.
    dataset, report = merge_frames(*outputs['trajectories'].values())
    assert report['warnings'] == []
    assert set(hex_hashes(dataset.get_hashes())) == {hashes[0], hashes[3]}

    calls = {link.link_label: link.node for link in node.base.links.get_outgoing().all()}
    assert {'frame_0000', 'frame_0001', 'frame_0003', 'structure_0000', 'batch_0000'} <= set(calls)
    assert 'frame_0002' not in calls
    raw = calls['frame_0003'].outputs.output_trajectory
    (row,) = np.flatnonzero(dataset.get_hashes() == frames.get_hashes()[3])
    image = dataset.to_ase()[row]
    assert image.get_potential_energy() == raw.get_array('energy')[0]
    assert np.array_equal(image.get_forces(), raw.get_array('forces')[0])
    assert np.allclose(image.get_stress(voigt=False), -raw.get_array('stress')[0] * units.GPa, rtol=1e-12)
    assert np.abs(image.get_forces()).max() > 0.1

    (level,) = dataset.levels.values()
    assert level.model_dump() == theory_of(raw).model_dump()
    assert level == frame_origin(dataset, 0).level
    assert [(use.level, use.n_frames) for use in levels_of(dataset)] == [(level, 2)]
    job = calls['frame_0003'].called[-1]
    pseudo = job.inputs.pseudos.Si
    assert level.code == 'quantumespresso.pw'
    assert re.match(r'\d+\.\d+', level.version)
    assert level.functional
    assert level.pseudopotentials['Si'].model_dump() == {
        'md5': pseudo.md5,
        'filename': pseudo.filename,
        'family': inputs['pseudo_family'],
    }
    assert level.cutoffs.wavefunction == pytest.approx(12 * units.Ry)
    assert level.cutoffs.density == pytest.approx(48 * units.Ry)
    assert (level.kpoints_distance, level.kpoints_mesh, level.smearing, level.spin) == (0.9, None, None, 'none')
    assert level.arguments == {}


def refusal(inputs, **changes):
    """Return what is said of inputs before anything is submitted."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (the caller looks at the message)
        run_get_node(QuantumEspressoLabelWorkChain, **{**inputs, **changes})
    return str(refused.value)


@pytest.fixture
def unrun(pw_code_that_is_not_run, pseudo_family_that_is_not_read, frames):
    """Return inputs of which the family recommends no cutoffs."""
    return {
        'dataset': frames,
        'code': pw_code_that_is_not_run,
        'pseudo_family': pseudo_family_that_is_not_read.label,
        'protocol': 'fast',
    }


CUTOFFS = {'pw': {'parameters': {'SYSTEM': {'ecutwfc': 12, 'ecutrho': 48}}}}


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({}, 'recommends no cutoffs'),
        ({'pseudo_family': 'none'}, 'aiida-pseudo install'),
        ({'spin_type': 'up'}, 'one of none, collinear'),
        ({'electronic_type': 'automatic'}, 'one of metal, insulator'),
        ({'kpoints_distance': 0.0}, 'a positive number'),
        ({'max_concurrent': 0}, 'a positive number'),
        ({'overrides': {'kpoints_distance': 0.1}}, 'an input of its own'),
        ({'overrides': {'kpoints': [1, 1, 1]}}, 'k-points by distance'),
        ({'overrides': {'pw': {'parameters': {'CONTROL': {'calculation': 'relax'}}}}}, "labels need 'scf'"),
        ({'protocol': 'sloppy', 'overrides': CUTOFFS}, 'the protocol refuses the inputs'),
        ({'overrides': {**CUTOFFS, 'max_iteration': 3}}, 'max_iteration'),
    ],
)
def test_refused_before_submission(unrun, changes, said):
    assert said in refusal(unrun, **changes)


def test_family_without_an_element(unrun):
    copper = PaceDatasetData(from_atoms([bulk('Cu')], 'made')).store()
    assert 'no pseudopotential of Cu' in refusal(unrun, dataset=copper)


def test_code_of_another_program(unrun, pace_codes_fake):
    assert '`quantumespresso.pw` (pw.x) is needed' in refusal(unrun, code=pace_codes_fake['train'])


def test_package_that_is_not_installed(unrun, monkeypatch):
    def missing(name):
        raise MissingEntryPointError(name)

    assert process_from('pacemaker.label.quantumespresso') is QuantumEspressoLabelWorkChain
    monkeypatch.setattr(quantumespresso, 'WorkflowFactory', missing)
    assert 'pip install "aiida-quantumespresso>=5.1"' in refusal(unrun)


def test_entry_point_that_cannot_be_loaded(entry_points):
    entry_points.add(value='no_such_package.labels:Labeller', name='broken', group='aiida.workflows')
    with pytest.raises(ValueError, match=r'`broken` cannot be loaded(.|\n)*no_such_package'):
        process_from('broken')


def test_nothing_can_be_labelled(unrun):
    """Without a calculation: all frames are molecules."""
    molecule = silicon(0.0)
    molecule.pbc = False
    dataset = PaceDatasetData(from_atoms([molecule], 'made')).store()
    outputs, node = run_get_node(QuantumEspressoLabelWorkChain, **{**unrun, 'dataset': dataset, 'overrides': CUTOFFS})
    assert node.exit_status == QuantumEspressoLabelWorkChain.exit_codes.ERROR_ALL_LABELS_FAILED.status
    assert 'not_periodic' in node.exit_message
    assert 'vacuum' in node.exit_message
    assert len(outputs['failures']['failures']) == 1


def as_trajectory(atoms, **changes):
    """Return what aiida-quantumespresso would make of a calculation of some atoms."""
    arrays = {
        'positions': atoms.positions[None],
        'cells': atoms.cell[:][None],
        'energy': np.array([-1.0]),
        'forces': np.zeros((1, len(atoms), 3)),
        'stress': np.zeros((1, 3, 3)),
        **changes,
    }
    node = orm.TrajectoryData()
    node.set_trajectory(
        symbols=atoms.get_chemical_symbols(),
        positions=arrays.pop('positions'),
        cells=arrays.pop('cells'),
        pbc=[True] * 3,
    )
    for name, array in arrays.items():
        node.set_array(name, array)
    return node


@pytest.mark.parametrize(
    ('atoms', 'changes', 'said'),
    [
        (bulk('Si'), {'energy': np.array([np.nan])}, 'no energy'),
        (bulk('Si', a=5.44), {}, 'the cell'),
        (silicon(0.01), {}, 'an atom'),
        (bulk('Al'), {}, 'the atoms'),
        (bulk('Si'), {'forces': np.zeros((1, 3, 3))}, 'forces'),
    ],
    ids=['energy', 'cell', 'position', 'element', 'shape'],
)
def test_results_that_are_none_of_their_frame(atoms, changes, said):
    dataset = PaceDatasetData(from_atoms([bulk('Si'), silicon(0.02)], 'made')).store()
    outputs = collect_labels(
        dataset, frame_0000=as_trajectory(atoms, **changes), frame_0001=as_trajectory(silicon(0.02))
    )
    assert list(outputs['refused'].get_dict()) == ['0']
    assert said in outputs['refused']['0']
    assert len(outputs['composition_0000'].get_array('energy')) == 1
