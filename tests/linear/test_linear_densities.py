"""A second density for a linear potential: the engine sees the same energies, and a fit that goes on moves."""

from __future__ import annotations

import numpy as np
import pyace
import pytest
from ase import Atoms
from linear_cases import basis_of, read_mgo

from aiida_pacemaker.linear.saving import save
from aiida_pacemaker.pace.config.short_range import zbl_cores
from aiida_pacemaker.pace.densities import add_densities
from aiida_pacemaker.pace.output.potentials import read_potential

pytestmark = pytest.mark.engine

SMOOTH, TWO = 'FinnisSinclairShiftedScaled', [1.0, 1.0, 1.0, 0.5]
NEAREST = {('Mg', 'Mg'): 2.0, ('Mg', 'O'): 1.3, ('O', 'O'): 1.8}


def structures():
    """Return frames of the data, and a pair of atoms within its core."""
    return [*read_mgo()[:4], Atoms('MgO', [[0, 0, 0], [0.5, 0, 0]])]


def said_by(path, frames):
    """Return energies and forces of frames by a potential."""
    calculator = pyace.PyACECalculator(str(path))
    found = []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = calculator
        found.append((atoms.get_potential_energy(), atoms.get_forces()))
    return found


@pytest.fixture
def linear(tmp_path, monkeypatch):
    """Return a function that writes a linear potential with a core and random coefficients, and returns its file."""
    monkeypatch.chdir(tmp_path)

    def make(**embedding):
        basis = basis_of(['Mg', 'O'], 4, embedding=embedding)
        coefficients = np.random.default_rng(0).normal(size=basis.n_functions)
        save(basis, coefficients, 'linear', (NEAREST, 0.9))
        return tmp_path / 'linear.yaml'

    return make


@pytest.mark.parametrize(
    ('embedding', 'parameters'),
    [
        ({}, TWO),
        ({'npot': 'FinnisSinclair', 'fs_parameters': [2.5, 1.0]}, TWO),
        ({'fs_parameters': [1.0, 1.0]}, [0.25, 1.0, -3.0, 0.5, 1.0, 0.75]),
    ],
)
def test_energies_and_forces_are_the_same(linear, embedding, parameters):
    before = linear(**embedding)
    after = before.with_name('densities.yaml')
    after.write_bytes(add_densities(before.read_bytes(), SMOOTH, parameters))
    frames = structures()
    for (energy, forces), (other, others) in zip(said_by(before, frames), said_by(after, frames), strict=True):
        assert other == pytest.approx(energy, rel=1e-12, abs=1e-12)
        assert others == pytest.approx(forces, rel=1e-12, abs=1e-12 * max(1.0, np.abs(forces).max()))
    summary = read_potential(after.read_bytes())
    assert set(summary.n_densities.values()) == {len(parameters) // 2}
    assert summary.functions_by_type == read_potential(before.read_bytes()).functions_by_type
    assert zbl_cores(after.read_bytes()) == zbl_cores(before.read_bytes())
    # The core is among what was compared.
    assert zbl_cores(before.read_bytes())['Mg', 'O'] == pytest.approx(0.9 * 1.3)
    assert said_by(before, frames[-1:])[0][0] > 50.0


def test_a_fit_that_goes_on_changes_the_second_density(linear):
    """The derivative of the energy by each of its coefficients that acts at all is finite, and not zero."""
    before = linear()
    after = before.with_name('densities.yaml')
    after.write_bytes(add_densities(before.read_bytes(), SMOOTH, TWO))
    functions = pyace.ACEBBasisSet(str(after))
    start = np.array(functions.basis_coeffs)
    assert not start[1::2].any()
    frame, step = read_mgo()[:1], 1e-6
    by_density = {}
    for density in (0, 1):
        by_density[density] = []
        for place in range(density, 2 * 12, 2):
            energies = []
            for sign in (1, -1):
                changed = start.copy()
                changed[place] += sign * step
                functions.basis_coeffs = changed.tolist()
                functions.save(str(before.with_name('changed.yaml')))
                energies.append(said_by(before.with_name('changed.yaml'), frame)[0][0])
            by_density[density].append((energies[0] - energies[1]) / (2 * step))
    first, second = (np.array(values) for values in by_density.values())
    acts = np.abs(first) > 1e-3
    assert acts.sum() >= 8
    assert np.abs(second[acts]).min() > 1e-4
    assert np.abs(second).max() < 10 * np.abs(first).max()
