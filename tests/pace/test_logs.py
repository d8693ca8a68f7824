import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from aiida_pacemaker.errors import LogError
from aiida_pacemaker.pace.output.logs import LogSummary, read_active_set_log, read_log, read_selection_log

FIXTURES = Path(__file__).parents[1] / 'fixtures'


def text(case, name='log.txt'):
    # Carriage returns are kept, as a parser that decodes bytes sees them.
    return (FIXTURES / case / name).read_bytes().decode()


def streams(case):
    return text(case, 'stderr.txt') + text(case, 'stdout.txt')


def test_a_finished_fit():
    summary = read_log(text('train/default'))
    assert summary == LogSummary(
        engine_version='0.4.0rc1',
        cutoff=4.5,
        n_train_loaded=12,
        n_test_loaded=11,
        n_train_fitted=12,
        n_test_fitted=11,
        n_functions=24,
        n_parameters=48,
        n_trainable=24,
        optimizer=summary.optimizer,
        finished=True,
        wall_time=summary.wall_time,
    )
    assert summary.optimizer is not None
    assert summary.optimizer.status == 1
    assert summary.optimizer.message == 'Maximum number of iterations has been exceeded.'
    assert summary.n_dropped == 0


@pytest.mark.parametrize('case', sorted(path.parent.name for path in (FIXTURES / 'train').glob('*/log.txt')))
def test_both_line_formats_tell_the_same(case):
    log, stderr = read_log(text(f'train/{case}')), read_log(text(f'train/{case}', 'stderr.txt'))
    assert replace(log, wall_time=None) == replace(stderr, wall_time=None)
    assert stderr.wall_time == pytest.approx(log.wall_time, abs=0.1)


@pytest.mark.parametrize('case', ['plateau', 'plateau_tensorpot'])
def test_a_fit_that_was_asked_to_stop(case):
    summary = read_log(text(f'train/{case}'))
    assert summary.stop_request == 'plateau, the loss fell by 0'
    assert summary.optimizer.status == 99
    assert summary.finished


def test_how_a_cycle_has_ended_says_nothing_of_the_next():
    summary = read_log(text('train/plateau_cycle'))
    assert 'Stopped on request' in text('train/plateau_cycle')
    assert summary.stop_request is None
    assert summary.optimizer.message == 'Maximum number of iterations has been exceeded.'


def test_dates_with_slashes_and_without_milliseconds_are_read():
    older = re.sub(r'(\d{4})-(\d\d)-(\d\d) (\d\d:\d\d:\d\d),\d+', r'\1/\2/\3 \4', text('train/default'))
    assert '/' in older[:10]
    newer, older = read_log(text('train/default')), read_log(older)
    assert replace(newer, wall_time=None) == replace(older, wall_time=None)
    assert older.wall_time == pytest.approx(newer.wall_time, abs=1)


def test_wall_time_is_that_between_the_first_and_the_last_line():
    log = '2026-11-23 23:59:59,750 I - Start pacemaker\n2026-11-24 00:01:00,250 I - Fitting done\n'
    assert read_log(log).wall_time == 60.5


@pytest.mark.parametrize(
    ('case', 'dropped'), [('frames_dropped', 1), ('default', 0), ('predictions', 0), ('nan_energy', None)]
)
def test_frames_that_the_engine_dropped_are_counted(case, dropped):
    assert read_log(text(f'train/{case}')).n_dropped == dropped


def test_a_test_set_that_was_split_off():
    summary = read_log(text('train/predictions'))
    assert (summary.n_train_loaded, summary.n_train_fitted, summary.n_test_fitted) == (12, 9, 3)


def test_early_stopping():
    summary = read_log(text('train/early_stopping'))
    assert summary.early_stopping is not None
    assert summary.early_stopping.startswith('EARLY STOPPING: Too small or even positive TRAIN loss change')
    assert summary.optimizer is not None
    assert summary.optimizer.status == 99
    assert summary.finished


@pytest.mark.parametrize('case', ['energy_range_recomputed', 'energy_range_kept'])
def test_extreme_energies(case):
    energy_range = read_log(text(f'train/{case}')).energy_range
    assert energy_range is not None
    assert energy_range.minimum <= energy_range.maximum < -20


def test_a_fit_that_was_skipped():
    summary = read_log(text('train/noop_fit_cycles'))
    assert summary.nothing_fitted
    assert summary.finished
    assert summary.optimizer is None


def test_a_fit_that_was_killed():
    summary = read_log(text('train/killed_interim'))
    assert not summary.finished
    assert summary.optimizer is None
    assert summary.n_train_fitted == 12


def test_ladders():
    assert read_log(text('train/ladder')).ladder
    assert not read_log(text('train/default')).ladder


def test_of_runs_in_the_same_folder_the_last_one_counts():
    both = text('train/early_stopping') + text('train/default')
    assert read_log(both) == read_log(text('train/default'))


def test_any_other_text_tells_nothing():
    assert read_log('') == LogSummary()
    assert read_log('Segmentation fault\n\x00\ufffd') == LogSummary()


def test_an_enormous_line_is_read_in_no_time():
    progress = '             Eval 3152: loss=0.003511497927392642\r' * 1_200_000
    begin, end = text('train/default')[:3000], text('train/default')[3000:]
    started = time.perf_counter()
    summary = read_log(begin + '\n' + progress + end)
    # It takes 0.2 s; splitting the 60 MB into lines would take several.
    assert time.perf_counter() - started < 3
    assert summary.finished


def test_active_set_of_a_real_run():
    log = read_active_set_log(streams('activeset/linear'))
    assert list(log.elements) == ['Mg', 'O']
    magnesium = log.elements['Mg']
    assert (magnesium.n_atoms, magnesium.n_functions, magnesium.n_projections) == (48, 12, 12)
    assert magnesium.n_selected is not None
    assert 40 < magnesium.n_selected <= 48
    assert magnesium.force_error_bound is not None
    # Of the order of the force error of the fit in eV/angstrom, not in the meV/angstrom of the text.
    assert 0.01 < magnesium.force_error_bound < 2
    assert magnesium.gamma_max == pytest.approx(1, abs=0.02)
    assert (log.n_structures, log.full, log.batch_size, log.finished) == (12, False, None, True)


def test_full_active_set():
    assert read_active_set_log(streams('activeset/full')).full


def test_active_set_in_batches():
    log = read_active_set_log(streams('activeset/batches'))
    assert (log.batch_size, log.n_batches, log.finished) == (6, 2, True)
    assert log.elements['Mg'].n_selected is None


def test_active_set_that_failed():
    log = read_active_set_log(streams('activeset/insufficient'))
    assert not log.finished
    assert log.elements['O'].n_functions == 12


@pytest.mark.parametrize(
    ('case', 'with_active_set', 'batched'),
    [('default', True, False), ('batches', True, True), ('without_active_set', False, False)],
)
def test_selection(case, with_active_set, batched):
    log = read_selection_log(streams(f'select/{case}'))
    assert (log.with_active_set, log.batched, log.finished) == (with_active_set, batched, True)
    assert log.n_candidates is not None
    assert log.n_selected is not None
    assert 0 < log.n_selected <= log.n_candidates


def test_selection_of_nothing_is_finished():
    log = read_selection_log(streams('select/nothing'))
    assert (log.n_selected, log.finished) == (0, True)


def test_selection_that_failed():
    log = read_selection_log(streams('select/unknown_element'))
    assert (log.n_selected, log.finished) == (None, False)


@pytest.mark.parametrize(
    ('reader', 'text'),
    [
        (read_log, '2026/13/45 25:61:61 I - Start pacemaker'),
        (read_active_set_log, '2026/11/23 14:00:00 I - \t\tForce error upper bound: 3.0 meV/A'),
        (read_active_set_log, '2026/11/23 14:00:00 I - \tElement: Mg, Active set inv. shape: (3, 3), gamma_max: high'),
    ],
)
def test_nonsense_is_one_kind_of_error(reader, text):
    with pytest.raises(LogError, match='no log of the engine'):
        reader(text)
