"""Engines: what trains the potentials of a loop, grades with them and selects, chosen by an entry point.

The loop knows four roles and no engine. An engine is a class of the entry-point group `pacemaker.engines` that says
which processes have these roles, and what the loop has to know of its potentials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol

import yaml
from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import CalcJob, ProcessSpec
from pydantic import BaseModel

from aiida_pacemaker.baseline.model import Mode
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.option_errors import near_miss
from aiida_pacemaker.plugin_classes import class_at, own_are_missing
from aiida_pacemaker.workflows.plugins import Role, namespace_in, process_from

#: Group of the entry points; the name of each is that of the engine.
GROUP = 'pacemaker.engines'
#: The engine of this package, which a loop has if none is named.
PACEMAKER = 'pacemaker'
HOW_TO = 'docs/howto/write_an_engine.md'

#: Fits a potential to `dataset`. What it may have besides: `test_dataset` (never to be fitted), `baseline` and
#: `reference_energies` (`Dict`: what is subtracted from the labels, the same in all generations), `potential` (to
#: continue from) and `max_epochs` (`Int`). `metrics` is a `Dict` with `iterations`, `stop_reason` and `warnings` (a
#: list). `remote_folder` is where the data of the training are, for the active set, and `posterior` what error bars
#: follow from, for the evaluation. With `rmse_energy`, `rmse_forces` and `n_fitted`, `metrics` is compared with the
#: evaluation.
TRAINING = Role(
    'training',
    'train',
    ('dataset',),
    ('test_dataset', 'baseline', 'reference_energies', 'potential', 'max_epochs'),
    sometimes=('test_dataset', 'potential'),
    outputs=('potential', 'metrics'),
    optional_outputs=('remote_folder', 'posterior'),
    types={
        'posterior': orm.ArrayData,
        'dataset': PaceDatasetData,
        'test_dataset': PaceDatasetData,
        'baseline': orm.Dict,
        'reference_energies': orm.Dict,
        'max_epochs': orm.Int,
        'metrics': orm.Dict,
    },
)
#: Makes what gamma is measured against, of a potential and the dataset that it was fitted to. `output_parameters` is a
#: `Dict`; what it has in `warnings` is reported.
ACTIVE_SET = Role(
    'active set',
    'activeset',
    ('potential', 'dataset'),
    ('parent_folder',),
    sometimes=('parent_folder',),
    outputs=('active_set',),
    optional_outputs=('output_parameters',),
    types={'dataset': PaceDatasetData, 'parent_folder': orm.RemoteData, 'output_parameters': orm.Dict},
)
#: Evaluates a potential on a namespace `datasets` of `PaceDatasetData`: `train` always, `pool` (the candidates) and
#: `test` where they are there. Members of an ensemble are evaluated on the pool only, without `active_set`.
#: `evaluations` has for each dataset an `ArrayData` with `energy` (F,) in eV, `forces` (A, 3) in eV/angstrom and
#: `gamma_max` (F,), the extrapolation grade; infinite where the data say nothing at all. `errors` is a `Dict`:
#: `datasets` has for each `n_frames`, `gamma` (`quantiles_of` of `analysis.statistics`) and, where it is labelled,
#: the errors (`errors_of`, with `spreads` of `analysis.quality`). With `posterior`, an output of the training, it may
#: have error bars of forces: `sigma_max` (F,) in eV/angstrom, and their quantiles (`quantiles_of`) as `sigma`.
EVALUATION = Role(
    'evaluation',
    'evaluate',
    ('potential', 'active_set', 'datasets'),
    ('posterior',),
    sometimes=('posterior',),
    outputs=('evaluations', 'errors'),
    types={
        'datasets': PaceDatasetData,
        'posterior': orm.ArrayData,
        'evaluations': orm.ArrayData,
        'errors': orm.Dict,
    },
)
#: Chooses no more than `max_structures` (`Int`) of a namespace `candidates` of `PaceDatasetData`; `pool` is what they
#: were taken from, and `posterior` an output of the training. `selected` is a `PaceDatasetData`, not there if none is
#: worth a label; `output_parameters` is a `Dict` with `n_selected`.
SELECTION = Role(
    'selection',
    'select',
    ('potential', 'active_set', 'candidates', 'max_structures'),
    ('pool', 'posterior'),
    sometimes=('posterior',),
    outputs=('selected', 'output_parameters'),
    types={
        'candidates': PaceDatasetData,
        'posterior': orm.ArrayData,
        'max_structures': orm.Int,
        'pool': PaceDatasetData,
        'selected': PaceDatasetData,
        'output_parameters': orm.Dict,
    },
)
ROLES = {role.namespace: role for role in (TRAINING, ACTIVE_SET, EVALUATION, SELECTION)}


class Config(Protocol):
    """What the loop reads of the config of an engine."""

    @property
    def elements(self) -> Sequence[str]:
        """Chemical symbols that the potentials describe."""


@dataclass(frozen=True)
class Step:
    """The process that has one of the roles, and where its ports are.

    :param entry_point: name among the workflows or calculations of AiiDA, such as `pacemaker.train.base`.
    :param prefix: namespace among its inputs that has those of the role and the `config`, as where it wraps a job.
    :param without: inputs of the role that :meth:`Engine.adapt` gives in another way.
    :param hidden: further inputs that a user of the loop cannot give, with dots: the engine gives them, or nobody.
    """

    entry_point: str
    prefix: str = ''
    without: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True)
class Engine:
    """What trains, grades and selects: four processes, and what the loop has to know of them.

    A subclass is found by an entry point of the group `pacemaker.engines`. It has to give :attr:`steps`,
    :attr:`potential_type` and :attr:`active_set_type`; all else may stay as it is here. It has no state. What the
    processes have to take and to give is in `ROLES`, and is checked before a loop begins.

    :param name: that of the entry point, which is the input `engine` of the loop.
    """

    name: str

    #: The process of each role, by the namespace of its inputs: `train`, `activeset`, `evaluate`, `select`.
    steps: ClassVar[Mapping[str, Step]]
    #: Class of the potentials.
    potential_type: ClassVar[type[orm.Data]]
    #: Class of what gamma is measured against.
    active_set_type: ClassVar[type[orm.Data]]
    #: Calculation functions of a `potential` that return the baseline (a `Dict`) and the atomic reference energies
    #: in eV (a `Dict`) that it was fitted with. Without them, both have to be given beside a potential to continue
    #: from. In a class, `staticmethod(function)`.
    baseline_of: ClassVar[Any] = None
    reference_energies_of: ClassVar[Any] = None
    #: Calculation function of `config`, `dataset`, `baseline` and `reference_energies` that returns the config of all
    #: trainings of a loop, where :meth:`leaves_open` says that the one that was given leaves something to the data.
    pin_config: ClassVar[Any] = None
    #: The codes that :meth:`builder_inputs` takes by these names, and whether it needs them.
    codes: ClassVar[Mapping[str, bool]] = {}
    #: Package and name of the file with the protocols, `mypackage.protocols:toy.yaml`; None if there are none.
    protocol_file: ClassVar[str | None] = None
    #: The sections of a protocol, with the model of each; `settings` are the `LoopSettings`.
    protocol_models: ClassVar[Mapping[str, type[BaseModel]]] = {}

    def parse_config(self, content: Mapping[str, Any]) -> Config | None:
        """Return the parsed input `config` of the training; None if the loop does not use it.

        :raises ConfigError: if it is not valid.
        """
        return None

    def adapt(self, step: str, provided: dict[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the loop provides for a step as its process takes it.

        :param step: namespace of the role.
        :param provided: inputs of the role; those that the process does not have are left out already.
        :param inputs: the inputs of the loop.
        """
        return provided

    def check_inputs(self, inputs: Mapping[str, Any]) -> str | None:
        """Return what keeps the inputs of the loop from being useful, None if nothing is known to.

        The processes check their own inputs, as far as they are there before the loop begins. What needs more than one
        of them, or the dataset, is checked here.

        :param inputs: the inputs of the loop.
        """
        return None

    def baseline_mode(self, inputs: Mapping[str, Any]) -> Mode:
        """Return the mode of the baseline where none is given: by default `delta`, see `DeltaBaseline`.

        :param inputs: those of the loop.
        """
        return 'delta'

    def leaves_open(self, inputs: Mapping[str, Any]) -> bool:
        """Return whether the config leaves to the dataset what all generations are to have in common.

        :param inputs: those of the loop.
        """
        return False

    def check_active_set(self, training: Mapping[str, Any]) -> str | None:
        """Return why no active set can be built for a potential that is not trained yet; None if one can.

        :param training: the inputs of the training that are those of the role, and the user's beside them.
        """
        return None

    def advice(self, step: str, node: orm.ProcessNode) -> str:
        """Return what to do about a process of the engine that has failed; nothing if its own message says it.

        :param step: namespace of its role.
        """
        return ''

    def builder_inputs(
        self,
        codes: Mapping[str, orm.AbstractCode],
        sections: Mapping[str, Any],
        elements: list[str],
        options: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return the inputs of the steps for a protocol, by their namespaces.

        :param codes: those that are given of :attr:`codes`.
        :param sections: the sections of the protocol, with what was overridden.
        :param elements: chemical symbols of all data that are given.
        :param options: options of all jobs.
        :raises ConfigError: if they are not valid.
        """
        return {}

    # What follows from this; no engine has to change it.

    def process(self, step: str) -> Any:
        """Return the process class of a step.

        :raises ValueError: if it is not there or cannot be loaded.
        """
        return process_from(self.steps[step].entry_point)

    @property
    def types(self) -> dict[str, type[orm.Data]]:
        """Classes of the nodes that not all engines share, by the names of ports."""
        return {'potential': self.potential_type, 'active_set': self.active_set_type}

    def check_processes(self) -> str | None:
        """Return what keeps a process of the engine from its role, None if nothing does."""
        for name, role in ROLES.items():
            if name not in self.steps:
                return f'it has no process for `{name}`'
            step = self.steps[name]
            try:
                process = self.process(name)
            except ValueError as exception:
                return f'`{name}`: {exception}'
            problem = role.check_process(process, prefix=step.prefix, without=step.without, types=self.types)
            if problem is not None:
                return f'`{step.entry_point}`: {problem}'
        return None

    def job_options(self) -> list[str]:
        """Return the names of the options that jobs may be given: those of all jobs, and what those of the steps add.

        :raises ValueError: if a process is not there or cannot be loaded.
        """
        names = dict.fromkeys(CalcJob.spec().inputs['metadata']['options'])
        for name, step in self.steps.items():
            place = '.'.join(filter(None, (step.prefix, 'metadata.options')))
            names |= dict.fromkeys(namespace_in(self.process(name).spec().inputs, place) or ())
        return list(names)

    def expose(self, spec: ProcessSpec, step: str, *, help: str) -> None:  # noqa: A002 (as ports call it)
        """Make the inputs of a process those of a namespace, without what the loop provides.

        :param spec: the spec of the loop.
        :param step: the namespace.
        """
        where, role = self.steps[step], ROLES[step]
        prefix = f'{where.prefix}.' if where.prefix else ''
        provided = [f'{prefix}{name}' for name in role.inputs if name not in where.without]
        spec.expose_inputs(
            self.process(step),
            namespace=step,
            exclude=(*where.hidden, *provided),
            namespace_options={'help': help},
        )

    def place_in(self, inputs: Mapping[str, Any], step: str) -> Mapping[str, Any]:
        """Return the part of the inputs of the loop that is for the process of a step, where its role has its ports."""
        found = namespace_in(inputs, '.'.join(filter(None, (step, self.steps[step].prefix))))
        return {} if found is None else found

    def config_in(self, inputs: Mapping[str, Any]) -> Config | None:
        """Return the config among the inputs of the loop; None if there is none that says anything to the loop.

        :raises ConfigError: if it is not valid.
        """
        node = self.place_in(inputs, 'train').get('config')
        return None if node is None else self.parse_config(node.get_dict())

    def inputs_of(self, step: str, inputs: Mapping[str, Any], provided: Mapping[str, Any]) -> AttributeDict:
        """Return the inputs of a process: those of the user, and what the loop provides.

        :param inputs: the inputs of the loop.
        :param provided: inputs of the role.
        """
        where, ports = self.steps[step], namespace_in(self.process(step).spec().inputs, self.steps[step].prefix)
        known = {name: node for name, node in provided.items() if name in where.without or name in ports}
        result = AttributeDict(inputs.get(step, {}))
        place = result
        for name in where.prefix.split('.') if where.prefix else ():
            place = place.setdefault(name, AttributeDict())
        place.update(self.adapt(step, known, inputs))
        return result

    def protocols(self) -> dict[str, Any]:
        """Return the content of the file with the protocols.

        :raises ConfigError: if there is none.
        """
        if self.protocol_file is None:
            raise ConfigError(f'the engine `{self.name}` has no protocols: fill in `get_builder({self.name!r})`')
        package, _, name = self.protocol_file.partition(':')
        content: dict[str, Any] = yaml.safe_load(resources.files(package).joinpath(name).read_text())
        return content


@cache
def engine_called(name: str) -> Engine:
    """Return an engine.

    :raises ValueError: if there is none of this name.
    :raises RuntimeError: if its class cannot be loaded or is none, if there are two of the name, or if our own is not
        there.
    """
    points = list(entry_points(group=GROUP))
    known = sorted({point.name for point in points})
    if PACEMAKER not in known:
        raise own_are_missing(GROUP)
    found = {point.value: point for point in points if point.name == name}
    if not found:
        near = near_miss(name, known)
        said = f'did you mean {near}?' if near else f'known: {", ".join(known)}.'
        raise ValueError(
            f'there is no engine `{name}`: {said} Run `pip install` for the package that has it, see {HOW_TO}'
        )
    if len(found) > 1:
        raise RuntimeError(f'there are several engines `{name}`: {", ".join(sorted(found))}. Uninstall all but one')
    (entry_point,) = found.values()
    return class_at(entry_point, Engine, f'the engine `{name}`')(name)


def engine_name(inputs: Mapping[str, Any] | None) -> str:
    """Return the name of the engine among the inputs of a loop; Pacemaker where none is named, as in old loops."""
    chosen = (inputs or {}).get('engine')
    return PACEMAKER if chosen is None else str(getattr(chosen, 'value', chosen))


def engine_of(inputs: Mapping[str, Any]) -> Engine:
    """Return the engine of a loop, by its inputs.

    :raises ValueError: if there is none of this name.
    """
    return engine_called(engine_name(inputs))


def validate_engine(node: orm.Str | None, _: Any) -> str | None:
    """Check that there is an engine of a name, whose processes have what their roles ask for."""
    if node is None:
        return None
    try:
        problem = engine_called(node.value).check_processes()
    except ValueError as exception:
        return str(exception)
    return None if problem is None else f'the engine `{node.value}` cannot be used: {problem}. See {HOW_TO}'
