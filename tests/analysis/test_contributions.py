"""What groups of frames contribute to a fit, against fits by hand."""

import numpy as np
import pytest

from aiida_pacemaker.analysis.contributions import contributions


def test_leverages_are_those_of_the_hat_matrix_and_errors_those_of_fits_without_each_frame():
    random = np.random.default_rng(3)
    rows, groups = random.normal(size=(26, 3)), 18 * ['a'] + 6 * ['b'] + 2 * ['c']
    # What only the last two frames know of.
    rows[:24, 2] = 0.0
    labels = rows @ [1.0, -2.0, 0.5] + 0.01 * random.normal(size=26)
    # Labels of another level of theory.
    labels[18:24] += 1.0
    leverage = np.diag(rows @ np.linalg.pinv(rows))
    left_out = []
    for frame in range(26):
        others = np.delete(np.arange(26), frame)
        left_out.append(labels[frame] - rows[frame] @ np.linalg.lstsq(rows[others], labels[others], rcond=None)[0])
    found = contributions(groups, np.array(left_out), np.full(26, np.nan), leverage)
    assert sum(group.parameters for group in found.values()) == pytest.approx(3.0)
    assert found['c'].parameters > 1.0
    errors = {name: group.rmse_energy for name, group in found.items()}
    assert errors['b'] == pytest.approx(np.sqrt(np.mean(np.square(left_out[18:24]))))
    assert errors['b'] > 2 * max(errors['a'], errors['c'])
    assert [group.rmse_forces for group in found.values()] == [None] * 3
    assert {name: group.n_frames for name, group in found.items()} == {'a': 18, 'b': 6, 'c': 2}
    assert [group.parameters for group in found.values()] == sorted(
        (group.parameters for group in found.values()), reverse=True
    )


def test_errors_without_a_weight_count_nowhere():
    energy = np.array([0.3, np.nan, 0.4])
    found = contributions(['a', 'a', 'b'], energy, energy, np.ones(3))
    assert found['a'].rmse_energy == pytest.approx(0.3)
    assert found['a'].n_frames == 2
    assert found['a'].parameters == 2.0
