"""Equations by several processes."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from linear_cases import basis_of, emt_frame, equations_of, labelled, rows_of

from aiida_pacemaker.linear import collecting
from aiida_pacemaker.linear.collecting import PORTION, Collector
from aiida_pacemaker.linear.weighting import Pacemaker, Physical

pytestmark = pytest.mark.engine

SCALES = {'energy': 10.0, 'forces': 1.0, 'virial': 1.0}


def read(name):
    """Iterate over labelled structures; the name is that of what happens."""
    for index, labelled_structure in enumerate(labelled(emt_frame(s, 'Cu', (1, 1, 1)) for s in range(2 * PORTION + 3))):
        if name == 'dies' and index == PORTION:
            os.kill(os.getpid(), signal.SIGKILL)
        if name == 'fails' and index == PORTION:
            raise ValueError('this one cannot be read')
        yield labelled_structure


@pytest.fixture
def basis_file(tmp_path):
    basis = basis_of(('Cu',), 4)
    path = str(tmp_path / 'basis.yaml')
    basis.functions.save(path)
    return path, basis.n_functions


def test_processes_give_the_same_equations(basis_file):
    path, n_columns = basis_file
    count = 2 * PORTION + 3
    expected = equations_of(n_columns, rows_of(basis_of(('Cu',), 4), list(read('')), Physical(), virial=True))
    for n_workers in (1, 2):
        with Collector(path, read, Physical(), virial=True, n_workers=n_workers) as collector:
            found = [collector.equations_of(name, count, n_columns) for name in ('a', 'b')]
        for one in found:
            assert (one.n_frames, one.counts) == (expected.n_frames, expected.counts)
            ours, theirs = one.factor(SCALES), expected.factor(SCALES)
            np.testing.assert_allclose(
                ours.T @ ours, theirs.T @ theirs, rtol=1e-10, atol=1e-12 * np.abs(theirs).max() ** 2
            )
    assert collecting._state == {}


def test_a_process_that_dies_is_not_waited_for(basis_file):
    path, n_columns = basis_file
    collector = Collector(path, read, Physical(), virial=False, n_workers=2)
    with collector, pytest.raises(RuntimeError, match='has died; is there enough memory'):
        collector.equations_of('dies', 2 * PORTION + 3, n_columns)


@pytest.mark.parametrize('n_workers', [1, 2])
def test_what_a_process_raises_is_raised(n_workers, basis_file):
    path, n_columns = basis_file
    collector = Collector(path, read, Physical(), virial=False, n_workers=n_workers)
    with collector, pytest.raises(ValueError, match='this one cannot be read'):
        collector.equations_of('fails', 2 * PORTION + 3, n_columns)


def test_frames_of_high_energy_are_left_out(basis_file):
    path, n_columns = basis_file
    energies = np.sort([label.energy / len(atoms) for atoms, label in read('')])
    weighting = Pacemaker(0.2, (1.0, 1.0), energies[0], upper=energies[10] - energies[0])
    with Collector(path, read, weighting, virial=False) as collector:
        found = collector.equations_of('a', len(energies), n_columns)
    assert found.n_frames == 10
