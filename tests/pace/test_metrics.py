import io
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_pacemaker.errors import MetricsFileError
from aiida_pacemaker.pace.output.metrics import TrainingMetrics, read_metrics, stitch
from aiida_pacemaker.pace.output.potentials import read_potential

TRAIN = Path(__file__).parents[1] / 'fixtures' / 'train'
TEXT = (TRAIN / 'default' / 'metrics.txt').read_text()


def table(case, name='metrics.txt'):
    return read_metrics((TRAIN / case / name).read_text())


def same(first, second):
    return list(first.columns) == list(second.columns) and all(
        np.array_equal(first[name], second[name]) for name in first.columns
    )


@pytest.mark.parametrize(
    'path', sorted(TRAIN.glob('*/*metrics.txt')), ids=lambda path: f'{path.parent.name}-{path.name}'
)
def test_every_recorded_table_reads_as_pandas_reads_it(path):
    read = read_metrics(path.read_text())
    expected = pd.read_csv(io.StringIO(path.read_text()), sep=r'\s+')
    assert list(read.columns) == list(expected.columns)
    assert len(read) == len(expected)
    for name in expected.columns:
        np.testing.assert_array_equal(read[name], expected[name].to_numpy(dtype=float))
    assert not read.truncated


def test_counts_are_integers_and_errors_are_floats():
    read = table('default')
    assert read['iter_num'].dtype == np.int64
    assert read['smooth_orth'].dtype == np.float64
    assert read['iter_num'].tolist() == list(range(9))
    assert read.last['iter_num'] == read.iterations == 8


@given(st.integers(0, len(TEXT)))
def test_a_table_cut_anywhere_is_its_whole_lines(position):
    whole, cut = read_metrics(TEXT), read_metrics(TEXT[:position])
    complete = max(TEXT[:position].count('\n') - 1, 0)
    assert len(cut) == complete
    assert all(np.array_equal(cut[name], whole[name][:complete]) for name in cut.columns)
    # Of the last line, white space may be missing and nothing more.
    assert cut.truncated == bool(TEXT[:position].rpartition('\n')[2].strip())


def test_a_header_alone_and_no_text_have_no_rows():
    assert len(table('default', 'test_metrics.txt')) == 0
    assert table('default', 'test_metrics.txt').last == {}
    assert len(read_metrics('')) == 0


def test_a_second_run_in_the_same_folder_begins_anew():
    assert same(read_metrics(TEXT.replace('\n', '\n', 1) + TEXT), read_metrics(TEXT))


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('0 0 1.0\n', 'before any header'),
        ('iter_num loss\n0 1.0\n1\n', 'line 3 has 1 values, the header names 2'),
        ('iter_num loss\n0 nothing\n', 'column `loss`'),
        ('iter_num loss\n0.5 1.0\n', 'column `iter_num`'),
    ],
)
def test_what_is_not_a_table_is_refused(text, reason):
    with pytest.raises(MetricsFileError, match=reason):
        read_metrics(text)


def test_legs_of_a_real_restart_join_without_a_seam():
    first, second = table('killed_interim'), table('continued')
    joined = stitch([first, second])
    assert joined['iter_num'].tolist() == list(range(first.iterations + second.iterations + 1))
    assert joined['leg'].tolist() == [0] * len(first) + [1] * (len(second) - 1)
    np.testing.assert_array_equal(joined['loss'], np.concatenate([first['loss'], second['loss'][1:]]))


@given(st.lists(st.integers(0, 8), max_size=3))
def test_a_curve_cut_into_legs_stitches_to_itself(cuts):
    whole = table('default')
    edges = [0, *sorted(cuts), len(whole) - 1]
    legs = []
    for start, stop in pairwise(edges):
        lines = TEXT.splitlines()[1 + start : 2 + stop]
        renumbered = [
            re.sub(r'^(\d+ +\d+ +)(\d+)', lambda m, s=start: f'{m[1]}{int(m[2]) - s}', line) for line in lines
        ]
        legs.append(read_metrics('\n'.join([TEXT.splitlines()[0], *renumbered]) + '\n'))
    joined = stitch(legs)
    assert all(np.array_equal(joined[name], whole[name]) for name in whole.columns)


def test_a_ladder_that_goes_on_from_its_last_step_keeps_the_state_it_went_back_to():
    first, second = table('ladder_killed'), table('ladder_continued')
    joined = stitch([first, second])
    assert len(joined) == len(first) + len(second)
    assert joined['iter_num'][len(first)] == first.iterations
    assert joined['iter_num'][-1] == first.iterations + second.iterations


def test_cycles_are_counted_on():
    cycles = table('fit_cycles')
    assert cycles['iter_num'].max() == 4
    assert cycles.iterations == 12
    assert (np.diff(stitch([cycles])['iter_num']) >= 0).all()
    assert stitch([cycles])['iter_num'][-1] == 12


def test_test_rows_are_timed_by_the_training_rows():
    train, test = table('tensorpot'), table('tensorpot', 'test_metrics.txt')
    joined = stitch([test, test], [train, train])
    done = train.iterations
    assert joined['iter_num'].tolist() == [0, 5, done, done, done + 5, 2 * done]


def test_legs_that_stopped_before_their_first_iteration_are_passed_over():
    empty, whole = (
        read_metrics(''),
        table('default'),
    )
    assert stitch([empty, whole])['leg'].tolist() == [1] * len(whole)
    assert len(stitch([empty])) == 0
    with pytest.raises(ValueError, match='no metrics'):
        stitch([])


def test_figures_are_those_of_the_log_and_of_the_potential():
    metrics = TrainingMetrics.from_tables(table('default'), table('default', 'test_metrics.txt'), 3.5)
    log = (TRAIN / 'default' / 'log.txt').read_text()
    energy, _, forces, _ = map(float, re.findall(r'RMSE: +([\d. ]+)', log)[-1].split())
    # The log has meV and two decimals, the table eV.
    assert metrics.rmse_energy * 1000 == pytest.approx(energy, abs=0.005)
    assert metrics.rmse_forces * 1000 == pytest.approx(forces, abs=0.005)
    assert metrics.mae_forces * 1000 == pytest.approx(
        float(re.findall(r'MAE: +([\d. ]+)', log)[-1].split()[2]), abs=0.005
    )
    assert (metrics.training_time, metrics.iterations, metrics.n_functions) == (3.5, 8, 24)
    assert metrics.validation_loss is None
    assert not metrics.diverged


@pytest.mark.parametrize('case', ['default', 'fit_cycles', 'ladder', 'early_stopping', 'tensorpot', 'older_versions'])
def test_the_loss_is_that_of_the_potential_the_engine_kept(case):
    potential = read_potential((TRAIN / case / 'output_potential.yaml').read_text())
    metrics = TrainingMetrics.from_tables(table(case))
    assert metrics.loss == pytest.approx(float(potential.metadata['_loss']), rel=1e-9)
    assert metrics.n_functions == potential.n_functions


def test_validation_is_the_last_row_of_the_test_table():
    test = table('tensorpot', 'test_metrics.txt')
    metrics = TrainingMetrics.from_tables(table('tensorpot'), test)
    assert metrics.validation_loss == test['loss'][-1]
    assert metrics.validation_rmse_energy == test['rmse_epa'][-1]
    assert metrics.validation_rmse_forces == test['rmse_f_comp'][-1]


def test_stitched_legs_give_the_figures_of_the_last_leg_and_all_iterations():
    first, second = table('killed_interim'), table('continued')
    metrics = TrainingMetrics.from_tables(stitch([first, second]))
    assert metrics.loss == second['loss'][-1]
    assert metrics.iterations == first.iterations + second.iterations


def test_a_loss_that_is_not_finite_is_divergence():
    assert table('infinite_energy').diverged
    assert TrainingMetrics.from_tables(table('infinite_energy')).diverged
    assert not table('default').diverged
    assert read_metrics('iter_num loss\n0 1.0\n1 nan\n').diverged


HEALTHY = sorted(
    path.parent.name
    for path in TRAIN.glob('*/metrics.txt')
    if 'overflow' not in path.parent.name and 'infinite' not in path.parent.name
)


@pytest.mark.parametrize('case', HEALTHY)
def test_no_healthy_fit_is_taken_for_one_that_explodes(case):
    """Among them are fits with noise between their cycles, where the loss rises."""
    assert table(case).divergence is None


@pytest.mark.parametrize(
    ('case', 'problem'),
    [
        ('infinite_energy', '`loss` is inf at iteration 0'),
        ('overflow_tensorpot', '`loss` is inf at iteration 0'),
        ('overflow_cycle', '`loss` is inf at iteration 0'),
    ],
)
def test_divergence_is_told_with_its_place(case, problem):
    assert table(case).divergence == problem


def losses(*values, cycles=None):
    rows = [f'0 {cycle} {index} {value}\n' for index, (cycle, value) in enumerate(zip(cycles, values, strict=True))]
    return read_metrics('ladder_step cycle_step iter_num loss\n' + ''.join(rows))


@pytest.mark.parametrize(
    ('values', 'exploded'),
    [
        ((1.0, 0.1, 0.9), False),
        ((1.0, 0.01, 0.09), False),
        ((1.0, 0.01, 0.11), True),
        ((1.0, 0.9, 1.1), True),
        ((1.0,), False),
        ((1.0, 1.0), False),
    ],
)
def test_a_loss_explodes_within_a_cycle(values, exploded):
    assert losses(*values, cycles=[0] * len(values)).diverged == exploded


def test_a_cycle_that_begins_high_above_the_one_before_does_not_explode():
    assert not losses(1.0, 0.1, 1e9, 1e8, cycles=[0, 0, 1, 1]).diverged
    assert losses(1.0, 0.1, 1e9, 1e10, cycles=[0, 0, 1, 1]).divergence == (
        '`loss` is 1e+10 at iteration 3, but has been 1e+09 before'
    )


def test_a_fit_without_iterations_has_no_figures():
    with pytest.raises(ValueError, match='before its first iteration'):
        TrainingMetrics.from_tables(table('default', 'test_metrics.txt'))
    with pytest.raises(ValueError, match='no column'):
        TrainingMetrics.from_tables(table('default', 'cycle_metrics.txt'))
