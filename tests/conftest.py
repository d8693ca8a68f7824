"""Fixtures for all tests: an AiiDA profile of their own, and the real data."""

from __future__ import annotations

from pathlib import Path

import ase.io
import pytest

from aiida_pacemaker.frames.ase_io import from_atoms

pytest_plugins = ['aiida_pacemaker.testing.fixtures']

ROOT = Path(__file__).parent.parent
FIXTURES = Path(__file__).parent / 'fixtures'


@pytest.fixture(scope='session')
def aiida_profile(aiida_config, aiida_profile_factory, config_sqlite_dos):
    """Return a profile that needs no services: SQLite, and the ZeroMQ broker that comes with AiiDA."""
    with aiida_profile_factory(
        aiida_config,
        storage_backend='core.sqlite_dos',
        storage_config=config_sqlite_dos(),
        broker_backend='core.zeromq',
    ) as profile:
        yield profile


@pytest.fixture(scope='session')
def mgo_images():
    """Return the 100 MgO structures with labels from DFT."""
    return ase.io.read(ROOT / 'examples' / 'mgo-lda.extxyz', ':')


@pytest.fixture(scope='session')
def mgo_frames(mgo_images):
    """Return the same as frames."""
    return from_atoms(mgo_images, 'mgo-lda')


@pytest.fixture
def reference_energies():
    """Return the energies of the isolated atoms at the settings of the MgO data, in eV."""
    return {'Mg': -27.441497613508435, 'O': -426.11747912713093}
