"""Learning curves as nodes: the metrics tables of the engine, one array per column, named `<label>_<column>`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from aiida import orm

from aiida_pacemaker.pace.output.metrics import MetricsTable


def curves_from_tables(tables: Mapping[str, MetricsTable]) -> orm.ArrayData:
    """Return metrics tables as a node that is not stored.

    :param tables: the tables of the training set (`train`) and, if there is one, of the test set (`test`).
    """
    node = orm.ArrayData()
    for label, table in tables.items():
        for name, column in table.columns.items():
            node.set_array(f'{label}_{name}', np.asarray(column))
    return node


def tables_from_curves(node: orm.ArrayData) -> dict[str, MetricsTable]:
    """Return the tables that a node was made from, by their labels."""
    columns: dict[str, dict[str, np.ndarray]] = {}
    for array in node.get_arraynames():
        label, _, name = array.partition('_')
        columns.setdefault(label, {})[name] = node.get_array(array)
    return {label: MetricsTable(content) for label, content in columns.items()}
