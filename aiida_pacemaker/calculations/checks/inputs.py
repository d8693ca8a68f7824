"""Checks of inputs before submission. Each returns what is wrong, or None."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from aiida import orm
from pydantic import BaseModel

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.option_errors import parse_options
from aiida_pacemaker.pace.config.trainer_config import parse_config

Validator = Callable[[Any, Any], str | None]
Options = TypeVar('Options', bound=BaseModel)


def all_of(*validators: Validator | None) -> Validator:
    """Return a validator that gives the first problem of the given ones."""

    def validate(value: Any, port: Any) -> str | None:
        for validator in validators:
            if validator is not None and (problem := validator(value, port)):
                return problem
        return None

    return validate


def validate_config(node: orm.Dict | None, _: Any) -> str | None:
    """Check that a node holds a `TrainerConfig`."""
    if node is None:
        return None
    try:
        parse_config(node.get_dict())
    except ConfigError as exception:
        return str(exception)
    return None


def validate_baseline(node: orm.Dict | None, _: Any) -> str | None:
    """Check that a node holds a `DeltaBaseline`."""
    return None if node is None else check_model(DeltaBaseline, node)


def check_model(model: type[BaseModel], node: orm.Dict) -> str | None:
    """Return what keeps the content of a node from being a model, one problem a line."""
    try:
        parse_options(model, node.get_dict())
    except ConfigError as exception:
        return str(exception)
    return None


def validator_for(model: type[BaseModel]) -> Validator:
    """Return a validator of nodes that hold a model."""
    return lambda node, _: None if node is None else check_model(model, node)


def options_of(model: type[Options], inputs: Any) -> Options:
    """Return the options among the inputs of a job; the defaults where none are given."""
    return parse_options(model, inputs['options'].get_dict() if 'options' in inputs else {})


def validate_labelled(node: PaceDatasetData | None, _: Any) -> str | None:
    """Check that a dataset carries energies and forces."""
    if node is None or node.labelled:
        return None
    return f'the {node.n_frames} frames of this dataset have no energies and forces: label them first'


def validate_reference_energies(node: orm.Dict | None, _: Any) -> str | None:
    """Check that a node holds an energy per element."""
    if node is None:
        return None
    wrong = {key: value for key, value in node.get_dict().items() if not _is_energy(value)}
    if wrong:
        return f'reference energies are finite numbers in eV, but {wrong} was found'
    return None


def _is_energy(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def validate_parent(inputs: Any, _: Any) -> str | None:
    """Check that the files of an earlier job can be linked by this one."""
    if 'parent_folder' not in inputs or 'code' not in inputs:
        return None
    code, there = inputs['code'], inputs['parent_folder'].computer
    if not on_one_computer(code, there):
        return (
            f'`parent_folder` is on the computer {there.label} but the code runs on {code.computer.label}: its files '
            'cannot be linked there. Leave it out, or use a code on the same computer.'
        )
    return None


def on_one_computer(code: orm.AbstractCode, computer: orm.Computer | None) -> bool:
    """Return whether a code can be run on a computer; where that is not known yet, it is."""
    here = code.computer
    return here is None or computer is None or here.uuid == computer.uuid
