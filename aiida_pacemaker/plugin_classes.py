"""Classes of any package that are found by entry points: sources of trajectories, engines of the loop."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import TypeVar

Plugin = TypeVar('Plugin')


def class_at(entry_point: EntryPoint, base: type[Plugin], what: str) -> type[Plugin]:
    """Return the class of an entry point.

    :param entry_point: one that was found.
    :param base: what the class has to be derived from.
    :param what: what the class is of, for the message.
    :raises RuntimeError: if it cannot be loaded, or is no such class.
    """
    try:
        found = entry_point.load()
    except Exception as exception:  # the module of another package may raise anything
        raise RuntimeError(
            f'the class `{entry_point.value}` of {what} cannot be loaded: {exception}. Repair or uninstall the package '
            'that has it'
        ) from exception
    if not (isinstance(found, type) and issubclass(found, base)):
        raise RuntimeError(f'`{entry_point.value}` (entry point of `{entry_point.group}`) is no `{base.__name__}`')
    return found


def own_are_missing(group: str) -> RuntimeError:
    """Return the error for an installation that was made before this package had entry points of a group."""
    return RuntimeError(
        f'the entry points `{group}` of aiida-pacemaker are not there: install the package again (`pip install -e .` '
        'in a clone)'
    )
