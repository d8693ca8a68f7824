from __future__ import annotations

import re

import numpy as np
import pytest
from ase import Atoms
from baseline_cases import frames_of, random_atoms

from aiida_pacemaker.baseline.evaluation import evaluate
from aiida_pacemaker.baseline.lammps import lammps_table, to_lammps
from aiida_pacemaker.baseline.model import DeltaBaseline, LJBaseline, LJPair, ZBLBaseline, ZBLPair

ELEMENTS = ('Mg', 'H', 'O')


def commands(lines: str) -> list[str]:
    return [line for line in lines.splitlines() if not line.startswith('#')]


def without_ace(lines: str) -> str:
    """Put the style that adds nothing in the place of ACE, which the LAMMPS of PyPI does not have."""
    lines = re.sub(r'hybrid/overlay pace\S*', 'hybrid/overlay zero 5.0', lines)
    return re.sub(r'pair_coeff \* \* pace.*', 'pair_coeff * * zero', lines)


def lj_of(switched: set[tuple[str, str]], shift: bool) -> LJBaseline:
    """Return the default of which some pairs only are switched."""
    pairs = DeltaBaseline.for_elements(ELEMENTS, lj=True).lj.pairs
    whole = {'off': None, 'on': None}
    return LJBaseline(
        pairs=tuple(pair if pair.elements in switched else pair.model_copy(update=whole) for pair in pairs), shift=shift
    )


PAIRS = {('H', 'H'), ('H', 'Mg'), ('H', 'O'), ('Mg', 'Mg'), ('Mg', 'O'), ('O', 'O')}


@pytest.mark.parametrize('active_set', [None, 'potential.asi'])
@pytest.mark.parametrize('shift', [True, False])
@pytest.mark.parametrize(('mode', 'switched'), [('delta', PAIRS), ('core', set()), ('both', {('Mg', 'O'), ('H', 'O')})])
def test_the_lines_add_the_baseline_in_lammps(lammps, tmp_path, mode, switched, shift, active_set):
    atoms = random_atoms(2, 'H3Mg3O3', 5, 0.9)
    own = (
        ZBLPair(elements=('O', 'Mg'), inner=0.41, outer=1.7),
        ZBLPair(elements=('H', 'H'), inner=0.3, outer=0.97),
    )
    zbl = ZBLBaseline(inner=1.0 / 3, outer=1.9, pairs=own)
    baseline = DeltaBaseline(mode=mode, zbl=zbl, lj=lj_of(switched, shift))
    lines = to_lammps(baseline, ELEMENTS, 'potential.yaml', active_set)
    table = lammps_table(baseline, ELEMENTS)
    assert ('table spline' in lines, 'lj/cut' in lines) == (bool(switched), switched != PAIRS)
    assert (table is not None) == bool(switched)
    if table is not None:
        (tmp_path / 'potential.table').write_text(table)
    reference, terms = lammps(atoms, ELEMENTS, without_ace(lines)), evaluate(baseline, frames_of(atoms))
    np.testing.assert_allclose(terms.energy, [reference.energy], rtol=1e-9)
    np.testing.assert_allclose(terms.forces, reference.forces, rtol=1e-9, atol=1e-12 * np.abs(reference.forces).max())
    np.testing.assert_allclose(
        terms.stress[0], reference.stress, rtol=1e-9, atol=1e-11 * np.abs(reference.stress).max()
    )


def test_switched_lj_is_that_of_a_table_at_every_distance(lammps, tmp_path):
    """Energies and forces, where it is switched as well as at the cutoff."""
    deep = LJPair(elements=('O', 'O'), epsilon=0.3, sigma=2.3, cutoff=6.0, off=1.7, on=2.9)
    baseline = DeltaBaseline(mode='core', zbl=ZBLBaseline(inner=1, outer=2), lj=LJBaseline(pairs=(deep,), shift=False))
    distances = np.concatenate([[0.02, 0.5], np.linspace(1.69, 2.91, 40), [3.5, 5.0, 5.999, 6.001]])
    single = [Atoms('O2', [[0, 0, 0], [0.6 * r, 0, 0.8 * r]]) for r in distances]
    together = Atoms(cell=[30, 30, 30 * len(single) + 30])
    for place, dimer in enumerate(single, start=1):
        dimer.translate([10, 10, 30 * place])
        together += dimer
    (tmp_path / 'p.table').write_text(lammps_table(baseline, ['O']))
    reference = lammps(together, ['O'], without_ace(to_lammps(baseline, ['O'], 'p.yace')))
    terms = evaluate(baseline, frames_of(*single))
    np.testing.assert_allclose(terms.energy, reference.energies.reshape(-1, 2).sum(axis=1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(terms.forces, reference.forces, rtol=1e-9, atol=1e-9)


def test_the_default_lines_add_the_baseline_in_lammps(lammps):
    atoms = random_atoms(4, 'H2O2', 1.7, 0.1)
    baseline = DeltaBaseline.for_elements(['O', 'H'])
    reference = lammps(atoms, ['O', 'H'], without_ace(to_lammps(baseline, ['O', 'H'], 'potential.yace')))
    terms = evaluate(baseline, frames_of(atoms))
    assert terms.energy[0] > 0
    np.testing.assert_allclose(terms.energy, [reference.energy], rtol=1e-9)
    np.testing.assert_allclose(terms.forces, reference.forces, rtol=1e-9, atol=1e-12 * np.abs(reference.forces).max())


def test_two_atom_types_may_be_one_element():
    baseline = DeltaBaseline.for_elements(['Mg', 'O'], lj=True)
    lines = commands(to_lammps(baseline, ['O', 'Mg', 'O'], 'p.yace'))
    assert 'pair_coeff * * pace p.yace O Mg O' in lines
    style = 'pair_style hybrid/overlay pace zbl 0.462 0.924 zbl 0.7245 1.449 zbl 0.987 1.974 table spline 20000'
    assert lines[0] == style
    assert 'pair_coeff 1 3 zbl 1 8 8' in lines
    assert 'pair_coeff 2 3 zbl 2 12 8' in lines
    assert 'pair_coeff 2 3 table p.table Mg-O 4.6104' in lines
    assert sum(' table ' in line and line.startswith('pair_coeff') for line in lines) == 6


def test_without_anything_subtracted_ace_stands_alone():
    baseline = DeltaBaseline.for_elements(['Mg', 'O'], mode='core')
    assert commands(to_lammps(baseline, ['Mg', 'O'], 'p.yace')) == ['pair_style pace', 'pair_coeff * * p.yace Mg O']
    assert commands(to_lammps(baseline, ['Mg', 'O'], 'p.yaml', 'p.asi')) == [
        'pair_style pace/extrapolation',
        'pair_coeff * * p.yaml p.asi Mg O',
    ]


def test_the_algorithm_of_pace_can_be_chosen():
    baseline = DeltaBaseline.for_elements(['O'])
    style, *rest = commands(to_lammps(baseline, ['O'], 'p.yace', algorithm='product'))
    assert style.startswith('pair_style hybrid/overlay pace product zbl ')
    assert rest[0] == 'pair_coeff * * pace p.yace O'
    with pytest.raises(ValueError, match="algorithm='product' is a choice of pace"):
        to_lammps(baseline, ['O'], 'p.yaml', 'p.asi', algorithm='product')


def test_the_kokkos_trap_is_told_where_it_is():
    trap = 'issues/3936'
    assert trap in to_lammps(DeltaBaseline.for_elements(['O']), ['O'], 'p.yace')
    assert trap in to_lammps(DeltaBaseline.for_elements(['O'], mode='core', lj=True), ['O'], 'p.yace')
    assert trap not in to_lammps(DeltaBaseline.for_elements(['O'], mode='core'), ['O'], 'p.yace')


@pytest.mark.parametrize(
    'name',
    [
        *(
            '',
            ' ',
            '-a.yace',
            '*.yace',
            'é.yace',
            'a b.yace',
            'a\t.yace',
            'a\nshell id.yace',
            'a.yace\n',
            '${HOME}.yace',
        ),
        *(f'a{character}.yace' for character in '$&"#\';`\\()|<>'),
    ],
)
def test_names_that_lammps_would_take_apart_are_refused(name):
    baseline = DeltaBaseline.for_elements(['O'])
    with pytest.raises(ValueError, match='cannot go into a LAMMPS input'):
        to_lammps(baseline, ['O'], name)
    with pytest.raises(ValueError, match='cannot go into a LAMMPS input'):
        to_lammps(baseline, ['O'], 'p.yaml', name.replace('yace', 'asi'))


@pytest.mark.parametrize(
    ('elements', 'files', 'message'),
    [
        (['O', 'Mg Mg'], ['p.yace'], "'Mg Mg' is not the symbol"),
        (['O\nshell id'], ['p.yace'], 'is not the symbol'),
        ([], ['p.yace'], 'there are no elements'),
        (['O'], ['p.asi'], r"'p.asi' must end in .yace or .yaml"),
        (['O'], ['p.yace', 'p.asi'], r"'p.yace' must end in .yaml with an active set"),
        (['O'], ['p.yaml', 'p.npz'], r"'p.npz' must end in .asi"),
        (['O', 'Si'], ['p.yace'], r'no parameters for O-Si, Si-Si'),
    ],
)
def test_what_does_not_go_together_is_refused(elements, files, message):
    with pytest.raises(ValueError, match=message):
        to_lammps(DeltaBaseline.for_elements(['O'], lj=True), elements, *files)
