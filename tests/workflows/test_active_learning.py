"""The loop in all its branches, with the fake engine: the real one runs it in `test_loop_engine.py`."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from aiida import orm
from aiida.engine import WorkChain, run_get_node
from aiida.manage.caching import enable_caching
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_pacemaker.calculations.functions.datasets import filter_frames
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.trajectories import trajectories_from_frames
from aiida_pacemaker.errors import RefusedError
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain
from aiida_pacemaker.workflows.loop.history import state_of
from aiida_pacemaker.workflows.loop.table import format_table, loop_table

CONFIG = {'evaluator': 'pyace', 'r_cut': 4.5, 'max_deg': 3, 'max_order': 2}
SETTINGS = {'first_iterations': 8, 'later_iterations': 4, 'frames_per_generation': 4, 'max_generations': 3}


@pytest.fixture
def builder(pace_codes_fake, reference_energies):
    """Return a function that returns the inputs of a loop."""

    def build(settings=None, options=None, **inputs):
        return PaceActiveLearningWorkChain.get_builder_from_protocol(
            pacemaker=pace_codes_fake['train'],
            pace_yaml2yace=pace_codes_fake['yace'],
            pace_activeset=pace_codes_fake['activeset'],
            pace_select=pace_codes_fake['select'],
            python=pace_codes_fake['python'],
            protocol='fast',
            overrides={'config': CONFIG, 'settings': {**SETTINGS, **(settings or {})}},
            options=options,
            **{'reference_energies': reference_energies, **inputs},
        )

    return build


def hashes(dataset):
    return set(dataset.get_hashes().tolist())


def rows(node):
    return node.outputs.report['generations']


def test_labelled_pool(builder, narrow, pool, frozen_test):
    """The dataset grows by what was selected, generation by generation, and the test set stays out of it."""
    initial = trajectories_from_frames(narrow.get_frames())
    _, node = run_get_node(builder(initial=initial, pool=pool, test_dataset=frozen_test))
    assert node.is_finished_ok, node.exit_message

    table = rows(node)
    assert [row['generation'] for row in table] == list(range(len(table)))
    assert len(table) > 1
    for before, after in pairwise(table):
        assert after['n_frames'] == before['n_frames'] + before['n_added']
    dataset = node.outputs.dataset
    assert dataset.n_frames == table[-1]['n_frames'] + table[-1]['n_added']
    assert hashes(dataset) <= hashes(narrow) | hashes(pool)
    assert not hashes(dataset) & hashes(frozen_test)
    assert set(dataset.generations) == set(range(1 + sum(row['n_added'] > 0 for row in table)))
    assert node.outputs.stop_reason.value == node.outputs.report['stop_reason']

    # The references were pinned once, and every potential carries them.
    trainings = [called for called in node.called if called.process_label == 'PaceTrainBaseWorkChain']
    assert len({job.inputs.pace.baseline.uuid for job in trainings}) == 1
    assert {tuple(job.outputs.potential.reference_energies.items()) for job in trainings} == {
        tuple(node.outputs.reference_energies.get_dict().items())
    }
    # Later generations continue the potential of the one before, for fewer iterations.
    trainings.sort(key=lambda job: job.pk)
    assert 'potential' not in trainings[0].inputs.pace
    assert trainings[1].inputs.pace.potential.uuid == trainings[0].outputs.potential.uuid
    assert [job.inputs.pace.max_epochs.value for job in trainings[:2]] == [8, 4]
    # Every process of a generation can be found by its label.
    labels = {link.link_label for link in node.base.links.get_outgoing().all()}
    assert {
        'generation_00_train',
        'generation_00_activeset',
        'generation_00_evaluate',
        'generation_00_select',
    } <= labels
    assert trainings[1].label == 'generation 1: train'


def test_known_pool_is_a_success(builder, narrow):
    """A pool that has nothing new ends the loop in its first generation, well."""
    _, node = run_get_node(builder(dataset=narrow, pool=narrow))
    assert node.is_finished_ok
    assert node.outputs.stop_reason.value == 'POOL_EXHAUSTED'
    assert node.outputs.dataset.uuid == narrow.uuid


def test_gamma_below_threshold(builder, narrow, pool):
    _, node = run_get_node(builder({'gamma_threshold': 1e9}, dataset=narrow, pool=pool))
    assert node.outputs.stop_reason.value == 'GAMMA_CONVERGED'
    assert rows(node)[0]['n_unknown'] == pool.n_frames


def test_budget(builder, narrow, pool):
    """No more frames are labelled than were paid for."""
    _, node = run_get_node(builder({'label_budget': 3, 'max_generations': 9}, dataset=narrow, pool=pool))
    assert node.is_finished_ok
    assert node.outputs.dataset.n_frames <= narrow.n_frames + 3
    assert sum(row['n_selected'] for row in rows(node)) == 3
    assert node.outputs.stop_reason.value == 'BUDGET_SPENT'


@pytest.mark.fault(
    'a run ends at any generation',
    engine='a folder of files',
    here="a second run goes on from its outputs; its report contains the first one's",
    ends='success',
)
def test_continued_from_outputs(builder, narrow, pool, frozen_test):
    """A second run goes on where the first stopped, and its report contains that of the first."""
    _, first = run_get_node(builder({'max_generations': 1}, dataset=narrow, pool=pool, test_dataset=frozen_test))
    assert first.outputs.stop_reason.value == 'MAX_GENERATIONS'
    continued = builder(
        {'max_generations': 2},
        dataset=first.outputs.dataset,
        potential=first.outputs.potential,
        previous_report=first.outputs.report,
        pool=pool,
        test_dataset=frozen_test,
        reference_energies=first.outputs.reference_energies,
    )
    _, second = run_get_node(continued)
    assert second.is_finished_ok, second.exit_message
    table = rows(second)
    assert table[: len(rows(first))] == rows(first)
    assert [row['run'] for row in table][:2] == [1, 2]
    assert [row['generation'] for row in table] == list(range(len(table)))
    assert second.outputs.baseline.get_dict() == first.outputs.baseline.get_dict()


@pytest.mark.fault(
    'test frames are in the initial data',
    engine='test errors that say nothing',
    here='found by their content after the first merge',
    ends='PaceActiveLearningWorkChain.ERROR_TEST_FRAMES_IN_DATASET',
)
def test_test_frames_in_dataset(builder, narrow, pool):
    initial = trajectories_from_frames(narrow.get_frames())
    _, node = run_get_node(builder(initial=initial, pool=pool, test_dataset=narrow))
    assert node.exit_status == PaceActiveLearningWorkChain.exit_codes.ERROR_TEST_FRAMES_IN_DATASET.status
    assert '12 frames of the test set' in node.exit_message


@pytest.mark.fault(
    'a job of the loop fails for good',
    engine='a script stops, and what it had is lost with it',
    here='the loop ends with all that it has as outputs: dataset, potential, active set, baseline, references, report',
    ends='PaceActiveLearningWorkChain.ERROR_SELECTION_FAILED',
)
def test_nothing_is_lost_when_a_job_fails(builder, narrow, pool, tmp_path):
    """The exit code names generation and reason, and all that a later run needs is an output."""
    options = {'environment_variables': {'PACE_FAKE_FAULT': 'disk_full:program=pace_select'}}
    _, node = run_get_node(builder(options=options, dataset=narrow, pool=pool))
    assert node.exit_status == PaceActiveLearningWorkChain.exit_codes.ERROR_SELECTION_FAILED.status
    said = ' '.join(log.message for log in orm.Log.collection.get_logs_for(node))
    assert re.search(r'12 frames, train errors [\d.]+ eV/atom and [\d.]+ eV/Å \(there is no test set\)', said)
    assert 'generation 0' in node.exit_message
    assert 'no space' in node.exit_message
    assert node.outputs.dataset.uuid == narrow.uuid
    assert rows(node)[0]['n_candidates'] > 0
    assert {'potential', 'active_set', 'baseline', 'reference_energies', 'report'} <= set(node.outputs)


@pytest.mark.fault(
    'some labels fail or are refused',
    engine='failed frames are dropped, or stop everything',
    here='the good ones are merged first; the others are reported with their reasons and are the output `unlabelled`',
    ends=('success', 'PaceActiveLearningWorkChain.ERROR_LABELS_FAILED'),
)
def test_frames_that_fail_do_not_cost_the_others(builder, narrow, pool):
    """Beyond the tolerance the loop ends, but the good labels are in its dataset; within it, the loop goes on."""
    frames = pool.get_frames()
    stress = frames.stress.copy()
    stress[::2] = np.nan
    broken = PaceDatasetData(frames.with_labels(frames.energy, frames.forces, stress)).store()
    needed = {'require_stress': True}
    _, node = run_get_node(builder(needed, dataset=narrow, pool=broken))
    assert node.exit_status == PaceActiveLearningWorkChain.exit_codes.ERROR_LABELS_FAILED.status
    assert 'stress' in node.exit_message
    (row,) = rows(node)
    assert 0 < row['n_failed'] < row['n_selected']
    assert row['n_added'] == row['n_selected'] - row['n_failed']
    assert node.outputs.dataset.n_frames == narrow.n_frames + row['n_added']

    going_on = {**needed, 'max_failed_fraction': 1.0, 'max_generations': 2}
    _, node = run_get_node(builder(going_on, dataset=narrow, pool=broken))
    assert node.is_finished_ok, node.exit_message
    assert rows(node)[0]['n_failed'] == row['n_failed']


def test_repetition_from_the_cache(builder, narrow, pool):
    """Running the same again costs no engine run."""
    _, first = run_get_node(builder(dataset=narrow, pool=pool))
    with enable_caching():
        _, second = run_get_node(builder(dataset=narrow, pool=pool))
    jobs = [node for node in second.called_descendants if isinstance(node, orm.CalcJobNode)]
    assert jobs
    assert all(job.base.caching.is_created_from_cache for job in jobs)
    # All is the same, but what it has cost.
    costs = [[row.pop('core_hours') for row in table] for table in (rows(first), rows(second))]
    assert costs[0][-1] > 0
    assert not any(costs[1])
    assert without_costs(second) == without_costs(first)


def without_costs(node):
    return [{name: value for name, value in row.items() if name != 'core_hours'} for row in rows(node)]


class Outer(WorkChain):
    """A work chain that has the loop as a part."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.expose_inputs(PaceActiveLearningWorkChain, namespace='loop')
        spec.expose_outputs(PaceActiveLearningWorkChain)
        spec.outline(cls.run_loop, cls.results)

    def run_loop(self):
        inputs = self.exposed_inputs(PaceActiveLearningWorkChain, 'loop')
        return {'loop': self.submit(PaceActiveLearningWorkChain, **inputs)}

    def results(self):
        self.out_many(self.exposed_outputs(self.ctx.loop, PaceActiveLearningWorkChain))


def test_composed(builder, narrow, pool):
    inputs = builder({'max_generations': 1}, dataset=narrow, pool=pool)._inputs(prune=True)
    outputs, node = run_get_node(Outer, loop=inputs)
    assert node.is_finished_ok, node.exit_message
    assert outputs['stop_reason'].value == 'MAX_GENERATIONS'


# An unlabelled pool: copper, labelled by the EMT calculator of ASE.


def copper(seed: int, amplitude: float) -> Atoms:
    atoms = bulk('Cu', cubic=True)
    atoms.rattle(amplitude, seed=seed)
    return atoms


@pytest.fixture
def copper_sets():
    """Return labelled frames with small displacements, and unlabelled ones with larger displacements."""
    from ase.calculators.emt import EMT

    known = [copper(seed, 0.02) for seed in range(8)]
    for atoms in known:
        atoms.calc = EMT()
        atoms.get_stress()
    images = [copper(seed, 0.02 * seed) for seed in range(2, 10)]
    return (
        PaceDatasetData(from_atoms(known, 'known')).store(),
        PaceDatasetData(from_atoms(images, 'unknown')).store(),
    )


def test_unlabelled_pool(builder, pace_codes_fake, copper_sets):
    """Selected frames are labelled by the labeller that the entry point names."""
    known, candidates = copper_sets
    label = {
        'entry_point': 'pacemaker.label.ase',
        'inputs': {
            'code': pace_codes_fake['python'],
            'calculator': orm.Dict({'calculator': 'ase.calculators.emt:EMT'}),
        },
    }
    loop = builder({'max_generations': 2}, dataset=known, pool=candidates, label=label, reference_energies={'Cu': 0.0})
    _, node = run_get_node(loop)
    assert node.is_finished_ok, node.exit_message
    added = rows(node)[0]['n_added']
    assert added > 0
    frames = node.outputs.dataset.get_frames()
    assert frames.labelled
    # The labels are those of EMT, and the source of each frame is the trajectory that the labelling job made.
    new = np.flatnonzero(frames.generation == 1)
    assert len(new) == added
    source = orm.load_node(node.outputs.dataset.sources[frames.source_of(int(new[0]))])
    assert source.creator.process_label == 'AseLabelCalculation'
    assert source.get_array('energy')[0] == frames.energy[new[0]]


def test_unlabelled_pool_needs_a_labeller(builder, copper_sets):
    known, candidates = copper_sets
    with pytest.raises(ValueError, match='give a labeller'):
        run_get_node(builder(dataset=known, pool=candidates, reference_energies={'Cu': 0.0}))


def test_labels_that_fail_are_reported(builder, pace_codes_fake, copper_sets):
    """Without any label the loop ends and says why; what it has is kept."""
    known, candidates = copper_sets
    label = {
        'entry_point': 'pacemaker.label.ase',
        'inputs': {
            'code': pace_codes_fake['python'],
            'calculator': orm.Dict({'calculator': 'builtins:dict'}),
        },
    }
    _, node = run_get_node(builder(dataset=known, pool=candidates, label=label, reference_energies={'Cu': 0.0}))
    assert node.exit_status == PaceActiveLearningWorkChain.exit_codes.ERROR_LABELLING_FAILED.status
    assert 'AttributeError' in node.exit_message
    assert node.outputs.dataset.uuid == known.uuid


@pytest.mark.parametrize('protocol', ['fast', 'balanced', 'stringent'])
def test_protocols(pace_codes_fake, narrow, pool, protocol):
    """Each protocol gives a builder whose inputs are valid and visible."""
    builder = PaceActiveLearningWorkChain.get_builder_from_protocol(
        pacemaker=pace_codes_fake['train'],
        pace_activeset=pace_codes_fake['activeset'],
        pace_select=pace_codes_fake['select'],
        python=pace_codes_fake['python'],
        dataset=narrow,
        pool=pool,
        protocol=protocol,
    )
    assert PaceActiveLearningWorkChain.spec().inputs.validate(builder._inputs(prune=True)) is None
    assert builder.train.pace.config['elements'] == ['Mg', 'O']
    assert builder.settings['max_generations'] == {'fast': 5, 'balanced': 10, 'stringent': 30}[protocol]
    assert protocol in PaceActiveLearningWorkChain.get_available_protocols()


def test_unknown_protocol(pace_codes_fake, pool):
    with pytest.raises(ValueError, match='choose one of fast, balanced, stringent'):
        PaceActiveLearningWorkChain.get_protocol_inputs('swift')


# Going on after a run that did not end well.


@pytest.fixture
def fragile_label(pace_codes_fake, tmp_path):
    """Return the inputs of a labeller that fails for all frames, for large displacements, or for none."""
    module = (
        'import pathlib\n'
        'from ase.calculators.emt import EMT\n\n\n'
        'class Fragile(EMT):\n'
        '    def __init__(self, folder):\n'
        '        super().__init__()\n'
        '        self.folder = pathlib.Path(folder)\n\n'
        '    def calculate(self, atoms, *arguments, **kwargs):\n'
        '        mode = (self.folder / "mode").read_text()\n'
        '        with (self.folder / "done").open("a") as handle:\n'
        '            handle.write(f"{atoms.positions.sum():.9f}\\n")\n'
        '        if mode == "all" or (mode == "some" and abs(atoms.positions.sum()) * 1e3 % 2 < 1):\n'
        '            raise RuntimeError("no convergence")\n'
        '        super().calculate(atoms, *arguments, **kwargs)\n'
    )
    (tmp_path / 'fragile.py').write_text(module)

    def make(mode: str):
        (tmp_path / 'mode').write_text(mode)
        return {
            'entry_point': 'pacemaker.label.ase',
            'inputs': {
                'code': pace_codes_fake['python'],
                'calculator': orm.Dict({'calculator': 'fragile:Fragile', 'arguments': {'folder': str(tmp_path)}}),
                'options': orm.Dict({'environment_variables': {'PYTHONPATH': str(tmp_path)}}),
            },
        }

    make.done = lambda: (tmp_path / 'done').read_text().split()
    return make


@pytest.mark.fault(
    'a run goes on after its labeller was repaired',
    engine='everything is labelled again',
    here='only frames without labels are given to the labeller; the report contains that of the first run',
    ends='success',
)
def test_a_second_run_retries_only_what_is_missing(builder, fragile_label, copper_sets):
    """Labels that failed are an output, and what was labelled is not labelled again."""
    known, candidates = copper_sets
    inputs = {'dataset': known, 'pool': candidates, 'reference_energies': {'Cu': 0.0}}
    _, first = run_get_node(builder({'frames_per_generation': 8}, label=fragile_label('some'), **inputs))
    assert first.exit_status == PaceActiveLearningWorkChain.exit_codes.ERROR_LABELS_FAILED.status
    assert 'RuntimeError: no convergence' in first.exit_message
    (row,) = rows(first)
    assert 0 < row['n_failed'] < row['n_selected']
    assert first.outputs.unlabelled.n_frames == row['n_failed']
    assert not hashes(first.outputs.unlabelled) & hashes(first.outputs.dataset)
    before = fragile_label.done()

    fragile_label('none')
    continued = PaceActiveLearningWorkChain.get_builder_from_run(first)
    continued.settings = {**continued.settings.get_dict(), 'max_generations': 1}
    _, second = run_get_node(continued)
    assert second.is_finished_ok, second.exit_message
    (retried,) = second.outputs.report['retried']
    assert (retried['n_given'], retried['n_added'], retried['n_failed']) == (row['n_failed'], row['n_failed'], 0)
    assert rows(second)[0] == row
    assert second.outputs.dataset.n_frames >= first.outputs.dataset.n_frames + row['n_failed']
    # A frame was calculated twice only if its first label had failed.
    after = fragile_label.done()[len(before) :]
    assert len(set(after) & set(before)) == row['n_failed']


@pytest.mark.fault(
    'all labels fail',
    engine='an empty merge',
    here='an error with the first reason; dataset and potential so far are outputs',
    ends='PaceActiveLearningWorkChain.ERROR_LABELLING_FAILED',
)
def test_no_label_at_all_is_an_error_whatever_the_tolerance(builder, fragile_label, copper_sets):
    known, candidates = copper_sets
    settings = {'max_failed_fraction': 1.0}
    inputs = {'dataset': known, 'pool': candidates, 'reference_energies': {'Cu': 0.0}}
    _, node = run_get_node(builder(settings, label=fragile_label('all'), **inputs))
    assert node.exit_status == PaceActiveLearningWorkChain.exit_codes.ERROR_LABELLING_FAILED.status
    assert 'RuntimeError: no convergence' in node.exit_message
    assert node.outputs.dataset.uuid == known.uuid
    assert node.outputs.unlabelled.n_frames == rows(node)[0]['n_selected']
    assert {'potential', 'active_set', 'report'} <= set(node.outputs)


@pytest.mark.fault(
    'a frame fails that the selection likes',
    engine='it is selected and paid for in every generation',
    here='it is left out of later selections of this run',
    ends='success',
)
def test_within_the_tolerance_failed_frames_are_not_selected_again(builder, fragile_label, copper_sets):
    known, candidates = copper_sets
    settings = {'max_failed_fraction': 0.9, 'frames_per_generation': 8, 'gamma_threshold': 0.01}
    inputs = {'dataset': known, 'pool': candidates, 'reference_energies': {'Cu': 0.0}}
    _, node = run_get_node(builder(settings, label=fragile_label('some'), **inputs))
    assert rows(node)[0]['n_failed'] > 0
    assert len(fragile_label.done()) == len(set(fragile_label.done()))


@pytest.mark.fault(
    'a work chain is killed or excepts',
    engine='it has no outputs',
    here='`get_builder_from_run` finds what it had in what it called; labels that were delivered are merged',
    ends='success',
)
def test_a_killed_run_goes_on_with_all_that_it_had(builder, fragile_label, copper_sets, monkeypatch):
    """It has no outputs; what it called is looked through, and labels that were delivered are not lost."""
    known, candidates = copper_sets
    inputs = {'dataset': known, 'pool': candidates, 'reference_energies': {'Cu': 0.0}}

    def die(self, *_, **__):
        raise RuntimeError('died')

    with monkeypatch.context() as patched:
        patched.setattr(PaceActiveLearningWorkChain, 'merge_labels', die)
        with pytest.raises(RuntimeError, match='died'):
            run_get_node(builder(label=fragile_label('none'), **inputs))
    query = orm.QueryBuilder().append(
        orm.WorkChainNode, filters={'attributes.process_label': 'PaceActiveLearningWorkChain'}
    )
    first = query.order_by({orm.WorkChainNode: {'id': 'desc'}}).first(flat=True)
    assert first.is_excepted
    assert 'dataset' not in first.outputs
    before = fragile_label.done()

    state = state_of(first)
    assert state.pending_frames.n_frames == len(before)
    assert sum(len(node.get_array('energy')) for node in state.unmerged_labels) == len(before)
    continued = PaceActiveLearningWorkChain.get_builder_from_run(
        first, settings=orm.Dict({**SETTINGS, 'max_generations': 1})
    )
    assert continued.potential.uuid == state.potential.uuid
    _, second = run_get_node(continued)
    assert second.is_finished_ok, second.exit_message
    assert hashes(state.pending_frames) <= hashes(second.outputs.dataset)
    assert not set(before) & set(fragile_label.done()[len(before) :])
    assert rows(second)[: len(state.report['generations'])] == state.report['generations']
    assert second.outputs.baseline.uuid == state.baseline.uuid
    assert second.outputs.reference_energies.uuid == state.reference_energies.uuid


def test_a_run_that_has_not_ended_is_not_continued(builder, aiida_profile):
    node = orm.WorkChainNode()
    node.set_process_label('PaceActiveLearningWorkChain')
    with pytest.raises(ValueError, match='has not ended'):
        PaceActiveLearningWorkChain.get_builder_from_run(node)
    node.set_process_label('Other')
    with pytest.raises(ValueError, match='is no PaceActiveLearningWorkChain'):
        PaceActiveLearningWorkChain.get_builder_from_run(node)


# Refused before anything runs.


@pytest.mark.fault(
    'inputs of the loop do not fit together',
    engine='it is found out after a training, or never',
    here='refused when the loop is submitted',
    ends='refused',
)
def test_what_is_known_before_the_first_job_is_checked_before_it(builder, narrow, pool, subset):
    with pytest.raises(ValueError, match='12 frames of the test set are in the dataset too'):
        run_get_node(builder(dataset=narrow, pool=pool, test_dataset=narrow))
    for changes, said in (
        ({'overrides': {'r_cut': 1.0}}, 'no two atoms of the dataset are closer than the cutoff'),
        ({'overrides': {'elements': ['Mg', 'O', 'Al']}}, 'the config has Al but no frame of the dataset does'),
    ):
        inputs = builder(dataset=narrow, pool=pool)
        config = {**inputs.train.pace.config.get_dict(), **changes['overrides']}
        inputs.train.pace.config = orm.Dict(config)
        with pytest.raises(ValueError, match=said):
            run_get_node(inputs)
    twice = builder(initial=trajectories_from_frames(narrow.get_frames()), pool=pool)
    twice.train.pace.config = orm.Dict({**twice.train.pace.config.get_dict(), 'fit': {'repulsion': 'auto'}})
    with pytest.raises(ValueError, match=r"would be refused: fit\.repulsion: found auto.*mode='core'"):
        run_get_node(twice)


@pytest.mark.fault(
    'a loop goes on in another profile',
    engine='the first job cannot be sent, with an exception',
    here='refused when the loop is submitted, naming code and computer',
    ends='refused',
)
def test_codes_of_a_computer_that_is_not_configured(builder, narrow, pool):
    inputs = builder(dataset=narrow, pool=pool)
    imported = orm.Computer(
        label='imported', hostname='localhost', transport_type='core.local', scheduler_type='core.direct', workdir='/w'
    ).store()
    inputs.select.pace.code = orm.InstalledCode(
        computer=imported, filepath_executable='/bin/true', default_calc_job_plugin='pacemaker.select', label='select'
    )
    with pytest.raises(ValueError, match=r'`select.pace.code`: select@imported .*`imported`, which is not configured'):
        run_get_node(inputs)


def test_what_people_give_to_begin_with(builder, narrow, pool):
    """A single dataset, its PK or a list of it: all mean the same."""
    for initial in (narrow, narrow.pk, [narrow], {'first': narrow}):
        given = builder(initial=initial, pool=pool).initial
        assert {label: node.uuid for label, node in given.items()} == {'source_0000': narrow.uuid}
    with pytest.raises(ValueError, match='is no source of frames'):
        builder(initial=orm.Int(1), pool=pool)
    for run in (narrow.pk, narrow):
        with pytest.raises(ValueError, match=r'`run` is PaceDatasetData<\d+>, a `WorkChainNode` is needed'):
            PaceActiveLearningWorkChain.get_builder_from_run(run)


def test_a_pool_of_other_elements(builder, narrow, copper_sets):
    inputs = builder(dataset=narrow, pool=narrow)
    inputs.pool = PaceDatasetData(copper_sets[0].get_frames()).store()
    with pytest.raises(ValueError, match='the pool has Cu but the config does not'):
        run_get_node(inputs)


@pytest.mark.fault(
    'the labeller is not installed',
    engine='found out when the first labels are due',
    here='refused when the loop is submitted',
    ends='refused',
)
def test_a_labeller_that_does_not_exist(builder, copper_sets):
    known, candidates = copper_sets
    label = {'entry_point': 'pacemaker.label.nothing', 'inputs': {}}
    with pytest.raises(ValueError, match=r'entry point `pacemaker\.label\.nothing`'):
        run_get_node(builder(dataset=known, pool=candidates, label=label, reference_energies={'Cu': 0.0}))


@pytest.mark.fault(
    'the first merge makes a dataset that cannot be trained on',
    engine='the work chain excepts and has no outputs',
    here='an exit code that quotes the refusal, with the outputs so far',
    ends='PaceActiveLearningWorkChain.ERROR_INPUTS_REFUSED',
)
def test_inputs_that_a_job_refuses_are_no_exception(builder, narrow, pool):
    """What is merged first may turn out to be no good: everything there is gets attached."""
    initial = trajectories_from_frames(narrow.get_frames())
    _, node = run_get_node(builder(initial=initial, pool=pool, reference_energies={'Mg': 0.0, 'O': 0.0}))
    assert node.exit_status == PaceActiveLearningWorkChain.exit_codes.ERROR_INPUTS_REFUSED.status
    assert 'the engine accepts -20 to 250' in node.exit_message
    assert node.outputs.dataset.n_frames == narrow.n_frames
    assert 'report' in node.outputs


# --- Interactions that the data never had ---


def labelled_by_emt(atoms, seed):
    atoms.rattle(0.05, seed=seed)
    atoms.calc = EMT()
    atoms.get_stress()
    return atoms


@pytest.mark.fault(
    'a pool full of a pair of elements that the data never had',
    engine='gamma is 0: all is known',
    here='gamma is infinite, they are labelled first',
    ends='success',
)
def test_a_pair_that_the_data_never_had(builder):
    """Pure elements first; in the pool unlike atoms are neighbours and like ones out of reach of each other."""
    pure = [labelled_by_emt(bulk(symbol, cubic=True), seed) for symbol in ('Cu', 'Ag') for seed in range(5)]
    mixed = [labelled_by_emt(bulk('CuAg', 'rocksalt', a=5.5 + 0.02 * seed, cubic=True), seed) for seed in range(4)]
    data, pool = (PaceDatasetData(from_atoms(images, name)).store() for images, name in ((pure, 'a'), (mixed, 'b')))
    inputs = builder(
        {'gamma_threshold': 1e6, 'gamma_quantile': 'median', 'max_generations': 2}, dataset=data, pool=pool
    )
    config = inputs.train['pace']['config'].get_dict()
    inputs.train['pace']['config'] = orm.Dict({**config, 'elements': ['Ag', 'Cu'], 'r_cut': 3.6})
    inputs.reference_energies = orm.Dict({'Ag': 0.0, 'Cu': 0.0})
    _, node = run_get_node(inputs)
    assert node.is_finished_ok, node.exit_message
    first, second = rows(node)
    # However high the threshold, and whatever the quantile.
    assert (first['n_candidates'], first['n_unseen'], first['gamma_n_unseen'], first['gamma_max']) == (4, 4, 4, None)
    assert first['unseen'] == ['Ag-Cu']
    assert first['n_selected'] == 4
    assert (second['gamma_n_unseen'], second['gamma_max'] > 0) == (0, True)
    assert node.outputs.stop_reason.value == 'POOL_EXHAUSTED'
    assert 'inf' in format_table(loop_table(node))

    # Everything that uses it says so.
    evaluation, selection = (called(node, f'generation 0: {step}').outputs for step in ('evaluate', 'select'))
    assert np.isinf(evaluation.evaluations.pool.get_array('gamma')).all()
    assert np.isfinite(evaluation.evaluations.train.get_array('gamma')).all()
    assert selection.output_parameters['n_unseen'] == 4
    active_set = called(node, 'generation 0: activeset').outputs.active_set
    assert active_set.unseen.names == ['Ag-Cu']
    training = called(node, 'generation 0: train').outputs
    assert 'Ag-Cu' in ' '.join(training.metrics['warnings'])
    assert 'Ag-Cu' in training.potential.to_lammps(active_set=active_set)
    assert any('Ag-Cu' in entry.message for entry in orm.Log.collection.get_logs_for(node))
    kept, _ = filter_frames(data, evaluation=evaluation.evaluations.train, gamma=(None, 1e9))
    assert kept.n_frames == data.n_frames
    with pytest.raises(RefusedError):
        filter_frames(pool, evaluation=evaluation.evaluations.pool, gamma=(None, 1e9))
    # Like atoms see each other in none of them.
    assert node.outputs.active_set.unseen.names == ['Ag with Ag, Cu', 'Cu with Ag, Cu']


def called(node, label):
    return next(process for process in node.called if process.label == label)


def test_the_end_says_how_good_the_potential_is(builder, narrow, pool, frozen_test):
    """An end that was decided is no word on the errors."""
    _, node = run_get_node(builder({'max_generations': 1}, dataset=narrow, pool=pool, test_dataset=frozen_test))
    quality = rows(node)[0]['quality']
    assert (quality['on'], quality['verdict'] is not None) == ('test', True)
    said = [entry.message for entry in orm.Log.collection.get_logs_for(node)]
    for line in quality['text']:
        assert any(line in message for message in said)
        assert line in format_table(loop_table(node))
