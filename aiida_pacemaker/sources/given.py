"""What people give as sources of frames, as the nodes that it stands for, or why it can be none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import UUID

from aiida import orm
from aiida.common.exceptions import MultipleObjectsError, NotExistent
from ase import Atoms

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.trajectories import trajectories_from_atoms, trajectories_from_frames
from aiida_pacemaker.frames.ase_io import reading_of
from aiida_pacemaker.sources.reading import Source, check_source, describe

NodeType = TypeVar('NodeType', bound=orm.Node)


def nodes_of(given: Iterable[Any], *, keys: Any = None, labelled: bool = True) -> list[Source]:
    """Return the nodes that are meant by what was given to a function, in order.

    A path becomes a `SinglefileData` that keeps the name of the file; structures of ASE become trajectories, those that
    follow each other one for each composition and periodicity; a whole number or a uuid stands for the node that has
    it; lists and mappings are gone through.

    :param keys: names of the labels of structures of ASE, where these are not the usual ones.
    :param labelled: whether labels are wanted.
    :raises ValueError: naming what cannot be a source, and what can.
    """
    nodes: list[Source] = []
    images: list[Atoms] = []

    def flush() -> None:
        if images:
            frames = reading_of(images, 'given', labelled=False).frames
            nodes.extend(trajectories_from_atoms(images, keys=keys) if labelled else trajectories_from_frames(frames))
            images.clear()

    for one in _flat(given):
        if isinstance(one, Atoms):
            images.append(one)
            continue
        flush()
        nodes.append(_node(one))
    flush()
    return nodes


def dataset_of(given: Any, name: str = 'dataset') -> PaceDatasetData:
    """Return the dataset that was given, as a node or by its PK or uuid.

    :param name: of the argument, for the message.
    :raises ValueError: if it is none.
    """
    advice = ': `merge_frames` makes one of trajectories, files and structures'
    return node_of(given, PaceDatasetData, name, advice)


def code_of(code: orm.AbstractCode | int | str) -> orm.AbstractCode:
    """Return a code that was given itself, or by its label, PK or uuid.

    :raises ValueError: if there is none.
    """
    if isinstance(code, orm.AbstractCode):
        return code
    try:
        return orm.load_code(code)
    except (NotExistent, MultipleObjectsError, TypeError, ValueError) as exception:
        raise ValueError(
            f'there is no code {code!r}: `verdi code list` has those that there are, `aiida-pacemaker setup` makes '
            'those of the engine'
        ) from exception


def node_of(given: Any, wanted: type[NodeType] | tuple[type[NodeType], ...], name: str, advice: str = '') -> NodeType:
    """Return a node that was given itself, or by its PK or uuid.

    :param wanted: its type, or several that will do.
    :param name: of the argument, for the message.
    :param advice: what to do, for the message.
    :raises ValueError: if there is no such node, or if it is of another type.
    """
    node = _loaded(given) if _is_identifier(given) else given
    if isinstance(node, wanted):
        return node
    types = wanted if isinstance(wanted, tuple) else (wanted,)
    needed = ' or '.join(f'`{one.__name__}`' for one in types)
    raise ValueError(f'`{name}` is {describe(node)}, a {needed} is needed{advice}')


def _flat(given: Iterable[Any]) -> Iterable[Any]:
    for one in given:
        if isinstance(one, Mapping):
            yield from _flat(value for _, value in sorted(one.items(), key=lambda item: str(item[0])))
        elif isinstance(one, Iterable) and not isinstance(one, (str, bytes, Atoms, orm.Node)):
            yield from _flat(one)
        else:
            yield one


def _node(one: Any) -> Source:
    if isinstance(one, (str, Path)) and not (isinstance(one, str) and _is_identifier(one) and not Path(one).exists()):
        return _file(Path(one))
    node = _loaded(one) if _is_identifier(one) else one
    problem = check_source(node)
    if problem is not None:
        raise ValueError(problem)
    return cast('Source', node)


def _file(path: Path) -> orm.SinglefileData:
    path = path.expanduser()
    if path.is_dir():
        raise ValueError(f'`{path}` is a directory: give the files in it that are meant, such as `*path.glob("*.xyz")`')
    if not path.is_file():
        raise ValueError(f'there is no file `{path}` (looked for in {Path.cwd()})')
    return orm.SinglefileData(path.resolve(), filename=path.name)


def _is_identifier(thing: Any) -> bool:
    """Tell whether something is a PK, or a text that is a whole uuid."""
    if isinstance(thing, str):
        try:
            return str(UUID(thing)) == thing.lower()
        except ValueError:
            return False
    return isinstance(thing, (Integral, UUID)) and not isinstance(thing, bool)


def _loaded(identifier: Any) -> orm.Node:
    try:
        return orm.load_node(int(identifier) if isinstance(identifier, Integral) else str(identifier))
    except (NotExistent, MultipleObjectsError) as exception:
        raise ValueError(f'there is no node {identifier} in this profile') from exception
