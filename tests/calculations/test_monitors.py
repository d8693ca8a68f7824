"""Monitors of a fit: what they see, what they do, and what becomes of the fit."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from aiida import orm
from aiida.engine import run_get_node
from aiida.engine.processes.calcjobs.monitors import CalcJobMonitorAction
from aiida.plugins import BaseFactory
from aiida.transports.plugins.local import LocalTransport

from aiida_pacemaker.calculations.monitors import Plateau, progress_of, watch_loss, watch_progress
from aiida_pacemaker.calculations.train import SEARCH_PATH
from aiida_pacemaker.pace.output.metrics import read_metrics
from aiida_pacemaker.workflows.base.train import PaceTrainBaseWorkChain

TRAIN = Path(__file__).parents[1] / 'fixtures' / 'train'
METRICS = (TRAIN / 'default' / 'metrics.txt').read_text()


@pytest.fixture
def job(aiida_profile, aiida_localhost, tmp_path):
    """Return a running job in an empty folder."""
    node = orm.CalcJobNode(computer=aiida_localhost, process_type='aiida.calculations:pacemaker.train')
    node.set_option('resources', {'num_machines': 1})
    node.store()
    node.set_remote_workdir(str(tmp_path))
    return node


@pytest.fixture
def transport():
    with LocalTransport() as opened:
        yield opened


def rows(*losses, cycle=0):
    header, first, *_ = METRICS.splitlines()
    place = header.split().index('loss')
    lines = []
    for iteration, loss in enumerate(losses):
        fields = first.split()
        fields[1], fields[2], fields[place] = str(cycle), str(iteration), repr(loss)
        lines.append(' '.join(fields))
    return '\n'.join([header, *lines, ''])


UNREADABLE = {
    'missing': None,
    'empty': b'',
    'header': METRICS.splitlines(keepends=True)[0].encode(),
    'cut header': METRICS[:20].encode(),
    'binary': bytes(range(256)) * 10,
    'other': b'loss\n1.0\n',
    'huge number': b'ladder_step cycle_step iter_num loss\n0 0 99999999999999999999 1.0\n',
}


@pytest.mark.parametrize('content', UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_waited_for(job, transport, tmp_path, content):
    if content is not None:
        (tmp_path / 'metrics.txt').write_bytes(content)
    assert watch_loss(job, transport) is None
    assert watch_progress(job, transport) is None
    assert progress_of(job) is None
    assert not (tmp_path / 'STOP').exists()


@pytest.mark.fault(
    'nobody knows how far a fit is',
    engine='look into its folder',
    here='`pacemaker.progress` keeps the newest row of the metrics; `aiida-pacemaker status` shows it',
    ends='-',
)
def test_the_newest_whole_row_is_kept(job, transport, tmp_path):
    (tmp_path / 'metrics.txt').write_text(METRICS[:-30])
    watch_progress(job, transport)
    progress = progress_of(job)
    expected = read_metrics(METRICS).row(-2)
    assert {name: progress[name] for name in expected} == pytest.approx(expected, rel=1e-13)
    seen = progress['time']
    # It is the time of the row and not that of the last look.
    watch_progress(job, transport)
    assert progress_of(job)['time'] == seen
    (tmp_path / 'metrics.txt').write_text(METRICS)
    watch_progress(job, transport)
    assert progress_of(job)['iter_num'] == 8
    assert progress_of(job)['time'] > seen


def test_numbers_that_are_not_finite_are_kept_as_none(job, transport, tmp_path):
    (tmp_path / 'metrics.txt').write_text(rows(1.0, math.nan))
    assert watch_progress(job, transport) is None
    assert progress_of(job)['loss'] is None
    assert progress_of(job)['iter_num'] == 1


@pytest.mark.parametrize('losses', [(1.0, math.nan), (math.inf,), (1.0, 0.1, 5.0)])
def test_a_fit_that_diverges_is_killed_and_parsed(job, transport, tmp_path, losses):
    (tmp_path / 'metrics.txt').write_text(rows(*losses))
    result = watch_loss(job, transport)
    assert result.action is CalcJobMonitorAction.KILL
    assert (result.retrieve, result.parse, result.override_exit_code) == (True, True, False)
    assert 'diverged' in result.message


FALLING = [2.0**-step for step in range(6)]


@pytest.mark.parametrize(
    ('losses', 'stops'),
    [
        (FALLING, False),
        ([*FALLING, *FALLING[-1:] * 3], True),
        # One iteration short of the window.
        ([*FALLING, *FALLING[-1:] * 2], False),
        ([*FALLING, 0.0300, 0.0299, 0.0298], False),
        ([*FALLING, 0.0311, 0.0310, 0.0309], True),
        ([1.0, 1.0], False),
    ],
)
def test_a_plateau_is_a_loss_that_falls_too_little_over_the_window(job, transport, tmp_path, losses, stops):
    (tmp_path / 'metrics.txt').write_text(rows(*losses))
    assert watch_loss(job, transport, window=3, tolerance=0.02) is None
    assert (tmp_path / 'STOP').exists() == stops


def test_a_fit_is_asked_once_for_each_of_its_cycles(job, transport, tmp_path):
    flat = rows(*[1.0] * 5)
    (tmp_path / 'metrics.txt').write_text(flat)
    watch_loss(job, transport, window=3)
    request = json.loads((tmp_path / 'STOP').read_text())
    assert request['reason'].startswith('plateau, the loss fell by 0 of 1 in the last 3 iterations')
    assert (request['ladder_step'], request['cycle_step']) == (0, 0)
    (tmp_path / 'STOP').write_text(json.dumps({**request, 'seen': True}))
    watch_loss(job, transport, window=3)
    assert json.loads((tmp_path / 'STOP').read_text())['seen']
    # The next cycle begins anew.
    following = rows(*[1.0] * 5, cycle=1).splitlines(keepends=True)
    (tmp_path / 'metrics.txt').write_text(flat + ''.join(following[1:3]))
    watch_loss(job, transport, window=3)
    assert json.loads((tmp_path / 'STOP').read_text())['cycle_step'] == 0
    (tmp_path / 'metrics.txt').write_text(flat + ''.join(following[1:]))
    watch_loss(job, transport, window=3)
    assert json.loads((tmp_path / 'STOP').read_text())['cycle_step'] == 1


def driver():
    return importlib.import_module('aiida_pacemaker.drivers.stop_request')


@pytest.mark.parametrize('content', [None, '', '{"ladder_step": 0, "cyc', '[]', '{"ladder_step": 0}', 'plateau'])
def test_the_driver_goes_on_without_a_whole_request(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / 'STOP').write_text(content)
    assert driver().stop(current_fit_cycle=0, current_ladder_step=0, basis_config=None) is None


@pytest.mark.parametrize(('cycle', 'step', 'stops'), [(1, 2, True), (2, 2, False), (1, 3, False)])
def test_the_driver_ends_the_cycle_that_is_meant(tmp_path, monkeypatch, cycle, step, stops):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'STOP').write_text('{"ladder_step": 2, "cycle_step": 1, "reason": "plateau"}')
    stop = driver().stop
    if stops:
        with pytest.raises(StopIteration):
            stop(current_fit_cycle=cycle, current_ladder_step=step)
    else:
        stop(current_fit_cycle=cycle, current_ladder_step=step)


# --- what a job is told ---


@pytest.mark.parametrize(
    ('told', 'complaint'),
    [
        ({'window': 0}, 'a number of iterations, 1 or more'),
        ({'window': 2.5}, 'window: found 2.5'),
        ({'window': True}, 'window: found True'),
        ({'tolerance': 0}, 'a number between 0 and 1'),
        ({'tolerance': 'small'}, "tolerance: found 'small'"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_before_the_queue(told, complaint, pace_codes_fake, train_inputs):
    with pytest.raises(ValueError, match=complaint):
        Plateau(**told)
    monitors = {'loss': orm.Dict({'entry_point': 'pacemaker.loss', 'kwargs': told})}
    with pytest.raises(ValueError, match=complaint):
        run_get_node(BaseFactory('aiida.calculations', 'pacemaker.train'), monitors=monitors, **train_inputs())


def test_a_tolerance_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match='tolerance: found nan'):
        Plateau(tolerance=math.nan)


def test_what_aiida_checks_stays_checked(train_inputs):
    monitors = {'loss': orm.Dict({'entry_point': 'pacemaker.loss', 'kwargs': {'windo': 3}})}
    with pytest.raises(ValueError, match='does not accept the keywords'):
        run_get_node(BaseFactory('aiida.calculations', 'pacemaker.train'), monitors=monitors, **train_inputs())


def test_the_engine_is_told_of_the_driver_only_where_it_may_be_stopped(prepare, pace_codes_fake, train_inputs):
    inputs = {'code': pace_codes_fake['train'], **train_inputs()}
    progress = {'progress': orm.Dict({'entry_point': 'pacemaker.progress'})}
    plain = prepare('pacemaker.train', inputs)
    watched = prepare('pacemaker.train', {**inputs, 'monitors': progress})
    assert plain.files['input.yaml'] == watched.files['input.yaml']
    assert 'stop_request.py' not in {*plain.files, *watched.files}
    assert SEARCH_PATH not in plain.info.prepend_text
    assert plain.info.prepend_text == watched.info.prepend_text
    loss = {**progress, 'loss': orm.Dict({'entry_point': 'pacemaker.loss'})}
    prepared = prepare('pacemaker.train', {**inputs, 'monitors': loss})
    assert yaml.safe_load(prepared.files['input.yaml'])['fit']['callbacks'] == ['stop_request.stop']
    assert 'stop_request.py' in prepared.kept
    assert SEARCH_PATH in prepared.info.prepend_text


# --- whole jobs ---


def monitors(window, tolerance):
    loss = {'entry_point': 'pacemaker.loss', 'kwargs': {'window': window, 'tolerance': tolerance}}
    return {'loss': orm.Dict(loss), 'progress': orm.Dict({'entry_point': 'pacemaker.progress'})}


def chain(code, inputs, fault='', **pace):
    options = {'environment_variables': {'PACE_FAKE_FAULT': fault} if fault else {}}
    pace = {'code': code, 'metadata': {'options': options}, **inputs, **pace}
    return run_get_node(PaceTrainBaseWorkChain, pace=pace)[1]


def job_of(node):
    return next(called for called in node.called if isinstance(called, orm.CalcJobNode))


@pytest.mark.fault(
    'the loss no longer falls',
    engine='the allocation is used up',
    here='`pacemaker.loss` asks the engine to stop, which finishes properly; `stop_reason` is `plateau`',
    ends='success',
)
def test_a_fit_on_a_plateau_ends_with_its_potential(pace_codes_fake, train_inputs):
    """It is a success, with the conversion that follows the fit."""
    inputs = train_inputs(config={'max_epochs': 500}, yace_code=pace_codes_fake['yace'])
    node = chain(pace_codes_fake['train'], inputs, 'sleep:seconds=0.2,program=pacemaker', monitors=monitors(3, 0.5))
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.stop_reason.value == 'plateau'
    assert node.outputs.potential.has_c_tilde
    losses = node.outputs.learning_curves.get_array('train_loss')
    assert 4 < len(losses) < 100
    # The monitors look now and then, so the last row that was seen need not be the very last.
    progress = progress_of(job_of(node))
    assert progress['loss'] == pytest.approx(losses[progress['iter_num']], rel=1e-13)
    reported = [log.message for log in orm.Log.collection.get_logs_for(job_of(node))]
    assert any('asked to stop fit cycle 0 of ladder step 0: plateau' in message for message in reported)


@pytest.mark.fault(
    'the loss is NaN and the engine goes on',
    engine='the allocation is used up',
    here='`pacemaker.loss` kills the job; what is good is kept',
    ends='PaceTrainCalculation.ERROR_FIT_DIVERGED',
)
def test_a_fit_whose_loss_is_not_a_number_does_not_burn_the_allocation(pace_codes_fake, train_inputs, tmp_path):
    inputs = train_inputs(config={'max_epochs': 10_000})
    fault = 'nan_loss:n=1,seconds=0.5'
    node = chain(pace_codes_fake['train'], inputs, fault, monitors=monitors(50, 1e-3), max_epochs=orm.Int(10_000))
    assert node.exit_status == PaceTrainBaseWorkChain.exit_codes.ERROR_FIT_DIVERGED.status
    job = job_of(node)
    assert job.exit_status == job.process_class.exit_codes.ERROR_FIT_DIVERGED.status
    assert job.outputs.stop_reason.value == 'diverged'
    assert len(job.outputs.learning_curves.get_array('train_loss')) < 100


@pytest.mark.engine
@pytest.mark.slow
def test_the_real_engine_is_asked_to_stop(pace_codes, train_inputs):
    """In the second of its cycles, where the noise has left nothing more to gain in a few iterations."""
    inputs = train_inputs(config={'max_epochs': 300}, yace_code=pace_codes['yace'])
    node = chain(pace_codes['train'], inputs, monitors=monitors(4, 0.5))
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.stop_reason.value == 'plateau'
    assert node.outputs.potential.has_c_tilde
    losses = node.outputs.learning_curves.get_array('train_loss')
    assert 5 <= len(losses) < 300
    assert np.isfinite(losses).all()
    assert progress_of(job_of(node))['iter_num'] <= len(losses) - 1
