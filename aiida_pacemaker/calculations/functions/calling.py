"""Exit statuses of calculation functions on datasets, and calling them from functions with plain arguments."""

from __future__ import annotations

from typing import Any

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.errors import RefusedError
from aiida_pacemaker.sources.given import dataset_of

#: Exit status of a function that cannot use its input; the message has the reason.
ERROR_REFUSED = 410
#: Exit status of a function that would have to return a dataset without frames.
ERROR_NOTHING_LEFT = 420


def loaded_dataset(given: Any, name: str = 'dataset') -> PaceDatasetData:
    """Return a dataset that was given itself, or by its PK or uuid.

    :param name: of the argument, for the message.
    :raises RefusedError: if it is something else.
    """
    try:
        return dataset_of(given, name)
    except ValueError as exception:
        raise RefusedError(str(exception)) from exception


def run_function(function: Any, **inputs: Any) -> Any:
    """Run a calculation function and return its outputs.

    :raises RefusedError: with the message of the function, if it failed.
    """
    outputs, node = function.run_get_node(**inputs)
    if not node.is_finished_ok:
        raise RefusedError(f'{node.exit_message} (process {node.pk})')
    return outputs
