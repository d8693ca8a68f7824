"""Labellers and explorers: processes of any package that are chosen by their entry points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiida import orm
from aiida.common.exceptions import EntryPointError, LoadingEntryPointError
from aiida.engine import ProcessSpec
from aiida.orm import to_aiida_type
from aiida.plugins import CalculationFactory, WorkflowFactory

from aiida_pacemaker._aiida.processes import job_class_of
from aiida_pacemaker.calculations.base import PaceCalcJob


@dataclass(frozen=True)
class Role:
    """What a process does for another one that calls it.

    :param name: in words; that of its namespace among the inputs is the verb.
    :param namespace: where it is chosen.
    :param provided: the inputs that the caller gives it.
    :param optional: inputs that the caller gives to a process that has them.
    """

    name: str
    namespace: str
    provided: tuple[str, ...]
    optional: tuple[str, ...] = ()

    def define_ports(self, spec: ProcessSpec, *, help: str) -> None:  # noqa: A002 (as ports call it)
        """Define how such a process is given: its entry point, its inputs and its metadata."""
        provided = ', '.join(f'`{name}`' for name in (*self.provided, *self.optional))
        spec.input_namespace(self.namespace, help=help)
        spec.input(
            f'{self.namespace}.entry_point',
            valid_type=orm.Str,
            serializer=to_aiida_type,
            required=False,
            help=f'Entry point of the {self.name}.',
        )
        spec.input_namespace(
            f'{self.namespace}.inputs',
            dynamic=True,
            required=False,
            help=f'Inputs of the {self.name}, all but {provided}.',
        )
        spec.input(
            f'{self.namespace}.metadata',
            valid_type=dict,
            non_db=True,
            required=False,
            help=f'Metadata of the {self.name}, such as the options of a job.',
        )

    def optional_inputs(self, process_class: Any, **inputs: orm.Data) -> dict[str, orm.Data]:
        """Return those of the optional inputs that a process has."""
        return {name: node for name, node in inputs.items() if name in process_class.spec().inputs}


#: Takes `dataset`, a `PaceDatasetData` without labels. Its outputs are the namespace `trajectories` of
#: `TrajectoryData`, and `failures`, a `Dict` whose `failures` lists the frames that could not be labelled, each with
#: its `hash`, `source`, `step`, `reason` and `message`.
LABELLER = Role('labeller', 'label', ('dataset',))
#: Takes `potential`, `active_set`, `seeds` (a `PaceDatasetData` of structures to begin from) and `seed` (an `Int` for
#: its random numbers). Its outputs are `candidates`, a `PaceDatasetData` without labels, which is not there if nothing
#: was worth keeping, and `report`, a `Dict` with `n_runs`, `n_candidates`, `reasons` (how many runs ended for which
#: reason; `finished` for those that came to their end) and `gamma`, quantiles of the extrapolation grade of all
#: structures on the way, not only of those that were kept (`median`, `p90`, `p99`, `max`; None where it is infinite,
#: and `n_unseen`, how many are, because they have interactions that the data never had). One that has the input
#: `gamma_low` (a `Float`) gets the grade from which on the caller takes a structure for unknown.
EXPLORER = Role('explorer', 'explore', ('potential', 'active_set', 'seeds', 'seed'), ('gamma_low',))


def process_from(entry_point: str) -> Any:
    """Return the process class of a labeller or an explorer.

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


def jobs_of(process: Any) -> type[PaceCalcJob] | None:
    """Return which jobs of this package a labeller or an explorer runs, None if it runs others."""
    chain = getattr(process, 'JOB', process)
    job = job_class_of(chain)
    return job if isinstance(job, type) and issubclass(job, PaceCalcJob) else None
