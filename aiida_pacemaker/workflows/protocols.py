"""Protocols: named sets of defaults for work chains, in YAML files beside them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any, ClassVar

import yaml
from pydantic import BaseModel

from aiida_pacemaker.engine.errors import near_miss
from aiida_pacemaker.engine.expansion import deep_merge
from aiida_pacemaker.errors import ConfigError


class ProtocolMixin:
    """Reads the protocols of a work chain."""

    #: Name of the file in `protocol_files`.
    PROTOCOL_FILE: ClassVar[str]
    #: What can be overridden, and the options that each takes.
    PROTOCOL_MODELS: ClassVar[dict[str, type[BaseModel]]]

    @classmethod
    def _load_protocols(cls) -> dict[str, Any]:
        text = resources.files('aiida_pacemaker.workflows.protocol_files').joinpath(cls.PROTOCOL_FILE).read_text()
        content: dict[str, Any] = yaml.safe_load(text)
        return content

    @classmethod
    def get_default_protocol(cls) -> str:
        """Return the name of the protocol that is taken if none is named."""
        return str(cls._load_protocols()['default_protocol'])

    @classmethod
    def get_available_protocols(cls) -> dict[str, str]:
        """Return the names of the protocols and what they are for."""
        return {name: protocol['description'] for name, protocol in cls._load_protocols()['protocols'].items()}

    @classmethod
    def get_protocol_inputs(
        cls, protocol: str | None = None, overrides: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the inputs of a protocol.

        :param protocol: name of the protocol, the default one if not given.
        :param overrides: inputs that replace those of the protocol, key by key.
        :raises ValueError: if there is no such protocol.
        :raises ConfigError: if something is overridden that is not there, or not in that place.
        """
        cls._check_overrides({} if overrides is None else overrides)
        content = cls._load_protocols()
        name = protocol or content['default_protocol']
        if name not in content['protocols']:
            raise ValueError(f'there is no protocol `{name}`: choose one of {", ".join(content["protocols"])}')
        inputs = {key: value for key, value in content['protocols'][name].items() if key != 'description'}
        return deep_merge(deep_merge(content['default_inputs'], inputs), overrides or {})

    @classmethod
    def _check_overrides(cls, overrides: Mapping[str, Any]) -> None:
        """Refuse overrides that would be passed over.

        :raises ConfigError: naming each, with the place that it belongs to.
        """
        if not isinstance(overrides, Mapping):
            raise ConfigError(
                f'the overrides cannot be used: found {overrides!r}, needed: a mapping with any of '
                f'{", ".join(cls.PROTOCOL_MODELS)}'
            )
        problems = []
        for name, given in overrides.items():
            if name not in cls.PROTOCOL_MODELS:
                problems.append(f'{name}: {cls._place_of(name, given)}')
            elif not isinstance(given, Mapping):
                problems.append(f'{name}: found {given!r}, needed: a mapping of names to values')
            else:
                wrong = {key: value for key, value in given.items() if key not in names_of(cls.PROTOCOL_MODELS[name])}
                problems += [f'{name}.{key}: {cls._place_of(key, value)}' for key, value in wrong.items()]
        if problems:
            raise ConfigError('\n'.join(['the overrides cannot be used:', *(f'  {problem}' for problem in problems)]))

    @classmethod
    def _place_of(cls, key: str, value: Any) -> str:
        """Return where an override belongs that is in the wrong place."""
        elsewhere = cls._place_outside(key, value)
        if elsewhere:
            return f'is no override; {elsewhere}'
        places = [name for name, model in cls.PROTOCOL_MODELS.items() if key in names_of(model)]
        if places:
            ways = ' or '.join(f'overrides={{{name!r}: {{{key!r}: {value!r}}}}}' for name in places)
            return f'is not read here; give it as {ways}'
        paths = [f'{name}.{key}' for name, model in cls.PROTOCOL_MODELS.items() for key in names_of(model)]
        near = near_miss(key, [*cls.PROTOCOL_MODELS, *paths])
        return 'unknown key; ' + (f'did you mean {near}?' if near else f'known here: {", ".join(cls.PROTOCOL_MODELS)}')

    @classmethod
    def _place_outside(cls, key: str, value: Any) -> str:
        """Return where something belongs that no protocol has, such as an input of the work chain; empty if unknown."""
        return ''


def names_of(model: type[BaseModel]) -> set[str]:
    """Return the names of the options of a model, as a user gives them."""
    return {field.alias or name for name, field in model.model_fields.items()}
