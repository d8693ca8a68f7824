"""Errors of frames that are left out: against fits without them, and against error bars."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from linear_cases import REFERENCES, basis_of, equations_of, labelled, read_mgo, rows_of, scales_of
from scipy.stats import spearmanr

from aiida_pacemaker.baseline.targets import write_targets
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.linear.evidence import solve_evidence, solve_fixed, solve_ridge
from aiida_pacemaker.linear.saving import save
from aiida_pacemaker.linear.validation import (
    Calibration,
    HeldOut,
    calibrate,
    cross_validate,
    folds_of,
    leave_one_out,
)
from aiida_pacemaker.linear.weighting import Pacemaker, Physical

pytestmark = pytest.mark.engine

ENGINE = Path(sys.executable).parent


def lowest(structures):
    return min(label.energy / len(atoms) for atoms, label in structures)


@pytest.fixture(scope='module')
def mgo():
    """Return a basis, and all frames of MgO with their equations."""
    basis = basis_of(('Mg', 'O'), 5)
    structures = labelled(read_mgo(), REFERENCES)
    weighting = Physical(reference=lowest(structures), virial=0.5)
    return basis, structures, weighting, rows_of(basis, structures, weighting, virial=True)


FITS = ['evidence', 'pacemaker', 'least norm']


def fitted(fit, mgo, n_frames):
    """Return equations, scales, groups and solution of a fit to the first frames."""
    basis, structures, weighting, frames = mgo
    frames = frames[:n_frames]
    if fit != 'evidence':
        weighting = Pacemaker(0.2, (1.0, 1.0), lowest(structures))
        frames = rows_of(basis, structures[:n_frames], weighting)
    equations = equations_of(basis.n_functions, frames)
    scales = scales_of(weighting, equations)
    factor = equations.factor(scales)
    if fit == 'evidence':
        groups = basis.groups('order_degree')
        return equations, scales, groups, solve_evidence(factor, equations.n_rows, groups)
    groups = np.zeros(basis.n_functions, dtype=int)
    return equations, scales, groups, solve_ridge(factor, equations.n_rows, 1e-6 if fit == 'pacemaker' else 0.0)


@pytest.mark.parametrize('fit', FITS[:2])
def test_leaving_one_out_is_a_fit_without_it(fit, mgo):
    n_frames = 60
    equations, scales, groups, solution = fitted(fit, mgo, n_frames)
    errors = leave_one_out(equations, scales, solution)
    assert len(errors) == len(equations.frames) == n_frames
    for index in range(0, n_frames, 7):
        frame = equations.frames[index]
        others = [one for one in equations.frames if one is not frame]
        refit = solve_fixed(equations.factor(scales, others), equations.n_rows - frame.n_rows, groups, solution)
        vector = np.append(refit.coefficients, -1.0)
        assert errors[index].key == frame.key
        assert errors[index].energy == pytest.approx((frame.rows['energy'] @ vector)[0], rel=1e-8, abs=1e-9)
        rms = np.sqrt(np.mean((frame.rows['forces'] @ vector) ** 2))
        assert errors[index].forces == pytest.approx(rms, rel=1e-8, abs=1e-9)
    leverages = sum(one.leverage for one in errors)
    if fit == 'evidence':
        assert leverages == pytest.approx(solution.effective, rel=1e-2)
    else:
        assert leverages == pytest.approx(solution.effective, rel=1e-6)


def test_without_a_prior_there_are_errors_too(mgo):
    """What a frame determines alone is lost without it, so they are not quite those of a fit of least norm."""
    equations, scales, groups, solution = fitted('least norm', mgo, 60)
    errors = leave_one_out(equations, scales, solution)
    assert np.isfinite([[one.energy, one.forces, one.leverage] for one in errors]).all()
    assert sum(one.leverage for one in errors) == pytest.approx(solution.effective, rel=1e-4)
    held_out = cross_validate(equations, scales, groups, solution)
    assert np.isfinite(held_out.spreads['forces']).all()
    assert 0.2 < np.mean([one.forces for one in errors]) / held_out.rmse('forces') < 2


@pytest.mark.parametrize('fit', FITS[:2])
def test_cross_validation_is_fits_without_the_parts(fit, mgo):
    equations, scales, groups, solution = fitted(fit, mgo, 30)
    found = cross_validate(equations, scales, groups, solution)
    residuals = {'energy': [], 'forces': []}
    for part in folds_of(equations.frames):
        names = {frame.key for frame in part}
        fresh = equations_of(equations.n_columns, [one for one in equations.frames if one.key not in names])
        refit = solve_fixed(fresh.factor(scales), fresh.n_rows, groups, solution)
        for frame in part:
            for kind, values in residuals.items():
                values.append(frame.rows[kind] @ np.append(refit.coefficients, -1.0))
    for kind, values in residuals.items():
        np.testing.assert_allclose(found.residuals[kind], np.concatenate(values), rtol=1e-8, atol=1e-10)
    assert len(found.spreads['forces']) == len(found.residuals['forces'])


def test_folding_leaves_cross_validation_of_the_sample(mgo, monkeypatch):
    """Frames that are not in the sample are in every fit."""
    from aiida_pacemaker.linear import equations as module

    basis, _, weighting, frames = mgo
    monkeypatch.setattr(module, 'SAMPLE_DOUBLES', 0)
    monkeypatch.setattr(module, 'SAMPLE_FACTOR', 3)
    equations = equations_of(basis.n_functions, frames[:60])
    assert 10 < len(equations.frames) < 40
    scales, groups = scales_of(weighting, equations), basis.groups('order_degree')
    solution = solve_evidence(equations.factor(scales), equations.n_rows, groups)
    found = cross_validate(equations, scales, groups, solution)
    part = folds_of(equations.frames)[0]
    names = {frame.key for frame in part}
    others = equations_of(basis.n_functions, [one for one in frames[:60] if one.key not in names])
    refit = solve_fixed(others.factor(scales), others.n_rows, groups, solution)
    expected = np.concatenate([one.rows['energy'] @ np.append(refit.coefficients, -1.0) for one in part])
    np.testing.assert_allclose(found.residuals['energy'][: len(part)], expected, rtol=1e-8, atol=1e-10)


def test_error_bars_cover_the_errors_and_rank_them_better_than_gamma(mgo, tmp_path):
    """On frames of MgO that were left out: 88 to 100 % of force components within two standard deviations."""
    import pyace

    basis, structures, weighting, frames = mgo
    n_train = 50
    equations = equations_of(basis.n_functions, frames[:n_train])
    scales, groups = scales_of(weighting, equations), basis.groups('order_degree')
    solution = solve_evidence(equations.factor(scales), equations.n_rows, groups)
    held_out = cross_validate(equations, scales, groups, solution)
    calibration = calibrate(held_out.residuals['forces'], held_out.spreads['forces'])
    assert 0.88 < calibration.within_two <= 1.0
    residuals, sigmas = [], []
    for frame in frames[n_train:]:
        residuals.append(frame.rows['forces'] @ np.append(solution.coefficients, -1.0))
        sigmas.append(calibration.sigma(solution.spread(frame.rows['forces'])))
    within = np.abs(np.concatenate(residuals)) <= 2 * np.concatenate(sigmas)
    assert 0.88 < within.mean() <= 1.0

    save(basis, solution.coefficients, str(tmp_path / 'output_potential'))
    with (tmp_path / 'train.pckl.gzip').open('wb') as handle:
        write_targets(from_atoms([atoms for atoms, _ in structures[:n_train]], 'mgo'), handle)
    command = [str(ENGINE / 'pace_activeset'), '-d', 'train.pckl.gzip', 'output_potential.yaml']
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, 'OMP_NUM_THREADS': '1'}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    calculator = pyace.PyACECalculator(str(tmp_path / 'output_potential.yaml'))
    calculator.set_active_set(str(tmp_path / 'output_potential.asi'))
    gammas = []
    for atoms, _ in structures[n_train:]:
        copy = atoms.copy()
        copy.calc = calculator
        copy.get_potential_energy()
        gammas.append(calculator.results['gamma'].copy())
    errors = np.linalg.norm(np.concatenate(residuals).reshape(-1, 3), axis=1)
    of_atoms = np.linalg.norm(np.concatenate(sigmas).reshape(-1, 3), axis=1)
    by_sigma = spearmanr(of_atoms, errors).statistic
    by_gamma = spearmanr(np.concatenate(gammas), errors).statistic
    assert by_sigma > 0.6
    assert by_sigma > by_gamma


def test_calibration():
    rng = np.random.default_rng(0)
    spreads = rng.uniform(0.1, 1.0, 5000)
    found = calibrate(3.0 * spreads * rng.normal(size=5000), spreads)
    assert found.factor == pytest.approx(3.0, rel=0.05)
    assert found.offset < 0.2
    assert found.within_one == pytest.approx(0.683, abs=0.02)
    assert found.within_two == pytest.approx(0.954, abs=0.01)
    # Errors that have nothing to do with the spread.
    found = calibrate(0.5 * rng.normal(size=5000), 1e-6 * spreads)
    assert found.sigma(1e-6 * spreads) == pytest.approx(0.5, rel=0.1)
    assert found.within_one == pytest.approx(0.683, abs=0.03)
    for residuals, spread in ((np.ones(9), np.ones(9)), (np.zeros(50), np.ones(50))):
        assert calibrate(residuals, spread) is None
    found = calibrate(rng.normal(size=50), np.zeros(50))
    assert isinstance(found, Calibration)
    assert (found.factor, found.offset > 0.5) == (0.0, True)


def test_a_frame_alone_of_its_kind_does_not_decide():
    """A basis that is good for nine frames and bad for the tenth is preferred to one that is mediocre for all."""
    scales = {'energy': 10.0, 'forces': 1.0}

    def held_out(errors, weights=None):
        """Return residuals of frames of two atoms, each of the same size."""
        places = {'energy': np.arange(len(errors)), 'forces': np.repeat(np.arange(len(errors)), 6)}
        by_frame = {'energy': np.asarray(errors) / 10, 'forces': np.asarray(errors)}
        of_frame = np.ones(len(errors)) if weights is None else np.asarray(weights)
        return HeldOut(
            {kind: by_frame[kind][place] for kind, place in places.items()},
            {kind: np.ones(len(place)) for kind, place in places.items()},
            {kind: of_frame[place] for kind, place in places.items()},
            places,
        )

    good, mediocre = held_out([0.02] * 9 + [2.0]), held_out([0.06] * 10)
    assert good.rmse('forces') > mediocre.rmse('forces')
    assert good.typical(scales) < mediocre.typical(scales) == pytest.approx(0.06, rel=1e-3)
    # The unit is that of a force, whatever the weights; what has no weight does not count, and little counts little.
    assert held_out([0.06] * 4, [0.5, 2.0, 1.0, 1.0]).typical(scales) == pytest.approx(0.06, rel=1e-3)
    assert held_out([0.06, 5.0], [1.0, 0.0]).typical(scales) == pytest.approx(0.06, rel=1e-3)
    assert held_out([0.06, 5.0], [1.0, 0.01]).typical(scales) < 0.07
    # Errors below those of labels are all the same.
    assert held_out([1e-9] * 3).typical(scales) == pytest.approx(1e-3)
