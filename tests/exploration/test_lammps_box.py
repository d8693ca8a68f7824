"""The boxes of LAMMPS: of any cell, and back; and the parts of a run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import units
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_pacemaker.exploration.lammps_box import box_of
from aiida_pacemaker.exploration.lammps_script import random_numbers, segments
from aiida_pacemaker.exploration.options import ExploreOptions
from aiida_pacemaker.exploration.velocities import thermal_velocities
from aiida_pacemaker.frames.ase_io import to_atoms
from aiida_pacemaker.frames.random_states import FOR_DYNAMICS, random_state

PERIODS = [np.array(pbc) for pbc in itertools.product((False, True), repeat=3)]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(range(8)))
def test_a_box_is_the_same_structure(seed, periods):
    random, pbc = np.random.default_rng(seed), PERIODS[periods]
    cell = np.diag(random.uniform(3, 9, 3)) @ random.normal(np.eye(3), 0.3)
    cell = cell[random.permutation(3)] @ np.linalg.qr(random.normal(size=(3, 3)))[0]
    if abs(np.linalg.det(cell)) < 5:
        return
    positions = random.uniform(-10, 10, (7, 3))
    box = box_of(cell, pbc, positions)
    assert np.array_equal(box.vectors, np.tril(box.vectors))
    assert (np.diag(box.vectors) > 0).all()
    assert np.allclose(box.axes @ box.axes.T, np.eye(3), rtol=0, atol=1e-12)
    assert np.linalg.det(box.axes) == pytest.approx(1)
    assert np.allclose(box.back(box.into(positions)), positions, rtol=0, atol=1e-12)
    # The periods are those of the structure.
    count = int(pbc.sum())
    assert box.periodic.tolist() == [True] * count + [False] * (3 - count)
    expected = cell[list(box.order[:count])]
    assert np.allclose(box.back(box.vectors[:count]), expected, rtol=0, atol=1e-10)
    assert sorted(box.order[:count]) == np.flatnonzero(pbc).tolist()
    if count == 3:
        assert np.allclose(box.cell_of(box.vectors), cell, rtol=0, atol=1e-10)
    # Along the other directions, at right angles to the periods, all atoms are inside.
    assert np.allclose(box.vectors[count:] - np.diag(np.diag(box.vectors))[count:], 0)
    inside = box.into(positions)[:, count:] - box.low[count:]
    assert (inside > 4).all()
    assert (inside < np.diag(box.vectors)[count:] - 4).all()


def test_a_triangle_stays_as_it_is():
    cell = np.array([[4.1, 0, 0], [0.3, 4.2, 0], [-0.7, 0.2, 5.0]])
    box = box_of(cell, np.ones(3, dtype=bool), np.zeros((1, 3)))
    assert np.array_equal(box.vectors, cell)
    assert np.array_equal(box.axes, np.eye(3))


@pytest.mark.parametrize(
    'cell', [np.zeros((3, 3)), np.ones((3, 3)), [[1, 0, 0], [0, 1, 0], [1, 1, 0]], np.diag([3, 3, 0])]
)
def test_what_is_no_box(cell):
    with pytest.raises(ValueError, match='cell vector'):
        box_of(np.asarray(cell, dtype=float), np.ones(3, dtype=bool), np.zeros((1, 3)))


def test_velocities_are_those_of_the_driver(mgo_frames):
    frame = mgo_frames.select([3])
    velocities, random = random_numbers(frame, 700.0, 11, 2, 1)
    (atoms,) = to_atoms(frame)
    atoms.set_velocities(thermal_velocities(atoms.get_masses(), units.kB * 700, random_state(11, 2, 1, FOR_DYNAMICS)))
    assert np.allclose(velocities, atoms.get_velocities() * 1000 * units.fs, rtol=1e-12)
    assert 0 < random < 900_000_000
    assert random_numbers(frame, 700.0, 11, 2, 0)[1] != random


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({'n_steps': 47}, [((0, 47), (300, 300), None)]),
        ({'n_steps': 40, 'temperature': [300, 700]}, [((0, 40), (300, 700), None)]),
        (
            {'n_steps': 40, 'temperature': [300, 900, 300]},
            [((0, 20), (300, 900), None), ((20, 40), (900, 300), None)],
        ),
        (
            {'n_steps': 40, 'ensemble': 'npt', 'temperature': [300, 700], 'pressure': [0, 8, 4]},
            [((0, 20), (300, 500), (0, 8)), ((20, 40), (500, 700), (8, 4))],
        ),
        # There is no check between begin and end at which to turn.
        ({'n_steps': 9, 'temperature': [300, 900, 300]}, [((0, 9), (300, 300), None)]),
    ],
)
def test_the_parts_of_a_run(options, expected):
    found = segments(ExploreOptions.model_validate(options))
    assert [(part.steps, part.temperatures, part.pressures) for part in found] == expected


def test_all_but_the_last_part_are_made_of_whole_intervals():
    for n_steps, count in itertools.product((1, 7, 47, 100, 1001), (2, 3, 5, 8)):
        options = ExploreOptions(n_steps=n_steps, check_every=10, temperature=tuple(range(300, 300 + count)))
        parts = segments(options)
        assert [part.steps[0] for part in parts] == [0, *(part.steps[1] for part in parts[:-1])]
        assert parts[-1].steps[1] == n_steps
        assert all((part.steps[1] - part.steps[0]) % 10 == 0 for part in parts[:-1])
