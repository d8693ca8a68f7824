"""Everything that AiiDA can find of this package."""

import inspect
from importlib.metadata import entry_points
from string import Formatter

import pytest
from aiida.engine import CalcJob, Process
from aiida.engine.processes.ports import PortNamespace
from aiida.orm import CalcFunctionNode, Data
from aiida.parsers import Parser

GROUPS = {'calculations': Process, 'workflows': Process, 'parsers': Parser, 'data': Data}
POINTS = [
    point for group in GROUPS for point in entry_points(group=f'aiida.{group}') if point.name.startswith('pacemaker.')
]


def classes(base):
    """Return the entry points whose target is a class of a kind."""
    found = [(point, point.load()) for point in POINTS]
    return [
        pytest.param(target, id=point.name)
        for point, target in found
        if inspect.isclass(target) and issubclass(target, base)
    ]


def ports(namespace, path=''):
    """Iterate over the ports of a namespace that this package defines."""
    for name, port in namespace.items():
        if name != 'metadata':
            yield f'{path}{name}', port
            if isinstance(port, PortNamespace):
                yield from ports(port, f'{path}{name}.')


def test_there_is_something_to_test():
    assert {point.group.removeprefix('aiida.') for point in POINTS} == set(GROUPS)


@pytest.mark.parametrize('point', POINTS, ids=lambda point: f'{point.group}:{point.name}')
def test_entry_points_load(point):
    target = point.load()
    base = GROUPS[point.group.removeprefix('aiida.')]
    # A calculation function stands for a process class.
    process = target if inspect.isclass(target) else target.process_class
    assert issubclass(process, base)
    assert inspect.getdoc(target)


@pytest.mark.parametrize('process', classes(Process))
def test_all_that_a_process_takes_and_gives_is_described(process):
    spec = process.spec()
    for namespace in (spec.inputs, spec.outputs):
        silent = [path for path, port in ports(namespace) if not port.help and not isinstance(port, PortNamespace)]
        assert silent == []


@pytest.mark.parametrize('process', classes(Process))
def test_exit_codes_are_numbered_and_named_by_rule(process):
    own = {label: code for label, code in process.exit_codes.items() if code.status >= 300}
    assert len({code.status for code in process.exit_codes.values()}) == len(process.exit_codes)
    for label, code in own.items():
        assert label.startswith(('ERROR_', 'WARNING_'))
        fields = {name for _, name, _, _ in Formatter().parse(code.message) if name}
        assert code.message.format(**dict.fromkeys(fields, 'X'))


@pytest.mark.parametrize('job', classes(CalcJob))
def test_jobs_have_defaults_and_a_parser(job):
    options = job.spec().inputs['metadata']['options']
    assert options['resources'].default() == {'num_machines': 1, 'num_mpiprocs_per_machine': 1}
    assert options['withmpi'].default is False
    parser = options['parser_name'].default
    assert parser in {point.name for point in POINTS if point.group == 'aiida.parsers'}


@pytest.mark.parametrize('job', classes(CalcJob))
def test_failures_that_nothing_can_be_done_about_are_not_taken_from_the_cache(job):
    kept = {
        label
        for label, code in job.exit_codes.items()
        if (300 <= code.status < 400 or 500 <= code.status < 600) and not code.invalidates_cache
    }
    assert kept == set()
    assert job.exit_codes.ERROR_MEMORY_EXHAUSTED.invalidates_cache
    # These follow from the inputs alone, and the restart chain of the active set answers them with others.
    taken = {'ERROR_ENVIRONMENTS_INSUFFICIENT', 'ERROR_BATCHES_NEED_ALL_ATOMS'}
    own = {label for label, code in job.exit_codes.items() if code.status >= 400 and not code.invalidates_cache}
    assert own == (taken if job.PROGRAM == 'pace_activeset' else set())


@pytest.mark.parametrize('name', ['default_baseline'])
def test_stored_calculation_functions_without_an_entry_point_are_found_where_they_were(name, aiida_profile):
    """Their process type is the path of the module that they were in when they ran."""
    stored = CalcFunctionNode(process_type=f'aiida_pacemaker.calculations.functions.datasets.{name}')
    assert stored.process_class.__name__ == name
