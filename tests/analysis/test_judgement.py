"""An exact fit against a minimiser that continues from it."""

import pytest

from aiida_pacemaker.analysis.judgement import judge


@pytest.mark.parametrize(
    ('losses', 'same', 'confirmed'),
    [
        ([2.0, 2.0, 2.0], True, True),
        ([2.0 * (1 + 1e-12), 2.0], True, True),
        # A weight that differs, and a solution that is none.
        ([2.1, 2.1], False, False),
        ([2.0, 1.9, 1.95], True, False),
    ],
)
def test_losses_are_compared(losses, same, confirmed):
    found = judge(2.0, losses, range(len(losses)))
    assert (found.same_loss, found.confirmed) == (same, confirmed)
    assert found.lowest == min(losses)
    assert found.iterations == len(losses) - 1


def test_sizes_are_relative():
    found = judge(2.0, [2.2, 1.1], [0, 1])
    assert found.difference == pytest.approx(0.1)
    assert found.gain == pytest.approx(0.5)


@pytest.mark.parametrize(('losses', 'iterations'), [([], []), ([2.0], [3])])
def test_curves_without_a_start_are_refused(losses, iterations):
    with pytest.raises(ValueError, match='do not begin with iteration 0'):
        judge(2.0, losses, iterations)


def test_a_loss_of_nothing_is_refused():
    with pytest.raises(ValueError, match='needed: a positive number'):
        judge(0.0, [1.0], [0])
