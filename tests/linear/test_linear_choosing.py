"""The choice of a basis: what is preferred, by the errors of frames that were left out."""

from __future__ import annotations

import pytest
from linear_cases import emt_frame, equations_of, error_of, labelled, rows_of, scales_of, section

from aiida_pacemaker.linear.basis import Basis, configuration_of
from aiida_pacemaker.linear.choosing import Candidate, Tried, best_of, try_bases
from aiida_pacemaker.linear.evidence import solve_evidence
from aiida_pacemaker.linear.weighting import Physical

pytestmark = pytest.mark.engine


def tried(score, n_functions):
    return Tried(0, 2, n_functions, 0.01, 0.1, score)


def test_the_smallest_of_bases_that_are_about_as_good():
    bases = [tried(0.100, 80), tried(0.1015, 40), tried(0.103, 20), tried(float('nan'), 10)]
    assert best_of(bases).n_functions == 40
    with pytest.raises(ValueError, match='at least two structures'):
        best_of(bases[3:])


@pytest.mark.slow
def test_what_is_chosen_is_the_better_one_on_other_frames():
    """With few functions the radial basis makes the difference."""
    candidates = [
        Candidate(section(['Cu'], 4, order=2, bond={'radbase': radial}), [2, 4], 8)
        for radial in ('ChebExpCos', 'ChebPow')
    ]
    weighting = Physical(reference=-1.0)
    images = [emt_frame(seed, copies=(1, 1, 1)) for seed in range(40)]
    found = try_bases(candidates, labelled(images[:16]), weighting, 'order_degree', virial=False)
    assert [(one.candidate, one.degree) for one in found] == [(0, 2), (0, 4), (1, 2), (1, 4)]
    true = []
    for one in found:
        candidate = candidates[one.candidate]
        configuration = configuration_of(candidate.potential, one.degree, candidate.first(one.degree))
        basis = Basis.of_configuration(configuration)
        assert basis.n_functions == one.n_functions
        equations = equations_of(basis.n_functions, rows_of(basis, labelled(images[:16]), weighting))
        scales = scales_of(weighting, equations)
        groups = basis.groups('order_degree')
        solution = solve_evidence(equations.factor(scales), equations.n_used(scales), groups)
        true.append(error_of(solution.coefficients, rows_of(basis, labelled(images[16:]), weighting), 'forces'))
    assert max(true) > 1.2 * min(true)
    assert true[found.index(best_of(found))] < 1.1 * min(true)
