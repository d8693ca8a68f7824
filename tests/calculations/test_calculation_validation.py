"""Inputs that are refused before anything is submitted, and what is said of them."""

import numpy as np
import pytest
from aiida import orm
from ase.build import bulk

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.pace.config.options import ActiveSetOptions, SelectOptions

PLAIN = DeltaBaseline.for_elements(['Mg', 'O'])
ONE_LJ = {
    **PLAIN.model_dump(mode='json'),
    'lj': {'pairs': [{'elements': ['Mg', 'O'], 'epsilon': 0.1, 'sigma': 2.0, 'cutoff': 5.0}]},
}


@pytest.fixture
def magnesium(aiida_profile):
    """Return frames without oxygen and without labels."""
    return PaceDatasetData(from_atoms([bulk('Mg')], 'magnesium')).store()


@pytest.fixture
def aluminium(aiida_profile):
    return PaceDatasetData(from_atoms([bulk('Al')], 'aluminium')).store()


@pytest.fixture
def refused(prepare, pace_codes_fake):
    """Return a function that gives the message by which inputs of a job are refused."""
    codes = {'train': 'train', 'activeset': 'activeset', 'select': 'select', 'evaluate': 'python'}

    def run(job, inputs):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is what the tests are about)
            prepare(f'pacemaker.{job}', {'code': pace_codes_fake[codes[job]], **inputs})
        return str(caught.value)

    return run


@pytest.mark.fault(
    'a misspelt key, elements or references that do not match',
    engine='ignored or fitted to nonsense, exit 0',
    here='refused with the path, what was found, what is needed, and the nearest known key',
    ends='refused',
)
@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'config': {'max_dag': 4}}, 'max_deg'),
        ({'config': {'elements': ['Mg']}}, 'the dataset has O but the config only Mg'),
        ({'config': {'elements': ['Mg', 'O', 'Al']}}, 'the config has Al but no frame of the dataset does'),
        ({'reference_energies': {'Mg': -27.0}}, 'there is no reference energy for O'),
        ({'reference_energies': {'Mg': '-27', 'O': 1.0}}, 'reference energies are finite numbers in eV'),
        ({'reference_energies': {'Mg': True, 'O': 1.0}}, 'reference energies are finite numbers in eV'),
        ({'reference_energies': {'Mg': float('nan'), 'O': 1.0}}, 'reference energies are finite numbers in eV'),
        ({'reference_energies': {'Mg': -27.4, 'O': -426.1, 'Xx': 1.0}}, 'Xx'),
        ({'reference_energies': {'Mg': 1.0, 'O': 1.0}}, 'the engine accepts -20 to 250'),
        ({'baseline': {'zbl': {'inner': 2.0, 'outer': 1.0}}}, 'inner must be the smaller one'),
        ({'baseline': {'mode': 'delta'}}, 'zbl is needed: give its cutoffs'),
        ({'baseline': ONE_LJ}, 'no parameters for Mg-Mg, O-O'),
        ({'max_epochs': 0}, '`max_epochs` has to be positive'),
        ({'potential_mode': 'continue'}, 'a `potential_mode` needs a `potential`'),
        ({'potential_mode': 'refine'}, '`potential_mode` is `continue`, `reset` or `extend`, not `refine`'),
        (
            {
                'baseline': {**PLAIN.model_dump(mode='json'), 'mode': 'core'},
                'config': {
                    'fit': {'repulsion': 'auto'},
                    'potential': {
                        'bonds': {
                            'ALL': {
                                'radbase': 'SBessel',
                                'radparameters': [5.25],
                                'rcut': 4.5,
                                'dcut': 0.01,
                                'NameOfCutoffFunction': 'cos',
                                'r_in': 1.0,
                            }
                        }
                    },
                    'r_cut': None,
                },
            },
            'r_in would be overwritten',
        ),
    ],
)
def test_trainings_that_are_refused(refused, train_inputs, changes, said):
    changes = dict(changes)
    if 'config' in changes:
        changes['config'] = changes['config']
    assert said in refused('train', train_inputs(**changes))


def test_frames_without_labels_are_refused(refused, train_inputs, rattled):
    unlabelled = PaceDatasetData(rattled.without_labels())
    message = refused('train', train_inputs(dataset=unlabelled))
    assert 'the 12 frames of this dataset have no energies and forces: label them first' in message
    assert 'label them first' in refused('train', train_inputs(test_dataset=unlabelled))


@pytest.mark.fault(
    'frames of the test set in the training set',
    engine='test errors that say nothing',
    here='refused, by content',
    ends='refused',
)
def test_a_test_set_that_tests_nothing_is_refused(refused, train_inputs, rattled, others):
    shared = PaceDatasetData(type(rattled).concatenate([rattled.select([0, 1]), others.select([0])]))
    message = refused('train', train_inputs(test_dataset=shared))
    assert '2 frames of the test set are in the dataset too' in message
    assert 'exclude_frames' in message


def test_a_test_set_with_other_elements_is_refused(refused, train_inputs, aluminium):
    frames = aluminium.get_frames()
    n_atoms = len(frames.numbers)
    labelled = frames.with_labels(np.zeros(1), np.zeros((n_atoms, 3)), np.zeros((1, 3, 3)))
    message = refused('train', train_inputs(test_dataset=PaceDatasetData(labelled)))
    assert 'the test set has Al but the config does not' in message


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'reference_energies': {'Mg': -27.0, 'O': -426.0}}, 'keep them the same in all generations'),
        ({'baseline': PLAIN.model_dump(mode='json')}, 'was fitted on another baseline'),
        ({'config': {'fit': {'ladder_step': 5}}}, 'a ladder cannot continue'),
    ],
)
def test_potentials_that_cannot_be_started_from(refused, train_inputs, recorded_potential, changes, said):
    assert said in refused('train', train_inputs(potential=recorded_potential, **changes))


def test_a_potential_for_other_elements_cannot_be_started_from(refused, train_inputs, recorded_potential):
    copper = recorded_potential.get_b_basis().replace(b'Mg', b'Cu')
    baseline = DeltaBaseline.for_elements(['Cu', 'O'], lj=True)
    energies = {'Cu': recorded_potential.reference_energies['Mg'], 'O': recorded_potential.reference_energies['O']}
    potential = PacePotentialData(copper, baseline=baseline, reference_energies=energies)
    message = refused('train', train_inputs(potential=potential))
    assert 'describes Cu, O and the dataset has Mg, O: set `potential_mode` to `extend`' in message
    assert 'or start without it' in message


def test_what_the_database_rounds_is_no_difference(prepare, pace_codes_fake, train_inputs, recorded_potential):
    """Energies and baselines come back from the database with 14 digits, and are given with more."""
    third = {'Mg': -82 / 3, 'O': -1279 / 3}
    baseline = DeltaBaseline.for_elements(['Mg', 'O'], lj=True)
    # As of a file that says nothing of them.
    content = recorded_potential.get_b_basis().replace(b'reference_energy:', b'another:')
    potential = PacePotentialData(content, baseline=baseline, reference_energies=third).store()
    assert potential.reference_energies != third
    inputs = train_inputs(potential=potential, reference_energies=third, baseline=baseline.model_dump(mode='json'))
    assert prepare('pacemaker.train', {'code': pace_codes_fake['train'], **inputs}).files


@pytest.fixture
def elsewhere(aiida_computer_local, tmp_path):
    return orm.RemoteData(computer=aiida_computer_local(label='elsewhere'), remote_path=str(tmp_path)).store()


def test_files_of_another_computer_cannot_be_linked(refused, recorded_potential, elsewhere):
    message = refused('activeset', {'potential': recorded_potential, 'parent_folder': elsewhere})
    assert '`parent_folder` is on the computer elsewhere but the code runs on' in message
    assert 'its files cannot be linked there' in message


def test_active_sets_that_are_refused(
    refused, recorded_potential, dataset, elsewhere, rattled, magnesium, aluminium, pace_codes_fake, tmp_path
):
    def said(**inputs):
        return refused('activeset', {'potential': recorded_potential, **inputs})

    assert 'give either `parent_folder`' in said()
    assert 'give either `parent_folder`' in said(dataset=dataset, parent_folder=elsewhere)
    assert 'label them first' in said(dataset=PaceDatasetData(rattled.without_labels()))
    assert 'which the potential does not describe' in said(dataset=_labelled(aluminium))
    assert 'the potential describes O, which no frame of the dataset has' in said(dataset=_labelled(magnesium))
    cleaned = orm.RemoteData(computer=pace_codes_fake['train'].computer, remote_path=str(tmp_path / 'gone')).store()
    cleaned.base.extras.set(orm.RemoteData.KEY_EXTRA_CLEANED, True)
    assert 'has been cleaned' in said(parent_folder=cleaned)
    assert 'kind' in said(dataset=dataset, options={'kind': 'cubic'})
    assert 'gamma_toleranz' in said(dataset=dataset, options={'gamma_toleranz': 1.1})


def _labelled(dataset):
    frames = dataset.get_frames()
    return PaceDatasetData(
        frames.with_labels(np.zeros(len(frames)), np.zeros((len(frames.numbers), 3)), np.zeros((len(frames), 3, 3)))
    )


@pytest.mark.parametrize(('job', 'namespace'), [('select', 'candidates'), ('evaluate', 'datasets')])
def test_selections_and_evaluations_that_are_refused(
    refused, recorded_potential, recorded_active_set, dataset, magnesium, aluminium, job, namespace
):
    def said(datasets, **inputs):
        return refused(job, {'potential': recorded_potential, namespace: datasets, **inputs})

    assert 'give at least one' in said({})
    assert '`some` has Al, which the potential does not describe: filter those frames' in said({'some': aluminium})
    full = PaceActiveSetData(recorded_active_set.content, kind='full')
    assert 'build a `linear` one' in said({'some': dataset}, active_set=full)
    content = recorded_active_set.content.replace(b'Mg.npy', b'Cu.npy')
    other = PaceActiveSetData(content)
    assert "the active set is for ['Cu', 'O'] but the potential for ['Mg', 'O']" in said(
        {'some': dataset}, active_set=other
    )


def test_labelled_and_unlabelled_candidates_are_not_mixed(refused, recorded_potential, dataset, magnesium):
    candidates = {'labelled': dataset, 'unlabelled': magnesium}
    message = refused('select', {'potential': recorded_potential, 'candidates': candidates})
    assert 'some candidates are labelled and others are not' in message


@pytest.mark.parametrize('options', [ActiveSetOptions, SelectOptions])
@pytest.mark.parametrize(
    'limit', ['__import__("os").system("true")', '2GB;1', '2 GB', '2', 'GB', '-2GB', '0GB', '2GB\n', '1e3MB', '2gb']
)
def test_memory_limits_are_a_number_and_a_unit(options, limit):
    """The programs evaluate them as Python."""
    with pytest.raises(ValueError, match='memory_limit'):
        options(memory_limit=limit)


def test_hostile_memory_limits_do_not_reach_a_command_line(refused, recorded_potential, dataset):
    options = {'memory_limit': "__import__('os').system('true')"}
    inputs = {'potential': recorded_potential, 'options': options}
    assert 'memory_limit' in refused('activeset', {**inputs, 'dataset': dataset})
    assert 'memory_limit' in refused('select', {**inputs, 'candidates': {'some': dataset}})


@pytest.mark.parametrize(
    ('options', 'bad'),
    [
        (ActiveSetOptions, {'gamma_tolerance': 1.0}),
        (ActiveSetOptions, {'batch_size': 0}),
        (ActiveSetOptions, {'max_force_error': 0.0}),
        (ActiveSetOptions, {'gamma_tolerance': float('inf')}),
        (SelectOptions, {'max_structures': 0}),
        (SelectOptions, {'maxvol_iterations': 0}),
        (SelectOptions, {'all_atoms': True}),
    ],
)
def test_options_that_make_no_sense(options, bad):
    (name,) = bad
    with pytest.raises(ValueError, match=name):
        options(**bad)
