"""Each reason for refusing a frame, and when refusals stop a merge."""

from dataclasses import replace

import numpy as np
import pytest
from frame_cases import random_frames

from aiida_pacemaker.errors import FramesRefusedError
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.frames.checks import Reason, check, enforce
from aiida_pacemaker.frames.table import Frames


def crystal(n_frames: int = 5) -> Frames:
    """Return labelled frames that are periodic along all three axes and have two or more atoms."""
    frames = random_frames(3, 60)
    return frames.select(np.flatnonzero(frames.pbc.all(axis=1) & (frames.n_atoms > 1))[:n_frames])


def with_value(column, index, value, frames=None):
    frames = frames or crystal()
    array = getattr(frames, column).copy()
    array[index] = value
    return replace(frames, **{column: array})


def only(refusals, frame):
    assert [refusal.frame for refusal in refusals] == [frame]
    return refusals[0]


def test_real_data_and_good_frames_pass(mgo_images):
    assert check(crystal()) == []
    assert check(from_atoms(mgo_images, 'mgo'), elements=['Mg', 'O'], cutoff=6.0) == []


def test_no_frames_are_no_problem():
    assert check(crystal().select([]), cutoff=5.0) == []


FIRST_ATOM_OF_2 = int(crystal().offsets[2])


@pytest.mark.parametrize(
    ('column', 'index', 'value', 'reason', 'message'),
    [
        ('positions', (FIRST_ATOM_OF_2, 0), np.nan, Reason.POSITIONS, 'positions are not finite'),
        ('positions', (FIRST_ATOM_OF_2, 0), np.inf, Reason.POSITIONS, 'positions are not finite'),
        ('cells', (2, 1, 1), np.nan, Reason.CELL, 'cell vectors are not finite'),
        ('cells', (2, 1), 0.0, Reason.FLAT_CELL, 'has no volume along its periodic directions'),
        ('numbers', FIRST_ATOM_OF_2, 0, Reason.ELEMENT, 'there is atomic number 0: atomic numbers from 1 to 118'),
        ('numbers', FIRST_ATOM_OF_2, 119, Reason.ELEMENT, 'there is atomic number 119'),
        ('energy', 2, np.nan, Reason.ENERGY, 'the energy is nan, a finite number of eV is needed'),
        ('energy', 2, -np.inf, Reason.ENERGY, 'the energy is -inf'),
        ('forces', (FIRST_ATOM_OF_2, 2), np.nan, Reason.FORCES, 'forces are missing or not finite'),
        ('stress', 2, np.nan, Reason.STRESS, 'merge with `require_stress=False`, the default'),
        ('stress', (2, 0, 0), np.inf, Reason.STRESS, 'is not finite'),
        ('positions', (FIRST_ATOM_OF_2, 0), 1e15, Reason.FAR, '1e+15 angstrom from the origin'),
        ('positions', (FIRST_ATOM_OF_2, 0), -1e300, Reason.FAR, '1e+300 angstrom from the origin'),
        ('cells', (2, 1, 1), 1e15, Reason.HUGE_CELL, 'a component of 1e+15 angstrom'),
        ('energy', 2, 1e300, Reason.HUGE_ENERGY, 'the energy is 1e+300 eV'),
        ('forces', (FIRST_ATOM_OF_2, 2), -1e308, Reason.HUGE_FORCES, 'a force is 1e+308 eV/angstrom'),
        ('stress', (2, 0, 0), 1e300, Reason.HUGE_STRESS, 'is it in Pa?'),
    ],
)
def test_a_bad_value_is_refused_with_its_reason(column, index, value, reason, message):
    refusal = only(check(with_value(column, index, value), require_stress=True), 2)
    assert refusal.reason is reason
    assert message in refusal.message
    assert refusal.source == crystal().source_of(2)
    assert refusal.step == crystal().step[2]


def test_an_empty_frame_is_refused():
    frames = crystal(2)
    kept = slice(0, int(frames.n_atoms[0]))
    columns = {name: getattr(frames, name)[kept] for name in ('numbers', 'positions', 'forces')}
    frames = replace(frames, n_atoms=np.array([frames.n_atoms[0], 0]), **columns)
    refusal = only(check(frames, cutoff=5.0), 1)
    assert refusal.reason is Reason.EMPTY
    assert refusal.message == 'there are no atoms, at least one is needed'


def test_a_cell_whose_vectors_lie_in_a_plane_is_flat_even_after_rounding():
    cell = np.array([[3.0, 0.1, 0.2], [0.3, 4.0, 0.7], [3.3, 4.1, 0.9 + 1e-12]])
    assert only(check(with_value('cells', 2, cell)), 2).reason is Reason.FLAT_CELL


def test_other_elements_than_the_wanted_are_refused():
    frames = with_value('numbers', FIRST_ATOM_OF_2, 79)
    refusal = only(check(frames, elements=['H', 'O', 'Mg']), 2)
    assert refusal.message == 'there is Au: only H, Mg, O may occur'


def test_atoms_on_top_of_each_other_are_refused_also_across_the_cell():
    frames = crystal()
    near = frames.positions[FIRST_ATOM_OF_2] + frames.cells[2, 0] + [0.0, 0.0, 0.3]
    refusal = only(check(with_value('positions', FIRST_ATOM_OF_2 + 1, near)), 2)
    assert refusal.reason is Reason.TOO_CLOSE
    assert refusal.message == 'two atoms are 0.3 angstrom apart, at least 0.5 is needed'
    assert check(with_value('positions', FIRST_ATOM_OF_2 + 1, near), min_distance=0.2) == []


def test_a_cell_in_the_wrong_units_is_refused_and_not_searched():
    assert only(check(with_value('cells', 2, np.eye(3) * 1e-3)), 2).reason is Reason.UNSEARCHABLE


@pytest.mark.parametrize('cutoff', [2.0, 5.0])
def test_a_frame_without_neighbours_is_refused_only_if_a_cutoff_is_given(cutoff):
    first, second = FIRST_ATOM_OF_2, int(crystal().offsets[3])
    frames = with_value('cells', 2, np.eye(3) * 500.0)
    count = second - first
    frames = with_value('positions', slice(first, second), np.arange(count)[:, None] * [5.5, 0.0, 0.0], frames)
    assert check(frames) == []
    refusal = {refusal.frame: refusal for refusal in check(frames, cutoff=cutoff)}[2]
    assert refusal.reason is Reason.NO_NEIGHBOURS
    assert f'no two atoms are closer than the cutoff of {cutoff:g} angstrom' in refusal.message
    assert 2 not in [refusal.frame for refusal in check(frames, cutoff=6.0)]


def test_stress_is_needed_only_where_it_has_a_meaning():
    slab = with_value('stress', 2, np.nan, with_value('pbc', (2, 2), False))
    assert check(slab) == []
    assert check(with_value('stress', 2, np.nan), require_stress=False) == []
    half = with_value('stress', (2, 0, 0), np.nan)
    assert only(check(half, require_stress=False), 2).reason is Reason.STRESS


def test_frames_without_labels_are_refused_unless_they_are_candidates():
    bare = crystal().without_labels()
    assert {refusal.reason for refusal in check(bare)} == {Reason.ENERGY}
    assert len(check(bare)) == len(bare)
    assert check(bare, require_labels=False) == []


def test_all_bad_frames_are_reported_once_with_the_most_basic_reason():
    frames = with_value('energy', slice(0, 3), np.nan)
    frames = with_value('cells', (1, 0, 0), np.nan, frames)
    found = check(frames)
    assert [(refusal.frame, refusal.reason) for refusal in found] == [
        (0, Reason.ENERGY),
        (1, Reason.CELL),
        (2, Reason.ENERGY),
    ]


def test_the_tolerance_decides():
    refusals = check(with_value('energy', slice(0, 2), np.nan))
    enforce(refusals, 5, 0.4)
    enforce([], 5, 0.0)
    enforce([], 0, 0.0)
    with pytest.raises(
        FramesRefusedError, match=r'2 of 5 frames cannot be used, and a fraction of 0.39 is tolerated'
    ) as info:
        enforce(refusals, 5, 0.39, shown=1)
    message = str(info.value)
    assert f'frame 0 (source {refusals[0].source}, step {refusals[0].step}): the energy is nan' in message
    assert 'and 1 more' in message
    assert 'raise max_failed_fraction' in message
    assert info.value.refusals == tuple(refusals)
    with pytest.raises(FramesRefusedError):
        enforce(refusals[:1], 5000)


@pytest.mark.parametrize('fraction', [-0.1, 1.1, float('nan')])
def test_a_tolerance_is_a_fraction(fraction):
    with pytest.raises(ValueError, match='a number from 0 to 1 is needed'):
        enforce([], 1, fraction)


def test_a_reason_is_printed_as_its_code():
    assert f'{Reason.EMPTY}' == str(Reason.EMPTY) == 'empty'
