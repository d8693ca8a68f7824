"""Levels of theory in datasets: who has which, and that those which differ are not mixed."""

from __future__ import annotations

import io
import json

import ase.io
import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_pacemaker.calculations.functions.datasets import exclude_frames, filter_frames, split_frames
from aiida_pacemaker.calculations.functions.merging import merge_frames, merge_options
from aiida_pacemaker.calculations.label_ase import AseLabelCalculation
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.theory import set_level_of_theory
from aiida_pacemaker.data.trajectories import trajectories_from_atoms
from aiida_pacemaker.errors import RefusedError
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.provenance import frame_origin, levels_of
from aiida_pacemaker.sources.origin import theory_of

pytestmark = pytest.mark.usefixtures('aiida_profile')

PSEUDOS = {'Mg': {'md5': 'a' * 32}, 'O': {'md5': 'b' * 32}}
LOW = LevelOfTheory(code='vasp', functional='PBE', pseudopotentials=PSEUDOS, cutoffs={'wavefunction': 400})
HIGH = LOW.model_copy(update={'cutoffs': LOW.cutoffs.model_copy(update={'wavefunction': 520.0})})


@pytest.fixture
def trajectories(mgo_images):
    """Return a function that returns some structures of one composition as one trajectory."""
    symbols = str(mgo_images[0].symbols)
    images = [image for image in mgo_images if str(image.symbols) == symbols]

    def build(start, stop, theory=None):
        (node,) = trajectories_from_atoms(images[start:stop], theory=theory)
        return node

    return build


def fingerprints(dataset):
    return set(dataset.levels)


def test_it_follows_the_frames(trajectories):
    """Through merges, parts and parents: what occurs, and no more."""
    first, _ = merge_frames(trajectories(0, 5, LOW), trajectories(5, 8))
    assert fingerprints(first) == {LOW.fingerprint()}
    assert first.levels[LOW.fingerprint()] == LOW
    assert len(first.level_of_source) == 1 < len(first.sources)
    both, _ = merge_frames(trajectories(8, 12, HIGH), base=first, mixed_levels='warn')
    assert fingerprints(both) == {LOW.fingerprint(), HIGH.fingerprint()}
    assert fingerprints(exclude_frames(both, first)) == {HIGH.fingerprint()}
    train, test = split_frames(both, test_fraction=0.3, seed=1, by='source')
    assert fingerprints(train) | fingerprints(test) == fingerprints(both)
    assert set(train.level_of_source) <= set(train.sources)
    kept, _ = filter_frames(both, energy_per_atom=(None, None))
    assert kept.level_of_source == both.level_of_source
    candidates, _ = merge_frames(both, labelled=False)
    assert candidates.levels == candidates.level_of_source == {}


def test_different_levels_are_refused(trajectories):
    base, report = merge_frames(trajectories(0, 5, LOW))
    assert report['warnings'] == []
    with pytest.raises(RefusedError) as refused:
        merge_frames(trajectories(5, 8, LOW), trajectories(8, 12, HIGH), base=base)
    message = str(refused.value)
    assert '`base`, `source_0000` and `source_0001` differ in cutoffs.wavefunction: 400.0 and 520.0' in message
    assert 'mixed_levels' in message
    dataset, report = merge_frames(trajectories(8, 12, HIGH), base=base, mixed_levels='warn')
    assert dataset.n_frames == 9
    assert len(report['warnings']) == 1
    assert 'cutoffs.wavefunction: 400.0 and 520.0' in report['warnings'][0]
    # It is not hidden in what is merged into next.
    with pytest.raises(RefusedError, match=r'400\.0 and 520\.0'):
        merge_frames(trajectories(12, 13, LOW), base=dataset)


def test_what_gets_in_counts(trajectories):
    """A source of which all frames are there already brings no level."""
    base, _ = merge_frames(trajectories(0, 5, LOW))
    dataset, report = merge_frames(trajectories(0, 5, HIGH), base=base)
    assert fingerprints(dataset) == {LOW.fingerprint()}
    assert report['n_duplicates'] == 5


def test_version_and_elements_are_no_difference(trajectories, mgo_images):
    newer = LOW.model_copy(update={'version': '6.5'})
    oxide, _ = merge_frames(trajectories(0, 5, LOW), trajectories(5, 8, newer))
    assert fingerprints(oxide) == {LOW.fingerprint()}
    assert [(use.level.version, use.n_frames) for use in levels_of(oxide)] == [(None, 5), ('6.5', 3)]
    assert frame_origin(oxide, 6).level == newer
    metal = LOW.model_copy(update={'pseudopotentials': {'Mg': LOW.pseudopotentials['Mg']}})
    dataset, report = merge_frames(trajectories(8, 10, metal), base=oxide)
    assert fingerprints(dataset) == {LOW.fingerprint(), metal.fingerprint()}
    assert report['warnings'] == []


def test_unknown_beside_known_is_said(trajectories):
    base, report = merge_frames(trajectories(0, 5))
    assert report['warnings'] == []
    dataset, report = merge_frames(trajectories(5, 8, LOW), base=base)
    assert len(report['warnings']) == 1
    assert 'the level of theory of 5 of 8 frames, from `base`, is not known' in report['warnings'][0]
    assert [(use.level, use.n_frames) for use in levels_of(dataset)] == [(LOW, 3), (None, 5)]
    assert frame_origin(dataset, 0).level is None
    # They are found by what they have.
    query = orm.QueryBuilder()
    query.append(PaceDatasetData, filters={'attributes.levels': {'has_key': LOW.fingerprint()}})
    assert dataset.uuid in {node.uuid for node in query.all(flat=True)} - {base.uuid}
    # Now it is said, for all of them.
    told, report = merge_frames(trajectories(5, 8, LOW), base=base, levels={'base': LOW})
    assert report['warnings'] == []
    assert set(told.level_of_source.values()) == {LOW.fingerprint()}
    assert frame_origin(told, 0).level == LOW


def test_level_of_a_file(mgo_images):
    """Said by the node itself, or in the merge."""
    nodes = []
    for images in (mgo_images[:3], mgo_images[3:6], mgo_images[6:9]):
        text = io.StringIO()
        ase.io.write(text, images, format='extxyz')
        nodes.append(orm.SinglefileData(io.BytesIO(text.getvalue().encode()), filename='a.extxyz'))
    set_level_of_theory(nodes[0], LOW.model_dump())
    dataset, report = merge_frames(*nodes, levels={'source_0001': LOW, 'source_0002': 'source_0001'})
    assert len(dataset.level_of_source) == 3
    assert fingerprints(dataset) == {LOW.fingerprint()}
    assert report['warnings'] == []
    with pytest.raises(ValueError, match='has the level of source_0009'):
        merge_options({}, levels={'source_0001': 'source_0009'})


def test_what_a_node_says_wrongly(trajectories):
    node = trajectories(0, 2)
    node.base.attributes.set('level_of_theory', {'program': 'vasp'})
    with pytest.raises(RefusedError, match=r'`level_of_theory`(.|\n)*program'):
        merge_frames(node, trajectories(2, 4))


def test_nodes_from_before(mgo_frames):
    """Datasets without the attributes, which have the hash that they always had."""
    node = PaceDatasetData(mgo_frames.select(range(3))).store()
    assert not {'levels', 'level_of_source'} & set(node.base.attributes.all)
    assert node.levels == node.level_of_source == {}
    assert [(use.level, use.n_frames) for use in levels_of(node)] == [(None, 3)]
    dataset, _ = merge_frames(base=node)
    assert dataset.base.caching.compute_hash() == node.base.caching.compute_hash()


def test_hashes_and_caching(trajectories):
    first, _ = merge_frames(trajectories(0, 5, LOW))
    with enable_caching():
        again, _ = merge_frames(trajectories(0, 5, LOW))
        other, _ = merge_frames(trajectories(0, 5, HIGH))
    assert again.creator.base.caching.is_created_from_cache
    assert not other.creator.base.caching.is_created_from_cache
    assert other.base.caching.get_hash() != first.base.caching.get_hash()
    assert fingerprints(other) == {HIGH.fingerprint()}


def test_labels_of_ase(pace_codes_fake):
    """The job says what it has labelled with, with the versions of that computer."""
    pool, _ = merge_frames(*trajectories_from_atoms([bulk('Cu', a=a) for a in (3.5, 3.6)]), labelled=False)
    outputs, node = run_get_node(
        AseLabelCalculation,
        code=pace_codes_fake['python'],
        dataset=pool,
        calculator=orm.Dict(
            {
                'calculator': 'ase.calculators.emt:EMT',
                'arguments': {'asap_cutoff': False, 'directory': 'here'},
                'not_affecting_energy': ['directory'],
            }
        ),
    )
    assert node.is_finished_ok, node.exit_message
    (trajectory,) = outputs['trajectories'].values()
    level = theory_of(trajectory)
    assert level.code == 'ase:ase.calculators.emt:EMT'
    assert level.arguments == {'asap_cutoff': False}
    assert level.version == f'ase {ase.__version__}'
    images = [bulk('Cu', a=3.7)]
    for image in images:
        image.calc = EMT()
        image.get_stress()
    mine = trajectories_from_atoms(images, theory={'code': level.code})
    with pytest.raises(RefusedError, match=r'arguments: (not said|\{)'):
        merge_frames(trajectory, *mine)


def pw_job(system, kpoints, outputs=None, **links):
    """Return a `PwCalculation` as the graph has it, without aiida-quantumespresso."""
    computer = orm.Computer('pw', hostname='h', transport_type='core.local', scheduler_type='core.direct')
    if not orm.QueryBuilder().append(orm.Computer, filters={'label': 'pw'}).count():
        computer.store()
    job = orm.CalcJobNode(computer=orm.load_computer('pw'), process_type='aiida.calculations:quantumespresso.pw')
    inputs = {'parameters': orm.Dict({'SYSTEM': system}), 'kpoints': kpoints, **links}
    for label, node in inputs.items():
        job.base.links.add_incoming(node.store(), link_type=LinkType.INPUT_CALC, link_label=label)
    job.store()
    if outputs is not None:
        said = orm.Dict(outputs)
        said.base.links.add_incoming(job, link_type=LinkType.CREATE, link_label='output_parameters')
        said.store()
    return job


def mesh(*numbers, offset=(0, 0, 0)):
    kpoints = orm.KpointsData()
    kpoints.set_kpoints_mesh(numbers, offset=offset)
    return kpoints


def made_by(job, node):
    node.base.links.add_incoming(job, link_type=LinkType.CREATE, link_label='output_trajectory')
    return node.store()


def test_trajectory_of_pw(trajectories):
    """Read from the links of the calculation, once for all trajectories of a merge that share a level."""
    system = {'ecutwfc': 30, 'nspin': 2, 'occupations': 'smearing', 'degauss': 0.01, 'nbnd': 20, 'vdw_corr': 'D3'}
    said = {'creator_version': '6.7MaX', 'dft_exchange_correlation': 'PBE', 'rho_cutoff': 1632.68}
    one, two = (made_by(pw_job(system, mesh(2, 2, 2), said), trajectories(start, start + 2)) for start in (0, 2))
    other = made_by(pw_job(system, mesh(2, 2, 2, offset=(0.5, 0.5, 0.5)), said), trajectories(4, 6))
    level = theory_of(one)
    assert level.cutoffs.wavefunction == pytest.approx(30 * 13.605693, rel=1e-6)
    assert level.cutoffs.density == 1632.68
    assert (level.version, level.functional, level.spin) == ('6.7MaX', 'PBE', 'collinear')
    assert level.smearing.kind == 'gaussian'
    assert level.smearing.width == pytest.approx(0.136057, rel=1e-5)
    assert level.kpoints_mesh == [2, 2, 2]
    assert level.arguments == {'vdw_corr': 'D3'}
    options = merge_options({'one': one, 'two': two})['levels']
    assert options['two'] == 'one'
    dataset, report = merge_frames(one, two)
    assert list(dataset.levels) == [level.fingerprint()]
    assert report['warnings'] == []
    with pytest.raises(RefusedError, match=r'kpoints_offset: not said and \[0\.5, 0\.5, 0\.5\]'):
        merge_frames(one, other)


def test_a_level_that_is_stated_is_that_of_one_source_alone(trajectories):
    """Another source of the level that the graph knows keeps this one."""
    system, said = {'ecutwfc': 30}, {'creator_version': '6.7MaX'}
    one, two = (made_by(pw_job(system, mesh(2, 2, 2), said), trajectories(start, start + 2)) for start in (0, 2))
    stated = {'code': 'quantumespresso.pw', 'cutoffs': {'wavefunction': 500.0}}
    levels = merge_options({'one': one, 'two': two}, levels={'one': stated})['levels']
    assert levels['one']['cutoffs']['wavefunction'] == 500.0
    assert levels['two']['cutoffs']['wavefunction'] == theory_of(two).cutoffs.wavefunction


def with_hubbard(**values):
    """Return an oxide as a `HubbardStructureData` has it, with a U in eV for each manifold of the first atom."""
    structure = orm.StructureData(cell=np.eye(3) * 4)
    for index, element in enumerate(('Mg', 'O')):
        structure.append_atom(position=[2.0 * index] * 3, symbols=element)
    parameters = [
        {
            **{'atom_index': 0, 'atom_manifold': manifold, 'neighbour_index': 0, 'neighbour_manifold': manifold},
            **{'translation': [0, 0, 0], 'value': value, 'hubbard_type': 'U'},
        }
        for manifold, value in values.items()
    ]
    content = {'parameters': parameters, 'projectors': 'ortho-atomic', 'formulation': 'dudarev'}
    structure.base.repository.put_object_from_bytes(json.dumps(content).encode(), 'hubbard.json')
    return structure


def test_hubbard_parameters(trajectories):
    """They are part of the structure, not of the parameters."""
    jobs = [
        pw_job({'ecutwfc': 30}, mesh(2, 2, 2), structure=structure)
        for structure in (with_hubbard(**{'3s': 2.0}), with_hubbard(**{'3s': 4.0}), orm.StructureData(cell=np.eye(3)))
    ]
    one, other, bare = (made_by(job, trajectories(row, row + 1)) for row, job in enumerate(jobs))
    assert theory_of(one).arguments['hubbard']['Mg'] == {'U 3s-3s Mg': [2.0]}
    assert 'hubbard' not in theory_of(bare).arguments
    with pytest.raises(RefusedError, match=r'arguments\.hubbard\.Mg\.U 3s-3s Mg: \[2\.0\] and \[4\.0\]'):
        merge_frames(one, other)
    with pytest.raises(RefusedError, match='hubbard'):
        merge_frames(one, bare)


def test_trajectory_of_pw_with_listed_kpoints(trajectories):
    kpoints = orm.KpointsData()
    kpoints.set_kpoints([[0, 0, 0], [0.5, 0, 0]], weights=[0.5, 0.5])
    node = made_by(pw_job({'ecutwfc': 30}, kpoints), trajectories(0, 2))
    level = theory_of(node)
    assert level.kpoints_mesh is None
    assert len(level.arguments['kpoints']) == 16
    assert level.smearing is None
