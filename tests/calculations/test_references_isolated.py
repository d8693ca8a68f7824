"""Isolated atoms in a merge, and the reference energies that they give."""

from __future__ import annotations

import io

import pytest
from aiida import orm

from aiida_pacemaker.calculations.functions.datasets import split_frames
from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.calculations.functions.references import reference_energies_from
from aiida_pacemaker.errors import RefusedError
from aiida_pacemaker.frames.isolated import isolated_atoms

pytestmark = pytest.mark.usefixtures('aiida_profile')

ATOM = '1\nProperties=species:S:1:pos:R:3 config_type=IsolatedAtom energy={energy}{cell}\n{element} 0 0 0\n'
BOX = ' Lattice="12 0 0 0 12 0 0 0 12" pbc="T T T"'
CELL = (
    '2\nLattice="{a} 0 0 0 {a} 0 0 0 {a}" Properties=species:S:1:pos:R:3:forces:R:3 energy={energy} pbc="T T T"\n'
    'Cu 0 0 0 0 0 0\nAg {h} {h} {h} 0 0 0\n'
)
CELLS = ''.join(CELL.format(a=a, h=a / 2, energy=-7 + 0.1 * a) for a in (3.0, 3.1, 3.2, 3.3, 3.4))
ATOMS = ATOM.format(element='Cu', energy=-0.25, cell='') + ATOM.format(element='Ag', energy=-0.375, cell=BOX)


def file(text: str, name: str = 'all.extxyz') -> orm.SinglefileData:
    return orm.SinglefileData(io.BytesIO(text.encode()), filename=name)


@pytest.mark.fault(
    'isolated atoms are among the frames',
    engine='drops them, or fits them, by evaluator',
    here='the merge says so; set aside they give the reference energies',
    ends='`warnings`',
)
def test_atoms_that_are_set_aside_give_the_reference_energies():
    """They need no forces: nothing pulls at them."""
    source = file(ATOMS + CELLS)
    dataset, report = merge_frames(source, isolated_atoms='set_aside')
    assert dataset.n_frames == report['n_added'] == 5
    assert (report['n_given'], report['n_set_aside'], report['n_refused']) == (7, 2, 0)
    assert report['isolated_atoms'][1] == {
        'source': 'source_0000',
        'frame': 1,
        'step': 1,
        'element': 'Ag',
        'energy': -0.375,
    }
    assert not report['warnings']
    energies = reference_energies_from(dataset)
    assert energies.get_dict() == {'Ag': -0.375, 'Cu': -0.25}
    atoms = energies.creator.inputs.atoms_00
    assert atoms.creator.uuid == dataset.creator.uuid
    assert set(atoms.sources.values()) == {source.uuid}
    # Also for what was made of the dataset.
    train, _ = split_frames(dataset, test_fraction=0.3, seed=1)
    assert reference_energies_from(train).get_dict() == energies.get_dict()


def test_atoms_of_several_merges():
    first, _ = merge_frames(file(ATOM.format(element='Cu', energy=-0.25, cell='') + CELLS), isolated_atoms='set_aside')
    with pytest.raises(RefusedError, match='there is no isolated atom of Ag'):
        reference_energies_from(first)
    second, _ = merge_frames(
        file(ATOM.format(element='Ag', energy=-0.375, cell=BOX) + CELL.format(a=3.5, h=1.75, energy=-6.0)),
        base=first,
        isolated_atoms='set_aside',
    )
    assert reference_energies_from(second).get_dict() == {'Ag': -0.375, 'Cu': -0.25}


def test_atoms_that_stay_are_warned_of():
    dataset, report = merge_frames(
        file(
            CELLS
            + ATOM.format(element='Cu', energy=-0.25, cell='')
            .replace('pos:R:3 ', 'pos:R:3:forces:R:3 ')
            .replace('0 0 0\n', '0 0 0 0 0 0\n')
        )
    )
    assert dataset.n_frames == 6
    assert '1 frames are isolated atoms' in report['warnings'][0]
    assert isolated_atoms(dataset.get_frames()).tolist() == [False] * 5 + [True]
    with pytest.raises(RefusedError, match='no isolated atom of Ag'):
        reference_energies_from(dataset)


def test_atoms_of_one_element_with_several_energies_are_refused():
    twice = ATOMS + ATOM.format(element='Cu', energy=-0.5, cell=BOX) + CELLS
    dataset, _ = merge_frames(file(twice), isolated_atoms='set_aside')
    with pytest.raises(RefusedError, match=r'Cu has -0\.500000 to -0\.250000 eV'):
        reference_energies_from(dataset)


def test_nothing_but_atoms():
    with pytest.raises(RefusedError, match='all frames are isolated atoms'):
        merge_frames(file(ATOMS), isolated_atoms='set_aside')


def test_one_atom_in_a_crystal_is_not_isolated():
    crystal = ATOM.format(element='Cu', energy=-3.5, cell=BOX.replace('12', '2.5'))
    slab = ATOM.format(element='Cu', energy=-3.5, cell=' Lattice="2.5 0 0 0 2.5 0 0 0 20" pbc="T T F"')
    _, report = merge_frames(file(crystal + slab + CELLS), isolated_atoms='set_aside', max_failed_fraction=1.0)
    assert report['n_set_aside'] == 0
    assert [entry['reason'] for entry in report['refused']] == ['forces_not_finite'] * 2
