"""Builders of the active-learning loop: filled in by a protocol, or by what an earlier run has left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine import PortNamespace, ProcessBuilder

from aiida_pacemaker.calculations.base import RESOURCES
from aiida_pacemaker.calculations.functions.labelling import frames_without_labels
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.option_errors import near_miss, parse_options
from aiida_pacemaker.sources.given import code_of, nodes_of
from aiida_pacemaker.workflows.engines import PACEMAKER, Engine, engine_called, engine_of
from aiida_pacemaker.workflows.loop.history import LoopState, labels_from_unread_results, loop_of, state_of
from aiida_pacemaker.workflows.loop.ports import given
from aiida_pacemaker.workflows.loop.settings import LoopSettings
from aiida_pacemaker.workflows.protocols import ProtocolMixin, names_of
from aiida_pacemaker.workflows.runners import how_to_take_up, is_abandoned


class LoopBuilders(ProtocolMixin):
    """The builders of the loop."""

    @classmethod
    def get_builder_from_protocol(
        cls,
        *,
        pacemaker: orm.AbstractCode | int | str | None = None,
        pace_activeset: orm.AbstractCode | int | str | None = None,
        pace_select: orm.AbstractCode | int | str | None = None,
        python: orm.AbstractCode | int | str | None = None,
        pool: PaceDatasetData | None = None,
        pace_yaml2yace: orm.AbstractCode | int | str | None = None,
        engine: str = PACEMAKER,
        initial: Any = (),
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        **inputs: Any,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol, to be changed or run as it is.

        :param pacemaker: code for training; the others are those for the active set, the selection, the evaluation (the
            Python of the engine) and, for a `.yace` with each potential, the conversion. Pacemaker needs all but the
            last; another engine may have codes of other names. Each may be given by its label, PK or uuid.
        :param pool: the candidates; without a pool, give an explorer and a labeller (`explore`, `label`).
        :param engine: what trains, grades and selects, with protocols of its own.
        :param initial: labelled trajectories, files and datasets to begin with, or a single one: whatever
            `merge_frames` takes. It may be left out with a `dataset`.
        :param protocol: one of :meth:`get_available_protocols`.
        :param overrides: `config`, `settings`, `activeset` or `select` (their options) in place of those of the
            protocol, key by key.
        :param options: options of all jobs, such as `resources` and `max_wallclock_seconds`.
        :param inputs: further inputs of the work chain: `dataset`, `test_dataset`, `potential`, `baseline`, ...
        :raises ConfigError: if the config is not valid with these overrides, or something is in the wrong place.
        :raises TypeError: if a code is missing, or given under a name that the engine does not take.
        :raises ValueError: if there is no such engine, protocol or code.
        """
        chosen = engine_called(engine)
        codes = {name: inputs.pop(name) for name in chosen.codes if name in inputs} | given(
            pacemaker=pacemaker,
            pace_activeset=pace_activeset,
            pace_select=pace_select,
            python=python,
            pace_yaml2yace=pace_yaml2yace,
        )
        unused = [name for name in codes if name not in chosen.codes]
        if unused:
            raise TypeError(
                f'the engine `{engine}` has no use for the codes {", ".join(unused)}: it takes '
                f'{", ".join(chosen.codes) or "none"}'
            )
        missing = [name for name, needed in chosen.codes.items() if needed and name not in codes]
        if missing:
            raise TypeError(f'the engine `{engine}` needs the codes {", ".join(missing)}')
        cls._check_inputs(inputs, chosen)
        cls._check_options({} if options is None else options, chosen)
        initial = nodes_of([initial])
        defaults = cls.get_protocol_inputs(protocol, overrides, engine=engine)
        given_sets = (pool, inputs.get('dataset'), inputs.get('test_dataset'))
        nodes = [*(node for node in given_sets if node is not None), *initial]
        elements = sorted({element for node in nodes for element in _elements(node)})
        builder: ProcessBuilder = cls.get_builder(engine)  # type: ignore[attr-defined]
        loaded = {name: code_of(code) for name, code in codes.items()}
        job_options = {'resources': RESOURCES, **(options or {})}
        for step, section in chosen.builder_inputs(loaded, defaults, elements, job_options).items():
            setattr(builder, step, section)
        builder.settings = orm.Dict(
            parse_options(LoopSettings, defaults['settings'], 'the settings').model_dump(mode='json')
        )
        if pool is not None:
            builder.pool = pool
        builder.initial = {f'source_{index:04d}': node for index, node in enumerate(initial)}
        for name, value in inputs.items():
            setattr(builder, name, value)
        return builder

    @classmethod
    def _check_inputs(cls, inputs: Mapping[str, Any], engine: Engine) -> None:
        """Refuse inputs that the loop does not have.

        :raises ConfigError: naming each, and the nearest that there is.
        """
        ports = list(cls.spec_for(engine.name).inputs)  # type: ignore[attr-defined]
        cls._refuse_unknown('the loop has no such input', inputs, ports, engine)

    @classmethod
    def _check_options(cls, options: Mapping[str, Any], engine: Engine) -> None:
        """Refuse options that jobs do not have.

        :raises ConfigError: naming each, with the place that it belongs to or the nearest that there is.
        """
        if not isinstance(options, Mapping):
            raise ConfigError(f'the options cannot be used: found {options!r}, needed: a mapping of names to values')
        cls._refuse_unknown('jobs have no such option', options, engine.job_options(), engine)

    @classmethod
    def _refuse_unknown(cls, what: str, given: Mapping[str, Any], known: list[str], engine: Engine) -> None:
        lines = [
            f'  {name}: {cls._place_of_unknown(name, value, known, engine)}'
            for name, value in given.items()
            if name not in known
        ]
        if lines:
            raise ConfigError('\n'.join([f'{what}:', *lines]))

    @classmethod
    def _place_of_unknown(cls, name: str, value: Any, known: list[str], engine: Engine) -> str:
        """Return the right place of an unknown key, or the nearest name that is known in its place."""
        models = engine.protocol_models.values()
        if name in engine.job_options() or any(name in names_of(model) for model in models):
            return cls.place_of(name, value, engine)
        near = near_miss(name, known)
        return f'did you mean {near}?' if near else f'known: {", ".join(known)}'

    @classmethod
    def place_outside(cls, key: str, value: Any, engine: Engine) -> str:
        """Return where something belongs that is an input of the loop, or an option of its jobs; empty if neither."""
        inner = value.get('options') if key == 'metadata' and isinstance(value, Mapping) else None
        if key == 'options' or inner is not None:
            return f'give it beside the overrides, as options={value if inner is None else inner!r}'
        if key in engine.job_options():
            return f'give it beside the overrides, as options={{{key!r}: {value!r}}}'
        ports = cls.spec_for(engine.name).inputs  # type: ignore[attr-defined]
        if key in engine.protocol_models or key not in ports:
            return ''
        if isinstance(ports[key], PortNamespace):
            return f'set it in the builder that is returned, as in builder.{key}[...] = ...'
        return f'it is an input of the loop: give it beside the overrides, as {key}=...'

    @classmethod
    def get_builder_from_run(cls, run: orm.WorkChainNode | int | str, **inputs: Any) -> ProcessBuilder:
        """Return a builder that goes on where an earlier run has ended, in whatever way it did.

        It has the inputs of that run, and in place of what that run began with all that it had got by its end: dataset,
        potential, pinned references, report. A run that was killed or has failed has no outputs, or not all, so what it
        called is looked through as well. Labels that are there and were not merged are merged first, and frames that
        were selected and have no labels are given to the labeller again.

        :param run: the node of the earlier run, or its PK or uuid.
        :param inputs: inputs in place of those of the earlier run, such as `settings`.
        :raises ValueError: if the run has not ended, or is of another work chain.
        """
        run = loop_of(run, 'run')
        if is_abandoned(run):
            raise ValueError(f'{run.process_label}<{run.pk}> has not ended, but {how_to_take_up(run)}')
        if not run.is_terminated:
            raise ValueError(
                f'{run.process_label}<{run.pk}> has not ended: wait, or end it with `verdi process kill {run.pk}`'
            )
        state = state_of(run)
        continued = {
            'dataset': state.dataset,
            'test_dataset': state.test_dataset,
            'calibration': state.calibration,
            'potential': state.potential,
            'baseline': state.baseline,
            'reference_energies': state.reference_energies,
            'previous_report': state.report,
            'unlabelled': _unlabelled(state),
            **inputs,
        }
        builder: ProcessBuilder = cls.builder_of(run)  # type: ignore[attr-defined]
        if state.config is not None and not {'baseline', 'reference_energies'} & set(inputs):
            place: Any = engine_of(builder).place_in(builder, 'train')
            place['config'] = state.config
        if state.dataset is not None:
            # It holds what the run was given.
            builder.initial = {}
        for index, trajectory in enumerate([*state.unmerged_labels, *labels_from_unread_results(state)]):
            builder.initial[f'delivered_{index:04d}'] = trajectory
        for name, value in continued.items():
            if value is not None:
                builder[name] = value
            elif name in builder:
                del builder[name]
        return builder


def _elements(node: orm.Data) -> list[str]:
    """Return the elements of a source, as far as they can be told without reading it."""
    if isinstance(node, PaceDatasetData):
        return node.elements
    return list(node.symbols) if isinstance(node, orm.TrajectoryData) else []


def _unlabelled(state: LoopState) -> PaceDatasetData | None:
    """Return the frames that have failed and those that are still to be labelled."""
    pending = state.pending_frames
    if pending is None or state.dataset is None or pending.labelled:
        return state.unlabelled
    left = frames_without_labels(selected=pending, dataset=state.dataset, **given(earlier=state.unlabelled))
    missing: PaceDatasetData | None = left.get('dataset', state.unlabelled)
    return missing
