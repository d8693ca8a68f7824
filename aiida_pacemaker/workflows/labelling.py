"""Labellers: processes that take unlabelled frames and give labelled trajectories, chosen by entry point."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.common.exceptions import EntryPointError, LoadingEntryPointError
from aiida.engine import ProcessSpec
from aiida.orm import to_aiida_type
from aiida.plugins import CalculationFactory, WorkflowFactory


def labeller_from(entry_point: str) -> Any:
    """Return the process class of a labeller.

    A labeller takes the input `dataset`, a `PaceDatasetData` without labels. Its outputs are the namespace
    `trajectories` of `TrajectoryData`, and `failures`, a `Dict` whose `failures` lists the frames that could not be
    labelled, each with its `hash`, `source`, `step`, `reason` and `message`.

    :param entry_point: name of an entry point of the workflows or calculations, such as `pacemaker.label.ase`.
    :raises ValueError: if there is none, or if it cannot be loaded.
    """
    for factory in (WorkflowFactory, CalculationFactory):
        try:
            return factory(entry_point)
        except LoadingEntryPointError as exception:
            # AiiDA puts a whole traceback into the message, whose last line is the reason.
            reason = str(exception).strip().splitlines()[-1]
            raise ValueError(f'the entry point `{entry_point}` cannot be loaded: {reason}') from exception
        except EntryPointError:
            continue
    raise ValueError(
        f'there is no workflow or calculation with the entry point `{entry_point}`: see `verdi plugin list`, and run '
        '`pip install` for the package that has it'
    )


def define_label_ports(spec: ProcessSpec, *, help: str) -> None:  # noqa: A002 (as ports call it)
    """Define how a labeller is given: `label.entry_point`, `label.inputs` and `label.metadata`."""
    spec.input_namespace('label', help=help)
    spec.input(
        'label.entry_point',
        valid_type=orm.Str,
        serializer=to_aiida_type,
        required=False,
        help='Entry point of the labeller.',
    )
    spec.input_namespace(
        'label.inputs', dynamic=True, required=False, help='Inputs of the labeller, all but its `dataset`.'
    )
    spec.input(
        'label.metadata',
        valid_type=dict,
        non_db=True,
        required=False,
        help='Metadata of the labeller, such as the options of a job.',
    )
