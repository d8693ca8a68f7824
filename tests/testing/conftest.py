"""Structures, and programs to give them to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ase.io import read
from fake_cases import MGO, Outcome, RealEngine, run, table, write_input, write_train

from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.testing.fake.install import install


@pytest.fixture(scope='session')
def mgo() -> Frames:
    return table(read(MGO, ':'))


@pytest.fixture(scope='session')
def rattled(mgo: Frames) -> Frames:
    """Return the frames of eight atoms with small displacements: 48 atoms of each element."""
    labels = [atoms.info['label'] for atoms in read(MGO, ':')]
    return mgo.select([index for index, label in enumerate(labels) if 'rattle0.04' in label])


@pytest.fixture(scope='session')
def fake(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return install(tmp_path_factory.mktemp('fake'))


@pytest.fixture(scope='session')
def real() -> Iterator[RealEngine]:
    engine = RealEngine()
    yield engine
    engine.close()


@pytest.fixture(scope='session')
def fitted(fake: dict[str, Path], rattled: Frames, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Return a finished fit of the fake engine."""
    folder = tmp_path_factory.mktemp('fitted')
    write_train(folder, rattled)
    write_input(folder)
    return run(fake['pacemaker'], folder, 'input.yaml', '--no-predict')
