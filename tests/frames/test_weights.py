"""Weights of frames and atoms: carried by everything that carries frames, and never made up."""

import io
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from frame_cases import MGO, assert_equal, random_frames
from hypothesis import given
from hypothesis import strategies as st

from aiida_pacemaker.frames.ase_io import from_atoms, read_all, to_atoms, write_extxyz
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.frames.trajectory import from_arrays, to_arrays


def weighted_frames(seed: int, n_frames: int) -> Frames:
    frames = random_frames(seed, n_frames)
    rng = np.random.default_rng(seed)
    return frames.with_weights(rng.random(n_frames) * 10, rng.random(len(frames.numbers)))


@given(seed=st.integers(0, 10**6), n_frames=st.integers(1, 6))
def test_extended_xyz_and_ase_carry_weights(seed, n_frames):
    frames = weighted_frames(seed, n_frames)
    text = io.StringIO()
    write_extxyz(frames, text)
    back = read_all(io.BytesIO(text.getvalue().encode()), name='a.extxyz', source_key='x').frames
    assert back.w_energy.tolist() == frames.w_energy.tolist()
    assert back.w_forces.tolist() == frames.w_forces.tolist()
    again = from_atoms(to_atoms(frames), 'x')
    assert again.w_forces.tolist() == frames.w_forces.tolist()
    unweighted = replace(frames, w_energy=None, w_forces=None)
    assert from_atoms(to_atoms(unweighted), 'x').w_energy is None


@given(seed=st.integers(0, 10**6), n_frames=st.integers(1, 6))
def test_trajectories_carry_weights(seed, n_frames):
    frames = weighted_frames(seed, n_frames)
    parts = to_arrays(frames)
    for part in parts:
        arrays = {'positions': part.positions, 'cells': part.cells, **part.arrays}
        back = from_arrays(arrays, part.symbols, part.pbc, source_key='x')
        kept = frames.select(part.frames)
        assert back.w_energy.tolist() == kept.w_energy.tolist()
        assert back.w_forces.tolist() == kept.w_forces.tolist()
        del arrays['w_forces']
        with pytest.raises(ValueError, match='has `w_energy` alone'):
            from_arrays(arrays, part.symbols, part.pbc, source_key='x')


def test_frames_without_weights_count_as_one_beside_others():
    some, none = weighted_frames(1, 2), random_frames(2, 3)
    both = Frames.concatenate([some, none])
    assert both.w_energy.tolist() == [*some.w_energy, 1.0, 1.0, 1.0]
    assert both.w_forces.tolist() == [*some.w_forces, *[1.0] * len(none.numbers)]
    assert_equal(both.select([0, 1]), Frames.concatenate([some]))
    assert not some.without_labels().weighted
    with pytest.raises(ValueError, match='one without the other'):
        Frames(**{**vars(none), 'w_energy': np.ones(3)})


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda image: image.info.pop('w_energy'), 'lack a weight that others have'),
        (lambda image: image.info.update(w_energy=-1.0), 'missing, negative or not finite'),
        (lambda image: image.info.update(w_energy='much'), 'is not a number'),
        (lambda image: image.arrays.update(w_forces=np.full(len(image), np.nan)), 'missing, negative or not finite'),
        (lambda image: image.arrays.pop('w_forces'), 'the first is structure 1'),
    ],
)
def test_weights_that_cannot_be_used_are_refused(change, message):
    images = ase.io.read(MGO, index=':3')
    for image in images:
        image.info['w_energy'] = 2.0
        image.set_array('w_forces', np.ones(len(image)))
    assert from_atoms(images, 'x').w_energy.tolist() == [2.0] * 3
    change(images[1])
    with pytest.raises(ValueError, match=message):
        from_atoms(images, 'x')
