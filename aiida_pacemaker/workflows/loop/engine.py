"""How a loop comes to its engine: the ports that depend on it, and the inputs of its processes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessBuilder, ProcessSpec

from aiida_pacemaker._aiida.processes import SpecBuilder, give_spec
from aiida_pacemaker.pace.config.expansion import deep_merge
from aiida_pacemaker.workflows.base.resuming import ResumingWorkChain
from aiida_pacemaker.workflows.engines import PACEMAKER, Engine, engine_called, engine_name, engine_of
from aiida_pacemaker.workflows.loop.renamed import with_present_names

#: What the namespaces of the steps are for; what the processes of an engine need is said by their own ports.
STEP_HELP = {
    'train': 'The training job: code, config and options.',
    'activeset': 'The active-set job: code and options.',
    'evaluate': 'The evaluation job: code (the Python of the engine) and options.',
    'select': 'The selection job: code and options.',
}


def define_steps(spec: ProcessSpec, engine: Engine) -> None:
    """Define the namespaces of the steps of a loop, in place of those for another engine."""
    for step, text in STEP_HELP.items():
        if step in spec.inputs:
            del spec.inputs[step]
        engine.expose(spec, step, help=text)


def define_types(spec: ProcessSpec, engine: Engine) -> None:
    """Define the types of the ports of a loop whose nodes are those of the engine."""
    for name, node_class in engine.types.items():
        if name in spec.inputs:
            spec.inputs[name].valid_type = (node_class, type(None))
        if name in spec.outputs:
            spec.outputs[name].valid_type = node_class


class LoopEngine(ResumingWorkChain):
    """The engine of a loop, which is chosen by the input `engine`.

    The namespaces `train`, `activeset`, `evaluate` and `select` have the ports of the processes of the engine: their
    defaults, serializers and validators, also while a builder is filled in. The spec of the class is that of
    Pacemaker. A loop with another engine has a spec of its own, in which only these namespaces and the types of
    potentials and active sets differ (:meth:`spec_for`), so that AiiDA does all of this by itself. Namespaces that take
    anything, with a check at the end, would do without a second spec, but would have no defaults, would offer nothing
    to whoever fills in a builder, and would lose the options of jobs in a restart. A class for each engine would have
    to be found by daemons, and would be another process for whoever looks for loops.
    """

    def __init__(self, inputs: dict[str, Any] | None = None, *args: Any, **kwargs: Any) -> None:
        """Take the ports of the chosen engine; for an unknown one, the validator of the default spec reports it."""
        self._take_spec(engine_name(inputs))
        super().__init__(inputs, *args, **kwargs)

    def was_loaded(self) -> None:
        """Go on from a checkpoint, with the ports of the engine."""
        self._take_spec(engine_name(self.inputs))
        super().was_loaded()

    def _take_spec(self, engine: str) -> None:
        if engine == PACEMAKER:
            return
        try:
            self.spec_for(engine)
        except ValueError:
            return
        give_spec(self, functools.partial(self.spec_for, engine))

    @classmethod
    def spec_for(cls, engine: str) -> ProcessSpec:
        """Return the inputs, outputs and outline of a loop with an engine.

        :param engine: name of its entry point.
        :raises ValueError: if there is none of this name, or if its processes do not have what their roles ask for.
        """
        if engine == PACEMAKER:
            return cls.spec()
        return _spec_for(cls, engine_called(engine))  # type: ignore[arg-type] # a class is hashable

    @classmethod
    def get_builder(cls, engine: str = PACEMAKER) -> ProcessBuilder:
        """Return an empty builder.

        :param engine: whose processes have their inputs in `train`, `activeset`, `evaluate` and `select`.
        :raises ValueError: if there is none of this name.
        """
        if engine == PACEMAKER:
            return super().get_builder()
        builder = SpecBuilder(cls, cls.spec_for(engine))
        builder.engine = engine
        return builder

    @classmethod
    def builder_of(cls, run: orm.WorkChainNode) -> ProcessBuilder:
        """Return a builder with the inputs of a run, as `run.get_builder_restart()` does for Pacemaker."""
        inputs = with_present_names(run.base.links.get_incoming(link_type=LinkType.INPUT_WORK).nested())
        builder = cls.get_builder(engine_name(inputs))
        for name, value in deep_merge(inputs, run.get_metadata_inputs() or {}).items():
            if isinstance(value, Mapping):
                builder[name].update(value)
            else:
                builder[name] = value
        return builder

    @property
    def engine(self) -> Engine:
        """What trains, grades and selects."""
        return engine_of(self.inputs)


@functools.cache
def _spec_for(cls: Any, engine: Engine) -> ProcessSpec:
    problem = engine.check_processes()
    if problem is not None:
        raise ValueError(f'the engine `{engine.name}` cannot be used: {problem}')
    spec: ProcessSpec = type(cls.spec())()
    cls.define(spec)
    define_steps(spec, engine)
    define_types(spec, engine)
    return spec
