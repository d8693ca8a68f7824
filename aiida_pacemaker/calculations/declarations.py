"""What is known of the engine behind a code: said once, when the code is set up."""

from __future__ import annotations

from typing import Any

from aiida import orm
from pydantic import BaseModel, ConfigDict, Field

#: Extra of a code. It is no part of the provenance: an environment can change behind a code.
EXTRA = 'pacemaker_engine'


class Declaration(BaseModel):
    """What a code declares. Nothing is refused for what is not declared."""

    model_config = ConfigDict(frozen=True, extra='ignore')

    version: str | None = Field(default=None, description='Version of python-ace.')
    evaluators: tuple[str, ...] | None = Field(default=None, description='Evaluators that can be imported there.')


def declare(code: orm.AbstractCode, declaration: Declaration) -> None:
    """Keep what is known of the engine with a code."""
    code.base.extras.set(EXTRA, declaration.model_dump(mode='json'))


def declared(code: orm.AbstractCode) -> Declaration:
    """Return what a code declares."""
    content: Any = code.base.extras.get(EXTRA, {})
    return Declaration.model_validate(content if isinstance(content, dict) else {})
