"""Labellers: processes that take unlabelled frames and give labelled trajectories, chosen by entry point."""

from __future__ import annotations

from typing import Any

from aiida.common.exceptions import EntryPointError
from aiida.plugins import CalculationFactory, WorkflowFactory


def labeller_from(entry_point: str) -> Any:
    """Return the process class of a labeller.

    A labeller takes the input `dataset`, a `PaceDatasetData` without labels. Its outputs are the namespace
    `trajectories` of `TrajectoryData`, and `failures`, a `Dict` whose `failures` lists the frames that could not be
    labelled, each with its `hash`, `source`, `step`, `reason` and `message`.

    :param entry_point: name of an entry point of the workflows or calculations, such as `pacemaker.label.ase`.
    :raises ValueError: if there is none.
    """
    for factory in (WorkflowFactory, CalculationFactory):
        try:
            return factory(entry_point)
        except EntryPointError:
            continue
    raise ValueError(
        f'there is no workflow or calculation with the entry point `{entry_point}`: see `verdi plugin list`, and run '
        '`pip install` for the package that has it'
    )
