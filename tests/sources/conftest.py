"""Trajectories as foreign processes make them."""

import json
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType

RELAXATION = Path(__file__).parent.parent / 'fixtures' / 'quantumespresso' / 'relax_printed_after_steps.json'


@pytest.fixture
def relaxation():
    """Return a relaxation of silicon as aiida-quantumespresso up to 4.13 gives it."""
    content = json.loads(RELAXATION.read_text())
    return {name: np.array(values) for name, values in content.items() if name != 'comment'}


@pytest.fixture
def job(aiida_localhost):
    """Return a function that stores a job of some type with inputs and outputs."""

    def build(process_type, *, inputs=None, outputs=None, version=None, exit_status=0, options=None):
        node = orm.CalcJobNode(computer=aiida_localhost, process_type=f'aiida.calculations:{process_type}')
        node.set_process_label(process_type)
        if version is not None:
            node.base.attributes.set('version', {'core': '2.9.4', 'plugin': version})
        node.set_exit_status(exit_status)
        for name, value in (options or {}).items():
            node.base.attributes.set(name, value)
        for label, value in (inputs or {}).items():
            node.base.links.add_incoming(value.store(), link_type=LinkType.INPUT_CALC, link_label=label)
        node.store()
        for label, value in (outputs or {}).items():
            value.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label=label)
            value.store()
        return node

    return build


@pytest.fixture
def trajectory():
    """Return a function that makes a trajectory of arrays, not stored."""

    def build(symbols, arrays, *, pbc=(True, True, True)):
        node = orm.TrajectoryData()
        node.base.attributes.set('symbols', list(symbols))
        if pbc is not None:
            node.base.attributes.set('pbc', list(pbc))
        steps = {'steps': np.arange(len(arrays['positions']))}
        for name, values in (steps | arrays).items():
            node.set_array(name, np.asarray(values))
        return node

    return build
