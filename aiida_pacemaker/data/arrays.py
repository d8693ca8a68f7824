"""Arrays by name as a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm


def array_data(arrays: Mapping[str, Any]) -> orm.ArrayData:
    """Return arrays by their names as a node that is not stored."""
    node = orm.ArrayData()
    for name, array in arrays.items():
        node.set_array(name, array)
    return node
