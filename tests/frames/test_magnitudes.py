"""Labels that are out of all reason."""

from __future__ import annotations

import re
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from frame_cases import MGO
from frame_cases import random_frames as any_frames

from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.frames.magnitudes import EnergyBook, joined, odd_labels
from aiida_pacemaker.frames.table import Frames

ALL = np.ones(40, dtype=bool)


def random_frames(seed, n_frames) -> Frames:
    frames = any_frames(seed, n_frames)
    return replace(frames, stress=0.1 * frames.stress)


def texts(frames: Frames, good=None) -> list[str]:
    good = np.ones(len(frames), dtype=bool) if good is None else good
    book = EnergyBook()
    book.enter(frames, good, 'here')
    return [oddity.text() for oddity in joined([*odd_labels(frames, good, 'here'), *book.odd()])]


def altered(column, row, value) -> Frames:
    frames = random_frames(3, 40)
    array = getattr(frames, column).copy()
    array[row] = value
    return replace(frames, **{column: array})


def test_honest_labels_are_not_warned_of():
    """Real labels, of cells that are compressed and rattled, have up to 52 eV/angstrom."""
    assert texts(from_atoms(ase.io.read(MGO, ':'), 'mgo')) == []
    assert texts(random_frames(3, 10)) == []


@pytest.mark.parametrize(
    ('column', 'row', 'value', 'message'),
    [
        ('stress', 4, 251.0, r'1 frame of `here` .* 5 eV/angstrom\^3 .* 251 eV/angstrom\^3 in frame 4: .*kbar, GPa'),
        ('forces', 0, 500.0, r'above 200 eV/angstrom, the largest is 866 eV/angstrom in frame 0: .*kcal/mol'),
        ('energy', 4, 2000.0, r'more than 100 eV/atom from what the other frames suggest, .* in frame 4: .*hartree'),
        ('energy', 4, -1e7, r'below those of all electrons of their atoms, the lowest is .* in frame 4: .*meV'),
    ],
)
def test_odd_labels_are_warned_of(column, row, value, message):
    (text, *_) = texts(altered(column, row, value))
    assert re.search(message, text), text


def test_frames_that_are_refused_are_not_warned_of():
    good = np.arange(40) != 4
    assert texts(altered('stress', 4, 251.0), good) == []
    assert texts(altered('energy', 4, 2000.0), good) == []


def test_energies_are_compared_whatever_the_composition():
    """All electrons of alloys, each of another composition: formation energies are small beside the elements'."""
    frames = random_frames(5, 60)
    of_element = {1: -13.6, 8: -2040.0, 12: -5440.0}
    atoms = np.array([of_element[number] for number in frames.numbers.tolist()])
    energy = np.bincount(frames.frame_of_atom, atoms, 60) + frames.energy
    assert texts(replace(frames, energy=energy)) == []
    in_hartree = np.where(np.arange(60) % 7 == 3, energy / 27.2114, energy)
    (text,) = texts(replace(frames, energy=in_hartree))
    assert '8 frames of `here`' in text or '9 frames of `here`' in text


def test_new_frames_are_compared_with_known_ones():
    known, new = altered('energy', slice(None), 1.0), altered('energy', slice(None), 9000.0)
    book = EnergyBook()
    book.enter(known, ALL, None)
    book.enter(new.select([0]), ALL[:1], 'new', first=7)
    (oddity,) = book.odd()
    assert (oddity.source, oddity.n_frames, oddity.frame) == ('new', 1, 7)


def test_one_warning_for_all_parts_of_a_source():
    frames = altered('stress', slice(2, 4), 9.0)
    first, second = odd_labels(frames, ALL, 'here'), odd_labels(altered('stress', 5, 11.0), ALL, 'here', first=40)
    (whole,) = joined([*first, *second])
    assert (whole.n_frames, whole.frame, whole.value) == (3, 45, 11.0)
