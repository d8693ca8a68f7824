"""Equations of many frames: in any order and any parts, and from files that are not what they should be."""

from __future__ import annotations

import io
import os
import struct
import zipfile

import numpy as np
import pytest
from linear_cases import FrameRows, equations_of

from aiida_pacemaker.linear import equations
from aiida_pacemaker.linear.equations import KINDS, Equations, triangle
from aiida_pacemaker.linear.evidence import solve_evidence
from aiida_pacemaker.linear.validation import cross_validate
from aiida_pacemaker.linear.weighting import Physical

COLUMNS = 12
GROUPS = np.repeat([0, 1, 2], 4)
SCALES = {'energy': 10.0, 'forces': 1.0, 'virial': 0.5}


def random_frames(n_frames, seed=0, noise=0.01):
    """Return frames of 2 to 5 atoms whose labels are nearly linear; a third of them have virials."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=COLUMNS)
    frames = []
    for index in range(n_frames):
        n_atoms = int(rng.integers(2, 6))
        sizes = {'energy': 1, 'forces': 3 * n_atoms, **({'virial': 6} if index % 3 == 0 else {})}
        rows = {}
        for kind, size in sizes.items():
            matrix = rng.normal(size=(size, COLUMNS)) * 10.0 ** -np.arange(0, COLUMNS / 2, 0.5)
            rows[kind] = np.column_stack([matrix, matrix @ true + noise * rng.normal(size=size)])
        weights = {kind: rng.uniform(0.1, 1.0, size) for kind, size in sizes.items()}
        key = f'{rng.integers(2**60):032x}'
        frames.append(FrameRows(key, rows, weights, n_atoms, {(0, 1): float(rng.uniform(1.5, 2.5))}))
    return frames


@pytest.fixture
def small_sample(monkeypatch):
    """Let 60 rows be kept as they are, so that most frames are folded."""
    monkeypatch.setattr(equations, 'SAMPLE_DOUBLES', 0)
    monkeypatch.setattr(equations, 'SAMPLE_FACTOR', 5)


def in_parts(frames, n_parts):
    total = Equations(COLUMNS)
    for part in range(n_parts):
        total.merge(equations_of(COLUMNS, frames[part::n_parts]))
    return total


def solution_of(found):
    return solve_evidence(found.factor(SCALES), found.n_rows, GROUPS).coefficients


def test_triangles_keep_the_squares():
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(count, 5)) for count in (3, 0, 7)]
    factor, rows = triangle(*blocks), np.concatenate(blocks)
    assert factor.shape == (5, 5)
    np.testing.assert_allclose(factor.T @ factor, rows.T @ rows, rtol=0, atol=1e-13)
    assert triangle(np.zeros((0, 5))).shape == (0, 5)
    assert triangle(rows[:2]).shape == (2, 5)


def test_the_order_of_frames_does_not_matter(small_sample):
    """Nor do parts: neither for the solution, nor for which frames are kept for estimates of errors."""
    frames = random_frames(60)
    all_at_once = equations_of(COLUMNS, frames)
    assert 0 < len(all_at_once.frames) < 20
    assert all(len(all_at_once.rest[kind]) == COLUMNS + 1 for kind in KINDS)
    expected, kept = solution_of(all_at_once), [frame.key for frame in all_at_once.frames]
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(len(frames))
        found = in_parts([frames[index] for index in order], 1 + seed)
        assert [frame.key for frame in found.frames] == kept
        np.testing.assert_allclose(solution_of(found), expected, rtol=1e-8)
        assert found.rmse(expected) == pytest.approx(all_at_once.rmse(expected), rel=1e-10)
        for name in ('counts', 'weighted', 'weights', 'nearest', 'n_frames', 'n_atoms', 'cut'):
            assert getattr(found, name) == pytest.approx(getattr(all_at_once, name))


def test_folded_rows_are_the_same_equations(small_sample, monkeypatch):
    frames = random_frames(40)
    folded = equations_of(COLUMNS, frames)
    monkeypatch.undo()
    whole = equations_of(COLUMNS, frames)
    assert len(whole.frames) == 40
    np.testing.assert_allclose(solution_of(folded), solution_of(whole), rtol=1e-8)
    coefficients = np.random.default_rng(1).normal(size=COLUMNS)
    assert folded.rmse(coefficients) == pytest.approx(whole.rmse(coefficients), rel=1e-12)


def test_more_frames_are_the_fit_from_scratch(small_sample, tmp_path):
    frames = random_frames(50)
    old = equations_of(COLUMNS, frames[:40])
    old.save(str(tmp_path / 'old.npz'), 'signature')
    total = Equations.load(str(tmp_path / 'old.npz'), COLUMNS, 'signature')
    total.merge(equations_of(COLUMNS, frames[40:]))
    np.testing.assert_allclose(solution_of(total), solution_of(equations_of(COLUMNS, frames)), rtol=1e-8)


def test_equal_frames_are_all_kept_or_all_folded(small_sample):
    """Else cross-validation would know what it leaves out."""
    frames = random_frames(30)
    found = in_parts(frames + frames[::-1] + frames, 4)
    counts = {frame.key: 0 for frame in frames}
    for frame in found.frames:
        counts[frame.key] += 1
    assert set(counts.values()) == {0, 3}
    assert found.n_frames == 90


def test_a_frame_larger_than_the_sample(small_sample):
    rng = np.random.default_rng(0)
    rows = {'energy': rng.normal(size=(1, COLUMNS + 1)), 'forces': rng.normal(size=(300, COLUMNS + 1))}
    large = FrameRows('0' * 32, rows, {kind: np.ones(len(part)) for kind, part in rows.items()}, 100)
    found = equations_of(COLUMNS, [*random_frames(3), large])
    assert found.frames == []
    assert np.isfinite(solution_of(found)).all()
    assert cross_validate(found, SCALES, GROUPS, solve_evidence(found.factor(SCALES), 300, GROUPS)) is None


def test_files_keep_everything(small_sample, tmp_path):
    path = str(tmp_path / 'equations.npz')
    for frames in ([], random_frames(2), random_frames(40)):
        written = equations_of(COLUMNS, frames)
        written.save(path, 'made of this')
        found = Equations.load(path, COLUMNS, 'made of this')
        for name in ('counts', 'weighted', 'weights', 'nearest', 'n_frames', 'n_atoms', 'cut'):
            assert getattr(found, name) == getattr(written, name)
        assert [frame.key for frame in found.frames] == [frame.key for frame in written.frames]
        np.testing.assert_array_equal(found.factor(SCALES), written.factor(SCALES))
        scales = Physical().scales(found.weights, found.counts)
        assert scales == Physical().scales(written.weights, written.counts)
        assert [file.name for file in tmp_path.iterdir()] == ['equations.npz']


def test_a_file_has_its_name_when_it_is_complete(tmp_path, monkeypatch):
    path = tmp_path / 'equations.npz'
    equations_of(COLUMNS, random_frames(3)).save(str(path))
    before = path.read_bytes()

    def break_off(handle, **arrays):
        handle.write(b'PK\x03\x04')
        raise KeyboardInterrupt

    monkeypatch.setattr(np, 'savez', break_off)
    with pytest.raises(KeyboardInterrupt):
        equations_of(COLUMNS, random_frames(5)).save(str(path))
    assert path.read_bytes() == before


@pytest.fixture
def saved(small_sample, tmp_path):
    """Return a file with frames that are kept and folded, and its content."""
    path = tmp_path / 'equations.npz'
    equations_of(COLUMNS, random_frames(20)).save(str(path), 'this')
    return path, path.read_bytes()


def refused(path, said='', n_columns=COLUMNS, signature='this'):
    with pytest.raises(ValueError, match=f'has no equations that can be used: .*{said}'):
        Equations.load(str(path), n_columns, signature)


def test_other_equations_are_refused(saved):
    path, _ = saved
    refused(path, 'they were made of other data, functions or weights', signature='that')
    refused(path, f'they are of {COLUMNS} coefficients, not of 13', n_columns=13)
    refused(path.with_name('nothing.npz'), 'No such file')
    refused(path.parent, 'directory')


def test_files_that_are_cut_or_overwritten_are_refused(saved):
    path, content = saved
    for end in np.linspace(0, len(content) - 1, 80).astype(int):
        path.write_bytes(content[:end])
        refused(path)
    rng = np.random.default_rng(0)
    n_refused = 0
    for _ in range(200):
        changed = bytearray(content)
        for place in rng.integers(len(content), size=3):
            changed[place] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        # Nothing but a ValueError; what is not noticed is in parts of the file that say nothing, such as dates.
        try:
            found = Equations.load(str(path), COLUMNS, 'this')
        except ValueError:
            n_refused += 1
        else:
            assert np.isfinite(found.factor(SCALES)).all()
    assert n_refused > 150


def rewritten(content, **changes):
    """Return a file with other arrays; None takes one out."""
    with np.load(io.BytesIO(content)) as arrays:
        held = {**arrays, **changes}
    handle = io.BytesIO()
    np.savez(handle, **{name: array for name, array in held.items() if array is not None})
    return handle.getvalue()


def damages():
    """Return arrays that do not fit, by the name of what is wrong."""
    rows = np.zeros((60, COLUMNS + 1))
    return {
        'pickled': {'keys': np.array([{}, os.system], dtype=object)},
        'missing': {'cut': None},
        'more': {'others': np.zeros(3)},
        'complex': {'weights': np.ones(3, dtype=complex)},
        'single precision': {'rest_energy': np.zeros((1, COLUMNS + 1), dtype=np.float32)},
        'other columns': {'rest_energy': np.zeros((1, COLUMNS))},
        'one axis': {'rest_energy': np.zeros(COLUMNS + 1)},
        'not finite': {'rest_energy': np.full((COLUMNS + 1, COLUMNS + 1), np.nan)},
        'too many rows': {'rows_forces': rows, 'row_weights_forces': np.ones(60)},
        'negative lengths': {'lengths_forces': np.array([-1, 1], dtype=np.int64)},
        'lengths that overflow': {'lengths_forces': np.full(4, 2**62, dtype=np.int64)},
        'negative number of frames': {'n_frames': np.array(-5)},
        'fewer frames than are kept': {'n_frames': np.array(1)},
        'negative weights': {'weights': np.array([1.0, -1.0, 1.0])},
        'infinite weights': {'weights': np.array([1.0, np.inf, 1.0])},
        'negative counts': {'counts': np.array([-1, 5, 5])},
        'more rows with weight than rows': {'weighted': np.array([10**6] * 3)},
        'two kinds': {'counts': np.array([20, 100])},
        'no distance': {'distances': np.array([np.nan])},
        'negative distance': {'distances': np.array([-1.0])},
        'pairs of three': {'pairs': np.array([[0, 1, 2]])},
        'text': {'n_columns': np.array('12')},
        'keys that are no text': {'keys': np.array([b'\xff' * 64] * 2, dtype='S64')},
    }


@pytest.mark.parametrize('name', damages())
def test_arrays_that_do_not_fit_are_refused(name, saved):
    path, content = saved
    path.write_bytes(rewritten(content))
    Equations.load(str(path), COLUMNS, 'this')
    path.write_bytes(rewritten(content, **damages()[name]))
    refused(path)


def test_rows_of_frames_with_negative_weights_are_refused(saved):
    path, content = saved
    with np.load(io.BytesIO(content)) as arrays:
        weights = arrays['row_weights_forces'].copy()
    weights[0] = -1.0
    path.write_bytes(rewritten(content, row_weights_forces=weights))
    refused(path, 'the equations of the forces are damaged')


def test_arrays_larger_than_the_file_are_refused_before_they_are_made(saved):
    """Compressed, in what the archive says of them, and in what the array says of itself."""
    path, content = saved
    handle = io.BytesIO()
    with np.load(io.BytesIO(content)) as arrays:
        np.savez_compressed(handle, **{**arrays, 'rest_energy': np.zeros((300_000, COLUMNS + 1))})
    assert len(handle.getvalue()) < 200_000
    path.write_bytes(handle.getvalue())
    refused(path, 'it is compressed')

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {'descr': '<f8', 'fortran_order': False, 'shape': (2**40, 13)})
    replaced = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(replaced, 'w') as target:
        for name in source.namelist():
            target.writestr(name, header.getvalue() if name == 'rest_energy.npy' else source.read(name))
    path.write_bytes(replaced.getvalue())
    refused(path, 'rest_energy has 0 bytes for shape')

    # The size of the first array in the directory at the end of the archive.
    place = content.index(b'PK\x01\x02') + 20
    path.write_bytes(content[:place] + struct.pack('<II', 2**31, 2**31) + content[place + 8 :])
    refused(path, 'larger than itself')


def test_rows_without_weight_are_no_equations():
    frames = random_frames(9)
    weightless = [
        FrameRows(frame.key, frame.rows, {kind: 0 * part for kind, part in frame.weights.items()}, frame.n_atoms)
        for frame in frames[6:]
    ]
    found = equations_of(COLUMNS, frames[:6] + weightless)
    expected = equations_of(COLUMNS, frames[:6])
    assert found.weighted == expected.weighted == expected.counts
    assert found.counts != expected.counts
    one, other = (solve_evidence(e.factor(SCALES), sum(e.weighted.values()), GROUPS) for e in (found, expected))
    np.testing.assert_allclose(one.coefficients, other.coefficients, rtol=1e-9)
    assert one.noise == pytest.approx(other.noise)
