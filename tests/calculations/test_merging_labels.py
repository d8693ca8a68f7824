"""What a merge says of labels: their size, whether they belong together, and structures that are there twice."""

from __future__ import annotations

import io

import ase.io
import numpy as np
import pytest
from aiida import orm
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.trajectories import trajectories_from_atoms
from aiida_pacemaker.errors import RefusedError
from aiida_pacemaker.frames.ase_io import from_atoms

pytestmark = pytest.mark.usefixtures('aiida_profile')


def labelled(atoms: Atoms, **factors: float) -> Atoms:
    """Return a structure with labels by EMT, some of them multiplied."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    results = {
        'energy': atoms.get_potential_energy(),
        'forces': atoms.get_forces(),
        'stress': atoms.get_stress(),
    }
    results = {name: value * factors.get(name, 1.0) for name, value in results.items()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def rattled(count: int, **factors: float) -> list[Atoms]:
    images = []
    for seed in range(count):
        image = bulk('Cu', cubic=True)
        image.rattle(0.08, seed=seed)
        images.append(labelled(image, **factors))
    return images


def file(images: list[Atoms], name: str = 'frames.extxyz') -> orm.SinglefileData:
    text = io.StringIO()
    ase.io.write(text, images, format='extxyz')
    return orm.SinglefileData(io.BytesIO(text.getvalue().encode()), filename=name)


@pytest.mark.fault(
    'labels in kbar, kcal/mol or other units, of a single calculation',
    engine='fits them',
    here='a warning of the merge where a size is out of all reason; absurd numbers are refused',
    ends='`warnings`',
)
def test_odd_sizes_are_in_the_report():
    dataset, report = merge_frames(file([labelled(bulk('Cu', a=3.0), stress=1602.18), *rattled(2)]))
    assert dataset.n_frames == 3
    (warning,) = report['warnings']
    assert warning.startswith('1 frame of `source_0000` have stresses above 5 eV/angstrom^3')
    assert 'in frame 0' in warning
    assert 'kbar' in warning


def test_energies_far_from_those_of_the_base_are_in_the_report():
    base, report = merge_frames(*trajectories_from_atoms(rattled(4)))
    assert report['warnings'] == []
    far = labelled(bulk('Cu', a=3.7))
    far.calc.results['energy'] -= 1700.0
    _, report = merge_frames(*trajectories_from_atoms([far]), base=base)
    (warning,) = report['warnings']
    assert 'energies more than 100 eV/atom from what the other frames suggest' in warning


def test_absurd_numbers_are_refused():
    absurd = rattled(3)
    absurd[1].positions[0] += 1e15
    absurd[1].calc.atoms = absurd[1].copy()
    absurd[2].calc.results['energy'] = 1e300
    dataset, report = merge_frames(*trajectories_from_atoms(absurd), max_failed_fraction=0.7)
    assert dataset.n_frames == 1
    assert [entry['reason'] for entry in report['refused']] == ['positions_absurd', 'energy_absurd']


def test_a_dataset_of_absurd_forces_is_an_error():
    """Where nothing has checked the frames."""
    (image,) = rattled(1)
    image.calc.results['forces'] = np.full((4, 3), 1e154)
    assert PaceDatasetData(from_atoms([image], 'x')).max_force == pytest.approx(np.sqrt(3) * 1e154)
    image.calc.results['forces'] = np.full((4, 3), 1.7e308)
    with pytest.raises(ValueError, match='the largest force is inf'):
        PaceDatasetData(from_atoms([image], 'x'))


@pytest.mark.fault(
    'one structure with other forces or stresses is merged again',
    engine='fits both',
    here='the first stays, the others are in `conflicts` with the names of the labels that differ',
    ends='`conflicts`',
)
def test_conflicts_are_of_all_labels():
    images, others = rattled(3), rattled(3, forces=-1.0, stress=7.0)
    dataset, report = merge_frames(*trajectories_from_atoms(images), *trajectories_from_atoms(others))
    assert [(entry['frame'], entry['labels']) for entry in report['conflicts']] == [
        (frame, ['forces', 'stress']) for frame in range(3)
    ]
    assert 'repeated frames have other labels' in report['warnings'][0]
    assert np.array_equal(dataset.get_frames().forces[:4], images[0].get_forces())
    _, again = merge_frames(*trajectories_from_atoms(others), base=dataset)
    assert [entry['labels'] for entry in again['conflicts']] == [['forces', 'stress']] * 3


@pytest.mark.fault(
    'one structure is there twice, rounded, wrapped or with its atoms in another order',
    engine='fits both',
    here='listed in the report of the merge; both are on one side of every split, and excluded together',
    ends='`near_duplicates`',
)
def test_near_duplicates_are_in_the_report():
    """Kept, each with the frame that it repeats, also where that one is in the base."""
    images = rattled(10)
    turned = [image[::-1] for image in images[3:6]]
    for image, original in zip(turned, images[3:6], strict=True):
        image.calc = SinglePointCalculator(
            image,
            energy=original.get_potential_energy(),
            forces=original.get_forces()[::-1],
            stress=original.get_stress(),
        )
    turned[1].calc.results['forces'] = turned[1].calc.results['forces'] * 1.01
    base, report = merge_frames(*trajectories_from_atoms(images), file(images[:2]))
    assert (report['n_added'], report['n_duplicates'], report['n_near_duplicates']) == (12, 0, 2)
    dataset, report = merge_frames(*trajectories_from_atoms(turned), base=base)
    assert dataset.n_frames == 15
    assert report['n_near_duplicates'] == 3
    assert report['near_duplicates'][1] == {
        'source': 'source_0000',
        'frame': 1,
        'step': 1,
        'of': {'source': 'base', 'frame': 4, 'step': 4},
        'labels': ['forces'],
    }
    assert [entry['labels'] for entry in report['near_duplicates'][::2]] == [[], []]
    assert '3 frames are structures that are there already' in report['warnings'][-1]


def test_nothing_but_repetitions_needs_no_look_at_the_base(monkeypatch):
    images = rattled(3)
    base, _ = merge_frames(*trajectories_from_atoms(images))
    monkeypatch.setattr(PaceDatasetData, 'get_shard', lambda *_: pytest.fail('the base is read'))
    dataset, report = merge_frames(base, base=base)
    assert dataset.shards == base.shards
    assert report['n_near_duplicates'] == 0


@pytest.mark.fault(
    'forces with the wrong sign, energies per atom, labels in other units',
    engine='fits them',
    here='refused where the frames contradict them, with what was found; `checks` says where they cannot tell',
    ends='`RefusedError`',
)
@pytest.mark.parametrize(
    ('factors', 'message'),
    [
        ({'forces': -1.0}, r'forces of `source_0000`: energies change by -0\.\d+ times .* opposite sign'),
        ({'energy': 0.25}, r'energies per atom, where those of the cell are needed'),
        ({'energy': 1 / 13.6057}, r'energies in Ry'),
        ({'forces': 1 / 51.422}, r'forces in hartree/bohr'),
    ],
)
def test_labels_that_contradict_each_other_are_refused(factors, message):
    (node,) = trajectories_from_atoms(rattled(12, **factors))
    with pytest.raises(RefusedError, match=message):
        merge_frames(node)
    _, report = merge_frames(node, contradictions='warn')
    assert report['warnings'][0].startswith('labels contradict each other: forces of `source_0000`')
    assert report['checks']['forces'].startswith('contradiction: `source_0000`')


def test_stresses_are_held_against_energies():
    volumes = [labelled(bulk('Cu', cubic=True, a=a)) for a in np.linspace(3.4, 3.9, 8)]
    _, report = merge_frames(*trajectories_from_atoms(volumes))
    assert report['checks']['stress'].startswith('consistent: `source_0000`: energies change by 1')
    assert report['checks']['forces'].startswith('cannot be told: `source_0000`: there are 0 pairs')
    for image in volumes:
        image.calc.results['stress'] = -160.2 * image.calc.results['stress']
    with pytest.raises(RefusedError, match=r'stresses in GPa; besides, the stresses have the opposite sign'):
        merge_frames(*trajectories_from_atoms(volumes))


def test_sources_of_one_frame_are_compared_with_each_other():
    """As single calculations of AiiDA are."""
    single = [node for image in rattled(12, forces=-1.0) for node in trajectories_from_atoms([image])]
    with pytest.raises(RefusedError, match=r'forces of sources with few frames: .* opposite sign'):
        merge_frames(*single)
    (image,) = rattled(1)
    _, report = merge_frames(*trajectories_from_atoms([image]))
    assert report['checks']['forces'].startswith('cannot be told: sources with few frames: there are 0 pairs')


def test_without_labels_there_is_nothing_to_check():
    _, report = merge_frames(*trajectories_from_atoms(rattled(6, forces=-1.0)), labelled=False)
    assert report['checks']['forces'] == 'cannot be told: there are no labels'
    assert report['warnings'] == []
