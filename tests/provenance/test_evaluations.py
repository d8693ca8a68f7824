"""Which dataset an evaluation is of, and whether the grades of an explorer replace one."""

from __future__ import annotations

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_pacemaker.data.arrays import array_data
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.provenance.evaluations import evaluated_dataset, gamma_of, replaces_evaluation


@pytest.fixture
def explored(aiida_profile, mgo_frames):
    """Return a function that stores candidates and grades of one process, with some of the arrays changed."""

    def make(label='grades', **changes):
        starts = PaceDatasetData(mgo_frames.select([5])).store()
        process = orm.CalcFunctionNode()
        process.base.links.add_incoming(starts, LinkType.INPUT_CALC, 'initial_structures')
        process.store()
        candidates = PaceDatasetData(mgo_frames.select([0, 1]))
        arrays = {
            'energy': np.zeros(2),
            'forces': np.zeros((candidates.n_atoms, 3)),
            'gamma_max': np.array([1.0, 2.0]),
            **changes,
        }
        grades = array_data({name: array for name, array in arrays.items() if array is not None})
        for name, node in (('candidates', candidates), (label, grades)):
            node.base.links.add_incoming(process, LinkType.CREATE, name)
            node.store()
        return candidates, grades

    return make


def test_grades_are_of_the_candidates(explored):
    candidates, grades = explored()
    assert evaluated_dataset(grades).uuid == candidates.uuid
    assert gamma_of(grades, candidates).tolist() == [1.0, 2.0]
    assert replaces_evaluation(grades, candidates)


@pytest.mark.parametrize('name', ['energy', 'forces', 'gamma_max'])
def test_grades_without_an_array_replace_no_evaluation(explored, name):
    candidates, grades = explored(**{name: None})
    assert not replaces_evaluation(grades, candidates)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'gamma_max': np.ones(3)}, 'is of 3 frames'),
        ({'energy': np.ones(3)}, r'`energy` of .* has the shape \(3,\)'),
        ({'forces': np.ones((2, 3))}, r'`forces` of .* has the shape \(2, 3\)'),
    ],
)
def test_grades_of_another_shape_are_refused(explored, changes, said):
    with pytest.raises(ValueError, match=said):
        replaces_evaluation(*reversed(explored(**changes)))


def test_grades_of_other_frames_are_refused(explored, mgo_frames):
    _, grades = explored()
    with pytest.raises(ValueError, match='whose frames are others'):
        replaces_evaluation(grades, PaceDatasetData(mgo_frames.select([2, 3])).store())


def test_of_other_outputs_the_input_is_what_was_evaluated(explored):
    candidates, result = explored('result')
    assert evaluated_dataset(result).uuid != candidates.uuid
