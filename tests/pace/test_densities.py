"""Further densities for a linear potential: what is written, and what is refused."""

from __future__ import annotations

import pytest

from aiida_pacemaker.errors import ConfigError, PotentialFileError
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.densities import add_densities
from aiida_pacemaker.pace.output.potentials import read_coefficients, read_potential
from aiida_pacemaker.pace.penalty import penalty_of, warning_about_penalty
from aiida_pacemaker.testing.fake import basis

SMOOTH, TWO = 'FinnisSinclairShiftedScaled', [1.0, 1.0, 1.0, 0.5]


def potential(**embedding):
    """Return a B-basis potential whose coefficients are 0.5, 1.0, ..."""
    config = parse_config(
        {
            **{'elements': ['Mg', 'O'], 'r_cut': 4.5, 'max_deg': 2, 'max_order': 2, 'evaluator': 'pyace'},
            **({'potential': {'embeddings': {'ALL': embedding}}} if embedding else {}),
        }
    )
    made = basis.build(config.sections()['potential'])
    for number, function in enumerate(made.functions(), start=1):
        function['c'] = [0.5 * number, *[0.0] * (len(function['c']) - 1)]
    return made.dump().encode()


def test_coefficients_are_interleaved_with_zeros():
    before = potential()
    after = add_densities(before, SMOOTH, TWO)
    old, new = read_coefficients(before), read_coefficients(after)
    assert new[::2] == old
    assert set(new[1::2]) == {0.0}
    assert read_potential(after).n_densities == {'Mg': 2, 'O': 2}
    assert b'parameters: [1, 1, 1, 0.5]' in after
    # What a fit that has ended has noted would have the engine do nothing.
    noted = before.replace(b'species:', b'metadata:\n  _fit_cycles: 1\nspecies:', 1)
    assert b'_fit_cycles' not in add_densities(noted, SMOOTH, TWO)


def test_a_prefactor_goes_into_the_coefficients():
    before = potential(npot=SMOOTH, fs_parameters=[3.0, 1.0], ndensity=1)
    after = add_densities(before, SMOOTH, [2.0, 1.0, 1.0, 0.5])
    assert read_coefficients(after)[::2] == [1.5 * value for value in read_coefficients(before)]


@pytest.mark.parametrize(
    ('npot', 'parameters', 'reason'),
    [
        (None, TWO, 'npot: found None, needed: FinnisSinclairShiftedScaled'),
        ('FinnisSinclair', TWO, 'npot: found FinnisSinclair, needed: FinnisSinclairShiftedScaled, which is smooth'),
        (SMOOTH, None, r'fs_parameters: found \[\], needed: prefactor and exponent of each density, of two at least'),
        (SMOOTH, [1, 1], r'fs_parameters: found \[1.0, 1.0\], needed: prefactor and exponent of each density'),
        (SMOOTH, [1, 1, 1], 'of two at least'),
        (SMOOTH, [1, 0.5, 1, 1], 'found the exponent 0.5 of the first density, needed: 1'),
        (SMOOTH, [1, 1, 1, 2], 'found the exponent 2 of a further density, needed: between 0 and 1'),
        (SMOOTH, [1, 1, 1, 1], 'With 1 it is the linear one again'),
        (SMOOTH, [1, 1, 0, 0.5], 'found a prefactor of 0'),
    ],
)
def test_embeddings_that_a_linear_potential_has_no_way_to(npot, parameters, reason):
    with pytest.raises(ConfigError, match=reason):
        add_densities(potential(), npot, parameters)


@pytest.mark.parametrize(
    ('embedding', 'reason'),
    [
        ({'fs_parameters': TWO, 'ndensity': 2}, 'Mg has 2 densities; O has 2 densities'),
        ({'fs_parameters': [1.0, 0.5], 'ndensity': 1}, r"with the parameters \['1', '0.5'\].*needed: one density"),
    ],
)
def test_potentials_that_are_not_linear(embedding, reason):
    with pytest.raises(PotentialFileError, match=f'it is not linear in one density .*{reason}'):
        add_densities(potential(npot=SMOOTH, **embedding), SMOOTH, TWO)


def test_files_that_are_written_otherwise():
    lines = potential().replace(b'c: [0.5]', b'c: [ 0.5 ,]')
    with pytest.raises(PotentialFileError, match='not written as the engine writes them, one a line'):
        add_densities(lines, SMOOTH, TWO)


def test_penalties():
    content = potential()
    values = read_coefficients(content)
    loss = {'kappa': 0.3, 'L1_coeffs': 0.1, 'L2_coeffs': 0.01}
    expected = 0.1 * sum(values) + 0.01 * sum(value**2 for value in values)
    assert penalty_of(content, loss) == pytest.approx(expected)
    assert penalty_of(content, {'kappa': 0.3}) == 0.0
    assert warning_about_penalty(content, loss, 2.1 * expected) is None
    # A loss that has other terms, or of another potential.
    assert warning_about_penalty(content, loss, 0.9 * expected) is None
    said = warning_about_penalty(content, loss, 1.25 * expected)
    assert '4.0 times the loss by its errors' in said
    assert 'L1_coeffs 0.1, L2_coeffs 0.01' in said
