"""Active sets, selections and evaluations by the real engine."""

import numpy as np
import pytest

from aiida_pacemaker.analysis.agreement import disagreement
from aiida_pacemaker.baseline.evaluation import evaluate
from aiida_pacemaker.baseline.reference_energies import reference_energy
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import to_atoms

pytestmark = pytest.mark.engine


@pytest.fixture
def evaluated(once, run_job, pace_codes, trained, linear_set, dataset, test_dataset):
    """Return the evaluation of the small fit on what it was fitted to and on the test set."""
    inputs = {
        'potential': trained.outputs.potential,
        'active_set': linear_set.outputs.active_set,
        'datasets': {'train': dataset, 'test': test_dataset},
    }
    return once('evaluated', lambda: run_job('pacemaker.evaluate', code=pace_codes['python'], **inputs))


@pytest.mark.slow
def test_an_active_set_from_where_the_fit_has_left_its_data(linear_set, trained):
    assert linear_set.is_finished_ok, linear_set.exit_message
    active_set = linear_set.outputs.active_set
    assert active_set.sizes == trained.outputs.potential.n_functions_per_element
    for said in linear_set.outputs.output_parameters['elements'].values():
        assert said['gamma_max'] <= 1.01


def test_the_dataset_gives_the_same_active_set(run_job, pace_codes, trained, linear_set, dataset):
    potential = trained.outputs.potential
    node = run_job('pacemaker.activeset', code=pace_codes['activeset'], potential=potential, dataset=dataset)
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.active_set.sizes == linear_set.outputs.active_set.sizes
    given, left = (set_.outputs.active_set.condition_numbers for set_ in (node, linear_set))
    assert given == pytest.approx(left, rel=1e-6)


def test_a_full_active_set(run_job, pace_codes, trained):
    inputs = {'potential': trained.outputs.potential, 'parent_folder': trained.outputs.remote_folder}
    node = run_job('pacemaker.activeset', code=pace_codes['activeset'], options={'kind': 'full'}, **inputs)
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.active_set.kind == 'full'


def test_too_few_atoms_for_an_active_set(run_job, pace_codes, trained):
    """Enough of them are there, but nearly all are left out for their force error."""
    node = run_job(
        'pacemaker.activeset',
        code=pace_codes['activeset'],
        potential=trained.outputs.potential,
        parent_folder=trained.outputs.remote_folder,
        options={'max_force_error': 1e-3},
    )
    assert node.exit_status == node.process_class.exit_codes.ERROR_ENVIRONMENTS_INSUFFICIENT.status, node.exit_message
    assert 'Mg' in node.exit_message


def test_candidates_taken_from_a_pool_are_selected_like_those_that_are_sent(
    run_job, pace_codes, trained, linear_set, others
):
    """The engine reads what its own Python has put together from the tables of an evaluation."""
    known = {'potential': trained.outputs.potential, 'active_set': linear_set.outputs.active_set}
    pool = PaceDatasetData([others.select(range(20)), others.select(range(20, 40))]).store()
    run_job('pacemaker.evaluate', code=pace_codes['python'], datasets={'pool': pool}, **known)
    candidates = {'some': PaceDatasetData(others.select([31, *range(2, 30, 3)]).without_labels()).store()}
    inputs = {'code': pace_codes['select'], 'candidates': candidates, 'options': {'max_structures': 4}, **known}
    sent = run_job('pacemaker.select', **inputs)
    taken = run_job('pacemaker.select', pool=pool, python=pace_codes['python'], **inputs)
    assert taken.is_finished_ok, taken.exit_message
    assert b'held' in taken.base.repository.get_object_content('stage.list', 'rb')
    assert 'gather.py' in taken.base.repository.list_object_names()
    chosen = [node.outputs.indices.get_array('some').tolist() for node in (sent, taken)]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) > 1


@pytest.mark.parametrize('with_active_set', [True, False])
def test_what_is_selected_is_what_the_indices_point_at(
    run_job, pace_codes, trained, linear_set, others, with_active_set
):
    # The order of the candidates is that of their labels, not that in which they are given.
    candidates = {
        'zinc': PaceDatasetData(others.select(range(5)).without_labels()),
        'alpha': PaceDatasetData(others.select(range(5, 40)).without_labels()),
    }
    inputs = {'active_set': linear_set.outputs.active_set} if with_active_set else {}
    node = run_job(
        'pacemaker.select',
        code=pace_codes['select'],
        potential=trained.outputs.potential,
        candidates=candidates,
        options={'max_structures': 7},
        **inputs,
    )
    assert node.is_finished_ok, node.exit_message
    parameters = node.outputs.output_parameters.get_dict()
    assert parameters['n_candidates'] == 40
    assert parameters['with_active_set'] is with_active_set
    assert 1 <= parameters['n_selected'] <= 7
    pointed_at = np.concatenate(
        [candidates[label].get_hashes()[node.outputs.indices.get_array(label)] for label in candidates]
    )
    selected = node.outputs.selected.get_hashes()
    assert len(selected) == parameters['n_selected']
    assert {digest.tobytes() for digest in selected} == {digest.tobytes() for digest in pointed_at}
    assert set(node.outputs.selected.sources.values()) <= {dataset.uuid for dataset in candidates.values()}
    assert not node.outputs.selected.labelled


def test_known_frames_add_nothing_but_themselves(run_job, pace_codes, trained, linear_set, rattled):
    """A selection from the very frames of the active set ends well, whatever there is of it."""
    node = run_job(
        'pacemaker.select',
        code=pace_codes['select'],
        potential=trained.outputs.potential,
        candidates={'known': PaceDatasetData(rattled.select([3]))},
        active_set=linear_set.outputs.active_set,
    )
    assert node.is_finished_ok, node.exit_message
    assert ('selected' in node.outputs) == (node.outputs.output_parameters['n_selected'] > 0)


@pytest.mark.parametrize('label', ['train', 'test'])
def test_an_evaluation_is_the_ase_calculator_plus_the_isolated_atoms(
    evaluated, trained, linear_set, dataset, test_dataset, reference_energies, label
):
    """The job and the calculator come to the same by two ways, with a baseline that reaches far."""
    assert evaluated.is_finished_ok, evaluated.exit_message
    frames = {'train': dataset, 'test': test_dataset}[label].get_frames()
    arrays = evaluated.outputs.evaluations[label]
    calculator = trained.outputs.potential.to_ase(linear_set.outputs.active_set)
    isolated = reference_energy(frames, reference_energies)
    energies, forces, stresses, gammas = [], [], [], []
    for atoms in to_atoms(frames):
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
        stresses.append(atoms.get_stress(voigt=False))
        gammas.append(np.ravel(calculator.results['gamma']).copy())
    assert np.allclose(arrays.get_array('energy'), energies + isolated, rtol=0, atol=1e-8)
    assert np.allclose(arrays.get_array('forces'), np.concatenate(forces), rtol=0, atol=1e-8)
    assert np.allclose(arrays.get_array('stress'), stresses, rtol=0, atol=1e-8)
    assert np.allclose(arrays.get_array('gamma'), np.concatenate(gammas), rtol=1e-8, atol=1e-10)
    assert np.array_equal(
        arrays.get_array('gamma_max'),
        [gamma.max() for gamma in np.split(arrays.get_array('gamma'), frames.offsets[1:-1])],
    )


def test_the_baseline_is_no_small_part_of_it(trained, rattled):
    """Otherwise the test above could not fail for the want of it."""
    assert abs(evaluate(trained.outputs.potential.baseline, rattled.select([0])).energy[0]) > 0.1


def test_errors_on_the_training_set_are_those_of_the_engine(evaluated, trained):
    ours, theirs = evaluated.outputs.errors['datasets']['train'], trained.outputs.metrics
    assert theirs['n_fitted'] == ours['n_frames']
    assert theirs['evaluator'] == 'pyace'
    assert disagreement(theirs.get_dict(), ours) is None
    assert ours['rmse_energy'] == pytest.approx(theirs['rmse_energy'], rel=1e-6)
    assert ours['rmse_forces'] == pytest.approx(theirs['rmse_forces'], rel=1e-6)


def test_gamma_of_what_the_active_set_was_made_of(evaluated, linear_set):
    """No larger than one but for the tolerance of the search, apart from atoms that were left out as outliers."""
    gamma = evaluated.outputs.evaluations['train'].get_array('gamma')
    elements = linear_set.outputs.output_parameters['elements'].values()
    left_out = sum(said['n_atoms'] - (said['n_selected'] or said['n_atoms']) for said in elements)
    assert np.count_nonzero(gamma > 1.01 + 1e-6) <= left_out
    assert evaluated.outputs.evaluations['test'].get_array('gamma_max').max() > 1.01
