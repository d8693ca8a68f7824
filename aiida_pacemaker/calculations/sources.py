"""Reading the frames of the nodes that datasets are merged from."""

from __future__ import annotations

from typing import Literal

import numpy as np
from aiida import orm

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.trajectories import REMARKS
from aiida_pacemaker.frames.ase_io import read_all
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.pickle_reading import read_dataset, said_of_columns
from aiida_pacemaker.frames.reading import Reading
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.frames.trajectory import from_arrays

RawSource = orm.TrajectoryData | orm.SinglefileData
Source = RawSource | PaceDatasetData
Convention = Literal['eV-ASE', 'quantumespresso']

#: How the types of processes of aiida-quantumespresso begin, with an entry point and without.
QUANTUM_ESPRESSO_PROCESSES = ('aiida.calculations:quantumespresso.', 'aiida_quantumespresso.')
#: Arrays that only aiida-quantumespresso writes.
QUANTUM_ESPRESSO_ARRAYS = {'energy_hartree', 'scf_iterations', 'energy_accuracy', 'energy_ewald'}
#: Largest `energy_accuracy` of pw.x in eV per atom that a label may have. The error of forces goes with its root.
MAX_INACCURACY = 1e-4
#: Endings of the dataset files of Pacemaker; all others are left to ASE.
PICKLES = ('.pckl.gzip', '.pkl.gz', '.pckl', '.pkl')


def source_key(node: Source) -> str:
    """Return the key under which the frames of a node say where they are from: a hash of its content.

    A uuid would make equal data unequal, and caching impossible.
    """
    return str(node.base.caching.compute_hash())


def convention_of(node: orm.TrajectoryData) -> Convention:
    """Return the units and signs of a trajectory, as the plugin that made it has them."""
    creator = node.creator
    made_by = '' if creator is None else str(creator.process_type)
    if made_by.startswith(QUANTUM_ESPRESSO_PROCESSES) or QUANTUM_ESPRESSO_ARRAYS & set(node.get_arraynames()):
        return 'quantumespresso'
    return 'eV-ASE'


def read_trajectory(node: orm.TrajectoryData, convention: Convention) -> Frames:
    """Return the frames of a trajectory; labels that it does not have are NaN."""
    arrays: dict[str, np.ndarray] = {name: node.get_array(name) for name in node.get_arraynames()}
    pbc = node.base.attributes.get('pbc', None)
    return from_arrays(
        arrays, node.symbols, None if pbc is None else tuple(pbc), source_key=source_key(node), convention=convention
    )


def read_file(node: orm.SinglefileData, keys: LabelKeys | None = None, *, labelled: bool | None = None) -> Reading:
    """Return the frames of a file: a dataset of Pacemaker, or whatever ASE reads (extxyz, ...).

    :param keys: names of its labels, where they are not the usual ones.
    :param labelled: False if its labels are not wanted.
    """
    with node.open(mode='rb') as handle:
        if node.filename.endswith(PICKLES):
            frames, left_out = read_dataset(handle, source_key=source_key(node), keys=keys)
            return Reading(frames, said_of_columns(left_out))
        return read_all(handle, name=node.filename, source_key=source_key(node), keys=keys, labelled=labelled)


def read_source(
    node: RawSource,
    convention: Convention | None = None,
    keys: LabelKeys | None = None,
    *,
    labelled: bool | None = None,
) -> Reading:
    """Return the frames of a trajectory or of a file, and what is to be said of them.

    :raises ValueError: if it does not hold what it should.
    """
    if isinstance(node, orm.TrajectoryData):
        frames = read_trajectory(node, convention or convention_of(node))
        return Reading(
            frames, warnings=tuple(node.base.attributes.get(REMARKS, None) or ()), unconverged=_inaccurate(node, frames)
        )
    return read_file(node, keys, labelled=labelled)


def _inaccurate(node: orm.TrajectoryData, frames: Frames) -> dict[int, str]:
    """Return the frames whose energy pw.x itself says to be less accurate than a label has to be."""
    if 'energy_accuracy' not in node.get_arraynames():
        return {}
    accuracy = np.abs(np.ravel(node.get_array('energy_accuracy')))[: len(frames)] / frames.n_atoms[0]
    return {
        row: f'pw.x estimates the accuracy of its energy as {accuracy[row]:.3g} eV/atom, at most {MAX_INACCURACY:g} is '
        'needed: converge it, or merge with `allow_unconverged=True`'
        for row in np.flatnonzero(accuracy > MAX_INACCURACY).tolist()
    }
