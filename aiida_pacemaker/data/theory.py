"""The level of theory as an attribute of a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm

from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.option_errors import parse_options

#: Attribute of trajectories and files whose labels are known to be of one level of theory.
ATTRIBUTE = 'level_of_theory'

Theory = LevelOfTheory | Mapping[str, Any]


def set_level_of_theory(node: orm.Data, theory: Theory) -> None:
    """Store the level of theory of the labels of a trajectory or of a file.

    :param node: not stored yet: its attributes are fixed when it is stored.
    :param theory: a level of theory, or its fields.
    :raises ConfigError: if it is none, naming every problem.
    """
    level = parse_options(LevelOfTheory, theory, 'the level of theory')
    node.base.attributes.set(ATTRIBUTE, level.model_dump(mode='json', exclude_none=True))


def stored_level_of_theory(node: orm.Data) -> LevelOfTheory | None:
    """Return the level of theory that a node states for its labels, None if it states none.

    :raises ValueError: if the attribute is no level of theory.
    """
    record = node.base.attributes.get(ATTRIBUTE, None)
    if record is None:
        return None
    try:
        return parse_options(LevelOfTheory, record, f'the attribute `{ATTRIBUTE}` of {node}')
    except ConfigError as exception:
        raise ValueError(str(exception)) from exception
