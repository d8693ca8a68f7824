"""One structure written in several ways."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from frame_cases import MGO
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_pacemaker.frames import near_duplicates
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.frames.near_duplicates import fingerprints, matching_atoms, near_groups, near_pairs


def any_structure(rng: np.random.Generator, pbc) -> Atoms:
    """Return atoms at random in a random cell, at least half an angstrom apart."""
    cell = np.eye(3) * rng.uniform(4.0, 12.0) + rng.uniform(-1.5, 1.5, (3, 3))
    count = int(rng.integers(1, 12))
    corners = rng.permutation(27)[:count]
    scaled = np.stack([corners // 9, corners // 3 % 3, corners % 3], axis=1) / 3 + rng.uniform(-0.1, 0.1, (count, 3))
    return Atoms(rng.choice([1, 8, 12, 29], count), positions=scaled @ cell, cell=cell, pbc=pbc)


def written(atoms: Atoms, rng: np.random.Generator, decimals: int) -> Atoms:
    """Return the same structure with a common shift, atoms in other cells and in another order, and rounded."""
    other = atoms[rng.permutation(len(atoms))]
    images = rng.integers(-3, 4, (len(atoms), 3)) * atoms.pbc
    other.positions = (other.positions + rng.uniform(-5, 5, 3) + images @ atoms.cell[:]).round(decimals)
    other.cell[:] = other.cell[:].round(max(decimals, 8))
    return other


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    decimals=st.sampled_from([6, 8, 16]),
)
def test_every_way_of_writing_a_structure_is_found(seed, pbc, decimals):
    rng = np.random.default_rng(seed)
    atoms = any_structure(rng, pbc)
    wrapped = written(atoms, rng, decimals)
    wrapped.wrap()
    variants = [atoms, written(atoms, rng, decimals), wrapped]
    frames = from_atoms(variants, 'any')
    assert near_groups(frames).tolist() == [0, 0, 0]
    for other, partners in zip(variants, matching_atoms(frames.select([0, 0, 0]), frames), strict=True):
        assert (other.numbers[partners] == atoms.numbers).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), pbc=st.booleans())
def test_other_structures_are_never_taken_for_the_same(seed, pbc):
    rng = np.random.default_rng(seed)
    atoms = any_structure(rng, pbc)
    atoms += Atoms('Cu', positions=[[0.3, 0.2, 0.1]])  # One atom of a kind cannot be moved against itself.
    others = []
    for _ in range(4):
        other = written(atoms, rng, 16)
        other.rattle(0.01, rng=rng)
        others.append(other)
    exchanged = atoms.copy()
    exchanged.numbers[0] = 13
    assert len(set(near_groups(from_atoms([atoms, *others, exchanged], 'any')).tolist())) == 6


def test_displacements_that_a_symmetry_relates_are_other_structures():
    """An atom of a crystal that is moved along x is any atom moved along x, but none moved along -x or y."""
    images = []
    for atom in range(4):
        for axis in range(3):
            for sign in (1, -1):
                image = bulk('Cu', cubic=True) * (2, 1, 1)
                image.positions[atom, axis] += sign * 0.01
                images.append(image)
    groups = near_groups(from_atoms(images, 'phonons'))
    assert groups.tolist() == [0, 1, 2, 3, 4, 5] * 4


def test_boundaries_of_the_grids_part_nothing():
    """Scalars just below and just above every boundary of every grid."""
    given_ = fingerprints(from_atoms([bulk('Cu', cubic=True)] * 400, 'any'))
    steps = np.arange(200) * near_duplicates._SPACING / near_duplicates._N_GRIDS
    for axis in range(given_.scalars.shape[1]):
        scalars = given_.scalars.copy()
        # Far from one another along another axis.
        scalars[:, (axis + 1) % 4] += np.repeat(np.arange(200.0), 2)
        scalars[0::2, axis] = steps - 0.49 * near_duplicates._TOLERANCE
        scalars[1::2, axis] = steps + 0.49 * near_duplicates._TOLERANCE
        pairs = near_pairs(near_duplicates.Fingerprints(given_.kind, scalars), lambda asked: [True] * len(asked))
        assert pairs == [(2 * row, 2 * row + 1) for row in range(200)]


def test_known_frames_are_not_compared_with_each_other():
    frames = from_atoms([bulk('Cu'), bulk('Cu'), bulk('Ag'), bulk('Cu'), bulk('Ag')], 'any')
    yes = lambda asked: [True] * len(asked)  # noqa: E731 - says what it is
    assert near_pairs(fingerprints(frames), yes, 2) == [(0, 3), (2, 4)]
    assert near_pairs(fingerprints(frames), yes, 2, among_new=False) == [(0, 3)]


def test_many_copies_make_few_pairs():
    frames = from_atoms([bulk('Cu', cubic=True)] * 300, 'any')
    assert near_groups(frames).tolist() == [0] * 300
    assert len(near_pairs(fingerprints(frames), lambda asked: [True] * len(asked))) == 299


def test_real_frames_with_eight_decimals():
    images = ase.io.read(MGO, ':')
    copies = [image.copy() for image in images]
    for copy in copies:
        copy.positions = copy.positions.round(8)
        copy.cell[:] = copy.cell[:].round(8)
        copy.wrap()
    groups = near_groups(from_atoms([*images, *copies], 'any'))
    assert groups.tolist() == [*range(100), *range(100)]


@pytest.mark.parametrize('pbc', [True, False])
def test_nonsense_is_no_error(pbc):
    frames = from_atoms([Atoms('Cu2', positions=np.full((2, 3), np.nan), pbc=pbc), Atoms('Cu', pbc=pbc)], 'any')
    assert near_groups(frames).tolist() == [0, 1]
