"""Builders of the active-learning loop: filled in by a protocol, or by what an earlier run has left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida import orm
from aiida.engine import PortNamespace, ProcessBuilder

from aiida_pacemaker.calculations.base import RESOURCES
from aiida_pacemaker.calculations.labelling import frames_without_labels
from aiida_pacemaker.calculations.train import PaceTrainCalculation
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.engine.config import TrainerConfig, parse_config
from aiida_pacemaker.engine.errors import near_miss, parse_options
from aiida_pacemaker.engine.options import ActiveSetOptions, SelectOptions
from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.sources.given import code_of, nodes_of
from aiida_pacemaker.workflows.history import LoopState, labels_from_unread_results, loop_of, state_of
from aiida_pacemaker.workflows.ports import given
from aiida_pacemaker.workflows.protocols import ProtocolMixin, names_of
from aiida_pacemaker.workflows.runners import how_to_take_up, is_abandoned
from aiida_pacemaker.workflows.settings import LoopSettings


class LoopBuilders(ProtocolMixin):
    """The builders of the loop."""

    PROTOCOL_FILE = 'active_learning.yaml'
    PROTOCOL_MODELS: ClassVar = {
        'config': TrainerConfig,
        'settings': LoopSettings,
        'activeset': ActiveSetOptions,
        'select': SelectOptions,
    }

    @classmethod
    def get_builder_from_protocol(
        cls,
        *,
        pacemaker: orm.AbstractCode | int | str,
        pace_activeset: orm.AbstractCode | int | str,
        pace_select: orm.AbstractCode | int | str,
        python: orm.AbstractCode | int | str,
        pool: PaceDatasetData | None = None,
        pace_yaml2yace: orm.AbstractCode | int | str | None = None,
        initial: Any = (),
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        **inputs: Any,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol, to be changed or run as it is.

        :param pacemaker: code for training; the others are those for the active set, the selection, the evaluation (the
            Python of the engine) and, for a `.yace` with each potential, the conversion. Each may be given by its
            label, PK or uuid.
        :param pool: the candidates; without a pool, give an explorer and a labeller (`explore`, `label`).
        :param initial: labelled trajectories, files and datasets to begin with, or a single one: whatever
            `merge_frames` takes. It may be left out with a `dataset`.
        :param protocol: one of :meth:`get_available_protocols`.
        :param overrides: `config`, `settings`, `activeset` or `select` (their options) in place of those of the
            protocol, key by key.
        :param options: options of all jobs, such as `resources` and `max_wallclock_seconds`.
        :param inputs: further inputs of the work chain: `dataset`, `test_dataset`, `potential`, `baseline`, ...
        :raises ConfigError: if the config is not valid with these overrides, or something is in the wrong place.
        """
        cls._check_inputs(inputs)
        cls._check_options({} if options is None else options)
        initial = nodes_of([initial])
        defaults = cls.get_protocol_inputs(protocol, overrides)
        config = defaults['config']
        if 'elements' not in config:
            given_sets = (pool, inputs.get('dataset'), inputs.get('test_dataset'))
            nodes = [*(node for node in given_sets if node is not None), *initial]
            config['elements'] = sorted({element for node in nodes for element in _elements(node)})
        job = {'options': {'resources': RESOURCES, **(options or {})}}
        builder: ProcessBuilder = cls.get_builder()  # type: ignore[attr-defined]
        builder.train = {
            'pace': {
                'code': code_of(pacemaker),
                'config': orm.Dict(parse_config(config).to_dict()),
                'metadata': job,
                **given(yace_code=None if pace_yaml2yace is None else code_of(pace_yaml2yace)),
            }
        }
        builder.activeset = {'pace': {'code': code_of(pace_activeset), 'metadata': job}}
        builder.select = {'pace': {'code': code_of(pace_select), 'metadata': job}}
        for name, section in (('activeset', builder.activeset), ('select', builder.select)):
            if defaults[name]:
                parse_options(cls.PROTOCOL_MODELS[name], defaults[name], f'the options of {name}')
                section['pace']['options'] = orm.Dict(defaults[name])
        builder.evaluate = {'pace': {'code': code_of(python), 'metadata': job}}
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
    def _check_inputs(cls, inputs: Mapping[str, Any]) -> None:
        """Refuse inputs that the loop does not have.

        :raises ConfigError: naming each, and the nearest that there is.
        """
        ports = list(cls.spec().inputs)  # type: ignore[attr-defined]
        unknown = [name for name in inputs if name not in ports]
        if unknown:
            lines = []
            for name in unknown:
                lines.append(f'  {name}: {cls._place_of_unknown(name, inputs[name], ports)}')
            raise ConfigError('\n'.join(['the loop has no such input:', *lines]))

    @classmethod
    def _check_options(cls, options: Mapping[str, Any]) -> None:
        """Refuse options that jobs do not have.

        :raises ConfigError: naming each, with the place that it belongs to or the nearest that there is.
        """
        if not isinstance(options, Mapping):
            raise ConfigError(f'the options cannot be used: found {options!r}, needed: a mapping of names to values')
        known = _options_of_jobs()
        lines = []
        for name, value in options.items():
            if name in known:
                continue
            lines.append(f'  {name}: {cls._place_of_unknown(name, value, known)}')
        if lines:
            raise ConfigError('\n'.join(['jobs have no such option:', *lines]))

    @classmethod
    def _place_of_unknown(cls, name: str, value: Any, known: list[str]) -> str:
        """Return what may be meant by something that is not among what is known in its place."""
        elsewhere = name in _options_of_jobs() or any(name in names_of(one) for one in cls.PROTOCOL_MODELS.values())
        if elsewhere:
            return cls._place_of(name, value)
        near = near_miss(name, known)
        return f'did you mean {near}?' if near else f'known: {", ".join(known)}'

    @classmethod
    def _place_outside(cls, key: str, value: Any) -> str:
        inner = value.get('options') if key == 'metadata' and isinstance(value, Mapping) else None
        if key == 'options' or inner is not None:
            return f'give it beside the overrides, as options={value if inner is None else inner!r}'
        if key in _options_of_jobs():
            return f'give it beside the overrides, as options={{{key!r}: {value!r}}}'
        if key in cls.PROTOCOL_MODELS or key not in cls.spec().inputs:  # type: ignore[attr-defined]
            return ''
        if isinstance(cls.spec().inputs[key], PortNamespace):  # type: ignore[attr-defined]
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
        builder: ProcessBuilder = run.get_builder_restart()
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


def _options_of_jobs() -> list[str]:
    """Return the names of the options of jobs; those of all of ours are the same."""
    return list(PaceTrainCalculation.spec().inputs['metadata']['options'])


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
