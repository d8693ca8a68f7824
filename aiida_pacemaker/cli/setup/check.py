"""A small fit with everything that follows from it, on the computer that was set up."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml
from aiida import orm
from aiida.engine import ProcessState
from aiida.manage import get_config_option, get_manager
from aiida.manage.caching import disable_caching
from aiida.manage.configuration import get_config
from aiida.plugins import CalculationFactory
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_pacemaker._aiida.processes import make_process
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.declarations import declared
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.errors import CheckError, SetupError
from aiida_pacemaker.frames.ase_io import from_atoms

Say = Callable[[str], None]

#: Linear in its few coefficients and done after three iterations: it is to show that everything works, not to be good.
CONFIG = {'elements': ['Cu'], 'r_cut': 4.5, 'max_deg': 3, 'max_order': 2, 'max_epochs': 3}
#: How often what a job waits for is looked at, in seconds.
INTERVAL = 0.5


@dataclass(frozen=True)
class Checked:
    """A job that came through.

    :param what: what it did, in words.
    :param seconds: how long it took, waiting in the queue included.
    """

    what: str
    seconds: float


def copper(count: int = 12) -> list[Atoms]:
    """Return cubic cells of copper with small displacements, labelled by the EMT potential of ASE."""
    images = []
    for index in range(count):
        image = bulk('Cu', cubic=True)
        image.set_cell(image.cell * (0.97 + 0.06 * index / (count - 1)), scale_atoms=True)
        image.rattle(0.05, seed=index)
        image.calc = EMT()
        image.get_potential_energy()
        image.get_forces()
        images.append(image)
    return images


def check_options(queue: str | None, account: str | None, walltime: int, extra: Sequence[str]) -> dict[str, Any]:
    """Return the options of the jobs of a check from what a command line says.

    :param extra: `name=value`, the value as YAML; `resources` replaces the one process of one machine.
    :raises SetupError: if one of these is not of that form.
    """
    options: dict[str, Any] = {'max_wallclock_seconds': walltime}
    options |= {name: value for name, value in (('queue_name', queue), ('account', account)) if value}
    for text in extra:
        name, equals, value = text.partition('=')
        try:
            options[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as exception:
            raise SetupError(f'the value of `--option {text}` is not YAML: {exception}') from exception
        if not equals or not name.strip().isidentifier():
            raise SetupError(f'`--option {text}`: give NAME=VALUE, such as `--option qos=debug`')
    return options


def check_engine(codes: Mapping[str, orm.AbstractCode], options: Mapping[str, Any], say: Say = print) -> list[Checked]:
    """Run a small job with each code: fits with each evaluator, then active set, selection and evaluation.

    :param codes: the codes by the names of their programs.
    :param options: options of the jobs, for the scheduler.
    :param say: told what is done.
    :raises CheckError: if a job fails.
    """
    dataset = PaceDatasetData(from_atoms(copper(), 'copper by EMT')).store()
    baseline = DeltaBaseline.for_elements(['Cu']).model_dump(mode='json')
    done: list[Checked] = []
    fitted: Any = None
    for evaluator in declared(codes['pacemaker']).evaluators or ('pyace',):
        what = f'fit with the evaluator {evaluator}'
        inputs = {
            'code': codes['pacemaker'],
            'yace_code': codes['pace_yaml2yace'],
            'dataset': dataset,
            'config': {**CONFIG, 'evaluator': evaluator},
            'baseline': baseline,
            'reference_energies': {'Cu': 0.0},
        }
        fitted = _run('pacemaker.train', inputs, options, what, done, say)['potential']
    inputs = {'code': codes['pace_activeset'], 'potential': fitted, 'dataset': dataset}
    active_set = _run('pacemaker.activeset', inputs, options, 'active set', done, say)['active_set']
    known = {'potential': fitted, 'active_set': active_set}
    inputs = {'code': codes['pace_select'], **known, 'candidates': {'copper': dataset}}
    _run('pacemaker.select', inputs, options, 'selection', done, say)
    inputs = {'code': codes['pace_python'], **known, 'datasets': {'copper': dataset}}
    _run('pacemaker.evaluate', inputs, options, 'evaluation', done, say)
    return done


def _run(
    entry_point: str, inputs: dict[str, Any], options: Mapping[str, Any], what: str, done: list[Checked], say: Say
) -> Any:
    """Run a job to its end and return its outputs."""
    begun = time.monotonic()
    metadata = {'options': dict(options), 'label': f'check: {what}'}
    runner = get_manager().get_runner()
    with _few_retries(), _as_from_the_daemon(), disable_caching():
        try:
            job = make_process(CalculationFactory(entry_point), {**inputs, 'metadata': metadata})
        except (ValueError, TypeError) as exception:
            raise CheckError(f'{what}: the job is refused before it is submitted: {exception}') from exception
        watch = _Watch(job, what, say)
        watch.begin(runner.loop)
        try:
            outputs, node = runner.run_get_node(job)
        except RuntimeError:
            if not watch.paused:
                raise
            outputs, node = {}, job.node
            node.set_process_state(ProcessState.KILLED)
            node.seal()
        finally:
            watch.end()
    if not node.is_finished_ok:
        raise CheckError(_why(node, what, watch.paused))
    done.append(Checked(what, time.monotonic() - begun))
    say(f'check: {what}, {done[-1].seconds:.0f} s')
    return outputs


class _Watch:
    """Reports where a job is, and ends it when AiiDA has paused it after repeated failures."""

    def __init__(self, job: Any, what: str, say: Say) -> None:
        self.job, self.what, self.say = job, what, say
        self.paused = ''
        self.seen = ''
        self.timer: Any = None

    def begin(self, loop: Any) -> None:
        self.timer = loop.call_later(INTERVAL, self._look, loop)

    def end(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def _look(self, loop: Any) -> None:
        if self.job.has_terminated():
            return
        state = self.job.node.get_scheduler_state()
        if state is not None and state.value in ('queued', 'queued held') and state.value != self.seen:
            self.seen = state.value
            self.say(f'check: {self.what}, waits in the queue')
        if self.job.paused and not self.paused:
            self.paused = self.job.node.process_status or 'paused'
            # A paused process ignores a kill, so the loop that runs it is stopped.
            loop.stop()
            return
        self.begin(loop)


@contextmanager
def _as_from_the_daemon() -> Iterator[None]:
    """Have jobs inherit what they inherit from the daemon, which exports the search path of its Python."""
    before = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = os.pathsep.join(sys.path)
    try:
        yield
    finally:
        if before is None:
            del os.environ['PYTHONPATH']
        else:
            os.environ['PYTHONPATH'] = before


@contextmanager
def _few_retries() -> Iterator[None]:
    """Have AiiDA try only twice what fails on a computer, since the user is waiting."""
    config, names = get_config(), ('transport.task_maximum_attempts', 'transport.task_retry_initial_interval')
    profile = get_manager().get_profile()
    scope = None if profile is None else profile.name
    before = [get_config_option(name) for name in names]
    try:
        for name, value in zip(names, (2, 2), strict=True):
            config.set_option(name, value, scope=scope)  # in memory only
        yield
    finally:
        for name, value in zip(names, before, strict=True):
            config.set_option(name, value, scope=scope)


def _why(node: orm.CalcJobNode, what: str, paused: str) -> str:
    """Return why a job has failed, in its own words."""
    lines = [f'{what}: the job {node.process_label}<{node.pk}> failed']
    if paused:
        lines.append(f'AiiDA gave up: {paused}')
    elif node.exit_status is not None:
        lines.append(f'[{node.exit_status}] {node.exit_message}')
    elif node.exception:
        lines.append(node.exception)
    lines += list(_last_words(node))
    if 'retrieved' in node.outputs:
        lines.append(f'All that it said: `verdi calcjob outputcat {node.pk} stderr.txt`, `... _scheduler-stderr.txt`')
    return '\n  '.join(lines)


def _last_words(node: orm.CalcJobNode) -> Iterator[str]:
    """Yield what the scheduler, the program and AiiDA said last."""
    if 'retrieved' in node.outputs:
        there = node.outputs.retrieved.base.repository
        for name in ('_scheduler-stderr.txt', 'stderr.txt'):
            if name in there.list_object_names():
                said = [
                    line
                    for line in there.get_object_content(name, 'rb').decode(errors='replace').splitlines()
                    if line.strip()
                ]
                yield from (f'{name}: {line[:300]}' for line in said[-3:])
    else:
        logs = [log for log in orm.Log.collection.get_logs_for(node) if log.levelname in ('ERROR', 'CRITICAL')]
        for log in logs[-1:]:
            said = [line for line in log.message.splitlines() if line.strip()]
            said += [line for line in str(log.metadata.get('exc_text') or '').splitlines() if line.strip()]
            yield from dict.fromkeys(line.strip()[:300] for line in (said[:1] + said[-4:]))
