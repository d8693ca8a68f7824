"""Calculation functions of the restart chains: no datum of a workflow is without an origin."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_pacemaker.engine.config import parse_config
from aiida_pacemaker.engine.metrics import MetricsTable, stitch
from aiida_pacemaker.engine.options import ActiveSetOptions


@calcfunction
def remaining_epochs(config: orm.Dict, learning_curves: orm.ArrayData, max_epochs: orm.Int | None = None) -> orm.Int:
    """Return how many iterations are left of those that a stopped fit was to do; at least one.

    :param max_epochs: what the stopped fit was to do, if not what the config says.
    """
    wanted = parse_config(config.get_dict()).maxiter if max_epochs is None else max_epochs.value
    return orm.Int(max(1, wanted - _table(learning_curves, 'train').iterations))


@calcfunction
def stitch_curves(**legs: orm.ArrayData) -> orm.ArrayData:
    """Return the learning curves of all legs of a fit as one."""
    ordered = [leg for _, leg in sorted(legs.items())]
    train = [_table(leg, 'train') for leg in ordered]
    curves = {'train': stitch(train)}
    if any(_has(leg, 'test') for leg in ordered):
        pairs = [(_table(leg, 'test'), table) for leg, table in zip(ordered, train, strict=True) if _has(leg, 'test')]
        curves['test'] = stitch([test for test, _ in pairs], [table for _, table in pairs])
    node = orm.ArrayData()
    for label, table in curves.items():
        for name, column in table.columns.items():
            node.set_array(f'{label}_{name}', np.asarray(column))
    return node


@calcfunction
def stitch_metrics(**legs: orm.Dict) -> orm.Dict:
    """Return the errors at the end of the last leg of a fit, with the iterations and the time of all legs."""
    ordered = [leg.get_dict() for _, leg in sorted(legs.items())]
    times = [leg['training_time'] for leg in ordered]
    return orm.Dict(
        {
            **ordered[-1],
            'iterations': sum(leg['iterations'] for leg in ordered),
            'training_time': None if None in times else sum(times),
        }
    )


@calcfunction
def reduce_memory(config: orm.Dict) -> orm.Dict:
    """Return a config that needs less memory: half the batch size, half the workers; the same if both are at one."""
    parsed = parse_config(config.get_dict())
    backend = parsed.sections()['backend']
    content: dict[str, Any] = config.get_dict()
    changes = {
        key: max(1, backend[key] // 2) for key in ('batch_size', 'n_workers') if isinstance(backend.get(key), int)
    }
    return orm.Dict({**content, 'backend': {**content.get('backend', {}), **changes}} if changes else content)


@calcfunction
def with_all_atoms(options: orm.Dict | None = None) -> orm.Dict:
    """Return the options of an active set with no atom left out for its force error."""
    given = ActiveSetOptions.model_validate({} if options is None else options.get_dict())
    return orm.Dict(
        given.model_copy(update={'all_atoms': True, 'max_force_error': None}).model_dump(mode='json', exclude_none=True)
    )


def _has(curves: orm.ArrayData, label: str) -> bool:
    return any(name.startswith(f'{label}_') for name in curves.get_arraynames())


def _table(curves: orm.ArrayData, label: str) -> MetricsTable:
    """Return the table that learning curves were made from."""
    prefix = f'{label}_'
    return MetricsTable(
        {
            name.removeprefix(prefix): curves.get_array(name)
            for name in curves.get_arraynames()
            if name.startswith(prefix)
        }
    )
