import re
from pathlib import Path

import pytest

from aiida_pacemaker.pace.output.interim import all_finite, usable_interims
from aiida_pacemaker.pace.output.metrics import read_metrics
from aiida_pacemaker.pace.versions import TESTED, untested

TRAIN = Path(__file__).parents[1] / 'fixtures' / 'train'
POTENTIAL = (TRAIN / 'default' / 'output_potential.yaml').read_bytes()


def usable(case):
    return list(usable_interims((path.name for path in (TRAIN / case).iterdir()), table(case)))


def table(case):
    return read_metrics((TRAIN / case / 'metrics.txt').read_text())


def test_the_newest_comes_first():
    assert usable('killed_interim') == ['interim_potential_0.yaml']
    assert usable('killed_cycle') == ['interim_potential_1.yaml', 'interim_potential_0.yaml']
    ladder = ['interim_potential_ladder_step_0.yaml', 'interim_potential_0.yaml', 'interim_potential_best_cycle.yaml']
    assert usable('ladder_killed') == ladder


def test_of_a_fit_that_has_diverged_only_the_cycles_that_ended_well_are_left():
    # Its second cycle, of wild random coefficients, had an infinite loss.
    assert usable('overflow_cycle') == ['interim_potential_0.yaml']
    for case in ('infinite_energy', 'infinite_energy_lbfgs', 'overflow_tensorpot'):
        assert [name for name in ('interim_potential_best_cycle.yaml',) if (TRAIN / case / name).exists()]
        assert usable(case) == []


def test_the_steps_of_a_ladder_that_ended_well_are_left():
    text = (TRAIN / 'ladder_killed' / 'metrics.txt').read_text()
    header, *rows = text.splitlines()
    row = rows[-1].split()
    row[header.split().index('loss')] = 'nan'
    diverged = read_metrics('\n'.join([header, *rows[:-1], ' '.join(row), '']))
    names = {'interim_potential_ladder_step_0.yaml', 'interim_potential_0.yaml', 'interim_potential_best_cycle.yaml'}
    assert list(usable_interims(names, diverged)) == ['interim_potential_ladder_step_0.yaml']


def test_every_recorded_potential_has_finite_coefficients():
    """One of them says in its notes that its loss is NaN."""
    assert b'_loss: nan' in (TRAIN / 'infinite_energy_lbfgs' / 'output_potential.yaml').read_bytes()
    paths = list(TRAIN.glob('*/*potential*.yaml'))
    assert len(paths) > 20
    assert all(all_finite(path.read_bytes()) for path in paths)


@pytest.mark.parametrize('bad', ['.nan', '-.inf', '.inf', 'nan', '-nan', 'inf', '.NaN'])
def test_a_coefficient_that_is_not_finite_is_seen(bad):
    changed, count = re.subn(rb'(c: \[)[^\]]*\]', rb'\g<1>' + bad.encode() + b']', POTENTIAL, count=1)
    assert count == 1
    assert not all_finite(changed)


def test_a_version_is_warned_of_unless_it_was_tested():
    assert [untested(version) for version in (None, *TESTED)] == [None] * (1 + len(TESTED))
    assert '0.2.7' in untested('0.2.7')
