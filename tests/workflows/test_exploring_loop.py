"""The loop that finds its own candidates, with the fake engine: the real one runs it in the example of copper."""

from __future__ import annotations

from typing import get_type_hints
from unittest.mock import Mock

import numpy as np
import pytest
from aiida import orm
from aiida.common import LinkType
from aiida.engine import run_get_node
from ase.build import bulk
from ase.calculators.emt import EMT
from pydantic import ConfigDict, TypeAdapter, create_model

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.exploration.options import ExploreOptions
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.provenance import ancestors, frame_origin
from aiida_pacemaker.workflows.loop import exploring
from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain
from aiida_pacemaker.workflows.loop.checks import _check_grades, validate_loop
from aiida_pacemaker.workflows.loop.context import LoopContext
from aiida_pacemaker.workflows.loop.generations import Explored, GenerationRow
from aiida_pacemaker.workflows.loop.history import state_of
from aiida_pacemaker.workflows.loop.links import LoopCall
from aiida_pacemaker.workflows.loop.settings import LoopSettings

CONFIG = {'elements': ['Cu'], 'evaluator': 'pyace', 'r_cut': 4.5, 'max_deg': 3, 'max_order': 2}
SETTINGS = {
    'first_iterations': 8,
    'later_iterations': 4,
    'frames_per_generation': 4,
    'max_generations': 2,
    'seed_frames': 3,
    'gamma_threshold': 1.0,
}
OPTIONS = {'temperature': 600.0, 'n_steps': 60, 'timestep': 2.0, 'check_every': 5, 'spacing': 5}


def labelled(count):
    """Return labelled frames of copper with small displacements, which are at the level of theory of the labeller."""
    images = []
    for seed in range(count):
        atoms = bulk('Cu', cubic=True, a=3.58 + 0.01 * (seed % 8))
        atoms.rattle(0.05, seed=seed)
        atoms.calc = EMT()
        atoms.get_stress()
        images.append(atoms)
    return PaceDatasetData(from_atoms(images, 'known')).store()


@pytest.fixture
def known(aiida_profile):
    """Return eight such frames."""
    return labelled(8)


@pytest.fixture
def build(pace_codes_fake, known):
    """Return a function that returns the inputs of a loop that explores."""

    def make(settings=None, options=None, config=None, codes=pace_codes_fake, **inputs):
        return PaceActiveLearningWorkChain.get_builder_from_protocol(
            pacemaker=codes['train'],
            pace_activeset=codes['activeset'],
            pace_select=codes['select'],
            python=codes['python'],
            protocol='fast',
            overrides={'config': config or CONFIG, 'settings': {**SETTINGS, **(settings or {})}},
            **{
                'dataset': known,
                'explore': {
                    'entry_point': 'pacemaker.explore.md',
                    'inputs': {
                        'job': {'pace': {'code': codes['python']}},
                        'options': orm.Dict({**OPTIONS, **(options or {})}),
                    },
                },
                'label': {
                    'entry_point': 'pacemaker.label.ase',
                    'inputs': {
                        'code': codes['python'],
                        'calculator': orm.Dict({'calculator': 'ase.calculators.emt:EMT'}),
                    },
                },
                **inputs,
            },
        )

    return make


def rows(node):
    return node.outputs.report['generations']


def hashes(dataset):
    return set(dataset.get_hashes().tolist())


@pytest.fixture(scope='module')
def made():
    """Return where the run is kept that several tests look at."""
    return {}


@pytest.fixture
def explored(made, build):
    """Return a run with everything that a loop can do."""
    if not made:
        settings = {'test_share': 0.3, 'ensemble_seeds': [1, 2], 'ensemble_fraction': 0.6, 'isolated_atoms': True}
        attach = PaceActiveLearningWorkChain.attach

        def keep_context(self):
            made['context'] = dict(self.ctx)
            attach(self)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(PaceActiveLearningWorkChain, 'attach', keep_context)
            _, made['node'] = run_get_node(build(settings))
    node = made['node']
    assert node.is_finished_ok, node.exit_message
    return node


def test_the_loop_closes_by_itself(explored, known):
    """Candidates come from its own dynamics, labels from its labeller; each frame can be asked where it came from."""
    first, second = rows(explored)
    assert first['explored']['n_runs'] == SETTINGS['seed_frames']
    assert first['n_selected'] > 0
    dataset, test = explored.outputs.dataset, explored.outputs.test_dataset
    assert second['n_frames'] == known.n_frames + first['n_added']
    assert hashes(known) < hashes(dataset)

    # The graph leads from a frame over its label to the exploration, and on to the potential that it was found with.
    origin = frame_origin(dataset, known.n_frames)
    assert origin.level.code == 'ase:ase.calculators.emt:EMT'
    made_by = {job.process_label for job in ancestors(origin.source, orm.CalcJobNode)}
    assert {'AseLabelCalculation', 'PaceSelectCalculation', 'PaceExploreCalculation', 'PaceTrainCalculation'} <= made_by

    # A share is drawn at random: it is labelled, and trained on by nobody.
    assert 1 <= first['n_set_aside'] < first['n_selected'] + first['n_set_aside'] <= 4
    assert second['n_test'] == first['n_set_aside']
    assert first['test_rmse_forces'] is None
    assert second['test_rmse_forces'] > 0
    assert not hashes(test) & hashes(dataset)

    # The energies of the atoms are those of the labeller.
    from ase import Atoms

    atom = Atoms('Cu', cell=[12.0] * 3, pbc=True)
    atom.calc = EMT()
    assert explored.outputs.reference_energies['Cu'] == pytest.approx(atom.get_potential_energy())
    assert first['core_hours'] > 0
    # They have been paid for, so a run that is killed has them too.
    assert state_of(explored).reference_energies.uuid == explored.outputs.reference_energies.uuid


def test_errors_are_compared_with_gamma_and_spread(explored):
    """Each frame that was labelled is a point: what was known before, and the error that came out."""
    points = explored.outputs.calibration['points']
    labelled = sum(row['n_added'] + row['n_set_aside'] for row in rows(explored))
    assert {len(column) for column in points.values()} == {labelled}
    assert all(gamma >= SETTINGS['gamma_threshold'] for gamma in points['gamma'])
    assert all(spread > 0 for spread in points['spread'])
    said = explored.outputs.report['calibration']
    assert said['n_points'] == labelled
    assert said['text']


def test_what_the_explorer_has_graded_is_not_evaluated_again(build, monkeypatch):
    """The loop comes to the same points without energies and forces by the explorer, but evaluates the candidates."""
    points, evaluated = [], []
    for problem in (None, ValueError('the shapes are others')):
        if problem is not None:
            monkeypatch.setattr(exploring, 'replaces_evaluation', Mock(side_effect=problem))
        _, node = run_get_node(build())
        assert node.is_finished_ok, node.exit_message
        points.append(node.outputs.calibration['points'])
        evaluation = next(called for called in node.called if called.label == 'generation 0: evaluate')
        evaluated.append(sorted(evaluation.inputs.pace.datasets))
    assert evaluated == [['train'], ['pool', 'train']]
    assert points[0]['gamma']
    assert np.allclose(points[0]['gamma'], points[1]['gamma'], rtol=1e-9, atol=0)
    assert np.allclose(points[0]['error'], points[1]['error'], rtol=0, atol=1e-9)


def test_members_of_an_ensemble_see_different_frames(explored):
    trainings = {
        link.link_label: link.node
        for link in explored.base.links.get_outgoing(link_type=LinkType.CALL_WORK).all()
        if link.node.process_label == 'PaceTrainBaseWorkChain'
    }
    members = {label: node for label, node in trainings.items() if 'member' in label}
    assert len(members) == 4
    full = hashes(trainings['generation_01_train'].inputs.pace.dataset)
    shares = [hashes(members[f'generation_01_member_{seed}_train'].inputs.pace.dataset) for seed in (1, 2)]
    assert all(share < full for share in shares)
    assert len(set(map(frozenset, shares))) > 1
    # What a member has seen it keeps, and it goes on from its own potential.
    before = hashes(members['generation_00_member_1_train'].inputs.pace.dataset)
    assert before <= shares[0]
    continued = members['generation_01_member_1_train'].inputs.pace.potential
    assert continued.uuid == members['generation_00_member_1_train'].outputs.potential.uuid
    # The potential of the loop is not that of a member.
    assert state_of(explored).potential.uuid == trainings['generation_01_train'].outputs.potential.uuid


def test_the_context_is_what_is_listed(explored, made):
    """No key but those of `LoopContext` and the nodes of the members, each of its type."""
    context = made['context']
    listed = get_type_hints(LoopContext)
    members = {f'member_{seed}_{step}' for seed in (1, 2) for step in ('train', 'evaluate')}
    assert set(context) - set(listed) == members
    assert set(listed) <= set(context)
    assert all(isinstance(context.pop(name), orm.ProcessNode) for name in members)
    config = ConfigDict(arbitrary_types_allowed=True, strict=True, extra='forbid')
    create_model('Context', __config__=config, **{name: (hint, ...) for name, hint in listed.items()})(**context)


def test_each_call_has_the_label_of_a_step(explored):
    links = explored.base.links.get_outgoing(link_type=(LinkType.CALL_CALC, LinkType.CALL_WORK)).all()
    for link in links:
        call = LoopCall.parse(link.link_label)
        assert call is not None, link.link_label
        assert call.link_label == link.link_label
        assert call.process_label == link.node.label


def test_rows_are_what_is_listed(explored):
    """The report has the keys of `GenerationRow`, each of its type, and no other."""
    selected, last = rows(explored)
    assert set(selected) == set(GenerationRow.__annotations__)
    assert set(last) >= GenerationRow.__required_keys__
    assert set(last) <= set(selected)
    assert set(selected['explored']) == set(Explored.__annotations__)
    hints = {name: hint for name, hint in get_type_hints(GenerationRow).items() if name != 'explored'}
    for row in (selected, last):
        for name in hints.keys() & row.keys():
            TypeAdapter(hints[name]).validate_python(row[name], strict=True)


def test_known_surroundings_are_a_success(build):
    """An exploration that comes to its end without an alarm ends the loop, before anything is labelled."""
    _, node = run_get_node(build({'gamma_threshold': 1e8}, {'gamma_high': 1e9}))
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.stop_reason.value == 'GAMMA_CONVERGED'


@pytest.mark.fault(
    'an exploration finds nothing because it is broken off at once',
    engine='no candidates, which looks like convergence',
    here='an error that names the reasons and says what to change',
    ends='PaceActiveLearningWorkChain.ERROR_EXPLORATION_STUCK',
)
def test_nothing_found_is_not_nothing_unknown(build):
    _, node = run_get_node(build(options={'gamma_low': 1e-4, 'gamma_high': 1e-3}))
    assert node.exit_status == PaceActiveLearningWorkChain.exit_codes.ERROR_EXPLORATION_STUCK.status
    assert '3 seed_beyond_gamma_high' in node.exit_message
    assert 'potential' in node.outputs


@pytest.mark.fault(
    'labels of another level of theory are merged',
    engine='a potential of two mixed functionals',
    here='the merge refuses and names what differs; the labels are kept',
    ends='PaceActiveLearningWorkChain.ERROR_MERGE_FAILED',
)
def test_levels_of_theory_are_not_mixed(build, known):
    other = LevelOfTheory(code='quantumespresso.pw', functional='PBE')
    frames = known.get_frames()
    at_another_level = PaceDatasetData(frames, theories=dict.fromkeys(frames.source_keys, other)).store()
    _, node = run_get_node(build(dataset=at_another_level))
    assert node.exit_status == PaceActiveLearningWorkChain.exit_codes.ERROR_MERGE_FAILED.status
    assert 'functional' in node.exit_message
    assert 'quantumespresso.pw' in node.exit_message

    builder = PaceActiveLearningWorkChain.get_builder_from_run(node)
    builder.settings = {**builder.settings.get_dict(), 'mixed_levels': 'warn', 'max_generations': 1}
    _, second = run_get_node(builder)
    assert second.is_finished_ok, second.exit_message
    assert len(second.outputs.dataset.levels) == 2


def test_a_second_run_goes_on_with_the_test_set_and_the_calibration(build, explored):
    builder = PaceActiveLearningWorkChain.get_builder_from_run(explored)
    assert builder.test_dataset.uuid == explored.outputs.test_dataset.uuid
    assert builder.calibration.uuid == explored.outputs.calibration.uuid
    builder.settings = {**builder.settings.get_dict(), 'max_generations': 1, 'ensemble_seeds': []}
    _, second = run_get_node(builder)
    assert second.is_finished_ok, second.exit_message
    assert hashes(explored.outputs.test_dataset) <= hashes(second.outputs.test_dataset)
    assert np.isfinite(rows(second)[-1]['test_rmse_forces'])


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'explore': {}}, 'there are no candidates'),
        ({'label': {}}, 'what is explored has no labels'),
        ({'explore': {'entry_point': 'pacemaker.nothing'}}, r'`explore.entry_point`: there is no workflow'),
    ],
)
def test_what_is_missing_is_said_at_submission(build, changes, said):
    with pytest.raises(ValueError, match=said):
        run_get_node(build(**changes))


def test_a_pool_and_an_explorer(build, known):
    with pytest.raises(ValueError, match='leave out the other'):
        run_get_node(build(pool=known))


# --- From which gamma on a structure is unknown ---


@pytest.mark.parametrize('where', ['options', 'conditions'])
def test_an_explorer_must_not_keep_less_than_the_loop_asks_for(build, where):
    """What lies between the two would be unknown to the loop and found by nobody."""
    inputs = build({'gamma_threshold': 1.2})
    given = {'gamma_low': 1.5}
    inputs.explore.inputs[where] = orm.Dict({**OPTIONS, **given}) if where == 'options' else {'hot': orm.Dict(given)}
    complaint = validate_loop(inputs._inputs(prune=True), None)
    assert 'gamma_low=1.5' in complaint
    assert '1.2' in complaint


def test_every_protocol_goes_with_the_explorer_as_it_is(build):
    for protocol in PaceActiveLearningWorkChain.get_available_protocols():
        settings = PaceActiveLearningWorkChain.get_protocol_inputs(protocol)['settings']
        inputs = build(settings)
        inputs.explore.inputs['options'] = orm.Dict({})
        assert _check_grades(inputs._inputs(prune=True)) is None


def test_the_explorer_keeps_from_the_threshold_of_the_loop_on(explored):
    exploration = next(node for node in explored.called if node.label == 'generation 0: explore')
    assert exploration.inputs.gamma_low.value == SETTINGS['gamma_threshold']


def test_each_default_stands_in_one_place():
    content = PaceActiveLearningWorkChain.get_protocol_inputs
    defaults = LoopSettings().model_dump()
    for protocol in PaceActiveLearningWorkChain.get_available_protocols():
        given = content(protocol)['settings']
        assert {name for name, value in given.items() if value == defaults[name]} == set()
    assert ExploreOptions().gamma_low == defaults['gamma_threshold']


@pytest.mark.engine
@pytest.mark.slow
def test_it_ends_where_the_error_bars_of_what_was_explored_are_small(build, pace_codes):
    """Nothing is labelled, though gamma is above its threshold: the error bars say how wrong the forces may be."""
    node = run_get_node(
        build(
            {'first_iterations': None, 'later_iterations': None, 'gamma_threshold': 0.1, 'target_sigma_forces': 0.5},
            {'gamma_high': 100.0},
            config={'elements': ['Cu'], 'r_cut': 4.5, 'max_deg': 4, 'max_order': 2, 'linear': {'pair_functions': 4}},
            codes=pace_codes,
            dataset=labelled(24),
        )
    ).node
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.stop_reason.value == 'UNCERTAINTY_CONVERGED'
    (row,) = rows(node)
    assert row['explored']['reasons'] == {'finished': SETTINGS['seed_frames']}
    assert row['gamma_max'] > 0.1
    assert 0 < row['sigma_max'] < 0.5
    assert row['n_selected'] == 0
