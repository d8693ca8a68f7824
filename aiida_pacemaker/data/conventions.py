"""The convention of its arrays as an attribute of a trajectory."""

from __future__ import annotations

from aiida import orm

#: Attribute of trajectories that say themselves what convention their arrays follow.
ATTRIBUTE = 'convention'


def say_convention(node: orm.TrajectoryData, name: str) -> None:
    """Say what names, units, signs and coordinates the arrays of a trajectory have, whoever makes it.

    :param node: not stored yet: what a node says is fixed when it is stored.
    :param name: of a convention, such as `eV-ASE`.
    """
    node.base.attributes.set(ATTRIBUTE, name)


def said_convention(node: orm.TrajectoryData) -> str | None:
    """Return what a trajectory says itself of the convention of its arrays."""
    said = node.base.attributes.get(ATTRIBUTE, None)
    return None if said is None else str(said)
