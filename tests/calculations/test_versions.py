"""What makes a job of one version of this package another than that of the next."""

from __future__ import annotations

import gzip
import io
from hashlib import sha256
from importlib.metadata import entry_points

import numpy as np
import pytest
from aiida import orm
from aiida.engine import CalcJob
from aiida.plugins import CalculationFactory, ParserFactory

from aiida_pacemaker.baseline.evaluation import evaluate
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.baseline.targets import write_targets
from aiida_pacemaker.calculations.versions import CACHE_VERSION
from aiida_pacemaker.frames.pickles.writing import write_candidates
from aiida_pacemaker.frames.table import Frames

RAISE = (
    'what jobs read or add has changed: raise CACHE_VERSION (and with it LAYOUT) in calculations/versions.py, then put '
    'the new value here. Else results of the old version are taken from the cache, and tables of computers are wrong'
)


def names(group):
    return sorted(point.name for point in entry_points(group=group) if point.name.startswith('pacemaker.'))


@pytest.fixture
def dimers() -> Frames:
    """Return two dimers, Mg-O and O-O, with labels."""
    return Frames(
        n_atoms=np.array([2, 2]),
        numbers=np.array([12, 8, 8, 8]),
        positions=np.array([[0.0, 0, 0], [0, 0, 1.5], [0, 0, 0], [0, 1.25, 0]]),
        cells=np.zeros((2, 3, 3)),
        pbc=np.zeros((2, 3), dtype=bool),
        energy=np.array([-3.25, -7.5]),
        forces=np.array([[0.0, 0, -0.5], [0, 0, 0.5], [0, 1, 0], [0, -1, 0]]),
        stress=np.full((2, 3, 3), np.nan),
        source_keys=('x',),
        source=np.zeros(2, dtype=np.int64),
        step=np.arange(2),
        generation=np.zeros(2, dtype=np.int64),
    )


def content_of(write, *arguments) -> str:
    handle = io.BytesIO()
    write(*arguments[:1], handle, *arguments[1:])
    return sha256(gzip.decompress(handle.getvalue())).hexdigest()[:24]


def test_the_bytes_of_tables(dimers):
    assert content_of(write_targets, dimers) == '160544d4f979b4d0a3f813ca', RAISE
    assert content_of(write_candidates, dimers) == '2b4c2e70912f4112e3dd80bd', RAISE


def test_the_numbers_of_the_baseline(dimers):
    lj = [
        {'elements': pair, 'epsilon': 0.01, 'sigma': 1.25, 'cutoff': 4.0}
        for pair in (['Mg', 'O'], ['O', 'O'], ['Mg', 'Mg'])
    ]
    parameters = {'mode': 'delta', 'zbl': {'inner': 1.0, 'outer': 2.0}, 'lj': {'pairs': lj, 'shift': True}}
    found = evaluate(DeltaBaseline.model_validate(parameters), dimers)
    assert found.energy == pytest.approx([2.301698408372266, 6.676674332840802], rel=1e-9), RAISE
    assert found.forces[[1, 3], [2, 1]] == pytest.approx([14.641187732673487, 30.95038839811162], rel=1e-9), RAISE


def test_all_jobs_and_parsers_have_the_version():
    jobs = [CalculationFactory(name) for name in names('aiida.calculations')]
    jobs = [job for job in jobs if isinstance(job, type) and issubclass(job, CalcJob)]
    parsers = [ParserFactory(name) for name in names('aiida.parsers')]
    assert len(jobs) == len(parsers) > 6
    assert {each.CACHE_VERSION for each in (*jobs, *parsers)} == {CACHE_VERSION}


@pytest.mark.fault(
    'the package is changed so that equal inputs give other results',
    engine='AiiDA takes the results of the old version from its cache',
    here='jobs and parsers have a `CACHE_VERSION`; a test holds the tables and the baseline that it stands for',
    ends='run again',
)
def test_jobs_of_two_versions_are_not_the_same(aiida_localhost):
    hashes = []
    for version in (CACHE_VERSION, CACHE_VERSION, CACHE_VERSION + 1):
        node = orm.CalcJobNode(computer=aiida_localhost, process_type='aiida.calculations:pacemaker.train')
        node.base.attributes.set(CalcJob.KEY_CACHE_VERSION, {'calc_job': version, 'parser': version})
        hashes.append(node.store().base.caching.compute_hash(ignore_errors=False))
    assert hashes[0] == hashes[1] != hashes[2]
