"""Reading the nodes that datasets are merged from: each once, its frames together with their level of theory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from aiida import orm

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.theory import stored_level_of_theory
from aiida_pacemaker.data.trajectories import FOUND, REMARKS
from aiida_pacemaker.frames.ase_io.apart import FileReader
from aiida_pacemaker.frames.ase_io.compression import is_pickle, plain_name
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.pickles.reading import read_dataset, said_of_columns
from aiida_pacemaker.frames.reading import Reading
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.sources.merge_options import MergeOptions
from aiida_pacemaker.sources.origin import TrajectoryOrigin, source_key

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


@dataclass(frozen=True, eq=False)
class SourceFrames:
    """What one trajectory or file gives to a merge. Nothing more is asked of the node.

    :param label: label of the source.
    :param uuid: of the node.
    :param reading: its frames, and what is to be said of them.
    :param level: the level of theory of their labels, None if it is not known.
    """

    label: str
    uuid: str
    reading: Reading
    level: LevelOfTheory | None


def read_sources(nodes: Mapping[str, RawSource], options: MergeOptions) -> Iterator[SourceFrames]:
    """Iterate over trajectories and files, each read once as the options say.

    One is in memory at a time: there may be thousands, of whose frames only those that are good and new are kept.

    :param nodes: by the labels of the sources.
    :raises ValueError: naming the source, if one cannot be read, or if what it says of itself is no level of theory.
    """
    with FileReader() as reader:
        for label, node in nodes.items():
            origin = TrajectoryOrigin(node) if isinstance(node, orm.TrajectoryData) else None
            labelled = None if options.labelled else False
            try:
                if origin is not None:
                    keys, convention = options.keys_of(label), options.conventions.get(label)
                    reading = read_trajectory(origin, convention, keys, labelled=labelled)
                else:
                    reading = read_source(
                        node,
                        keys=options.keys_of(label),
                        labelled=labelled,
                        file_format=options.format_of(label, getattr(node, 'filename', '')),
                        reader=reader,
                    )
            except ValueError as exception:
                raise ValueError(f'{label}, which is {node}, cannot be merged: {exception}') from exception
            stated = options.level_of(label)
            level = (stored_level_of_theory(node) or stated) if origin is None else origin.level_of_theory(stated)
            yield SourceFrames(label, str(node.uuid), reading, level)


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
        return read_trajectory(TrajectoryOrigin(node), convention, keys, labelled=labelled)
    problem = check_source(node)
    if problem is not None:
        raise ValueError(problem)
    return read_file(node, keys, labelled=labelled, file_format=file_format, reader=reader)


def read_trajectory(
    origin: TrajectoryOrigin,
    convention: str | None = None,
    keys: LabelKeys | None = None,
    *,
    labelled: bool | None = None,
) -> Reading:
    """Return the frames of a trajectory, and what is to be said of them, with the remarks that it was stored with.

    :param convention: name of the convention of its arrays; by default that of the process that made it.
    :param keys: names of labels in files, which no array of the trajectory may have.
    :param labelled: False if its labels are not wanted.
    :raises ValueError: if it does not hold what it should.
    """
    _check_arrays(origin.node, keys)
    reading = origin.read(convention, labelled=labelled is not False)
    attributes = origin.node.base.attributes
    remarks = tuple(attributes.get(REMARKS, None) or ()) if labelled is not False else ()
    found = attributes.get(FOUND, None)
    missing = reading.missing if found is None else dict.fromkeys(range(len(reading.frames)), found)
    return replace(reading, warnings=(*reading.warnings, *remarks), missing=missing)


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


def check_source(node: Any) -> str | None:
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
