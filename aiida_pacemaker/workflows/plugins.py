"""Processes of any package that are chosen by their entry points, and what each has to take and to give."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiida import orm
from aiida.common.exceptions import EntryPointError, LoadingEntryPointError
from aiida.engine import ProcessSpec
from aiida.orm import to_aiida_type
from aiida.plugins import CalculationFactory, WorkflowFactory

from aiida_pacemaker._aiida.processes import job_class_of
from aiida_pacemaker.calculations.base import PaceCalcJob
from aiida_pacemaker.data.dataset import PaceDatasetData


@dataclass(frozen=True)
class Role:
    """What a process does for another one that calls it: the ports that it has to have.

    A dynamic namespace does not count as having a port: AiiDA makes namespaces dynamic when inputs are exposed in them.

    :param name: in words; that of its namespace among the inputs is the verb.
    :param namespace: where it is chosen.
    :param provided: the inputs that the caller gives it.
    :param optional: inputs that the caller gives to a process that has them.
    :param sometimes: those of both that the caller does not always have, so that no process may require them.
    :param outputs: the outputs that the caller takes; a process has to define them, and need not always give them.
    :param optional_outputs: outputs that the caller takes from a process that has them.
    :param types: the classes of the nodes, by the names of inputs and outputs.
    """

    name: str
    namespace: str
    provided: tuple[str, ...]
    optional: tuple[str, ...] = ()
    sometimes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    optional_outputs: tuple[str, ...] = ()
    types: Mapping[str, type[orm.Data]] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[str, ...]:
        """All inputs that the caller gives, where the process has them."""
        return (*self.provided, *self.optional)

    def check_process(
        self,
        process: Any,
        *,
        prefix: str = '',
        without: tuple[str, ...] = (),
        types: Mapping[str, type[orm.Data]] | None = None,
    ) -> str | None:
        """Return what keeps a process from having this role, by its spec alone; None if nothing does.

        :param process: the process class.
        :param prefix: namespace among the inputs of the process, with dots, that has the inputs of the role.
        :param without: inputs of the role that the caller gives in another way.
        :param types: further types, such as those that are not the same for all callers.
        """
        if not (inspect.isclass(process) and hasattr(process, 'spec')):
            return f'it cannot serve as {self.name}: it is no `WorkChain` and no `CalcJob`, only these can be submitted'
        wanted = {**self.types, **(types or {})}
        inputs = namespace_in(process.spec().inputs, prefix)
        if inputs is None:
            return f'it cannot serve as {self.name}: it has no input namespace `{prefix}`'
        where = f'{prefix}.' if prefix else ''
        problems = [
            *(
                f'its input `{where}{name}` {problem}'
                for name in self.inputs
                if name not in without and (problem := self._problem_of_input(inputs, name, wanted.get(name)))
            ),
            *(
                f'its output `{name}` {problem}'
                for name in (*self.outputs, *self.optional_outputs)
                if (problem := self._problem_of_output(process.spec().outputs, name, wanted.get(name)))
            ),
        ]
        return f'it cannot serve as {self.name}: {", ".join(problems)}' if problems else None

    def _problem_of_input(self, ports: Any, name: str, node_class: type[orm.Data] | None) -> str | None:
        port = ports.get(name)
        if port is None:
            return 'is missing' if name in self.provided else None
        valid = _valid_types(port)
        if node_class is not None and valid and not issubclass(node_class, valid):
            return f'does not take `{node_class.__name__}`'
        if name in self.sometimes and port.required and not port.has_default():
            return 'is required, but there is not always one'
        return None

    def _problem_of_output(self, ports: Any, name: str, node_class: type[orm.Data] | None) -> str | None:
        port = ports.get(name)
        if port is None:
            return 'is missing' if name in self.outputs else None
        valid = _valid_types(port)
        if node_class is None or not valid or issubclass(node_class, valid):
            return None
        return None if any(issubclass(one, node_class) for one in valid) else f'is no `{node_class.__name__}`'

    def check_choice(self, entry_point: str, types: Mapping[str, type[orm.Data]] | None = None) -> str | None:
        """Return what is wrong with the process that was chosen for this role, None if nothing is known to be.

        :param entry_point: name of its entry point.
        :param types: as for :meth:`check_process`.
        """
        try:
            problem = self.check_process(process_from(entry_point), types=types)
        except ValueError as exception:
            return f'`{self.namespace}.entry_point`: {exception}'
        return None if problem is None else f'`{self.namespace}.entry_point`: `{entry_point}`: {problem}'

    def define_ports(self, spec: ProcessSpec, *, help: str) -> None:  # noqa: A002 (as ports call it)
        """Define how such a process is given: its entry point, its inputs and its metadata."""
        provided = ', '.join(f'`{name}`' for name in self.inputs)
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
LABELLER = Role(
    'labeller',
    'label',
    ('dataset',),
    outputs=('trajectories', 'failures'),
    types={'dataset': PaceDatasetData, 'trajectories': orm.TrajectoryData, 'failures': orm.Dict},
)
#: Takes `potential`, `active_set`, `initial_structures` (a `PaceDatasetData` of structures to begin from) and
#: `random_seed` (an `Int`). Its outputs are `candidates`, a `PaceDatasetData` without labels, which is not there if
#: nothing was worth keeping, and `report`, a `Dict` with `n_runs`, `n_candidates`, `reasons` (how many runs ended for
#: which reason; `finished` for those that came to their end) and `gamma`, quantiles of the extrapolation grade of all
#: structures on the way, not only of those that were kept (`median`, `p90`, `p99`, `max`; None where it is infinite,
#: and `n_unseen`, how many are, because they have interactions that the data never had). One that has the input
#: `gamma_low` (a `Float`) gets the grade from which on the caller takes a structure for unknown. One that has the
#: output `grades` saves the caller the evaluation of the candidates: an `ArrayData` that the same process makes as
#: `candidates`, with `energy` (F,) in eV, `forces` (A, 3) in eV/angstrom and `gamma_max` (F,), as an evaluation has
#: them. Without it, or where one of these arrays is missing, the candidates are evaluated.
EXPLORER = Role(
    'explorer',
    'explore',
    ('potential', 'active_set', 'initial_structures', 'random_seed'),
    ('gamma_low',),
    outputs=('candidates', 'report'),
    optional_outputs=('grades',),
    types={
        'initial_structures': PaceDatasetData,
        'random_seed': orm.Int,
        'gamma_low': orm.Float,
        'candidates': PaceDatasetData,
        'grades': orm.ArrayData,
        'report': orm.Dict,
    },
)


def process_from(entry_point: str) -> Any:
    """Return a process class.

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


def namespace_in(ports: Any, prefix: str) -> Any:
    """Return a namespace of ports inside another one; None if it is not there.

    :param ports: a mapping, such as the inputs of a spec or their values.
    :param prefix: names, with dots; the namespace itself without any.
    """
    for name in prefix.split('.') if prefix else ():
        ports = ports.get(name)
        if not isinstance(ports, Mapping):
            return None
    return ports


def _valid_types(port: Any) -> tuple[type, ...]:
    """Return the types that a port has; none if it is for whatever there is."""
    valid = port.valid_type if isinstance(port.valid_type, tuple) else (port.valid_type,)
    return tuple(one for one in valid if one not in (None, type(None)))
