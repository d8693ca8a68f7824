"""What makes two frames the same."""

from dataclasses import replace

import numpy as np
from frame_cases import random_frames, simple_frame

from aiida_pacemaker.frames.hashing import HASH_DTYPE, frame_hashes, hex_hashes


def changed(frames, column, index, value):
    copy = getattr(frames, column).copy()
    copy[index] = value
    return replace(frames, **{column: copy})


def test_a_hash_sees_every_bit_of_the_structure():
    frames = random_frames(1, 2)
    base = frame_hashes(frames)
    other = [
        changed(frames, 'positions', (0, 1), np.nextafter(frames.positions[0, 1], 9.0)),
        changed(frames, 'cells', (0, 2, 2), 11.5),
        changed(frames, 'pbc', (0, 0), ~frames.pbc[0, 0]),
        changed(frames, 'numbers', 0, 92),
    ]
    for frames_ in other:
        found = frame_hashes(frames_)
        assert found[0] != base[0]
        assert found[1] == base[1]


def test_labels_and_origin_do_not_matter():
    frames = random_frames(2, 5)
    other = replace(
        frames.without_labels().with_generation(7), step=frames.step + 3, source_keys=('elsewhere', 'and here')
    )
    assert frame_hashes(other).tolist() == frame_hashes(frames).tolist()


def test_negative_zero_is_zero():
    frames = changed(random_frames(3, 1), 'positions', (0, 0), 0.0)
    assert frame_hashes(changed(frames, 'positions', (0, 0), -0.0)) == frame_hashes(frames)


def test_a_frame_has_the_same_hash_wherever_it_stands():
    frames = random_frames(4, 20)
    order = np.random.default_rng(0).permutation(20)
    assert frame_hashes(frames.select(order)).tolist() == frame_hashes(frames)[order].tolist()
    assert len(np.unique(frame_hashes(frames))) == 20


def test_atoms_cannot_move_from_one_frame_to_the_next_unnoticed():
    frames = replace(random_frames(5, 2, max_atoms=1), cells=np.zeros((2, 3, 3)))
    merged = replace(
        frames.select([0]),
        n_atoms=np.array([2]),
        numbers=frames.numbers,
        positions=frames.positions,
        forces=frames.forces,
    )
    assert frame_hashes(merged)[0] not in frame_hashes(frames)


def test_the_hash_never_changes():
    """Datasets are compared by hashes written long ago: this literal must never have to be corrected."""
    assert hex_hashes(frame_hashes(simple_frame())) == ['e93af67a03f83b0d6241bce0a4db0184']


def test_trailing_zero_bytes_are_part_of_a_hash():
    hashes = np.frombuffer(bytes(range(1, 16)) + b'\x00' + bytes(range(1, 15)) + b'\x00\x00', dtype=HASH_DTYPE)
    assert len(np.unique(hashes)) == 2
    assert [len(text) for text in hex_hashes(hashes)] == [32, 32]
