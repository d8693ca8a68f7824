"""What a loop leaves in a database, and that it is read from there by the names that it had when it was written."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_type_hints

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState

import aiida_pacemaker
from aiida_pacemaker.calculations.label_ase import AseLabelCalculation
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.trajectories import trajectories_from_frames
from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain
from aiida_pacemaker.workflows.loop.context import LoopContext
from aiida_pacemaker.workflows.loop.generations import GAMMA_KEYS, GenerationRow
from aiida_pacemaker.workflows.loop.history import LABELLING_JOBS, LOOP, state_of
from aiida_pacemaker.workflows.loop.links import LoopCall, LoopStep, generation_of
from aiida_pacemaker.workflows.loop.renamed import with_present_names
from aiida_pacemaker.workflows.loop.table import format_table, loop_table

PACKAGE = Path(aiida_pacemaker.__file__).parent

#: Labels of links as loops have written them. They are in the databases of users: a line may be added, none changed.
RECORDED = {
    'initial_report': ('initial', 'report', None),
    'initial_merge': ('initial', 'merge', None),
    'initial_atoms': ('initial', 'atoms', None),
    'initial_baseline': ('initial', 'baseline', None),
    'initial_references': ('initial', 'references', None),
    'initial_config': ('initial', 'config', None),
    'retry_frames': ('retry', 'frames', None),
    'retry_label': ('retry', 'label', None),
    'retry_merge': ('retry', 'merge', None),
    'retry_report_selection': ('retry', 'report_selection', None),
    'retry_unlabelled': ('retry', 'unlabelled', None),
    'generation_00_member_7_dataset': ('generation_00', 'dataset', 7),
    'generation_00_member_7_train': ('generation_00', 'train', 7),
    'generation_00_member_7_evaluate': ('generation_00', 'evaluate', 7),
    'generation_00_train': ('generation_00', 'train', None),
    'generation_00_activeset': ('generation_00', 'activeset', None),
    'generation_00_seeds': ('generation_00', 'seeds', None),
    'generation_00_explore': ('generation_00', 'explore', None),
    'generation_00_evaluate': ('generation_00', 'evaluate', None),
    'generation_00_candidates': ('generation_00', 'candidates', None),
    'generation_00_report': ('generation_00', 'report', None),
    'generation_00_set_aside': ('generation_00', 'set_aside', None),
    'generation_00_select': ('generation_00', 'select', None),
    'generation_00_label': ('generation_00', 'label', None),
    'generation_00_label_test': ('generation_00', 'label_test', None),
    'generation_00_merge_test': ('generation_00', 'merge_test', None),
    'generation_12_merge': ('generation_12', 'merge', None),
    'generation_12_report_selection': ('generation_12', 'report_selection', None),
    'generation_12_unlabelled': ('generation_12', 'unlabelled', None),
    'generation_12_calibration': ('generation_12', 'calibration', None),
    'generation_100_report_calibration': ('generation_100', 'report_calibration', None),
    'generation_100_stop_reason': ('generation_100', 'stop_reason', None),
}


# The names.


@pytest.mark.parametrize(('label', 'parts'), RECORDED.items())
def test_a_recorded_label_names_its_call(label, parts):
    stage, step, member = parts
    call = LoopCall.parse(label)
    assert call is not None
    assert (call.stage, call.step.value, call.member) == (stage, step, member)
    assert call.link_label == label


def test_every_step_has_a_recorded_label():
    """A step that is renamed, or one without a line in the table above, fails here and not at a user."""
    assert {step for _, step, _ in RECORDED.values()} == {step.value for step in LoopStep}


@pytest.mark.parametrize('label', ['CALL', 'iteration_01', 'generation_00', 'generation_00_', 'generation_x_train', ''])
def test_other_labels_name_no_call(label):
    assert LoopCall.parse(label) is None
    assert generation_of(label) is None or label == 'generation_00_'


def test_a_step_of_a_later_version_belongs_to_its_generation():
    assert LoopCall.parse('generation_03_certificate') is None
    assert generation_of('generation_03_certificate') == 3
    assert generation_of('initial_report') is None


def test_labels_of_processes():
    assert LoopCall('generation_03', LoopStep.TRAIN).process_label == 'generation 3: train'
    assert LoopCall('generation_03', LoopStep.TRAIN, 7).process_label == 'generation 3: member_7_train'
    assert LoopCall('initial', LoopStep.MERGE).process_label == 'initial: merge'


def test_recorded_process_labels_are_those_of_the_classes():
    """A class that is renamed needs its old name here too."""
    assert LOOP == 'PaceActiveLearningWorkChain' == PaceActiveLearningWorkChain.__name__
    assert 'AseLabelCalculation' in LABELLING_JOBS
    assert AseLabelCalculation.__name__ in LABELLING_JOBS


# A stored loop.


class Recording:
    """A loop as it stands in a database: each of its calls under a label that is written out here."""

    def __init__(self, **inputs):
        self.node = orm.WorkChainNode()
        for name, node in inputs.items():
            self.node.base.links.add_incoming(node.store(), LinkType.INPUT_WORK, name)
        self.node.set_process_label('PaceActiveLearningWorkChain')
        self.node.store()

    def call(self, label, process_label, process=orm.CalcFunctionNode, caller=None, status=0, **outputs):
        """Add a call with its outputs."""
        is_job = issubclass(process, orm.CalculationNode)
        node = process()
        node.set_process_label(process_label)
        node.base.links.add_incoming(
            caller or self.node, LinkType.CALL_CALC if is_job else LinkType.CALL_WORK, label or 'CALL'
        )
        node.store()
        node.set_process_state(ProcessState.FINISHED)
        node.set_exit_status(status)
        for name, output in outputs.items():
            if is_job:
                output.base.links.add_incoming(node, LinkType.CREATE, name)
                output.store()
            else:
                output.store().base.links.add_incoming(node, LinkType.RETURN, name)
        return node


@pytest.fixture
def recording(aiida_profile):
    return Recording()


def numbered(number):
    return orm.Dict({'number': number})


#: A row as a version without interactions, grades of potentials and test sets of its own has written it.
OLD_ROW = {
    'run': 1,
    'generation': 0,
    'n_frames': 12,
    'train_rmse_energy': 0.01,
    'train_rmse_forces': 0.1,
    'test_rmse_energy': None,
    'test_rmse_forces': None,
    'gamma_median': 1.5,
    'gamma_max': None,
    'n_candidates': 3,
    'n_selected': 2,
}


def test_a_recorded_loop_that_was_killed_is_read(recording, narrow, frozen_test, pool):
    """Of the calls of each step the newest one that ended well counts, and members of an ensemble do not."""
    labels = trajectories_from_frames(narrow.get_frames())[0]
    merged, merged_test = narrow.clone(), frozen_test.clone()
    selected, failed = pool.clone(), pool.clone()
    report = orm.Dict({'run': 1, 'generations': [OLD_ROW], 'retried': [], 'stop_reason': None})
    call = recording.call
    chain = orm.WorkChainNode
    call('initial_report', 'begin_report', result=numbered(0))
    call('initial_merge', 'merge', dataset=frozen_test.clone())
    baseline = call('initial_baseline', 'default_baseline', result=numbered(1)).outputs.result
    references = call('initial_references', 'fit_reference_energies', result=numbered(2)).outputs.result
    call('generation_00_train', 'PaceTrainBaseWorkChain', chain, potential=numbered(3))
    call('generation_00_report', 'report_fit', result=numbered(4))
    call('generation_00_select', 'PaceSelectBaseWorkChain', chain, selected=frozen_test.clone())
    call('generation_00_merge_test', 'merge', dataset=merged_test)
    call('generation_00_merge', 'merge', dataset=merged)
    call('generation_00_report_selection', 'report_selection', result=numbered(5))
    call('generation_00_unlabelled', 'frames_without_labels', dataset=failed)
    calibration = call('generation_00_calibration', 'calibrate', result=numbered(6)).outputs.result
    call('generation_00_report_calibration', 'report_calibration', result=numbered(7))
    potential = call('generation_01_train', 'PaceTrainBaseWorkChain', chain, potential=numbered(8)).outputs.potential
    call('generation_01_member_7_train', 'PaceTrainBaseWorkChain', chain, potential=numbered(9))
    call('generation_01_report', 'report_fit', result=report)
    call('generation_01_select', 'PaceSelectBaseWorkChain', chain, selected=selected)
    labeller = call('generation_01_label', 'AseLabelWorkChain', chain, status=300)
    call('iteration_01', 'AseLabelCalculation', orm.CalcJobNode, labeller, status=300, label_0=labels)
    # One that failed, and one that this version does not know.
    call('generation_01_merge', 'merge', status=400)
    call('generation_01_certificate', 'certify', result=numbered(10))

    state = state_of(recording.node)
    assert state.dataset.uuid == merged.uuid
    assert state.test_dataset.uuid == merged_test.uuid
    assert state.potential.uuid == potential.uuid
    assert state.baseline.uuid == baseline.uuid
    assert state.reference_energies.uuid == references.uuid
    assert state.report.uuid == report.uuid
    assert state.calibration.uuid == calibration.uuid
    assert state.unlabelled.uuid == failed.uuid
    assert state.pending_frames.uuid == selected.uuid
    assert [node.uuid for node in state.unmerged_labels] == [labels.uuid]
    assert state.unread_results == []

    (row,) = loop_table(recording.node)
    assert row['seconds'] > 0
    assert {**row, 'seconds': None} == {**OLD_ROW, 'seconds': None}
    assert format_table([row]).splitlines()[1].split()[:3] == ['0', '12', '10.0']


def test_results_that_are_false_are_results(aiida_profile):
    """Potentials of an engine may be any node, such as a list that is empty."""
    recording, chain = Recording(potential=orm.List([7])), orm.WorkChainNode
    assert state_of(recording.node).potential.get_list() == [7]
    potential = recording.call('generation_00_train', 'ToyTraining', chain, potential=orm.List([])).outputs.potential
    assert not potential
    assert state_of(recording.node).potential.uuid == potential.uuid


def test_a_recorded_retry_is_read(recording, narrow, pool):
    """A run that begins with frames of an earlier one has them pending until they are reported."""
    left = pool.clone()
    report = recording.call('initial_report', 'begin_report', result=numbered(0)).outputs.result
    atoms = recording.call(
        'initial_atoms', 'PaceReferenceEnergiesWorkChain', orm.WorkChainNode, reference_energies=numbered(1)
    )
    recording.call('initial_baseline', 'baseline_of', result=numbered(2))
    recording.call('retry_frames', 'exclude_datasets', result=left)
    labels = trajectories_from_frames(narrow.get_frames())[0].store()
    recording.call('retry_label', 'AnyLabeller', orm.WorkChainNode, trajectories__label_0=labels)
    state = state_of(recording.node)
    assert state.report.uuid == report.uuid
    assert state.reference_energies.uuid == atoms.outputs.reference_energies.uuid
    assert state.pending_frames.uuid == left.uuid
    assert [node.uuid for node in state.unmerged_labels] == [labels.uuid]
    assert state.dataset is None
    assert state.potential is None

    recording.call('retry_report_selection', 'report_retry', result=numbered(3))
    state = state_of(recording.node)
    assert state.report['number'] == 3
    assert state.pending_frames is None
    assert state.unmerged_labels == []


# The context and the rows.


def context_keys(path):
    """Iterate over the constant names under which a file reads or writes the context."""
    for node in ast.walk(ast.parse(path.read_text())):
        owner = getattr(node, 'value', None)
        if not isinstance(owner, ast.Attribute) or owner.attr != 'ctx':
            continue
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            yield node.slice.value


def test_no_step_of_the_loop_uses_another_key_of_the_context():
    listed = set(get_type_hints(LoopContext))
    files = sorted((PACKAGE / 'workflows' / 'loop').glob('[a-z]*.py'))
    used = {key for path in files for key in context_keys(path)} - {'get'}
    assert used <= listed
    # What nobody uses is not listed: `taken` is of the base, nodes are reached by the names of their steps.
    assert listed - used <= {'taken', *(step.value for step in LoopStep)}


def test_a_quantile_of_gamma_is_a_key_of_a_row():
    assert set(GAMMA_KEYS.values()) <= set(GenerationRow.__annotations__)


def test_the_provenance_does_not_know_the_workflows():
    """The loop asks the graph, and the graph knows nothing of the loop."""
    for path in sorted((PACKAGE / 'provenance').glob('*.py')):
        assert 'workflows' not in path.read_text(), path


# Inputs that have other names now.


def test_the_inputs_of_an_old_run_have_their_present_names(recording, mgo_frames):
    old = {
        'settings': orm.Dict({'first_epochs': 6, 'later_epochs': 3, 'max_generations': 2}),
        'explore__entry_point': orm.Str('pacemaker.explore.md'),
        'explore__seeds': PaceDatasetData(mgo_frames.without_labels()),
        'explore__inputs__seeds_per_job': orm.Int(2),
        'label__entry_point': orm.Str('pacemaker.label.ase'),
        'label__inputs__calculator': orm.Dict({'calculator': 'a:B', 'incidental': ['directory']}),
    }
    run = orm.WorkChainNode()
    run.set_process_type('aiida.workflows:pacemaker.active_learning')
    for name, node in old.items():
        run.base.links.add_incoming(node.store(), LinkType.INPUT_WORK, name)
    builder = PaceActiveLearningWorkChain.builder_of(run.store())
    assert builder.settings.get_dict() == {'first_iterations': 6, 'later_iterations': 3, 'max_generations': 2}
    assert builder.explore.initial_structures.uuid == old['explore__seeds'].uuid
    assert builder.explore.inputs['structures_per_job'].value == 2
    assert builder.label.inputs['calculator']['not_affecting_energy'] == ['directory']


def test_inputs_of_other_packages_keep_their_names():
    """Only the inputs of this package were renamed."""
    theirs = {'entry_point': orm.Str('other.explorer'), 'inputs': {'seeds_per_job': orm.Int(2)}}
    label = {'entry_point': orm.Str('other.labeller'), 'inputs': {'calculator': orm.Dict({'incidental': []})}}
    settings = orm.Dict({'first_iterations': 6})
    assert with_present_names({'explore': theirs, 'label': label, 'settings': settings}) == {
        'explore': theirs,
        'label': label,
        'settings': settings,
    }
