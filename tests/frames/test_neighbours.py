"""Pairs against the neighbour list of ASE, and the frames that cannot be searched."""

from itertools import pairwise

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from aiida_pacemaker.frames.neighbours import face_distances, pair_blocks, pairs, searchable
from aiida_pacemaker.frames.table import Frames


def table(*structures: Atoms) -> Frames:
    n_atoms = np.array([len(atoms) for atoms in structures], dtype=np.int64)
    zeros = np.zeros(len(structures), dtype=np.int64)
    return Frames(
        n_atoms=n_atoms,
        numbers=np.concatenate([atoms.numbers for atoms in structures]).astype(np.int64),
        positions=np.concatenate([atoms.positions for atoms in structures]),
        cells=np.array([atoms.cell[:] for atoms in structures]),
        pbc=np.array([atoms.pbc for atoms in structures]),
        energy=None,
        forces=None,
        stress=None,
        source_keys=('here',),
        source=zeros,
        step=zeros,
        generation=zeros,
    )


def random_structure(seed: int) -> Atoms:
    """Return one to nine atoms, some outside the cell, which may be much smaller than the cutoff."""
    rng = np.random.default_rng(seed)
    length = rng.uniform(1.5, 8.0)
    pbc = rng.random(3) < 0.6
    cell = np.eye(3) * length + rng.uniform(-0.25, 0.25, (3, 3)) * length
    if seed % 3 == 0:
        cell[~pbc] = 0.0
    n_atoms = rng.integers(1, 10)
    return Atoms(f'H{n_atoms}', rng.uniform(-1, 2, (n_atoms, 3)) * length, cell=cell, pbc=pbc)


def both_ways(first, second, vector):
    """Return rows (first, second, vector) in both directions, sorted, as ASE would list them."""
    rows = np.concatenate([np.column_stack([first, second, vector]), np.column_stack([second, first, -vector])])
    return np.array(sorted(rows.round(9).tolist())).reshape(-1, 5)


@pytest.mark.parametrize('cutoff', [0.7, 4.0])
def test_pairs_are_those_of_ase_counted_once(cutoff):
    structures = [random_structure(seed) for seed in range(120)]
    found = pairs(table(*structures), cutoff)
    offsets = np.concatenate([[0], np.cumsum([len(atoms) for atoms in structures])])
    assert (np.diff(found.frame) >= 0).all()
    total = 0
    for index, atoms in enumerate(structures):
        i, j, vector = neighbor_list('ijD', atoms, cutoff)
        mine = found.frame == index
        total += mine.sum()
        ours = both_ways(found.first[mine] - offsets[index], found.second[mine] - offsets[index], found.vector[mine])
        theirs = np.array(sorted(np.column_stack([i, j, vector]).round(9).tolist())).reshape(-1, 5)
        assert len(ours) == len(theirs)
        np.testing.assert_allclose(ours, theirs, atol=2e-9)
    assert total == len(found) > 0
    np.testing.assert_allclose(found.distance, np.linalg.norm(found.vector, axis=1), atol=1e-12)
    assert found.distance.max() < cutoff


def test_an_atom_pairs_with_its_own_images_once_for_both_directions():
    found = pairs(table(Atoms('H', [[0.3, 0.2, 0.1]], cell=[2.0, 9.0, 9.0], pbc=True)), 4.5)
    assert sorted(np.abs(found.vector[:, 0]).round(9)) == [2.0, 4.0]
    assert found.first.tolist() == found.second.tolist() == [0, 0]


def test_a_vector_given_along_a_direction_without_period_does_not_matter():
    positions = [[0, 0, 0], [0, 0, 7.0]]
    for third in ([0, 0, 0], [0, 0, 8.0], [9.0, 0, 0]):
        atoms = Atoms('H2', positions, cell=[[3.0, 0, 0], [0, 3.0, 0], third], pbc=[True, True, False])
        assert np.sort(pairs(table(atoms), 3.5).distance).tolist() == [3.0] * 4


def test_atoms_on_top_of_each_other_are_a_pair():
    assert pairs(table(Atoms('H2', np.ones((2, 3)))), 1.0).distance.tolist() == [0.0]


def test_blocks_hold_whole_frames_and_add_up():
    frames = table(*(random_structure(seed) for seed in range(60)))
    whole = pairs(frames, 4.0)
    blocks = list(pair_blocks(frames, 4.0, max_pairs=200))
    assert len(blocks) > 3
    assert all(a.frame[-1] < b.frame[0] for a, b in pairwise(blocks))
    for column in ('first', 'second', 'vector', 'distance', 'frame'):
        np.testing.assert_array_equal(np.concatenate([getattr(b, column) for b in blocks]), getattr(whole, column))


def test_no_frames_and_lonely_atoms_have_no_pairs():
    lonely = table(Atoms('H'))
    assert len(pairs(lonely, 5.0)) == 0
    assert pairs(lonely.select([]), 5.0).vector.shape == (0, 3)


@pytest.mark.parametrize(
    'atoms',
    [
        Atoms('H2', [[0, 0, 0], [1e6, 0, 0]]),
        Atoms('H2', [[0, 0, 0], [0, 1e6, 0]], cell=[4.0, 4.0, 4.0], pbc=[True, False, False]),
        Atoms('H2', [[0, 0, 0], [0, 0, 1e6]], cell=[4.0, 4.0, 0.0], pbc=[True, True, False]),
        Atoms('H', cell=[2e3, 2e3, 0.4], pbc=True),
        Atoms('H', cell=[1e-3, 1e-3, 1e-3], pbc=True),
        Atoms('H', cell=[[3, 0, 0], [0, 3, 0], [1e7, 0, 3]], pbc=True),
        Atoms('H', cell=[3.0, 3.0, 0.0], pbc=True),
        Atoms('H', cell=[[3, 0, 0], [0, 3, 0], [3, 3, 0]], pbc=True),
        Atoms('H', [[np.nan, 0, 0]]),
        Atoms('H', [[0, 0, 0]], cell=[np.inf, 3, 3], pbc=True),
    ],
)
def test_a_frame_that_would_hang_or_kill_the_search_is_refused(atoms):
    frames = table(Atoms('H'), atoms)
    assert searchable(frames, 4.0).tolist() == [True, False]
    with pytest.raises(ValueError, match=r'cannot be searched in 1 of 2 frames, the first is frame 1'):
        pairs(frames, 4.0)


@pytest.mark.parametrize('cutoff', [0.0, -1.0, float('nan'), float('inf')])
def test_the_cutoff_must_be_a_length(cutoff):
    with pytest.raises(ValueError, match='a positive number of angstrom is needed'):
        pairs(table(Atoms('H')), cutoff)


def test_face_distances_are_those_of_a_cell_completed_at_right_angles():
    cell = np.array([[4.0, 0.5, 0.2], [1.0, 5.0, -0.3], [-2.0, 1.0, 6.0]])
    volume = abs(np.linalg.det(cell))
    full = [volume / np.linalg.norm(np.cross(cell[i - 2], cell[i - 1])) for i in range(3)]
    normal = np.cross(cell[0], cell[1])
    flat = np.linalg.norm(normal)
    frames = table(
        Atoms('H', cell=cell, pbc=True),
        Atoms('H', cell=cell, pbc=[True, True, False]),
        Atoms('H', cell=cell, pbc=[False, True, False]),
    )
    np.testing.assert_allclose(
        face_distances(frames),
        [
            full,
            [flat / np.linalg.norm(cell[1]), flat / np.linalg.norm(cell[0]), np.inf],
            [np.inf, np.linalg.norm(cell[1]), np.inf],
        ],
    )
