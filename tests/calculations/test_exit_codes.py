"""The exit codes of jobs: which a job has, and the rule by which they are numbered."""

import importlib
import pkgutil
from types import SimpleNamespace

import pytest
from aiida.engine import BaseRestartWorkChain, CalcJob
from aiida.plugins import CalculationFactory, WorkflowFactory
from aiida.plugins.entry_point import get_entry_point_names

import aiida_pacemaker
from aiida_pacemaker.calculations.base import STATUS, PaceCalcJob
from aiida_pacemaker.pace.output.failure_kinds import ENVIRONMENT, PROGRAMS, Failure
from aiida_pacemaker.workflows.base.explore import PaceExploreBaseWorkChain
from aiida_pacemaker.workflows.base.select import JOBS as JOBS_BY_METHOD
from aiida_pacemaker.workflows.base.select import PaceSelectBaseWorkChain
from aiida_pacemaker.workflows.base.train import JOBS as JOBS_BY_EVALUATOR
from aiida_pacemaker.workflows.base.train import PaceTrainBaseWorkChain
from aiida_pacemaker.workflows.label_ase import AseLabelWorkChain


def processes(group, factory, base):
    """Return the processes of this package that are of a kind."""
    found = [factory(name) for name in get_entry_point_names(group) if name.startswith('pacemaker.')]
    return [process for process in found if isinstance(process, type) and issubclass(process, base)]


JOBS = processes('aiida.calculations', CalculationFactory, CalcJob)
CHAINS = processes('aiida.workflows', WorkflowFactory, BaseRestartWorkChain)
#: The jobs of each chain: one, or one of several.
JOBS_OF = {chain: [chain._process_class] for chain in CHAINS}
JOBS_OF[PaceTrainBaseWorkChain] += JOBS_BY_EVALUATOR.values()
JOBS_OF[PaceSelectBaseWorkChain] = list(JOBS_BY_METHOD.values())
#: What is not tried again: handlers that are content with what a job has left, and those that give up.
CONTENT = {'handle_unrecoverable', 'handle_interrupted of PaceExploreBaseWorkChain'}
#: Exit codes that a chain answers because of the outputs that come with them.
LEAVING = {
    PaceExploreBaseWorkChain: {'ERROR_EXPLORATION_INTERRUPTED'},
    AseLabelWorkChain: {'ERROR_LABELS_INTERRUPTED'},
}
#: What nobody but a person can repair, on the computer.
BY_HAND = {'ERROR_DISK_FULL', 'ERROR_MEMORY_EXHAUSTED'}


def own_codes(process):
    """Return the exit codes that a job has and not every `CalcJob`."""
    return {label: code for label, code in process.exit_codes.items() if label not in CalcJob.exit_codes}


class EnteredError(Exception):
    """A handler has something to do about the exit code."""


class Stub:
    """A chain of which every attribute says that a handler has begun its work, but for what AiiDA wants of it."""

    node = SimpleNamespace(base=SimpleNamespace(extras={}))
    _considered_handlers_extra = 'considered_handlers'

    def __getattr__(self, name):
        raise EnteredError(name)


def is_tried_again(chain, status):
    """Tell whether a handler of a restart chain deals with an exit status by another try."""
    for name in dir(chain):
        handler = getattr(chain, name)
        if getattr(handler, 'priority', None) is None or {name, f'{name} of {chain.__name__}'} & CONTENT:
            continue
        # No outputs, so that handlers of whatever a job has left have nothing to do.
        node = SimpleNamespace(exit_status=status, is_failed=True, outputs={})
        try:
            handler.__get__(Stub(), Stub)(node)
        except EnteredError:
            return True
    return False


@pytest.mark.parametrize(
    ('chain', 'job'),
    [(chain, job) for chain, jobs in JOBS_OF.items() for job in jobs],
    ids=lambda process: process.__name__,
)
def test_what_is_tried_again_is_4xx_and_4xx_is_tried_again(chain, job):
    """3xx: the same inputs would fail again. 4xx: another try, or a hand on the computer, helps."""
    codes = own_codes(job)
    leaving = {label for base, labels in LEAVING.items() if issubclass(chain, base) for label in labels}
    tried = {label for label, code in codes.items() if label in leaving or is_tried_again(chain, code.status)}
    numbered = {label for label, code in codes.items() if 400 <= code.status < 500}
    assert tried - numbered == set()
    assert numbered - tried <= BY_HAND


def concrete(base):
    """Return the classes of a kind that the modules of this package define and that no other class is made from."""
    for module in pkgutil.walk_packages(aiida_pacemaker.__path__, 'aiida_pacemaker.'):
        # Scripts and the modules of the fake engine are no place for processes.
        if not module.name.startswith(('aiida_pacemaker.drivers.', 'aiida_pacemaker.testing.')):
            importlib.import_module(module.name)
    found, classes = set(), [base]
    while classes:
        children = classes.pop().__subclasses__()
        classes += children
        found |= {child for child in children if child.__module__.startswith('aiida_pacemaker.')}
    return {one for one in found if not any(issubclass(other, one) for other in found - {one})}


@pytest.mark.parametrize(('base', 'found'), [(CalcJob, JOBS), (BaseRestartWorkChain, CHAINS)])
def test_every_job_and_restart_chain_has_an_entry_point(base, found):
    """Nothing that can be run is passed over by the tests that go through the entry points."""
    assert concrete(base) - set(found) == set()


def test_every_restart_chain_is_looked_at():
    wrapped = {job for jobs in JOBS_OF.values() for job in jobs}
    assert {job.__name__ for job in JOBS} == {job.__name__ for job in wrapped}


@pytest.mark.parametrize('job', JOBS, ids=lambda job: job.__name__)
def test_a_job_has_the_failures_of_its_program_and_no_others(job):
    assert issubclass(job, PaceCalcJob)
    labels = {failure.label for failure in PROGRAMS[job.PROGRAM]}
    assert set(own_codes(job)) & {failure.label for failure in Failure} == labels
    assert all(own_codes(job)[failure.label].status == STATUS[failure] for failure in PROGRAMS[job.PROGRAM])
    assert PROGRAMS[job.PROGRAM] >= ENVIRONMENT


@pytest.mark.parametrize(
    ('name', 'absent'),
    [
        ('pacemaker.label.ase', {'ERROR_LADDER_RESTART', 'ERROR_ENGINE_NOT_IMPORTABLE', 'ERROR_FILES_LOST'}),
        ('pacemaker.explore.lammps', {'ERROR_TRACEBACK_UNKNOWN', 'ERROR_PICKLE_UNREADABLE'}),
        ('pacemaker.evaluate', {'ERROR_NOTHING_FITTED', 'ERROR_BATCHES_NEED_ALL_ATOMS', 'ERROR_PARENT_FILES_LOST'}),
        ('pacemaker.train', {'ERROR_CALCULATOR_MISSING', 'ERROR_ELEMENT_ABSENT'}),
    ],
)
def test_failures_of_others_are_none_of_a_job(name, absent):
    assert absent & set(CalculationFactory(name).exit_codes) == set()
