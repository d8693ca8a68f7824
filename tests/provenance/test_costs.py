"""Core hours: of jobs as schedulers and outputs leave them, and of a real chain."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from ase.build import bulk
from plumpy import ProcessState

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.provenance import core_hours
from aiida_pacemaker.provenance.costs import cores_of
from aiida_pacemaker.workflows.label_ase import AseLabelWorkChain

SACCT = 'Account|ElapsedRaw|State|\nphysics|7200|COMPLETED|\n|7195|COMPLETED|\n'


@pytest.fixture
def job(aiida_profile, aiida_localhost):
    """Return a function that returns a job that has ended, as it is in the graph."""

    def make(
        label='PaceTrainCalculation', *, parent=None, outputs=None, wall=None, state=ProcessState.FINISHED, **all_
    ):
        node = orm.CalcJobNode(computer=aiida_localhost, process_type='aiida.calculations:pacemaker.train')
        node.set_process_label(label)
        node.set_process_state(ProcessState(state))
        options = {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}, **all_}
        detailed = options.pop('detailed', None)
        submitted = options.pop('submitted', True)
        node.set_options(options)
        info = {'job_id': '1', 'job_state': 'done', **({} if wall is None else {'wallclock_time_seconds': wall})}
        if submitted:
            node.set_job_id('1')
            node.base.attributes.set('last_job_info', info)
        node.set_detailed_job_info(detailed)
        if parent is not None:
            node.base.links.add_incoming(parent, LinkType.CALL_CALC, f'call_{len(parent.called)}')
        node.store()
        for name, content in (outputs or {}).items():
            output = orm.Dict(content)
            output.base.links.add_incoming(node, LinkType.CREATE, name)
            output.store()
        return node

    return make


@pytest.mark.parametrize(
    ('known', 'seconds'),
    [
        ({}, None),
        ({'wall': 0}, None),
        ({'wall': 90}, 90),
        ({'wall': 90, 'outputs': {'metrics': {'training_time': 120.5}}}, 120.5),
        ({'wall': 200, 'outputs': {'metrics': {'training_time': 120.5}}}, 200),
        ({'outputs': {'errors': {'seconds': 3}}}, 3),
        ({'outputs': {'failures': {'failures': [], 'seconds': 4}}}, 4),
        ({'outputs': {'report': {'n_runs': 1, 'seconds': 5}}}, 5),
        ({'outputs': {'output_parameters': {'wall_time_seconds': 6.5}}}, 6.5),
        ({'outputs': {'failures': {'seconds': None}}}, None),
        ({'outputs': {'failures': {'seconds': 'long'}}}, None),
        ({'wall': 7100, 'detailed': {'retval': 0, 'stdout': SACCT, 'stderr': ''}}, 7200),
        ({'wall': 7, 'detailed': {'retval': 1, 'stdout': '', 'stderr': 'no accounting'}}, 7),
        ({'wall': 7, 'detailed': {'retval': 0, 'stdout': 'ElapsedRaw|\n|\n', 'stderr': ''}}, 7),
    ],
)
def test_the_longest_time_that_is_known_counts(job, known, seconds):
    costs = core_hours(job(**known))
    assert costs['total'] == pytest.approx((seconds or 0) / 3600)
    assert len(costs['unknown']) == (seconds is None)


@pytest.mark.parametrize(
    ('resources', 'threads', 'cores'),
    [
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 1}, None, 1),
        ({'num_machines': 2, 'num_mpiprocs_per_machine': 4}, None, 8),
        ({'num_machines': 2, 'tot_num_mpiprocs': 6}, None, 6),
        ({'tot_num_mpiprocs': 6, 'parallel_env': 'mpi'}, None, 6),
        ({'num_machines': 1}, None, 1),
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 2, 'num_cores_per_mpiproc': 4}, '16', 8),
        ({'num_machines': 2, 'num_mpiprocs_per_machine': 2, 'num_cores_per_machine': 32}, None, 64),
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 2}, '4', 8),
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 2}, '4,2', 8),
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 2}, '$SLURM_CPUS_PER_TASK', 2),
    ],
)
def test_the_cores_are_those_that_were_asked_for(job, resources, threads, cores):
    options = {} if threads is None else {'environment_variables': {'OMP_NUM_THREADS': threads}}
    assert cores_of(job(resources=resources, **options)) == cores


def test_a_chain_costs_what_its_jobs_cost(job):
    outer, inner = orm.WorkChainNode().store(), orm.WorkChainNode()
    inner.base.links.add_incoming(outer, LinkType.CALL_WORK, 'inner')
    inner.store()
    job(parent=outer, wall=3600)
    job(parent=inner, wall=1800, resources={'num_machines': 1, 'num_mpiprocs_per_machine': 4})
    job('PaceSelectCalculation', parent=inner, wall=360, state='killed')
    job('PaceSelectCalculation', parent=inner, wall=0)
    job('PwCalculation', parent=inner, wall=5, state='waiting')
    job('PwCalculation', parent=inner, state='excepted', submitted=False)
    assert core_hours(outer) == {
        'total': pytest.approx(3.1),
        'by_process': {
            'PaceSelectCalculation': {'n_jobs': 1, 'core_hours': pytest.approx(0.1)},
            'PaceTrainCalculation': {'n_jobs': 2, 'core_hours': pytest.approx(3)},
        },
        'unknown': {'PaceSelectCalculation': 1},
        'n_free': 1,
        'n_running': 1,
    }


def test_a_chain_from_the_cache_costs_nothing(pace_codes_fake):
    inputs = {
        'dataset': PaceDatasetData(from_atoms([bulk('Cu')], 'copper')),
        'code': pace_codes_fake['python'],
        'calculator': orm.Dict({'calculator': 'ase.calculators.emt:EMT'}),
        'options': orm.Dict({'environment_variables': {'OMP_NUM_THREADS': '2'}}),
    }
    _, first = run_get_node(AseLabelWorkChain, **inputs)
    costs = core_hours(first)
    seconds = first.outputs.failures['seconds']
    assert costs['by_process'].keys() == {'AseLabelCalculation'}
    # The scheduler says whole seconds, and counts the imports; the job itself says less and tells it exactly.
    assert 2 * seconds / 3600 <= costs['total'] < 2 * (seconds + 60) / 3600
    assert costs['unknown'] == {}
    (job,) = [node for node in first.called if isinstance(node, orm.CalcJobNode)]
    assert core_hours(job)['total'] == costs['total']
    with enable_caching():
        _, second = run_get_node(AseLabelWorkChain, **inputs)
    assert core_hours(second) == {'total': 0, 'by_process': {}, 'unknown': {}, 'n_free': 1, 'n_running': 0}
