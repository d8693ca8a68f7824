"""What the graph knows of a trajectory: who made it, what its arrays mean, what its labels were calculated with."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
from aiida import orm

from aiida_pacemaker.data.conventions import said_convention
from aiida_pacemaker.data.theory import ATTRIBUTE, stored_level_of_theory
from aiida_pacemaker.errors import UnknownConventionError
from aiida_pacemaker.frames.fractional import look_fractional
from aiida_pacemaker.frames.reading import Reading
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.sources.base import TrajectorySource, stored_arrays
from aiida_pacemaker.sources.registry import (
    OWN_SOURCE,
    all_sources,
    conventions,
    foreign,
    how_to_state,
    source_called,
    source_of_process,
)

#: How the name of the function ends in which AiiDA parses a job once more (`Parser.parse_from_node`).
PARSING_AGAIN = 'parse_calcfunction'


def source_key(node: orm.Data) -> str:
    """Return the key under which the frames of a node say where they are from: a hash of its content.

    A uuid would make equal data unequal, and caching impossible.
    """
    return str(node.base.caching.compute_hash())


class TrajectoryOrigin:
    """Who made a trajectory. The graph is asked once, whatever is wanted of it: convention, frames, level of theory.

    :param node: the trajectory.
    """

    def __init__(self, node: orm.TrajectoryData) -> None:
        self.node = node

    @cached_property
    def job(self) -> orm.CalcJobNode | None:
        """The job that made it, or whose files a parser was given to make it; None if no job did."""
        creator: Any = self.node.creator
        if isinstance(creator, orm.CalcFunctionNode) and str(creator.process_label).endswith(PARSING_AGAIN):
            retrieved = creator.inputs.retrieved if 'retrieved' in creator.inputs else None
            creator = None if retrieved is None else retrieved.creator
        return creator if isinstance(creator, orm.CalcJobNode) else None

    @cached_property
    def maker(self) -> TrajectorySource | None:
        """The class of the foreign process that made it, None if none did or nothing is known of it."""
        return None if self.job is None else foreign(self.job.process_type)

    @cached_property
    def source(self) -> TrajectorySource:
        """The class that says what its arrays mean.

        What a trajectory says itself comes first, then the job that made it. A trajectory that no job has made, or that
        a calculation function of whoever has made, is taken for one in our own convention, unless its arrays are those
        of a foreign process.

        :raises UnknownConventionError: if that is not known, or not certain.
        """
        said = said_convention(self.node)
        if said is not None:
            return source_called(said)
        if self.job is not None:
            return source_of_process(str(self.job.process_type))
        return _recognised(self.node)

    def read(self, convention: str | None = None, *, labelled: bool = True) -> Reading:
        """Return the frames, and what is to be said of them; labels that the trajectory does not have are NaN.

        :param convention: name of the convention of its arrays; by default that of the process that made it. Which
            label belongs to which structure is asked of that process in any case.
        :param labelled: whether labels are wanted; if not, nothing that is wrong with them matters.
        :raises ValueError: if it cannot be read.
        """
        stated = self.source if convention is None else source_called(convention)
        reader = self.maker or stated
        return reader.read(
            self.node,
            None if self.maker is None else self.job,
            source_key=source_key(self.node),
            convention=stated.convention,
            labelled=labelled,
        )

    def level_of_theory(self, stated: LevelOfTheory | None = None) -> LevelOfTheory | None:
        """Return the level of theory of the labels, None if it is not known.

        It is the attribute `level_of_theory` if there is one; otherwise it is read from the job, by the class of its
        trajectories. The plugin of the job need not be installed.

        :param stated: what a user says of it, in place of what the job says.
        :raises ValueError: if the attribute is no level of theory.
        """
        known = stored_level_of_theory(self.node) or stated
        if known is not None or self.job is None or self.maker is None:
            return known
        return self.maker.level_of_theory(self.node, self.job)


def theory_of(node: orm.Node) -> LevelOfTheory | None:
    """Return the level of theory of the labels of a trajectory or of a file, None if it is not known.

    :raises ValueError: if what it says itself is no level of theory.
    """
    if isinstance(node, orm.TrajectoryData):
        return TrajectoryOrigin(node).level_of_theory()
    return stored_level_of_theory(node) if isinstance(node, orm.Data) else None


def recognised_conventions(origins: Mapping[str, TrajectoryOrigin]) -> dict[str, str]:
    """Return the names of the conventions of those trajectories of which it is known, by their labels."""
    found = {}
    for label, origin in origins.items():
        with suppress(UnknownConventionError):
            found[label] = origin.source.convention.name
    return found


def recognised_levels(origins: Mapping[str, TrajectoryOrigin]) -> dict[str, LevelOfTheory | str]:
    """Return the levels of theory of those trajectories that have one but do not say it themselves.

    :returns: by the label of the trajectory; the label of an earlier one stands for the same level once more.
    """
    levels: dict[str, LevelOfTheory | str] = {}
    first: dict[str, str] = {}
    for label, origin in origins.items():
        if origin.node.base.attributes.get(ATTRIBUTE, None) is not None:
            continue
        level = origin.level_of_theory()
        if level is not None:
            key = level.model_dump_json()
            levels[label] = first.get(key, level)
            first.setdefault(key, label)
    return levels


def has_labels(node: orm.TrajectoryData) -> bool:
    """Tell whether a trajectory has energies and forces, by the names that they have in its convention."""
    try:
        convention = TrajectoryOrigin(node).source.convention
    except UnknownConventionError:
        return False
    names = set(node.get_arraynames())
    return convention.forces in names and bool(set(convention.energy) & names)


def _recognised(node: orm.TrajectoryData) -> TrajectorySource:
    """Return the class of a trajectory that no job has made, by its arrays.

    :raises UnknownConventionError: if they may be of several.
    """
    certain: list[TrajectorySource] = []
    possible: list[TrajectorySource] = []
    for source in all_sources():
        recognised = source.recognises(node)
        if recognised != 'no':
            (certain if recognised == 'yes' else possible).append(source)
    if len(certain) == 1 and not possible:
        return certain[0]
    if certain or possible:
        names = [source.convention.name for source in (*certain, *possible)]
        raise UnknownConventionError(
            f'no job has made it, and by its arrays {_listed(node)} it may be of {" or ".join(names)}. '
            f'{how_to_state(*names)}'
        )
    if _looks_fractional(node):
        fractional = [name for name, convention in conventions().items() if convention.fractional]
        raise UnknownConventionError(
            'no job has made it, and all of its positions are between 0 and 1, which looks like fractional '
            f'coordinates, not angstrom. {how_to_state(*fractional)}'
        )
    return OWN_SOURCE


def _listed(node: orm.TrajectoryData) -> str:
    return ', '.join(f'`{name}`' for name in sorted(node.get_arraynames()))


def _looks_fractional(node: orm.TrajectoryData) -> bool:
    arrays = stored_arrays(node)
    pbc = node.base.attributes.get('pbc', None) or (True, True, True)
    if 'positions' not in arrays or 'cells' not in arrays or not all(pbc):
        return False
    return look_fractional(np.asarray(arrays['positions']), np.asarray(arrays['cells']), node.symbols)
