"""Protocols: named sets of defaults for work chains, in YAML files beside them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any, ClassVar

import yaml

from aiida_pacemaker.engine.expansion import deep_merge


class ProtocolMixin:
    """Reads the protocols of a work chain."""

    #: Name of the file in `protocol_files`.
    PROTOCOL_FILE: ClassVar[str]

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
        """
        content = cls._load_protocols()
        name = protocol or content['default_protocol']
        if name not in content['protocols']:
            raise ValueError(f'there is no protocol `{name}`: choose one of {", ".join(content["protocols"])}')
        inputs = {key: value for key, value in content['protocols'][name].items() if key != 'description'}
        return deep_merge(deep_merge(content['default_inputs'], inputs), overrides or {})
