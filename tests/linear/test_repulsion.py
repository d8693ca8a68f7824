"""ZBL below the data: no harm to structures that are a little closer, and no false minima in between."""

import numpy as np
import pytest
from driver_runs import Folder
from linear_cases import REFERENCES, read_mgo, section

from aiida_pacemaker.linear.basis import Basis
from aiida_pacemaker.linear.repulsion import FLAT, dip_of, set_repulsion
from aiida_pacemaker.linear.saving import save

pyace = pytest.importorskip('pyace')
pytestmark = pytest.mark.engine

NEAR = ('rocksalt8-rattle0.04', 'rocksalt-eos-0.98', 'rocksalt-eos-1.00', 'rocksalt-eos-1.02')


@pytest.fixture(scope='module')
def fits(tmp_path_factory):
    """Fits without any repulsion: to frames near equilibrium only, and to a half of all."""
    images = read_mgo()
    near = [atoms for atoms in images if atoms.info['label'].startswith(NEAR)]
    others = [atoms for atoms in images if not atoms.info['label'].startswith(NEAR)]
    found = {}
    for name, train, rest, degree in (('near', near, others, 4), ('half', images[:50], images[50:], 6)):
        folder = Folder(tmp_path_factory.mktemp(name))
        table = folder.write('a.pckl.gzip', train)
        fit = folder.run([table], REFERENCES, potential=section(['Mg', 'O'], degree), degree=degree)
        nearest = {tuple(key.split('-')): value for key, value in fit.summary['shortest_distances'].items()}
        found[name] = folder.path, fit.coefficients, nearest, rest
    return found


def force_error(path, frames):
    """Return the root mean square error of the forces in eV/angstrom."""
    calculator = pyace.PyACECalculator(str(path))
    errors = []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = calculator
        errors.append((atoms.get_forces() - frame.get_forces()).ravel())
    return np.sqrt(np.mean(np.concatenate(errors) ** 2))


@pytest.mark.parametrize(('name', 'deepest'), [('near', FLAT), ('half', 20.0)])
def test_functions_end_where_they_are_of_no_use(fits, tmp_path, name, deepest):
    """Of other frames some come closer than the data; atoms that are much closer repel each other all the way."""
    path, coefficients, nearest, others = fits[name]
    before = path / 'output_potential.yaml'
    basis = Basis.of_configuration(pyace.BBasisConfiguration(str(before)))
    radii, dips = save(basis, coefficients, str(tmp_path / 'new'), (nearest, 0.6))
    assert force_error(tmp_path / 'new.yaml', others) == pytest.approx(force_error(before, others), rel=0.2)
    calculator = pyace.PyACECalculator(str(tmp_path / 'new.yace'))
    for pair, distance in nearest.items():
        assert radii[pair] <= 0.6 * distance
        assert dips[pair].depth <= deepest
        assert dip_of(calculator, pair, distance).depth == pytest.approx(dips[pair].depth, abs=1e-6)


def test_functions_alone_have_false_minima(fits):
    """What the repulsion is for: two O fall into one by hundreds of eV."""
    path, _, nearest, _ = fits['half']
    calculator = pyace.PyACECalculator(str(path / 'output_potential.yaml'))
    assert max(dip_of(calculator, pair, nearest[pair]).depth for pair in nearest) > 100


def test_a_repulsion_just_below_the_data_ruins_what_comes_closer(fits, tmp_path):
    """Why it does not begin at 0.9 of the shortest distances: the sum of functions that cancel is cut through."""
    path, coefficients, nearest, others = fits['near']
    basis = Basis.of_configuration(pyace.BBasisConfiguration(str(path / 'output_potential.yaml')))
    basis.set_coefficients(coefficients)
    configuration = basis.functions.to_BBasisConfiguration()
    set_repulsion(configuration, nearest, {pair: 0.9 * distance for pair, distance in nearest.items()})
    pyace.ACEBBasisSet(configuration).save(str(tmp_path / 'new.yaml'))
    assert force_error(tmp_path / 'new.yaml', others) > 10 * force_error(path / 'output_potential.yaml', others)
