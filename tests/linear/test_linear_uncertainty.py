"""Error bars of predictions: what the posterior of the fit and its calibration make of the rows of a structure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

pytest.importorskip('pyace', reason='python-ace is not installed')

import pyace

from aiida_pacemaker.linear.basis import Basis, configuration_of
from aiida_pacemaker.linear.equations import Equations
from aiida_pacemaker.linear.evidence import solve_evidence
from aiida_pacemaker.linear.rows import Label, RowMaker
from aiida_pacemaker.linear.saving import save
from aiida_pacemaker.linear.uncertainty import ErrorBars, Posterior
from aiida_pacemaker.linear.validation import calibrate, cross_validate
from aiida_pacemaker.linear.weighting import Physical
from aiida_pacemaker.pace.config.linear import linear_fit_of
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.draws import draw_coefficients, with_coefficients

pytestmark = pytest.mark.engine

FRAMES = Path(__file__).parents[2] / 'examples' / 'mgo-lda.extxyz'
ENERGIES = {'Mg': -27.441497613508435, 'O': -426.11747912713093}


def label_of(atoms: Atoms, key: str) -> Label:
    energy = atoms.get_potential_energy() - sum(ENERGIES[symbol] for symbol in atoms.get_chemical_symbols())
    return Label(key, energy, atoms.get_forces())


@pytest.fixture(scope='module')
def fitted(tmp_path_factory):
    """Return the file of a potential with a core below the data, its posterior, and frames that it has not seen."""
    images = [image for image in ase.io.read(FRAMES, ':') if len(image) == 8]
    training, others = images[::2], images[1::2]
    fit = linear_fit_of(parse_config({'elements': ['Mg', 'O'], 'max_deg': 5}))
    basis = Basis.of_configuration(configuration_of(fit.potential, fit.degree, fit.first))
    weighting = Physical(reference=-6.5)
    maker = RowMaker(basis, weighting)
    equations = Equations(basis.n_functions)
    equations.add(maker.equations_of(atoms, label_of(atoms, f'{n:04d}')) for n, atoms in enumerate(training))
    scales, groups = weighting.scales(equations.weights, equations.counts), basis.groups('order_degree')
    solution = solve_evidence(equations.factor(scales), equations.n_rows, groups)
    held_out = cross_validate(equations, scales, groups, solution)
    found = [calibrate(held_out.residuals[kind], held_out.spreads[kind]) for kind in ('energy', 'forces')]
    nearest = {
        tuple(sorted((basis.elements[i], basis.elements[j]))): distance
        for (i, j), distance in equations.nearest.items()
    }
    stem = str(tmp_path_factory.mktemp('fit') / 'potential')
    save(basis, solution.coefficients, stem, (nearest, 0.9))
    calibration = np.array([[one.factor, one.offset] for one in found])
    arguments = solution.coefficients, solution.used, solution.scale, solution.root, calibration
    return f'{stem}.yaml', Posterior(*arguments), others


def test_errors_are_as_large_as_their_bars(fitted):
    """Two of them cover 88 to 100 % of the force errors of frames that were never seen, and they order the errors."""
    potential, posterior, others = fitted
    bars, calculator = ErrorBars(potential, posterior), pyace.PyACECalculator(potential)
    errors, sigmas = [], []
    for image in others:
        atoms = image.copy()
        atoms.calc = calculator
        errors.append(atoms.get_forces() - image.get_forces())
        sigmas.append(bars.of(image)[1])
    errors, sigmas = np.concatenate(errors), np.concatenate(sigmas)
    assert np.isfinite(sigmas).all()
    assert 0.88 <= np.mean(np.abs(errors) <= 2 * sigmas[:, None]) <= 1.0
    order = np.argsort(sigmas)
    quarter = len(order) // 4
    rms = [np.sqrt(np.mean(errors[part] ** 2)) for part in (order[:quarter], order[-quarter:])]
    assert rms[1] > 2 * rms[0]


def test_nothing_is_known_inside_the_core(fitted):
    """Where ZBL takes the place of the functions these have no spread; the error bar is infinite, not zero."""
    potential, posterior, others = fitted
    bars = ErrorBars(potential, posterior)
    atoms = others[0].copy()
    near = atoms.copy()
    near.positions[1] = near.positions[0] + [0.8, 0.0, 0.0]
    assert np.isfinite(bars.of(atoms)[1]).all()
    energy, forces = bars.of(near)
    assert np.isinf(forces[:2]).all()
    assert energy > 0


def test_the_posterior_of_another_potential_is_refused(fitted):
    potential, posterior, _ = fitted
    arrays = vars(posterior)
    with pytest.raises(ValueError, match='not that of the potential'):
        ErrorBars(potential, Posterior(**{**arrays, 'coefficients': 1.01 * posterior.coefficients}))


def test_energies_without_a_calibration_are_unknown(fitted):
    potential, posterior, others = fitted
    calibration = np.array([[np.nan, np.nan], posterior.calibration[1]])
    energy, forces = ErrorBars(potential, Posterior(**{**vars(posterior), 'calibration': calibration})).of(others[0])
    assert energy == np.inf
    assert np.isfinite(forces).all()


def test_draws_spread_as_wide_as_the_bars(fitted, tmp_path):
    """The standard deviation of the forces over drawn potentials is that of the posterior, an independent way to it."""
    potential, posterior, others = fitted
    calculators = []
    for seed in range(60):
        coefficients = draw_coefficients(
            posterior.coefficients, posterior.used, posterior.scale, posterior.root, factor=1.0, seed=seed
        )
        path = tmp_path / f'{seed}.yaml'
        path.write_bytes(with_coefficients(Path(potential).read_bytes(), posterior.coefficients, coefficients))
        calculators.append(pyace.PyACECalculator(str(path)))
    plain = replace(posterior, calibration=np.array([[1.0, 0.0], [1.0, 0.0]]))
    bars, ratios = ErrorBars(potential, plain), []
    for image in others[:6]:
        forces = []
        for calculator in calculators:
            atoms = image.copy()
            atoms.calc = calculator
            forces.append(atoms.get_forces())
        spread = np.sqrt(np.mean(np.var(forces, axis=0, ddof=1), axis=1))
        ratios.append(spread / bars.of(image)[1])
    ratios = np.concatenate(ratios)
    # Each of 60 draws: 9 % at most in a component, less over three.
    assert np.median(ratios) == pytest.approx(1.0, abs=0.1)
    assert (np.abs(ratios - 1.0) < 0.45).all()
