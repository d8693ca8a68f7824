"""Trainings that are refused for what their frames are like, and those that are not."""

import re
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from ase import Atoms
from ase.build import bulk, molecule

from aiida_pacemaker.baseline.model import DeltaBaseline, ZBLBaseline, ZBLPair
from aiida_pacemaker.calculations.checks.baseline import warnings_about_reach
from aiida_pacemaker.calculations.checks.memory import check_training_memory
from aiida_pacemaker.calculations.checks.training import (
    check_active_set,
    check_training,
    warnings_about_counts,
)
from aiida_pacemaker.calculations.declarations import Declaration, declare, declared
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.data.surveys import shortest_of, survey_of
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.frames.neighbours import pairs
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.cost.survey import join, survey

FIXTURES = Path(__file__).parents[1] / 'fixtures'
FEW = {'nradmax_by_orders': [8, 4, 2, 2], 'lmax_by_orders': [0, 4, 2, 2]}


def labelled(frames: Frames, energies) -> Frames:
    """Return frames with energies in eV and no forces."""
    return frames.with_labels(
        np.asarray(energies, dtype=float), np.zeros((len(frames.numbers), 3)), np.zeros((len(frames), 3, 3))
    )


@pytest.fixture
def extended(rattled, reference_energies):
    """Return a function that returns the dataset with further frames, which have the energy of their atoms."""

    def extend(*images: Atoms) -> PaceDatasetData:
        energies = [sum(reference_energies[symbol] for symbol in atoms.symbols) for atoms in images]
        more = labelled(from_atoms(images, 'more'), energies)
        return PaceDatasetData(Frames.concatenate([rattled, more])).store()

    return extend


@pytest.fixture
def complaint(train_inputs, pace_codes_fake):
    """Return a function that returns what is said of inputs of a training."""

    def run(**changes):
        inputs = train_inputs(**changes)
        nodes = {name: orm.Dict(value) if isinstance(value, dict) else value for name, value in inputs.items()}
        return check_training({'code': pace_codes_fake['train'], **nodes})

    return run


def test_nothing_to_say_of_good_inputs(complaint):
    assert complaint() is None


def test_no_fit_of_our_own_is_without_repulsion(complaint):
    assert 'a baseline of the mode `none` is for potentials from elsewhere' in complaint(baseline={'mode': 'none'})


def test_what_is_not_known_yet_is_not_checked(train_inputs):
    assert check_training({}) is None
    assert check_training({'dataset': train_inputs()['dataset']}) is None


def isolated() -> Atoms:
    return Atoms('Mg', cell=[20.0] * 3, pbc=True)


@pytest.mark.fault(
    'frames without neighbours within the cutoff',
    engine='dropped in silence by `tensorpot`, exit 0',
    here='refused, and counted again by the parser (310)',
    ends='refused',
)
def test_frames_that_tensorpot_drops(complaint, extended):
    dataset = extended(isolated())
    assert complaint(dataset=dataset) is None
    said = complaint(dataset=dataset, config={'evaluator': 'tensorpot'})
    assert f'1 of 13 frames (the first is frame 12, step 0 of node {dataset.uuid}) of the dataset' in said
    assert 'drop them in silence' in said
    assert 'pyace, which keeps them' in said


@pytest.mark.fault(
    'a cutoff shorter than any distance',
    engine='a potential without any neighbour',
    here='refused with the cutoff and what to do',
    ends='refused',
)
def test_a_cutoff_within_which_there_is_nothing(complaint):
    said = complaint(config={'r_cut': 1.2})
    assert 'no two atoms of the dataset are closer than the cutoff of 1.2' in said
    assert 'larger cutoff' in said


@pytest.mark.fault(
    'a slab with two periodic directions',
    engine='stops with a `ValueError` when the job has come through the queue',
    here='refused with the frame and its origin',
    ends='refused',
)
def test_a_frame_that_is_periodic_along_some_directions(complaint, extended):
    slab = bulk('MgO', 'rocksalt', a=4.2)
    slab.pbc = (True, True, False)
    said = complaint(dataset=extended(slab))
    assert '1 of 13 frames' in said
    assert 'at which the engine stops' in said


def test_a_cell_that_cannot_be_searched(complaint, extended):
    flat = bulk('MgO', 'rocksalt', a=4.2)
    flat.cell[2] *= 1e-8
    assert 'cannot be listed' in complaint(dataset=extended(flat))


def test_the_test_set_is_looked_at_too(complaint, reference_energies):
    test = PaceDatasetData(labelled(from_atoms([isolated()], 'test'), [reference_energies['Mg']]))
    said = complaint(test_dataset=test)
    assert 'no two atoms of the test set' in said


@pytest.mark.fault(
    'reference energies that are wrong',
    engine='a box in the log, and a fit to nonsense or to other reference energies, exit 0',
    here='refused with the range found and the range accepted',
    ends='refused',
)
@pytest.mark.parametrize('energy', [-100.0, 1000.0])
def test_energies_that_the_engine_takes_for_a_mistake(complaint, rattled, reference_energies, energy):
    water = from_atoms([molecule('O2', cell=[10] * 3, pbc=True)], 'molecule')
    total = 2 * reference_energies['O'] + 2 * energy
    dataset = PaceDatasetData(Frames.concatenate([rattled, labelled(water, [total])]))
    said = complaint(dataset=dataset)
    assert '1 of 13 frames (the first is frame 12' in said
    assert 'the engine accepts -20 to 250' in said
    assert 'fit_reference_energies' in said


@pytest.mark.fault(
    'fewer atoms of an element than basis functions',
    engine='fits all the same, for forces count too; the active set fails after it',
    here='a warning in `metrics` of a training; the functions are counted from the config, and a loop is refused',
    ends='refused',
)
def test_fewer_atoms_than_functions(complaint, train_inputs):
    """As counted from the config alone, before there is a potential."""

    def said(**config):
        inputs = train_inputs(config=config)
        return check_active_set({**inputs, 'config': orm.Dict(inputs['config'])})

    many = said(max_deg=8, max_order=4)
    assert 'Mg has ' in many
    assert 'functions but 48 atoms' in many
    assert 'at least as many atoms as functions are needed' in many
    assert complaint(config={'max_deg': 8, 'max_order': 4}) is None
    limited = {'potential': {'functions': {'ALL': FEW, 'number_of_functions_per_element': 40}}}
    assert said(**limited, max_deg=None, max_order=None) is None


def test_a_linear_fit_has_no_more_functions_than_atoms(train_inputs):
    config = {'elements': ['Mg', 'O']}
    inputs = train_inputs()
    assert check_active_set({**inputs, 'config': orm.Dict(config)}) is None
    assert 'functions but 48 atoms' in check_active_set({**inputs, 'config': orm.Dict(config | {'max_deg': 6})})


@pytest.mark.parametrize(('n_parameters', 'underdetermined'), [(25, False), (26, True)])
def test_equations_of_a_fit_are_energies_and_force_components(recorded_potential, n_parameters, underdetermined):
    """One frame of eight atoms has one energy and 24 components of forces."""
    few = PaceDatasetData(labelled(from_atoms([bulk('MgO', 'rocksalt', a=4.2, cubic=True)], 'few'), [-1.0]))
    assert recorded_potential.n_functions_per_element['Mg'] > 4
    said = ' '.join(warnings_about_counts(recorded_potential, few, n_parameters))
    assert ('underdetermined' in said) == underdetermined
    assert 'functions but 4 atoms: 25 energies and force components can be enough' in said
    assert warnings_about_counts(recorded_potential, few, 0)


@pytest.mark.fault(
    '`tensorpot` where TensorFlow is not installed',
    engine='`ModuleNotFoundError` when the job has come through the queue',
    here='refused where the code declares its evaluators; else 322',
    ends='refused',
)
def test_evaluators_that_a_code_does_not_have(complaint, pace_codes_fake):
    code = pace_codes_fake['train']
    assert declared(code) == Declaration()
    tensorpot = {'evaluator': 'tensorpot'}
    assert complaint(config=tensorpot) is None
    declare(code, Declaration(version='0.4.0rc1', evaluators=('pyace',)))
    said = complaint(config=tensorpot)
    assert f'asks for the evaluator `tensorpot` but the code `{code.full_label}` declares pyace' in said
    assert 'aiida-pacemaker setup' in said
    assert complaint() is None


@pytest.mark.parametrize('cutoff', [2.0, 4.5])
def test_a_survey_is_that_of_its_parts(mgo_frames, cutoff):
    whole = survey(mgo_frames, cutoff)
    assert whole == join(
        [survey(mgo_frames.select(range(30)), cutoff), survey(mgo_frames.select(range(30, 100)), cutoff)]
    )
    found = pairs(mgo_frames, cutoff)
    assert whole.n_neighbours == 2 * len(found)
    assert whole.shortest == found.distance.min()
    assert whole.isolated == tuple(sorted(set(range(100)) - set(found.frame.tolist())))
    assert sum(whole.atoms.values()) == len(mgo_frames.numbers)


def test_a_shard_is_surveyed_once(dataset, monkeypatch):
    """Whatever a loop adds, what was there is not counted again."""
    first = survey_of(dataset, 4.25)
    monkeypatch.setattr(PaceDatasetData, 'get_shard', None)
    assert survey_of(dataset, 4.25) == first


# Memory.


@pytest.mark.fault(
    'less memory asked for than the job needs',
    engine='killed by the scheduler after it has come through the queue',
    here='predicted from frames, neighbours, functions and optimizer, with what needs most and what makes it less',
    ends='refused',
)
def test_more_memory_than_was_asked_for(complaint):
    config = {'max_deg': 3, 'evaluator': 'tensorpot'}
    metadata = {'options': {'max_memory_kb': 1024**2}}
    assert complaint(config=config, metadata={}) is None
    assert complaint(config=config, metadata=metadata) is None
    said = complaint(config=config, metadata={'options': {'max_memory_kb': 200 * 1024}})
    assert 'the fit is going to need about 9' in said
    assert '210 MB are asked for' in said


def test_what_needs_most_memory_is_told(dataset, pace_codes_fake):
    """Here the matrices of BFGS for thousands of functions."""
    functions = {'ALL': {'nradmax_by_orders': [12, 6, 4], 'lmax_by_orders': [0, 4, 4]}}
    config = {'elements': ['Mg', 'O'], 'r_cut': 4.5, 'evaluator': 'tensorpot', 'potential': {'functions': functions}}
    metadata = {'options': {'max_memory_kb': 1024**2}}
    inputs = {'dataset': dataset, 'code': pace_codes_fake['train'], 'metadata': metadata}
    said = check_training_memory(inputs, parse_config(config))
    assert 'for the matrices of BFGS, but 1.07 GB are asked for' in said
    assert 'or take fit.optimizer L-BFGS-B' in said
    said = check_training_memory(inputs, parse_config({**config, 'fit': {'optimizer': 'L-BFGS-B'}}))
    assert said is None or 'BFGS' not in said


def test_a_linear_fit_needs_memory_for_its_functions(dataset, pace_codes_fake):
    metadata = {'options': {'max_memory_kb': 200 * 1024}}
    inputs = {'dataset': dataset, 'code': pace_codes_fake['train'], 'metadata': metadata}
    config = {'elements': ['Mg', 'O'], 'max_order': 4}
    assert check_training_memory(inputs, parse_config(config)) is None
    # 2 times 1905 functions.
    said = check_training_memory(inputs, parse_config({**config, 'max_deg': 10}))
    assert 'the fit is going to need about 1.' in said
    assert 'lower `max_deg` or `max_order`' in said


def test_the_default_memory_of_the_computer_counts(complaint, pace_codes_fake):
    computer = pace_codes_fake['train'].computer
    computer.set_default_memory_per_machine(50 * 1024)
    try:
        assert '52.4 MB are asked for' in complaint()
    finally:
        computer.set_default_memory_per_machine(None)


@pytest.mark.parametrize('job', ['activeset', 'select'])
def test_memory_of_active_sets_and_selections(prepare, pace_codes_fake, recorded_potential, dataset, job):
    given = {'activeset': {'dataset': dataset}, 'select': {'candidates': {'some': dataset}}}[job]
    inputs = {'code': pace_codes_fake[job], 'potential': recorded_potential, **given}
    assert prepare(f'pacemaker.{job}', {**inputs, 'metadata': {'options': {'max_memory_kb': 1024**2}}}).files
    with pytest.raises(ValueError, match=r'is going to need about 1\d\d MB, most of it .* but 52.4 MB are asked for'):
        prepare(f'pacemaker.{job}', {**inputs, 'metadata': {'options': {'max_memory_kb': 51200}}})


@pytest.mark.fault(
    'a baseline beside which the labels are nothing',
    engine='fits the rounding errors of the difference',
    here='refused before submission, with what the baseline has and what the labels span, in eV/atom',
    ends='refused',
)
def test_labels_are_not_lost_in_a_baseline(complaint):
    def wide(**switch):
        pairs = [
            {'elements': list(pair), 'epsilon': 0.01, 'sigma': 20.0, 'cutoff': 24.0, **switch}
            for pair in (('Mg', 'Mg'), ('Mg', 'O'), ('O', 'O'))
        ]
        return {'zbl': {'inner': 0.4, 'outer': 0.8}, 'lj': {'pairs': pairs}}

    said = complaint(baseline=wide(off=None, on=None))
    assert 'the baseline has up to' in said
    assert 'the labels span' in said
    # Switched off where it repels, it is a strange but shallow well.
    assert 'the baseline has' not in (complaint(baseline=wide()) or '')


@pytest.mark.fault(
    'a baseline that reaches into the data',
    engine='has to fit what was subtracted: forces of 603 for 57 meV/Å',
    here='a warning with pairs and distances in `metrics` of the training and in the report of the loop',
    ends='success',
)
def test_a_baseline_that_reaches_into_the_data(dataset):
    nearest = shortest_of(dataset, 5.0)
    assert warnings_about_reach(DeltaBaseline.for_elements(['Mg', 'O'], lj=True, shortest=nearest), dataset) == []
    far = DeltaBaseline(
        zbl=ZBLBaseline(inner=0.3, outer=0.6, pairs=(ZBLPair(elements=('O', 'Mg'), inner=1, outer=2.1),))
    )
    (said,) = warnings_about_reach(far, dataset)
    assert f'for Mg-O (up to 2.1 Å, and the data begin at {nearest["Mg", "O"]:.4g} Å): the fit' in said
    (said,) = warnings_about_reach(far.model_copy(update={'mode': 'both'}), dataset)
    assert 'ACE is switched off there' in said
    # The engine takes its core from the data, and LJ counts where it repels.
    assert warnings_about_reach(far.model_copy(update={'mode': 'core'}), dataset) == []
    wide = {'elements': ['Mg', 'O'], 'epsilon': 0.01, 'sigma': 3.1, 'cutoff': 6.0}
    pairs = [{**wide, 'elements': pair} for pair in (['Mg', 'Mg'], ['O', 'O'])]
    with_lj = {'mode': 'core', 'zbl': {'inner': 0.3, 'outer': 0.6}, 'lj': {'pairs': [wide, *pairs]}}
    assert warnings_about_reach(DeltaBaseline.model_validate(with_lj), dataset) == []
    (said,) = warnings_about_reach(DeltaBaseline.from_stored(with_lj), dataset)
    assert 'Mg-O (up to 3.1 Å' in said


def test_a_training_does_not_repel_twice(complaint, recorded_potential):
    assert "mode='core'" in complaint(config={'fit': {'repulsion': 'auto'}})
    core = (FIXTURES / 'train' / 'repulsion' / 'output_potential.yaml').read_bytes()
    with pytest.raises(ValueError, match=r'has a ZBL core of the engine and the baseline \(mode delta\) adds ZBL too'):
        PacePotentialData(core, baseline=recorded_potential.baseline, reference_energies={'Mg': 0.0, 'O': 0.0})
    # One that was stored before that was refused.
    baseline = DeltaBaseline.for_elements(['Mg', 'O'], mode='core')
    old = PacePotentialData(core, baseline=baseline, reference_energies=recorded_potential.reference_energies)
    old.base.attributes.set('baseline', recorded_potential.baseline.model_dump(mode='json'))
    assert 'has a ZBL core of the engine' in complaint(potential=old)
    assert complaint(potential=recorded_potential) is None


def test_a_potential_grows_on_a_baseline_that_says_the_same_of_its_elements(complaint, recorded_potential):
    """How cutoffs are said, for all or pair by pair, does not matter; what they are does."""
    stored = recorded_potential.baseline
    listed = stored.model_copy(update={'zbl': ZBLBaseline(pairs=stored.zbl.pairs_of(['Mg', 'O', 'Si']))})
    assert complaint(potential=recorded_potential, baseline=listed.model_dump(mode='json')) is None
    other = stored.model_copy(update={'zbl': ZBLBaseline(inner=0.4, outer=0.9)})
    assert 'fitted on another baseline' in complaint(
        potential=recorded_potential, baseline=other.model_dump(mode='json')
    )


def test_data_inside_of_a_core_that_stays_are_refused(complaint, dataset, reference_energies):
    """An imported potential with a core and no baseline: nobody sets the core anew unless asked to."""
    core = (FIXTURES / 'train' / 'repulsion' / 'output_potential.yaml').read_text()
    none = DeltaBaseline(mode='none').model_dump(mode='json')

    def said(r_in, **config):
        content = re.sub(r'r_in: .*', f'r_in: {r_in}', core).encode()
        potential = PacePotentialData(content, baseline=none, reference_energies=reference_energies)
        return complaint(potential=potential, baseline=none, config=config)

    nearest = shortest_of(dataset, 5.0)['Mg', 'O']
    assert 'the dataset reaches into the ZBL core of the potential to start from (Mg-O)' in said(nearest + 0.01)
    assert said(nearest - 0.01) is None
    assert said(nearest + 0.01, fit={'repulsion': 'auto'}) is None
