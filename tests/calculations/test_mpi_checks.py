"""Codes and options that ask for MPI, of which no program but LAMMPS knows anything."""

import pytest
from aiida import orm
from aiida.plugins import CalculationFactory, WorkflowFactory

from aiida_pacemaker.workflows.loop.checks import _check_launches

JOBS = ['train', 'activeset', 'select', 'evaluate', 'explore', 'label.ase']


@pytest.fixture
def code(aiida_localhost):
    """Return a function that makes a code that is or is not to be launched with MPI."""

    def make(with_mpi):
        return orm.InstalledCode(
            label='program', computer=aiida_localhost, filepath_executable='/opt/program', with_mpi=with_mpi
        )

    return make


def said_of(namespace, *, options=None, **inputs):
    """Return what the validator of a namespace says, of inputs that are only a part of what is needed."""
    resources = {'num_machines': 1, 'num_mpiprocs_per_machine': 1}
    given = {'metadata': {'options': {'resources': resources, **(options or {})}}, **inputs}
    return namespace.validator(given, namespace)


def label_said(**inputs):
    """Return what the labeller says, whose options are an input of its own."""
    namespace = WorkflowFactory('pacemaker.label.ase').spec().inputs
    return namespace.validator({'metadata': {}, **inputs}, namespace)


@pytest.mark.fault(
    'a code with `with_mpi: true`, or the option `withmpi`',
    engine='an exception of AiiDA when the job is uploaded; or several fits at once in one folder',
    here='refused before submission, in jobs, chains and the loop; `setup` makes codes without',
    ends='refused',
)
@pytest.mark.parametrize('job', JOBS)
def test_jobs_are_not_launched_with_mpi(code, job):
    inputs = CalculationFactory(f'pacemaker.{job}').spec().inputs
    said = said_of(inputs, code=code(True))
    assert '`code`: program@localhost has `with_mpi: true`, but it is no MPI program' in said
    assert 'make a code with `with_mpi: false`' in said
    said = said_of(inputs, code=code(None), options={'withmpi': True})
    assert '`metadata.options.withmpi` is True' in said
    # Cores for threads are no MPI.
    resources = {'num_machines': 1, 'num_mpiprocs_per_machine': 4}
    for with_mpi in (None, False):
        assert not said_of(inputs, code=code(with_mpi), options={'resources': resources})


def test_all_codes_of_a_job_are_looked_at(code):
    inputs = CalculationFactory('pacemaker.train').spec().inputs
    assert '`yace_code`' in said_of(inputs, code=code(False), yace_code=code(True))
    inputs = CalculationFactory('pacemaker.select').spec().inputs
    assert '`python`' in said_of(inputs, code=code(False), python=code(True))


@pytest.mark.parametrize('chain', ['train.base', 'activeset.base'])
def test_chains_look_at_their_jobs(code, chain):
    assert 'no MPI program' in said_of(WorkflowFactory(f'pacemaker.{chain}').spec().inputs['pace'], code=code(True))


def test_the_labeller_is_told_by_its_own_options(code):
    assert 'no MPI program' in label_said(code=code(True))
    assert 'no MPI program' in label_said(code=code(None), options=orm.Dict({'withmpi': True}))
    assert not label_said(code=code(None), options=orm.Dict({}))


def test_the_loop_looks_before_its_first_job(code):
    spec = WorkflowFactory('pacemaker.active_learning').spec().inputs
    for role in ('train', 'activeset', 'evaluate', 'select'):
        assert 'no MPI program' in said_of(spec[role]['pace'], code=code(True))
    label = {'entry_point': orm.Str('pacemaker.label.ase'), 'inputs': {'code': code(True)}}
    assert '`label.inputs`: `code`: program@localhost' in _check_launches({'label': label})
    label['inputs'] = {'code': code(None), 'options': orm.Dict({'withmpi': True})}
    assert '`metadata.options.withmpi`' in _check_launches({'label': label})
    # pw.x is a program of MPI.
    pw = {'entry_point': orm.Str('pacemaker.label.quantumespresso'), 'inputs': {'pw': {'code': code(True)}}}
    assert _check_launches({'label': pw}) is None
    pace = {'code': code(True), 'metadata': {'options': {}}}
    explore = {'entry_point': orm.Str('pacemaker.explore.md'), 'inputs': {'job': {'pace': pace}}}
    assert '`explore.inputs`: `job.pace.code`' in _check_launches({'explore': explore})


def test_lammps_can_be_launched_with_mpi_where_code_and_option_agree(code):
    inputs = CalculationFactory('pacemaker.explore.lammps').spec().inputs
    assert not said_of(inputs, code=code(True), options={'withmpi': True})
    assert not said_of(inputs, code=code(None), options={'withmpi': True})
    assert 'make them agree' in said_of(inputs, code=code(True))
