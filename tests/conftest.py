"""Fixtures for all tests: an AiiDA profile of their own, and the real data."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

# Before NumPy is loaded, and for all that tests start: the matrices are small, and threads of a linear algebra library
# on busy cores took up to six times as long as none.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import ase.io
import light_aiida
import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida_pseudo.data.pseudo.upf import UpfData
from aiida_pseudo.groups.family import CutoffsPseudoPotentialFamily
from recording import Recorder

from aiida_pacemaker.frames.ase_io import from_atoms

pytest_plugins = ['aiida_pacemaker.testing.fixtures']

ROOT = Path(__file__).parent.parent
#: Where Debian puts the pseudopotentials of `quantum-espresso-data`.
PSEUDOS = Path('/usr/share/espresso/pseudo')
FIXTURES = Path(__file__).parent / 'fixtures'


def pytest_addoption(parser):
    parser.addoption(
        '--record-services',
        type=Path,
        metavar='FILE',
        help='a file of JSON that the results of the tests of services are written to; the page of services in the '
        'docs is made of `docs/reference/services.json`. With `=` before it, or pytest takes it for tests to run.',
    )


def pytest_configure(config):
    light_aiida.lighten()
    path = config.getoption('--record-services')
    # With pytest-xdist, the results of all workers come to the process that they work for.
    if path is not None and not hasattr(config, 'workerinput'):
        config.pluginmanager.register(Recorder(path.resolve()))


def pytest_collection_modifyitems(config, items):
    """Leave out the tests that need services, wherever they were found, unless `-m` says something of services."""
    if 'services' in config.getoption('-m'):
        return
    left_out = [item for item in items if item.get_closest_marker('services')]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker('services')]


@pytest.fixture(scope='session')
def aiida_profile(aiida_config, aiida_profile_factory, config_sqlite_dos):
    """Return a profile that needs no services: SQLite, and the ZeroMQ broker that comes with AiiDA."""
    with aiida_profile_factory(
        aiida_config,
        storage_backend='core.sqlite_dos',
        storage_config=config_sqlite_dos(),
        broker_backend='core.zeromq',
    ) as profile:
        # A daemon that is asked to stop is waited for; two seconds are too few while other tests run beside it.
        aiida_config.set_option('daemon.timeout', 30, scope=profile.name)
        yield profile


@pytest.fixture
def aiida_computer(aiida_computer):
    """Return AiiDA's factory of computers, with a pause between two looks at the jobs."""
    return functools.partial(aiida_computer, minimum_job_poll_interval=light_aiida.JOB_POLL_INTERVAL)


@pytest.fixture
def aiida_computer_local(aiida_computer_local):
    """Return AiiDA's factory of computers; their commands start no login shell, which would read the profile."""

    def build(label=None, configure=True):
        computer = aiida_computer_local(label=label, configure=configure)
        if configure:
            computer.configure(use_login_shell=False)
        return computer

    return build


@pytest.fixture(scope='session')
def mgo_images():
    """Return the 100 MgO structures with labels from DFT."""
    return ase.io.read(ROOT / 'examples' / 'mgo-lda.extxyz', ':')


@pytest.fixture(scope='session')
def mgo_frames(mgo_images):
    """Return the same as frames."""
    return from_atoms(mgo_images, 'mgo-lda')


@pytest.fixture
def pw_code(aiida_computer_local):
    """Return pw.x of Quantum ESPRESSO on this computer; without one, the test is skipped."""
    program = shutil.which('pw.x')
    if program is None or not PSEUDOS.is_dir():
        pytest.skip('NO pw.x, SO NOTHING IS SAID ABOUT DFT: apt-get install quantum-espresso quantum-espresso-data')
    code = orm.InstalledCode(
        label='pw',
        computer=aiida_computer_local(),
        filepath_executable=program,
        default_calc_job_plugin='quantumespresso.pw',
    )
    return code.store()


@pytest.fixture
def pseudo_family(aiida_profile, tmp_path):
    """Return a family of pseudopotentials that need few plane waves, with cutoffs that are too low for anything."""
    label = 'soft'
    found = orm.QueryBuilder().append(CutoffsPseudoPotentialFamily, filters={'label': label}).first(flat=True)
    if found is not None:
        return found
    for element in ('Al', 'Si'):
        shutil.copy(PSEUDOS / f'{element}.pz-vbc.UPF', tmp_path)
    family = CutoffsPseudoPotentialFamily.create_from_folder(tmp_path, label, pseudo_type=UpfData)
    cutoffs = {element: {'cutoff_wfc': 12.0, 'cutoff_rho': 48.0} for element in family.elements}
    family.set_cutoffs(cutoffs, 'normal', unit='Ry')
    return family


@pytest.fixture
def reference_energies():
    """Return the energies of the isolated atoms at the settings of the MgO data, in eV."""
    return {'Mg': -27.441497613508435, 'O': -426.11747912713093}


@pytest.fixture
def foreign_job(aiida_localhost):
    """Return a function that stores a job of some type with inputs and outputs."""

    def build(process_type, *, inputs=None, outputs=None, version=None, exit_status=0, options=None):
        node = orm.CalcJobNode(computer=aiida_localhost, process_type=f'aiida.calculations:{process_type}')
        node.set_process_label(process_type)
        if version is not None:
            node.base.attributes.set('version', {'core': '2.9.4', 'plugin': version})
        node.set_exit_status(exit_status)
        for name, value in (options or {}).items():
            node.base.attributes.set(name, value)
        for label, value in (inputs or {}).items():
            node.base.links.add_incoming(value.store(), link_type=LinkType.INPUT_CALC, link_label=label)
        node.store()
        for label, value in (outputs or {}).items():
            value.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label=label)
            value.store()
        return node

    return build


@pytest.fixture
def foreign_trajectory():
    """Return a function that makes a trajectory of arrays, not stored."""

    def build(symbols, arrays, *, pbc=(True, True, True)):
        node = orm.TrajectoryData()
        node.base.attributes.set('symbols', list(symbols))
        if pbc is not None:
            node.base.attributes.set('pbc', list(pbc))
        steps = {'steps': np.arange(len(arrays['positions']))}
        for name, values in (steps | arrays).items():
            node.set_array(name, np.asarray(values))
        return node

    return build
