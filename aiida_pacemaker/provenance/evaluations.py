"""Which dataset an evaluation is of: its arrays have one row for each frame or atom, but do not name the frames."""

from __future__ import annotations

import numpy as np
from aiida import orm
from aiida.common.links import LinkType

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.table import FloatArray

#: Arrays of an evaluation with which a loop finds candidates and calibrates gamma.
EVALUATED = ('energy', 'forces', 'gamma_max')


def gamma_of(evaluation: orm.ArrayData, dataset: PaceDatasetData) -> FloatArray:
    """Return the largest extrapolation grade of each frame of a dataset, shape (F,).

    :param evaluation: an output `evaluations.<label>` of `pacemaker.evaluate`, or `grades` of an explorer.
    :raises ValueError: if the evaluation has no gamma, or is not one of this dataset.
    """
    if 'gamma_max' not in evaluation.get_arraynames():
        raise ValueError(f'{evaluation} has no gamma: evaluate with an active set')
    evaluated = evaluated_dataset(evaluation)
    if evaluated is None:
        raise ValueError(
            f'nothing says which dataset {evaluation} is an evaluation of: an output `evaluations.<label>` of '
            '`pacemaker.evaluate` is needed, or `grades` of an explorer'
        )
    if evaluated.uuid != dataset.uuid and not np.array_equal(evaluated.get_hashes(), dataset.get_hashes()):
        raise ValueError(
            f'{evaluation} is of {evaluated}, not of {dataset}, whose frames are others: evaluate this dataset'
        )
    gamma: FloatArray = evaluation.get_array('gamma_max')
    if gamma.shape != (dataset.n_frames,):
        raise ValueError(f'{evaluation} is of {len(gamma)} frames, not of the {dataset.n_frames} frames of {dataset}')
    return gamma


def replaces_evaluation(grades: orm.ArrayData, dataset: PaceDatasetData) -> bool:
    """Tell whether the grades of an explorer have all that an evaluation of its candidates has for a loop.

    :param grades: output `grades` of the explorer.
    :param dataset: output `candidates` of the explorer.
    :raises ValueError: if an array has another shape, or if the grades are of other frames.
    """
    if not set(EVALUATED) <= set(grades.get_arraynames()):
        return False
    gamma_of(grades, dataset)
    for name, shape in (('energy', (dataset.n_frames,)), ('forces', (dataset.n_atoms, 3))):
        found = grades.get_array(name).shape
        if found != shape:
            raise ValueError(f'`{name}` of {grades} has the shape {found}, needed: {shape}')
    return True


def evaluated_dataset(evaluation: orm.ArrayData) -> PaceDatasetData | None:
    """Return the dataset that an evaluation is of, None if the graph does not tell.

    It is an input of the job that evaluated, or, of `grades`, the output `candidates` of the process that made both.
    """
    made = evaluation.base.links.get_incoming(link_type=LinkType.CREATE).first()
    if made is None:
        return None
    if made.link_label == 'grades':
        links = made.node.base.links.get_outgoing(
            PaceDatasetData, link_type=LinkType.CREATE, link_label_filter='candidates'
        ).all()
    else:
        given = made.node.base.links.get_incoming(PaceDatasetData, link_type=LinkType.INPUT_CALC).all()
        # The output `evaluations.pool` is of the input `datasets.pool`.
        suffix = made.link_label.rpartition('__')[2]
        links = [link for link in given if link.link_label.rpartition('__')[2] == suffix] or given
    (evaluated,) = [link.node for link in links] if len(links) == 1 else (None,)
    return evaluated if isinstance(evaluated, PaceDatasetData) else None
