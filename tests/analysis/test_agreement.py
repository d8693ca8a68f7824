"""The errors of a fit against those of an evaluation of its potential."""

import pytest

from aiida_pacemaker.analysis.agreement import disagreement

FIT = {'rmse_energy': 0.0100, 'rmse_forces': 0.100, 'n_fitted': 12, 'evaluator': 'tensorpot'}
SAME = {'rmse_energy': 0.0100, 'rmse_forces': 0.100, 'n_frames': 12}


@pytest.mark.fault(
    'the evaluators tensorpot and pyace differ for a potential',
    engine='errors of a fit that nobody finds again where the potential is used',
    here='a warning in the report of the loop, with both errors, if they differ by more than 1 %',
    ends='success',
)
@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({}, None),
        ({'rmse_energy': 0.01009, 'rmse_forces': 0.1009}, None),
        ({'rmse_energy': 0.0115}, r'RMSE of energies 10 and 11\.5 meV/atom'),
        ({'rmse_forces': 0.15}, r'RMSE of forces 100 and 150 meV/angstrom'),
        ({'rmse_forces': 0.15, 'n_frames': 11}, None),
    ],
)
def test_errors_that_differ_are_told(change, said):
    found = disagreement(FIT, {**SAME, **change})
    if said is None:
        assert found is None
    else:
        assert said.replace('\\', '') in found
        assert 'tensorpot' in found


def test_differences_of_rounding_are_none():
    tiny = {**FIT, 'rmse_energy': 1e-6, 'rmse_forces': 1e-5}
    assert disagreement(tiny, {**SAME, 'rmse_energy': 5e-5, 'rmse_forces': 5e-4}) is None
