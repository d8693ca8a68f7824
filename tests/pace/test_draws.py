"""Potentials drawn from the posterior of a linear fit, from the files of a recorded fit."""

from pathlib import Path

import numpy as np
import pytest

from aiida_pacemaker.errors import PotentialFileError
from aiida_pacemaker.pace.densities import add_densities
from aiida_pacemaker.pace.draws import draw_coefficients, with_coefficients

FIT = Path(__file__).parents[1] / 'fixtures' / 'fit_linear' / 'default'
CONTENT = (FIT / 'output_potential.yaml').read_bytes()


@pytest.fixture(scope='module')
def posterior():
    with np.load(FIT / 'posterior.npz', allow_pickle=False) as content:
        return {name: content[name] for name in ('coefficients', 'used', 'scale', 'root')}


def test_draws_have_the_covariance_of_the_posterior(posterior):
    draws = np.array([draw_coefficients(**posterior, factor=1.5, seed=seed) for seed in range(4000)])
    mean, used = posterior['coefficients'], posterior['used']
    root = 1.5 * posterior['scale'][:, None] * posterior['root']
    sigma = np.sqrt(np.einsum('ij,ij->i', root, root))
    found = draws[:, used]
    assert np.allclose(found.std(axis=0), sigma, rtol=0.06, atol=0)
    assert (np.abs(found.mean(axis=0) - mean[used]) < 5 * sigma / np.sqrt(4000)).all()
    correlation = (root @ root.T) / np.outer(sigma, sigma)
    assert np.allclose(np.corrcoef(found.T), correlation, rtol=0, atol=0.1)
    others = np.delete(np.arange(len(mean)), used)
    assert (draws[:, others] == mean[others]).all()


def test_a_seed_is_a_draw(posterior):
    first, again, other = (draw_coefficients(**posterior, factor=1.0, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_the_engine_reads_the_coefficients_that_were_drawn(posterior, tmp_path):
    """In its own order, which is not that of the file."""
    pyace = pytest.importorskip('pyace')
    drawn = draw_coefficients(**posterior, factor=1.0, seed=7)
    path = tmp_path / 'drawn.yaml'
    path.write_bytes(with_coefficients(CONTENT, posterior['coefficients'], drawn))
    read = np.array(pyace.ACEBBasisSet(str(path)).basis_coeffs)
    assert (read == drawn).all()
    assert with_coefficients(path.read_bytes(), drawn, posterior['coefficients']) == CONTENT


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda mean: mean[:-1], r'it has 24 coefficients, and the posterior 23'),
        (lambda mean: mean * (1 + 1e-9), 'the posterior is not that of the potential'),
    ],
    ids=['fewer', 'others'],
)
def test_a_posterior_of_another_potential_is_refused(posterior, change, said):
    mean = change(posterior['coefficients'])
    with pytest.raises(PotentialFileError, match=said):
        with_coefficients(CONTENT, mean, mean)


def test_equal_coefficients_cannot_be_told_apart(posterior):
    mean = posterior['coefficients'].copy()
    mean[1] = mean[0]
    content = with_coefficients(CONTENT, posterior['coefficients'], mean)
    # As long as they stay equal it does not matter.
    assert with_coefficients(content, mean, mean) == content
    with pytest.raises(PotentialFileError, match='two of its coefficients are equal'):
        with_coefficients(content, mean, draw_coefficients(**{**posterior, 'coefficients': mean}, factor=1.0, seed=1))


def test_two_densities_are_refused(posterior):
    content = add_densities(CONTENT, 'FinnisSinclairShiftedScaled', [1.0, 1.0, 1.0, 0.5])
    mean = posterior['coefficients']
    with pytest.raises(PotentialFileError, match='those of one density'):
        with_coefficients(content, mean, mean)
