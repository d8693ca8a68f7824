"""Engines of the loop by their entry points, and what a process has to have for its role."""

from __future__ import annotations

import ast
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest
from aiida import orm
from aiida.engine import WorkChain, calcfunction

import aiida_pacemaker
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.workflows import engines
from aiida_pacemaker.workflows.engine_pacemaker import PacemakerEngine
from aiida_pacemaker.workflows.engines import ACTIVE_SET, TRAINING, Engine, Step, engine_called, engine_name
from aiida_pacemaker.workflows.plugins import LABELLER, process_from

WORKFLOWS = Path(aiida_pacemaker.__file__).parent / 'workflows'
#: Modules of the loop that hold for any engine.
OF_THE_LOOP = [
    *sorted((WORKFLOWS / 'loop').glob('[a-z]*.py')),
    *(WORKFLOWS / f'{name}.py' for name in ('protocols', 'engines')),
]
#: What belongs to Pacemaker.
OF_PACEMAKER = (
    'workflows.engine_pacemaker',
    'workflows.base.train',
    'workflows.base.activeset',
    'workflows.base.evaluate',
    'workflows.base.select',
    'calculations.train',
    'calculations.checks.training',
    'calculations.activeset',
    'calculations.evaluate',
    'calculations.select',
    'data.potential',
    'data.active_set',
    'pace.config.trainer_config',
    'pace.config.options',
)


@pytest.mark.parametrize('path', OF_THE_LOOP, ids=lambda path: path.name)
def test_the_loop_does_not_know_pacemaker(path):
    imported = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
    assert not imported & {f'aiida_pacemaker.{name}' for name in OF_PACEMAKER}


@pytest.fixture
def register(monkeypatch):
    """Return a function that adds entry points of engines to those that are installed."""
    known = list(engines.entry_points(group=engines.GROUP))

    def add(*points, installed=known):
        monkeypatch.setattr(engines, 'entry_points', lambda group: [*installed, *points])
        engine_called.cache_clear()

    yield add
    engine_called.cache_clear()


def point(name, value):
    return EntryPoint(name, f'{__name__}:{value}', engines.GROUP)


class NoEngine:
    pass


class Incomplete(Engine):
    """Has no processes yet."""

    steps: ClassVar = {'train': Step('pacemaker.train.base', 'job')}
    potential_type = orm.Dict
    active_set_type = orm.List


def test_pacemaker_is_the_engine_if_none_is_named():
    engine = engine_called('pacemaker')
    assert engine == PacemakerEngine('pacemaker')
    assert engine.check_processes() is None
    assert engine_name({}) == engine_name(None) == engine_name({'engine': orm.Str('pacemaker')}) == 'pacemaker'
    assert engine_name({'engine': 'toy'}) == 'toy'


def test_what_is_no_engine_is_refused(register):
    with pytest.raises(ValueError, match='no engine `pacemakr`: did you mean pacemaker'):
        engine_called('pacemakr')
    register(point('none', 'NoEngine'), point('lost', 'NotThere'), point('twice', 'Incomplete'), point('twice', 'X'))
    with pytest.raises(RuntimeError, match=r'NoEngine` \(entry point of `pacemaker\.engines`\) is no `Engine`'):
        engine_called('none')
    with pytest.raises(RuntimeError, match='NotThere` of the engine `lost` cannot be loaded'):
        engine_called('lost')
    with pytest.raises(RuntimeError, match='several engines `twice`'):
        engine_called('twice')
    assert engine_called('pacemaker').check_processes() is None


def test_a_stale_installation_says_so(register):
    register(point('none', 'NoEngine'), installed=[])
    with pytest.raises(RuntimeError, match='install the package again'):
        engine_called('pacemaker')


def test_the_processes_of_an_engine_are_checked(register, aiida_profile):
    register(point('incomplete', 'Incomplete'))
    assert engines.validate_engine(orm.Str('incomplete'), None) == (
        'the engine `incomplete` cannot be used: `pacemaker.train.base`: it cannot serve as training: it has no input '
        'namespace `job`. See docs/howto/write_an_engine.md'
    )
    assert 'there is no engine `x`' in engines.validate_engine(orm.Str('x'), None)
    engine = engine_called('incomplete')
    for steps, said in (
        ({'train': Step('pacemaker.train.base', 'pace')}, 'input `pace.potential` does not take `Dict`'),
        ({'train': Step('pacemaker.label.ase')}, 'output `potential` is missing, its output `metrics` is missing'),
        ({'train': Step('pacemaker.trian')}, '`train`: there is no workflow or calculation'),
        ({}, 'it has no process for `train`'),
    ):
        engine.__class__.steps, known = steps, engine.__class__.steps
        try:
            assert said in engine.check_processes()
        finally:
            engine.__class__.steps = known


class Labels(WorkChain):
    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input('dataset', valid_type=orm.Dict)
        spec.output_namespace('trajectories', valid_type=orm.TrajectoryData, dynamic=True)


class NeedsTest(WorkChain):
    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input('dataset', valid_type=(PaceDatasetData, orm.Dict))
        spec.input('test_dataset', valid_type=PaceDatasetData)
        spec.input('potential', required=False)
        spec.output('potential', valid_type=orm.Data)
        spec.output('metrics', valid_type=orm.List)


@calcfunction
def label(dataset):
    return {}


def test_a_role_says_what_a_process_lacks():
    assert LABELLER.check_process(Labels) == (
        'it cannot serve as labeller: its input `dataset` does not take `PaceDatasetData`, its output `failures` is '
        'missing'
    )
    assert TRAINING.check_process(NeedsTest, types={'potential': orm.Dict}) == (
        'it cannot serve as training: its input `test_dataset` is required, but there is not always one, its output '
        '`metrics` is no `Dict`'
    )
    assert 'only these can be submitted' in LABELLER.check_process(label)
    # Exposing the inputs of a job makes a namespace of it that takes anything, which is not what a role asks for.
    assert process_from('pacemaker.label.ase').spec().inputs.dynamic
    assert 'input `potential` is missing' in ACTIVE_SET.check_process(process_from('pacemaker.label.ase'))


def test_labellers_and_explorers_are_checked():
    assert LABELLER.check_choice('pacemaker.label.ase') is None
    assert LABELLER.check_choice('pacemaker.label.quantumespresso') is None
    said = LABELLER.check_choice('pacemaker.explore.md')
    assert said.startswith('`label.entry_point`: `pacemaker.explore.md`: it cannot serve as labeller: its input `data')
    assert LABELLER.check_choice('x').startswith('`label.entry_point`: there is no workflow or calculation')
