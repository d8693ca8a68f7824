"""The engine of the documentation, as a user would have written it, at work in a loop."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.engine.persistence import AiiDAPersister
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from ase.build import bulk
from ase.calculators.emt import EMT
from plumpy.persistence import LoadSaveContext
from test_docs_reference import DOCS, code, load

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.workflows import engines
from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain
from aiida_pacemaker.workflows.loop.settings import LoopSettings

PAGE = DOCS / 'howto' / 'write_an_engine.md'
ENGINE = 'mypackage.mean'


def copper(*lattice_constants):
    return [bulk('Cu', cubic=True, a=a) for a in lattice_constants]


@pytest.fixture
def package(aiida_profile, entry_points, tmp_path, monkeypatch):
    """Return the code of the page as the module of a package, with its entry points."""
    script = tmp_path / 'mypackage_engine.py'
    script.write_text(code(PAGE)[0][0])
    module = load('mypackage_engine', script)
    for name in ('Train', 'ActiveSet', 'Evaluate', 'Select'):
        entry_points.add(getattr(module, name), f'aiida.workflows:mypackage.{name.lower()}')
    point = EntryPoint(ENGINE, 'mypackage_engine:MeanEngine', engines.GROUP)
    known = engines.entry_points(group=engines.GROUP)
    monkeypatch.setattr(engines, 'entry_points', lambda group: [*known, point])
    engines.engine_called.cache_clear()
    yield module
    engines.engine_called.cache_clear()


@pytest.fixture
def builder(package, pace_codes_fake):
    """Return the inputs of a loop over copper with that engine, and with the labeller of this package."""
    known = copper(3.58, 3.60, 3.62)
    for atoms in known:
        atoms.calc = EMT()
        atoms.get_stress()
    builder = PaceActiveLearningWorkChain.get_builder(ENGINE)
    builder.dataset = PaceDatasetData(from_atoms(known, 'known')).store()
    builder.pool = PaceDatasetData(from_atoms(copper(3.76, 3.7, 3.44, 3.5, 3.61), 'pool')).store()
    builder.settings = {'frames_per_generation': 2, 'max_generations': 2, 'gamma_threshold': 1.0}
    builder.label.entry_point = 'pacemaker.label.ase'
    calculator = orm.Dict({'calculator': 'ase.calculators.emt:EMT'})
    builder.label.inputs = {'code': pace_codes_fake['python'], 'calculator': calculator}
    return builder


def test_it_runs_a_loop_which_is_gone_on_with(builder):
    node = run_get_node(builder).node
    assert node.is_finished_ok, node.exit_message
    rows = node.outputs.report['generations']
    assert node.outputs.stop_reason.value == 'MAX_GENERATIONS'
    assert [row['n_frames'] for row in rows] == [3, 5]
    assert rows[0]['gamma_max'] > rows[1]['gamma_max'] > 1
    assert rows[0]['train_rmse_energy'] > 0

    # Its potentials and active sets are nodes of its own types, and are made by its own processes.
    assert isinstance(node.outputs.potential, orm.Dict)
    assert isinstance(node.outputs.active_set, orm.List)
    called = {called.process_type for called in node.called}
    steps = ('train', 'activeset', 'evaluate', 'select')
    assert {f'aiida.workflows:mypackage.{step}' for step in steps} < called
    assert not [name for name in called if name.endswith('.base') and 'label' not in name]
    assert node.inputs.engine.value == ENGINE

    again = PaceActiveLearningWorkChain.get_builder_from_run(node)
    assert again.engine.value == ENGINE
    assert again.dataset.uuid == node.outputs.dataset.uuid
    again.settings = {**node.inputs.settings.get_dict(), 'max_generations': 5}
    more = run_get_node(again).node
    assert more.is_finished_ok, more.exit_message
    # The one that is left is known: its volume is between two of the data.
    assert more.outputs.stop_reason.value == 'GAMMA_CONVERGED'
    assert [row['n_frames'] for row in more.outputs.report['generations']] == [3, 5, 5, 7]


def test_a_daemon_finds_its_ports_again(builder):
    runner = get_manager().get_runner()
    process = instantiate_process(runner, builder)
    persister = AiiDAPersister()
    persister.save_checkpoint(process)
    process.close()
    again = persister.load_checkpoint(process.pid).unbundle(LoadSaveContext(loop=runner.loop, runner=runner))
    try:
        assert again.spec().outputs['potential'].valid_type is orm.Dict
        assert 'pace' not in again.spec().inputs['train']
        assert PaceActiveLearningWorkChain.spec().outputs['potential'].valid_type is not orm.Dict
    finally:
        again.kill()


def test_what_fails_ends_the_loop_with_its_message(builder, package, monkeypatch):
    def fail(self, inputs):
        raise ValueError('no mean')

    monkeypatch.setattr(package.Train, 'result', fail)
    monkeypatch.setattr(package.MeanEngine, 'advice', lambda *_: 'Ask for a larger mean.')
    node = run_get_node(builder).node
    assert node.exit_status == 410
    assert re.search(r'failed in generation 0: Train<\d+> excepted .* Ask for a larger mean', node.exit_message)
    assert node.outputs.dataset.uuid == builder.dataset.uuid


def test_explorers_of_other_potentials_are_refused(builder):
    del builder.pool
    builder.explore.entry_point = 'pacemaker.explore.md'
    with pytest.raises(ValueError, match=r'`pacemaker\.explore\.md`: .*input `potential` does not take `Dict`'):
        run_get_node(builder)


def test_a_potential_that_does_not_say_its_references_needs_them(builder):
    builder.potential = orm.Dict({'Cu': 0.0})
    with pytest.raises(ValueError, match='give baseline, reference_energies'):
        run_get_node(builder)


def test_potentials_of_another_engine_are_refused(builder):
    with pytest.raises(ValueError, match='potential'):
        builder.potential = orm.Int(1)
    with pytest.raises(ValueError, match='no protocols'):
        PaceActiveLearningWorkChain.get_builder_from_protocol(engine=ENGINE)


def test_it_may_have_protocols(builder, package, pace_codes_fake, monkeypatch):
    content = {
        'default_protocol': 'quick',
        'default_inputs': {'settings': {}},
        'protocols': {'quick': {'description': 'Short.', 'settings': {'max_generations': 1}}},
    }
    codes = []
    monkeypatch.setattr(package.MeanEngine, 'protocols', lambda self: content)
    monkeypatch.setattr(package.MeanEngine, 'protocol_models', {'settings': LoopSettings})
    monkeypatch.setattr(package.MeanEngine, 'codes', {'solver': True})
    monkeypatch.setattr(package.MeanEngine, 'builder_inputs', lambda self, given, *_: codes.append(given) or {})
    inputs = {'engine': ENGINE, 'dataset': builder.dataset, 'overrides': {'settings': {'label_budget': 3}}}
    with pytest.raises(TypeError, match=r'engine `mypackage\.mean` needs the codes solver'):
        PaceActiveLearningWorkChain.get_builder_from_protocol(**inputs)
    solver = pace_codes_fake['python']
    with pytest.raises(TypeError, match=r'has no use for the codes python: it takes solver'):
        PaceActiveLearningWorkChain.get_builder_from_protocol(solver=solver, python=solver, **inputs)
    made = PaceActiveLearningWorkChain.get_builder_from_protocol(solver=solver.full_label, **inputs)
    assert [given['solver'].uuid for given in codes] == [solver.uuid]
    assert made.engine.value == ENGINE
    assert (made.settings['max_generations'], made.settings['label_budget']) == (1, 3)
    assert PaceActiveLearningWorkChain.get_available_protocols(ENGINE) == {'quick': 'Short.'}
    with pytest.raises(ConfigError, match='known here: settings'):
        PaceActiveLearningWorkChain.get_builder_from_protocol(solver=1, **{**inputs, 'overrides': {'config': {}}})
    for wrong, said in (
        ({'solvr': 1}, 'the loop has no such input:\n  solvr: '),
        ({'label_budget': 3}, "is not read here; give it as overrides={'settings': {'label_budget': 3}}"),
        ({'options': {'acount': 'x'}}, 'acount: did you mean account'),
        ({'overrides': {'train': {}}}, 'is no override; set it in the builder that is returned, as in builder.train'),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)):
            PaceActiveLearningWorkChain.get_builder_from_protocol(solver=solver, **{**inputs, **wrong})
