"""Reading the frames of the nodes that datasets are merged from."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from aiida import orm

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.trajectories import FOUND, REMARKS
from aiida_pacemaker.frames.ase_io.apart import FileReader
from aiida_pacemaker.frames.ase_io.compression import is_pickle, plain_name
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.pickle_reading import read_dataset, said_of_columns
from aiida_pacemaker.frames.reading import Reading
from aiida_pacemaker.sources.registry import foreign, job_behind, source_called, source_of

RawSource = orm.TrajectoryData | orm.SinglefileData
Source = RawSource | PaceDatasetData

#: Endings of the dataset files of Pacemaker, without that of a compressed file; most are known by their content too.
PICKLES = ('.pckl', '.pkl', '.pickle')

ACCEPTED = (
    'accepted are `TrajectoryData`, `PaceDatasetData`, `SinglefileData` with a dataset of Pacemaker or a file that ASE '
    'reads, the path of such a file, structures of ASE, and lists of these'
)
#: What to do with nodes that are no source, by the name of their class.
ADVICE = {
    'StructureData': 'it has no labels; for frames that are only to be selected from or labelled: '
    '`merge_frames(trajectories_from_atoms([structure.get_ase()]), labelled=False)`, with `trajectories_from_atoms` of '
    '`aiida_pacemaker.data.trajectories`',
    'LammpsTrajectory': 'its units depend on the `units` of the LAMMPS input, and it has no energies; for frames '
    'without labels: `merge_frames([node.get_step_structure(i).get_ase() for i in range(node.number_steps)], '
    'labelled=False)`, if its lengths are in angstrom',
    'FolderData': 'take the file out of it: `merge_frames(orm.SinglefileData(node.open(name, "rb"), filename=name))`',
    'RemoteData': 'its files are on another computer: fetch the one that is meant with `node.getfile(name, path)`, and '
    'give the path',
    'ArrayData': 'make a `TrajectoryData` of its arrays, see docs/howto/bring_your_data.md',
    'Dict': 'make a `TrajectoryData` of its numbers, see docs/howto/bring_your_data.md',
}


def source_key(node: Source) -> str:
    """Return the key under which the frames of a node say where they are from: a hash of its content.

    A uuid would make equal data unequal, and caching impossible.
    """
    return str(node.base.caching.compute_hash())


def convention_of(node: orm.TrajectoryData) -> str:
    """Return the name of the convention of a trajectory, as the process that made it has it.

    :raises UnknownConventionError: if that is not known.
    """
    return source_of(node).convention.name


def read_trajectory(node: orm.TrajectoryData, convention: str | None = None, *, labelled: bool = True) -> Reading:
    """Return the frames of a trajectory, and what is to be said of them; labels that it does not have are NaN.

    :param convention: name of the convention of its arrays; by default that of the process that made it. Which label
        belongs to which structure is asked of that process in any case.
    :param labelled: whether labels are wanted; if not, nothing that is wrong with them matters.
    :raises ValueError: if it cannot be read.
    """
    job = job_behind(node)
    made_by = None if job is None else foreign(job.process_type)
    stated = source_of(node) if convention is None else source_called(convention)
    reader = made_by or stated
    return reader.read(
        node,
        None if made_by is None else job,
        source_key=source_key(node),
        convention=stated.convention,
        labelled=labelled,
    )


def read_file(
    node: orm.SinglefileData,
    keys: LabelKeys | None = None,
    *,
    labelled: bool | None = None,
    file_format: str | None = None,
    reader: FileReader | None = None,
) -> Reading:
    """Return the frames of a file: a dataset of Pacemaker, or whatever ASE reads (extxyz, ...).

    :param keys: names of its labels, where they are not the usual ones.
    :param labelled: False if its labels are not wanted.
    :param file_format: its format, where neither its name nor its content tell it.
    :param reader: the process that ASE reads files in; one is started if none is given.
    """
    key = source_key(node)
    with node.open(mode='rb') as handle:
        if file_format is None and (plain_name(node.filename).lower().endswith(PICKLES) or is_pickle(handle)):
            frames, left_out = read_dataset(handle, source_key=key, keys=keys)
            return Reading(frames, said_of_columns(left_out))
        with nullcontext(reader) if reader is not None else FileReader() as own:
            return own.read(
                handle, name=node.filename, source_key=key, keys=keys, labelled=labelled, file_format=file_format
            )


def read_source(
    node: RawSource,
    convention: str | None = None,
    keys: LabelKeys | None = None,
    *,
    labelled: bool | None = None,
    file_format: str | None = None,
    reader: FileReader | None = None,
) -> Reading:
    """Return the frames of a trajectory or of a file, and what is to be said of them.

    :raises ValueError: if it does not hold what it should.
    """
    if isinstance(node, orm.TrajectoryData):
        _check_arrays(node, keys)
        reading = read_trajectory(node, convention, labelled=labelled is not False)
        remarks = tuple(node.base.attributes.get(REMARKS, None) or ()) if labelled is not False else ()
        found = node.base.attributes.get(FOUND, None)
        missing = reading.missing if found is None else dict.fromkeys(range(len(reading.frames)), found)
        return replace(reading, warnings=(*reading.warnings, *remarks), missing=missing)
    complaint = complaint_about_source(node)
    if complaint is not None:
        raise ValueError(complaint)
    return read_file(node, keys, labelled=labelled, file_format=file_format, reader=reader)


def _check_arrays(node: orm.TrajectoryData, keys: LabelKeys | None) -> None:
    """Refuse names of labels that are those of arrays of a trajectory: its own convention says what its arrays are.

    :raises ValueError: if there is such an array.
    """
    named = {} if keys is None else keys.model_dump(exclude_none=True)
    for label, name in named.items():
        if name != label and name in node.get_arraynames():
            raise ValueError(
                f'`keys` names the array `{name}` for the {label}, but it is for files and structures of ASE: make a '
                f'trajectory that has it as `{label}`'
            )


def complaint_about_source(node: Any) -> str | None:
    """Return why something is no source of frames and what to do, None if it is one."""
    if isinstance(node, (orm.TrajectoryData, orm.SinglefileData, PaceDatasetData)):
        return None
    if isinstance(node, orm.ProcessNode):
        advice = 'give its output, such as `node.outputs.output_trajectory`'
    else:
        names = [cls.__name__ for cls in type(node).__mro__]
        advice = next((ADVICE[name] for name in names if name in ADVICE), '')
    return f'{describe(node)} is no source of frames{": " if advice else ""}{advice}; {ACCEPTED}'


def describe(thing: Any) -> str:
    """Return how messages name what was given: its type, and the node that it is."""
    if isinstance(thing, orm.Node):
        pk = '' if thing.pk is None else f'<{thing.pk}>'
        return f'{type(thing).__name__}{pk}'
    shown = repr(thing)
    return f'{shown if len(shown) < 80 else shown[:77] + "..."} (of type `{type(thing).__name__}`)'
