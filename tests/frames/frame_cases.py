"""Random frames for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aiida_pacemaker.frames.table import COLUMNS, Frames

MGO = Path(__file__).parents[2] / 'examples' / 'mgo-lda.extxyz'


def random_frames(seed: int, n_frames: int, *, labelled: bool = True, max_atoms: int = 6, n_sources: int = 2) -> Frames:
    """Return frames of random composition, periodicity and origin; the atoms do not come close to one another."""
    rng = np.random.default_rng(seed)
    n_atoms = rng.integers(1, max_atoms + 1, n_frames)
    total = int(n_atoms.sum())
    pbc = rng.random((n_frames, 3)) < 0.7
    cells = np.eye(3) * rng.uniform(10.0, 12.0, (n_frames, 1, 1)) + rng.uniform(-1.0, 1.0, (n_frames, 3, 3))
    cells[~pbc.any(axis=1)] = 0.0
    slots = np.concatenate([rng.permutation(27)[:count] for count in n_atoms]) if n_frames else np.empty(0, int)
    grid = np.stack([slots // 9, slots // 3 % 3, slots % 3], axis=1) * 2.5
    stress = rng.normal(size=(n_frames, 3, 3))
    keys = tuple(f'source-{index}' for index in range(n_sources))
    source = rng.integers(0, n_sources, n_frames)
    return Frames(
        n_atoms=n_atoms,
        numbers=rng.choice([1, 8, 12], total),
        positions=grid + rng.uniform(-0.4, 0.4, (total, 3)),
        cells=cells,
        pbc=pbc,
        energy=rng.normal(size=n_frames) if labelled else None,
        forces=rng.normal(size=(total, 3)) if labelled else None,
        stress=stress + stress.transpose(0, 2, 1) if labelled else None,
        source_keys=keys,
        source=source,
        step=np.arange(n_frames),
        generation=np.zeros(n_frames, dtype=np.int64),
    )


def simple_frame() -> Frames:
    """Return one labelled Mg atom with exact values, for recorded literals."""
    zero = np.zeros(1, dtype=np.int64)
    return Frames(
        n_atoms=np.array([1]),
        numbers=np.array([12]),
        positions=np.array([[0.25, -0.0, 1.5]]),
        cells=np.eye(3)[None] * 4.0,
        pbc=np.array([[True, True, False]]),
        energy=np.array([-1.5]),
        forces=np.array([[0.5, 0.0, -0.25]]),
        stress=np.eye(3)[None] * 0.125,
        source_keys=('here',),
        source=zero,
        step=zero,
        generation=zero,
    )


def assert_equal(left: Frames, right: Frames) -> None:
    """Compare two tables value by value, NaN with NaN; the sources are compared by key."""
    for name in COLUMNS:
        if name == 'source':
            continue
        one, two = getattr(left, name), getattr(right, name)
        assert (one is None) == (two is None), name
        if one is not None:
            assert one.dtype == two.dtype, name
            np.testing.assert_array_equal(one, two, err_msg=name)
    keys = [[table.source_of(index) for index in range(len(table))] for table in (left, right)]
    assert keys[0] == keys[1]
