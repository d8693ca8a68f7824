"""Protocols: named sets of defaults for the loop, in a file of YAML that belongs to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.option_errors import near_miss
from aiida_pacemaker.pace.config.expansion import deep_merge
from aiida_pacemaker.workflows.engines import PACEMAKER, Engine, engine_called


class ProtocolMixin:
    """Reads the protocols of the engines of a work chain."""

    @classmethod
    def get_default_protocol(cls, engine: str = PACEMAKER) -> str:
        """Return the name of the protocol that is taken if none is named."""
        return str(engine_called(engine).protocols()['default_protocol'])

    @classmethod
    def get_available_protocols(cls, engine: str = PACEMAKER) -> dict[str, str]:
        """Return the names of the protocols of an engine and what they are for."""
        protocols = engine_called(engine).protocols()['protocols']
        return {name: protocol['description'] for name, protocol in protocols.items()}

    @classmethod
    def get_protocol_inputs(
        cls,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        *,
        engine: str = PACEMAKER,
    ) -> dict[str, Any]:
        """Return the inputs of a protocol.

        :param protocol: name of the protocol, the default one if not given.
        :param overrides: inputs that replace those of the protocol, key by key.
        :param engine: whose protocols these are.
        :raises ValueError: if there is no such protocol.
        :raises ConfigError: if something is overridden that is not there, or not in that place.
        """
        chosen = engine_called(engine)
        content = chosen.protocols()
        cls._check_overrides({} if overrides is None else overrides, chosen)
        name = protocol or content['default_protocol']
        if name not in content['protocols']:
            raise ValueError(f'there is no protocol `{name}`: choose one of {", ".join(content["protocols"])}')
        inputs = {key: value for key, value in content['protocols'][name].items() if key != 'description'}
        return deep_merge(deep_merge(content['default_inputs'], inputs), overrides or {})

    @classmethod
    def _check_overrides(cls, overrides: Mapping[str, Any], engine: Engine) -> None:
        """Refuse overrides that would be passed over.

        :raises ConfigError: naming each, with the place that it belongs to.
        """
        models = engine.protocol_models
        if not isinstance(overrides, Mapping):
            raise ConfigError(
                f'the overrides cannot be used: found {overrides!r}, needed: a mapping with any of {", ".join(models)}'
            )
        problems = []
        for name, given in overrides.items():
            if name not in models:
                problems.append(f'{name}: {cls.place_of(name, given, engine)}')
            elif not isinstance(given, Mapping):
                problems.append(f'{name}: found {given!r}, needed: a mapping of names to values')
            else:
                wrong = {key: value for key, value in given.items() if key not in names_of(models[name])}
                problems += [f'{name}.{key}: {cls.place_of(key, value, engine)}' for key, value in wrong.items()]
        if problems:
            raise ConfigError('\n'.join(['the overrides cannot be used:', *(f'  {problem}' for problem in problems)]))

    @classmethod
    def place_of(cls, key: str, value: Any, engine: Engine) -> str:
        """Return where an override belongs that is in the wrong place.

        :param key: its name, as it was given.
        :param engine: whose protocols these are.
        """
        elsewhere = cls.place_outside(key, value, engine)
        if elsewhere:
            return f'is no override; {elsewhere}'
        models = engine.protocol_models
        places = [name for name, model in models.items() if key in names_of(model)]
        if places:
            ways = ' or '.join(f'overrides={{{name!r}: {{{key!r}: {value!r}}}}}' for name in places)
            return f'is not read here; give it as {ways}'
        paths = [f'{name}.{key}' for name, model in models.items() for key in names_of(model)]
        near = near_miss(key, [*models, *paths])
        return 'unknown key; ' + (f'did you mean {near}?' if near else f'known here: {", ".join(models)}')

    @classmethod
    def place_outside(cls, key: str, value: Any, engine: Engine) -> str:
        """Return where something belongs that no protocol has, such as an input of the work chain; empty if unknown.

        :param key: its name, as it was given.
        :param engine: whose protocols these are.
        """
        return ''


def names_of(model: type[BaseModel]) -> set[str]:
    """Return the names of the options of a model, as a user gives them."""
    return {field.alias or name for name, field in model.model_fields.items()}
