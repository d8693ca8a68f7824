"""Selections by the posterior of a linear fit, as jobs: with the real engine, and what is refused beforehand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.data.arrays import array_data
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.drivers.linear_files import POSTERIOR, PRECISIONS
from aiida_pacemaker.frames.ase_io import to_atoms
from aiida_pacemaker.linear.basis import Basis
from aiida_pacemaker.linear.repulsion import take_back_repulsion
from aiida_pacemaker.linear.rows import RowMaker
from aiida_pacemaker.linear.uncertainty import Posterior
from aiida_pacemaker.linear.weighting import Physical

pytestmark = pytest.mark.engine

SELECT = 'pacemaker.select.posterior'
BY_POSTERIOR = {'method': 'posterior', 'max_structures': 4}


@pytest.fixture
def fitted(once, run_job, pace_codes, dataset, reference_energies):
    """Return a linear fit to the twelve frames of small displacements, with more functions than atoms of an element."""
    inputs = {
        'dataset': dataset,
        'config': {'elements': ['Mg', 'O'], 'max_deg': 5, 'linear': {'virial_ratio': 0.0}},
        'baseline': DeltaBaseline.for_elements(['Mg', 'O'], mode='core').model_dump(mode='json'),
        'reference_energies': reference_energies,
    }
    return once('fitted for selections', lambda: run_job('pacemaker.train.linear', code=pace_codes['python'], **inputs))


@pytest.fixture
def known(fitted):
    """Return the inputs that are of the fit."""
    assert fitted.is_finished_ok, fitted.exit_message
    potential = fitted.outputs.potential
    assert max(potential.n_functions_per_element.values()) > 48
    return {'potential': potential, 'posterior': fitted.outputs.posterior}


def variance_after(posterior, rows, chosen):
    """Return the sum of the variances of rows when those of some structures are labelled, by normal equations."""
    root = posterior.project(np.concatenate(rows))
    covariance = np.eye(root.shape[1])
    if chosen:
        labelled = posterior.project(np.concatenate([rows[position] for position in chosen]))
        covariance = np.linalg.inv(covariance + labelled.T @ labelled)
    return float(np.einsum('ij,jk,ik->', root, covariance, root))


def test_what_is_selected_takes_most_from_the_variance(run_job, pace_codes, known, others, tmp_path):
    """The first frame is the best of all, and the gains are those of the posterior with the labels."""
    candidates = {
        'zinc': PaceDatasetData(others.select(range(6)).without_labels()),
        'alpha': PaceDatasetData(others.select(range(6, 40)).without_labels()),
    }
    node = run_job(SELECT, code=pace_codes['python'], candidates=candidates, options=BY_POSTERIOR, **known)
    assert node.is_finished_ok, node.exit_message
    said = node.outputs.output_parameters.get_dict()
    assert (said['n_candidates'], said['n_selected'], said['n_unseen']) == (40, 4, 0)

    path = tmp_path / 'potential.yaml'
    path.write_bytes(known['potential'].get_b_basis())
    pyace = pytest.importorskip('pyace')
    configuration = pyace.BBasisConfiguration(str(path))
    take_back_repulsion(configuration)
    maker = RowMaker(Basis.of_configuration(configuration), Physical())
    arrays = {name: known['posterior'].get_array(name) for name in POSTERIOR}
    worth = dict(zip(('energy', 'forces'), known['posterior'].get_array(PRECISIONS), strict=False))
    # The order of the candidates is that of their labels.
    frames = [atoms for label in ('alpha', 'zinc') for atoms in to_atoms(candidates[label].get_frames())]
    terms = [maker.terms_of(atoms).rows for atoms in frames]
    rows = [np.concatenate([worth[kind] * one[kind] for kind in worth]) for one in terms]
    posterior = Posterior(**arrays)

    before = variance_after(posterior, rows, [])
    best = np.argmin([variance_after(posterior, rows, [position]) for position in range(len(rows))])
    where = [int(row) for row in node.outputs.indices.get_array('alpha')]
    where += [34 + int(row) for row in node.outputs.indices.get_array('zinc')]
    selected = [frame.positions for frame in to_atoms(node.outputs.selected.get_frames())]
    order = [next(row for row in where if np.array_equal(frames[row].positions, one)) for one in selected]
    assert order[0] == best
    assert sorted(order) == sorted(where)
    left = [variance_after(posterior, rows, order[:count]) for count in range(5)]
    assert said['gains'] == pytest.approx(-np.diff(left) / before, rel=1e-3)
    assert said['gains'] == sorted(said['gains'], reverse=True)


def test_candidates_of_several_tables_taken_from_a_pool(run_job, pace_codes, known, others):
    """What the computer has of a pool is not sent again, and the choice is the same."""
    pool = PaceDatasetData([others.select(range(20)), others.select(range(20, 40))]).store()
    run_job('pacemaker.evaluate', code=pace_codes['python'], datasets={'pool': pool}, potential=known['potential'])
    candidates = {'some': PaceDatasetData(others.select([31, *range(2, 30, 3)]).without_labels()).store()}
    inputs = {'code': pace_codes['python'], 'candidates': candidates, 'options': BY_POSTERIOR, **known}
    sent, taken = run_job(SELECT, **inputs), run_job(SELECT, pool=pool, **inputs)
    assert taken.is_finished_ok, taken.exit_message
    assert b'held' in taken.base.repository.get_object_content('stage.list', 'rb')
    first, second = (node.outputs.indices.get_array('some').tolist() for node in (sent, taken))
    assert first == second
    assert len(first) == 4


def test_a_posterior_of_another_potential(run_job, pace_codes, known, others):
    """The driver says so: it can only be told where both are read."""
    arrays = {name: known['posterior'].get_array(name) for name in (*POSTERIOR, PRECISIONS)}
    other = array_data({**arrays, 'coefficients': 2 * arrays['coefficients']})
    candidates = {'pool': PaceDatasetData(others.select(range(5)).without_labels())}
    inputs = {**known, 'posterior': other, 'candidates': candidates, 'options': BY_POSTERIOR}
    node = run_job(SELECT, code=pace_codes['python'], **inputs)
    assert node.exit_status == node.process_class.exit_codes.ERROR_TRACEBACK_UNKNOWN.status
    assert 'not that of the potential' in node.exit_message


def test_what_is_refused(pace_codes, known, others):
    arrays = {name: known['posterior'].get_array(name) for name in POSTERIOR}
    pool = PaceDatasetData(others.select(range(5)).without_labels())
    inputs = {'code': pace_codes['python'], 'candidates': {'pool': pool}, 'options': BY_POSTERIOR, **known}
    refused = {
        'has no precisions': {'posterior': array_data(arrays)},
        'the method of the options is `maxvol`': {'options': {'max_structures': 4}},
        'memory_limit: of MaxVol alone': {'options': {**BY_POSTERIOR, 'memory_limit': '2GB'}},
        'a selection by the posterior is run by the Python of the engine': {'code': pace_codes['select']},
        'there is nothing to select from': {'candidates': {}},
    }
    for text, changes in refused.items():
        with pytest.raises(ValueError, match=text):
            run_get_node(CalculationFactory(SELECT), **{**inputs, **changes})


def test_files_of_the_job(prepare, pace_codes, known, others):
    pool = PaceDatasetData(others.select(range(5)).without_labels())
    inputs = {'code': pace_codes['python'], 'candidates': {'pool': pool}, 'options': orm.Dict(BY_POSTERIOR), **known}
    prepared = prepare(SELECT, inputs)
    assert prepared.commands == [['select_posterior.py']]
    request = json.loads(prepared.files['select.json'])
    (table,) = request.pop('candidates')
    assert request == {'potential': 'potential.yaml', 'posterior': 'posterior.npz', 'max_structures': 4}
    assert prepared.staged == dict.fromkeys(['potential.yaml', 'posterior.npz', table], 'sent')
    assert {'select_posterior.py', 'tables.py', 'linear/selecting.py', 'handedness.py'} < set(prepared.kept)
    assert prepared.info.retrieve_temporary_list == ['selection.npz']
