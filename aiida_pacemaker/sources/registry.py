"""The classes of the foreign processes whose trajectories are known, by their entry points."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import entry_points

from aiida_pacemaker.errors import UnknownConventionError
from aiida_pacemaker.frames.conventions import EV_ASE, Convention, unknown_name
from aiida_pacemaker.plugin_classes import class_at, own_are_missing
from aiida_pacemaker.sources.base import TrajectorySource

#: Group of the entry points; the name of each is that of the process whose trajectories its class describes.
GROUP = 'pacemaker.sources'
#: How types of processes with an entry point begin.
CALCULATIONS = 'aiida.calculations:'
#: How the types of our own processes begin, with an entry point and without.
OWN = (f'{CALCULATIONS}pacemaker.', 'aiida_pacemaker.')
HOW_TO = 'docs/howto/bring_your_data.md'


class OwnSource(TrajectorySource):
    """Trajectories in the convention of this package: its own, and those that users make."""

    convention = EV_ASE


OWN_SOURCE = OwnSource()


@lru_cache(maxsize=1)
def sources_by_process() -> dict[str, TrajectorySource]:
    """Return the classes of all foreign processes that are known, by the type of the process.

    :raises RuntimeError: if a class cannot be loaded or is none, or if our own are not there.
    """
    found: dict[str, TrajectorySource] = {}
    instances: dict[type, TrajectorySource] = {}
    for entry_point in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        cls = class_at(entry_point, TrajectorySource, f'the trajectories of `{entry_point.name}`')
        source = instances.setdefault(cls, cls())
        for process_type in (CALCULATIONS + entry_point.name, *cls.process_types):
            found[process_type] = source
    if not any(type(source).__module__.startswith('aiida_pacemaker.') for source in found.values()):
        raise own_are_missing(GROUP)
    return found


def all_sources() -> list[TrajectorySource]:
    """Return one object of each class, our own convention first."""
    return [OWN_SOURCE, *dict.fromkeys(sources_by_process().values())]


def conventions() -> dict[str, Convention]:
    """Return all conventions that a user can state, by their names."""
    return {source.convention.name: source.convention for source in all_sources()}


def source_called(name: str) -> TrajectorySource:
    """Return the class of a convention.

    :raises UnknownConventionError: if there is none of this name.
    """
    found: dict[str, TrajectorySource] = {source.convention.name: source for source in all_sources()}
    if name in found:
        return found[name]
    raise UnknownConventionError(unknown_name(name, conventions()))


def source_of_process(process_type: str) -> TrajectorySource:
    """Return the class of the trajectories of a type of process.

    :raises UnknownConventionError: if nothing is known of it.
    """
    known = sources_by_process()
    if process_type in known:
        return known[process_type]
    if process_type.startswith(OWN):
        return OWN_SOURCE
    raise UnknownConventionError(
        f'it was made by `{process_type.removeprefix(CALCULATIONS)}`, of which it is not known what units, signs and '
        f'coordinates its arrays have. {how_to_state()}. A class for its plugin makes them known once and for all, '
        f'see {HOW_TO}'
    )


def foreign(process_type: str | None) -> TrajectorySource | None:
    """Return the class of a foreign process, None for all others."""
    return sources_by_process().get(str(process_type))


def how_to_state(*names: str) -> str:
    """Return what a user can do: state the convention."""
    meant = ', '.join(
        f'`{name}` ({convention.about})' for name, convention in conventions().items() if name in names or not names
    )
    if names and EV_ASE.name not in names:
        meant += f', or `{EV_ASE.name}` ({EV_ASE.about})'
    return (
        "State the convention of its arrays with `conventions={'source_0000': ...}`, by the label of the source: "
        f'{meant}'
    )
