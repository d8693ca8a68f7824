"""Columns of a pickled dataset that could be its labels as well as those that are read."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from aiida_pacemaker.errors import UnreadablePickleError
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.label_names import SAME_ENERGY, SAME_FORCES, kind_of, label_names
from aiida_pacemaker.frames.pickles.tables import Column, Table
from aiida_pacemaker.frames.table import Frames


class WithRivals:
    """Names of columns, and all that are those of energies or forces.

    :param names: the columns that are needed.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)

    def __contains__(self, name: object) -> bool:
        if name in self._names:
            return True
        kind = kind_of(name) if isinstance(name, str) else None
        return kind is not None and kind[1] in ('energy', 'forces')


def refuse_rivals(table: Table, frames: Frames, keys: LabelKeys) -> None:
    """Refuse labels beside which there are others that differ, until one of them is named.

    :param table: the table, with the columns that :class:`WithRivals` asks for.
    :param frames: the structures of the table.
    :param keys: the names that are given.
    :raises UnreadablePickleError: naming both columns, and the first row in which they differ.
    """
    groups = label_names(table.names)
    atoms = frames.n_atoms.tolist()
    for kind, named, tolerances in (
        ('energy', keys.energy, [SAME_ENERGY * max(1, n) for n in atoms]),
        ('forces', keys.forces, [SAME_FORCES] * len(atoms)),
    ):
        if named is not None or kind not in table.columns:
            continue
        for other in (name for labels in groups.values() for name in labels.get(kind, ())):
            if other == kind or other not in table.columns:
                continue
            row = _differing_row(table.columns[kind], table.columns[other], tolerances)
            if row is not None:
                raise UnreadablePickleError(
                    f'the columns `{kind}` and `{other[:60]}` differ, first in row {row}; one of them may be the '
                    'prediction of a model, or the energy that the forces are not the derivative of. Say which is the '
                    f'label: keys={ {kind: kind} } or keys={ {kind: other[:60]} }'
                )


def _differing_row(first: Column, second: Column, tolerances: list[float]) -> int | None:
    """Return the first row in which two columns differ, None if there is none; what cannot be compared does not."""
    for row, (one, other, tolerance) in enumerate(zip(first, second, tolerances, strict=True)):
        try:
            difference = np.abs(np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64))
        except (TypeError, ValueError, OverflowError):
            continue
        if (difference > tolerance).any():
            return row
    return None
