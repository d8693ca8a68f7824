"""Frames from the arrays of a trajectory, and back."""

import numpy as np
import pytest
from ase.units import GPa
from frame_cases import assert_equal, random_frames
from hypothesis import given
from hypothesis import strategies as st

from aiida_pacemaker.frames.conventions import EV_ASE
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.frames.trajectory import from_arrays, to_arrays
from aiida_pacemaker.quantumespresso.convention import QUANTUM_ESPRESSO

SYMBOLS = ['Mg', 'O', 'O']


def arrays(steps=4, extra=0):
    rng = np.random.default_rng(0)
    return {
        'positions': rng.normal(size=(steps, 3, 3)),
        'cells': np.tile(np.eye(3) * 4, (steps, 1, 1)),
        'energy': rng.normal(size=steps + extra),
        'forces': rng.normal(size=(steps + extra, 3, 3)),
        'stress': rng.normal(size=(steps + extra, 3, 3)),
        'steps': np.arange(steps),
    }


def test_our_own_arrays_are_taken_as_they_are():
    given_ = arrays()
    frames = from_arrays(given_, SYMBOLS, (True, True, False), source_key='key', convention=EV_ASE)
    assert frames.n_atoms.tolist() == [3] * 4
    assert frames.numbers.tolist() == [12, 8, 8] * 4
    np.testing.assert_array_equal(frames.positions.reshape(4, 3, 3), given_['positions'])
    np.testing.assert_array_equal(frames.forces.reshape(4, 3, 3), given_['forces'])
    np.testing.assert_array_equal(frames.cells, given_['cells'])
    np.testing.assert_array_equal(frames.energy, given_['energy'])
    np.testing.assert_array_equal(frames.stress, given_['stress'])
    assert frames.pbc.tolist() == [[True, True, False]] * 4
    assert frames.step.tolist() == [0, 1, 2, 3]
    assert frames.source_of(3) == 'key'


def test_the_stress_of_quantum_espresso_changes_unit_and_sign():
    given_ = arrays()
    frames = from_arrays(given_, SYMBOLS, None, source_key='key', convention=QUANTUM_ESPRESSO)
    np.testing.assert_allclose(frames.stress, -given_['stress'] / 160.21766208, rtol=1e-7)
    np.testing.assert_allclose(frames.stress, -given_['stress'] * GPa, rtol=1e-15)
    np.testing.assert_array_equal(frames.energy, given_['energy'])


def test_the_last_label_of_a_variable_cell_relaxation_is_not_given_to_the_last_frame():
    given_ = arrays(extra=1)
    frames = from_arrays(given_, SYMBOLS, None, source_key='key', convention=QUANTUM_ESPRESSO)
    assert len(frames) == 4
    np.testing.assert_array_equal(frames.energy, given_['energy'][:4])
    np.testing.assert_array_equal(frames.forces.reshape(4, 3, 3), given_['forces'][:4])
    np.testing.assert_allclose(frames.stress, -given_['stress'][:4] * GPa)
    with pytest.raises(ValueError, match=r'the array `energy` of the trajectory has shape \(5,\), \(4,\) is needed'):
        from_arrays(given_, SYMBOLS, None, source_key='key', convention=EV_ASE)


@pytest.mark.parametrize('convention', [EV_ASE, QUANTUM_ESPRESSO])
@pytest.mark.parametrize(
    ('name', 'shape', 'needed'),
    [
        ('positions', (4, 2, 3), '(4, 3, 3)'),
        ('positions', (12, 3), '(12, 3, 3)'),
        ('cells', (3, 3), '(4, 3, 3)'),
        ('energy', (3,), '(4,)'),
        ('energy', (6,), '(4,)'),
        ('energy', (), '(4,)'),
        ('forces', (4, 9), '(4, 3, 3)'),
        ('stress', (4, 6), '(4, 3, 3)'),
    ],
)
def test_an_array_of_the_wrong_shape_is_named(convention, name, shape, needed):
    given_ = arrays() | {name: np.zeros(shape)}
    with pytest.raises(ValueError, match=f'array `{name}` of the trajectory has shape ') as info:
        from_arrays(given_, SYMBOLS, None, source_key='key', convention=convention)
    assert str(info.value).endswith(f'has shape {shape}, {needed} is needed')


def test_missing_labels_are_not_numbers_and_none_at_all_mean_unlabelled():
    given_ = arrays()
    del given_['stress'], given_['forces']
    frames = from_arrays(given_, SYMBOLS, None, source_key='key')
    assert np.isnan(frames.stress).all()
    assert frames.forces.shape == (12, 3)
    assert np.isnan(frames.forces).all()
    del given_['energy']
    assert not from_arrays(given_, SYMBOLS, None, source_key='key').labelled


def test_an_old_trajectory_is_periodic_if_it_has_cells():
    given_ = arrays()
    assert from_arrays(given_, SYMBOLS, None, source_key='key').pbc.all()
    del given_['cells']
    molecule = from_arrays(given_, SYMBOLS, None, source_key='key')
    assert not molecule.pbc.any()
    assert not molecule.cells.any()
    with pytest.raises(ValueError, match='periodic but has no array `cells`'):
        from_arrays(given_, SYMBOLS, (True, False, False), source_key='key')
    with pytest.raises(ValueError, match='has no array `positions`'):
        from_arrays({'cells': np.zeros((1, 3, 3))}, SYMBOLS, None, source_key='key')


def test_kinds_count_as_their_elements():
    frames = from_arrays(arrays(), ['Mg1', 'O', 'O_up'], None, source_key='key')
    assert frames.elements == ('Mg', 'O')


@pytest.mark.parametrize('symbol', ['X', 'Xx', 'mg', '', 'MgO', '12'])
def test_what_names_no_element_is_refused(symbol):
    with pytest.raises(ValueError, match='neither a chemical symbol nor one with a number behind it'):
        from_arrays(arrays(), ['Mg', 'O', symbol], None, source_key='key')


@given(seed=st.integers(0, 10**6), n_frames=st.integers(0, 12), labelled=st.booleans())
def test_frames_sorted_into_trajectories_come_back(seed, n_frames, labelled):
    frames = random_frames(seed, n_frames, labelled=labelled, max_atoms=2, n_sources=1)
    parts = to_arrays(frames)
    assert len({(part.symbols, part.pbc) for part in parts}) == len(parts)
    order = [position for part in parts for position in part.frames.tolist()]
    assert sorted(order) == list(range(n_frames))
    back = [
        from_arrays(
            {'positions': part.positions, 'cells': part.cells, **part.arrays},
            part.symbols,
            part.pbc,
            source_key='source-0',
        )
        for part in parts
    ]
    for part, table in zip(parts, back, strict=True):
        expected = frames.select(part.frames)
        assert_equal(table, Frames(**{**vars(expected), 'step': table.step}))
