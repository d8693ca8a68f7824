"""Calculation functions of labelling with Quantum ESPRESSO: frames as structures, and its results as labels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from aiida import orm
from aiida.engine import calcfunction
from ase.data import chemical_symbols

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.surveys import Shard
from aiida_pacemaker.data.trajectories import trajectories_from_frames
from aiida_pacemaker.frames.label_failures import Failure, failure_entries
from aiida_pacemaker.frames.reading import Reading
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.quantumespresso.convention import QUANTUM_ESPRESSO
from aiida_pacemaker.sources.known_frames import frames_at
from aiida_pacemaker.sources.origin import TrajectoryOrigin

#: Atoms and cells that come back from a calculation may differ by this from those that went in, in angstrom.
TOLERANCE = 1e-6
#: Reasons of frames that were not calculated, or whose results are none of this frame.
NOT_PERIODIC, WRONG_RESULT = 'not_periodic', 'wrong_result'


@calcfunction
def structure_of_frame(dataset: PaceDatasetData, index: orm.Int) -> orm.StructureData:
    """Return one frame of a dataset as a structure, its kinds named by their elements.

    :param index: position of the frame in the dataset, counted from zero.
    """
    return structure_of(_frame(dataset, index.value))


def structure_of(frame: Frames) -> orm.StructureData:
    """Return a single frame as a structure that is not stored."""
    structure = orm.StructureData(cell=frame.cells[0].tolist(), pbc=frame.pbc[0].tolist())
    for number, position in zip(frame.numbers.tolist(), frame.positions.tolist(), strict=True):
        structure.append_atom(position=position, symbols=chemical_symbols[number])
    return structure


@calcfunction
def collect_labels(dataset: PaceDatasetData, **frames: orm.TrajectoryData) -> dict[str, orm.Data]:
    """Return the labels that Quantum ESPRESSO found for frames of a dataset, on the very structures of the dataset.

    Text files round positions, and a frame whose positions were rounded would be another one.

    :param frames: the `output_trajectory` of an scf calculation for each frame, by `frame_0000` with its position.
    :returns: a trajectory for each composition and level of theory, and `refused`: the reasons of results that are not
        those of their frame, by its position.
    """
    by_level: dict[str, list[Frames]] = {}
    levels: dict[str, LevelOfTheory | None] = {}
    refused: dict[str, str] = {}
    for name, node in sorted(frames.items()):
        index = int(name.removeprefix('frame_'))
        frame, origin = _frame(dataset, index), TrajectoryOrigin(node)
        try:
            labelled = _labelled(frame, origin.read(QUANTUM_ESPRESSO.name))
        except ValueError as exception:
            refused[str(index)] = str(exception)
            continue
        level = origin.level_of_theory()
        identity = '' if level is None else level.model_dump_json()
        levels.setdefault(identity, level)
        by_level.setdefault(identity, []).append(labelled)
    nodes = [
        node
        for identity, parts in by_level.items()
        for node in trajectories_from_frames(Frames.concatenate(parts), theory=levels[identity])
    ]
    outputs: dict[str, orm.Data] = {f'composition_{index:04d}': node for index, node in enumerate(nodes)}
    return {**outputs, 'refused': orm.Dict(refused)}


def _frame(dataset: PaceDatasetData, index: int) -> Frames:
    """Return one frame of a dataset, by its position.

    :raises IndexError: if there is no such frame.
    """
    first = 0
    for shard in dataset.shards:
        if 0 <= index - first < shard['n_frames']:
            return _read(Shard(shard['name'], dataset)).select([index - first])
        first += shard['n_frames']
    raise IndexError(f'{dataset} has no frame {index}')


@lru_cache(maxsize=1)
def _read(shard: Shard) -> Frames:
    """Return the frames of a shard. Each is asked for alone, one after the other: the shard is read once for all."""
    return shard.dataset.get_shard(shard.name)


def _labelled(frame: Frames, reading: Reading) -> Frames:
    """Return a frame with the labels of a result.

    :raises ValueError: if the result is not one of this frame, or not complete or not converged.
    """
    result = reading.frames
    if reading.unconverged:
        raise ValueError(next(iter(reading.unconverged.values())))
    if len(result) != 1:
        raise ValueError(f'the calculation has {len(result)} steps, it must have one')
    if not np.array_equal(frame.numbers, result.numbers):
        raise ValueError('the atoms of the result are others than those of the frame, or in another order')
    moved = np.abs(result.cells - frame.cells).max()
    if moved > TOLERANCE:
        raise ValueError(f'the cell of the result differs by {moved:.3g} angstrom from that of the frame')
    # An atom may have been moved by a cell vector.
    fractions = np.linalg.solve(frame.cells[0].T, (result.positions - frame.positions).T).T
    moved = np.abs((fractions - np.rint(fractions)) @ frame.cells[0]).max()
    if moved > TOLERANCE:
        raise ValueError(f'an atom of the result is {moved:.3g} angstrom away from where it is in the frame')
    if result.energy is None or result.forces is None or result.stress is None:
        raise ValueError('the calculation has no energy, forces or stress')
    for name, label in (('energy', result.energy), ('forces', result.forces), ('stress', result.stress)):
        if not np.isfinite(label).all():
            raise ValueError(f'the result has no {name}, or one that is not finite')
    return frame.with_labels(result.energy, result.forces, result.stress)


@calcfunction
def list_failures(dataset: PaceDatasetData, reasons: orm.Dict) -> orm.Dict:
    """Return the frames that could not be labelled, as every labeller lists them.

    :param reasons: `failures`, the kind of the reason and its message for each position of a frame in the dataset, and
        whatever else is to be said of the labelling.
    """
    content = reasons.get_dict()
    failed: dict[int, Failure] = {int(index): tuple(reason) for index, reason in content.pop('failures').items()}
    indices = sorted(failed)
    if not indices:
        return orm.Dict({'failures': [], **content})
    listed = failure_entries(frames_at(dataset, np.array(indices)), [failed[index] for index in indices])
    return orm.Dict({'failures': listed, **content})
