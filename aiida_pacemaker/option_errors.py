"""Wrong inputs, told to people: where it is, what was found, what is needed, what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, TypeGuard, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from aiida_pacemaker.errors import ConfigError, ProblemsError

Location = tuple[int | str, ...]
Options = TypeVar('Options', bound=BaseModel)


def parse_options(model: type[Options], given: Options | Mapping[str, Any], what: str | None = None) -> Options:
    """Read options of any kind.

    :param model: the kind of options.
    :param given: the options by their names; options that have been read already are returned as they are.
    :param what: how people know them; by default the name of the model.
    :raises ConfigError: naming every problem, one a line: where, what was found, what is needed, the nearest known key.
    """
    if isinstance(given, model):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError(f'{what or model.__name__}: found {_shown(given)}, needed: a mapping of names to values')
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        raise ConfigError(explain(error, model, what)) from error


def explain(error: ValidationError, model: type[BaseModel], what: str | None = None) -> str:
    """Return what pydantic found as a message that names every problem, one a line.

    :param error: what the validation raised.
    :param model: the model that was validated; its fields are searched for near misses.
    :param what: how people know what was validated; by default the name of the model.
    """
    lines = [line for details in error.errors(include_url=False) for line in _lines(details, model)]
    return '\n'.join([f'{what or model.__name__} cannot be used:', *(f'  {line}' for line in dict.fromkeys(lines))])


def near_miss(word: str, known: Iterable[str]) -> str | None:
    """Return the nearest known word, or None where none is near.

    :param word: what was found.
    :param known: words or dotted paths; of a path, the last part is compared.
    """
    by_name = {path.split('.')[-1].lower(): path for path in known}
    close = get_close_matches(word.lower(), by_name, n=1, cutoff=0.65)
    return by_name[close[0]] if close else None


def known_paths(model: type[BaseModel], prefix: str = '') -> Iterator[str]:
    """Iterate over the dotted paths of all keys that a model knows; ``*`` stands for a key that the user chooses."""
    for name, field in _fields(model).items():
        path = prefix + name
        yield path
        inner = _unwrap(field.annotation)
        if get_origin(inner) is dict:
            path, inner = f'{path}.*', _unwrap(get_args(inner)[1])
        if _is_model(inner):
            yield from known_paths(inner, f'{path}.')
    extra = _extra_values(model)
    if _is_model(extra):
        yield from known_paths(extra, f'{prefix}*.')


def _lines(details: ErrorDetails, model: type[BaseModel]) -> list[str]:
    location, found = _without_branches(details['loc'], model), _shown(details['input'])
    path = '.'.join(str(part) for part in location)
    kind = details['type']
    if kind == 'extra_forbidden':
        reason = getattr(_model_at(model, location[:-1]), 'refused', {}).get(location[-1])
        return [f'{path}: {reason}' if reason else f'{path}: unknown key{_suggestion(location, model)}']
    if kind == 'missing':
        return [f'{path}: missing; needed: {_description(location, model)}']
    if kind == 'value_error':
        raised = details['ctx']['error']
        if isinstance(raised, ProblemsError):
            return [f'{path}.{relative}' if path else relative for relative in map(': '.join, raised.problems)]
        if not path:
            return [str(raised)]
        return [f'{path}: found {found}, needed: {raised}']
    about = _description(location, model)
    line = f'{path}: found {found}, needed: {_needed(details)}' + (f' ({about})' if about else '')
    if kind == 'literal_error' and isinstance(details['input'], str):
        choices = details['ctx']['expected'].replace("'", '').replace(' or ', ', ').split(', ')
        near = near_miss(details['input'], choices)
        line += f'; did you mean {near}?' if near else ''
    return [line]


def _needed(details: ErrorDetails) -> str:
    context = details.get('ctx', {})
    plain = {
        **dict.fromkeys(('int_type', 'int_parsing', 'int_from_float'), 'an integer'),
        **dict.fromkeys(('float_type', 'float_parsing'), 'a number'),
        **dict.fromkeys(('string_type', 'string_sub_type'), 'text'),
        **dict.fromkeys(('bool_type', 'bool_parsing'), 'true or false'),
        **dict.fromkeys(('model_type', 'dict_type', 'mapping_type', 'model_attributes_type'), 'a mapping'),
        **dict.fromkeys(('tuple_type', 'list_type', 'set_type', 'iterable_type'), 'a list'),
        'none_required': 'nothing',
        'finite_number': 'a finite number',
        'string_pattern_mismatch': f'text of the form {context.get("pattern")}',
        'too_short': f'at least {context.get("min_length")} of them',
        'too_long': f'at most {context.get("max_length")} of them',
    }
    return plain.get(details['type'], details['msg'].removeprefix('Input should be '))


def _without_branches(location: Location, model: type[BaseModel]) -> Location:
    """Return where a problem is in what was given: pydantic adds which of several types it tried."""
    tried = {'str', 'int', 'float', 'bool', 'none', *_models_in(model)}
    return tuple(part for part in location if not (isinstance(part, str) and (part in tried or '[' in part)))


def _models_in(annotation: Any) -> set[str]:
    """Return the names of all models that values of a type may be made of."""
    if _is_model(annotation):
        fields = [field.annotation for field in annotation.model_fields.values()]
        inside = [*fields, _extra_values(annotation)]
        return {annotation.__name__, *(name for one in inside for name in _models_in(one))}
    return {name for argument in get_args(annotation) for name in _models_in(argument)}


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def _suggestion(location: Location, model: type[BaseModel]) -> str:
    """Look for the unknown key among its neighbours first, then anywhere in the input."""
    *parents, last = location
    key, prefix = str(last), ''.join(f'{part}.' for part in parents)
    parent = _model_at(model, tuple(parents))
    siblings = [prefix + name for name in _fields(parent)] if parent is not None else []
    everywhere = list(known_paths(model))
    same = [path for path in everywhere if path.split('.')[-1].lower() == key.lower()]
    near = near_miss(key, siblings) or (near_miss(key, everywhere) if not same else None)
    meant = list(dict.fromkeys(filter(None, [near, *same])))
    if meant:
        return f'; did you mean {" or ".join(meant)}?'
    return '; known here: ' + ', '.join(path.removeprefix(prefix) for path in siblings)


def _description(location: Location, model: type[BaseModel]) -> str:
    for length in range(len(location), 0, -1):
        parent = _model_at(model, location[: length - 1])
        field = _fields(parent).get(str(location[length - 1])) if parent is not None else None
        if field is not None:
            return re.split(r'\.(?=\s|$)', field.description or '')[0]
    return ''


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_at(model: type[BaseModel], location: Location) -> type[BaseModel] | None:
    """Return the model that a location leads to, or None where a plain value stands there."""
    annotation: Any = model
    for part in location:
        if _is_model(annotation):
            field = _fields(annotation).get(str(part))
            annotation = field.annotation if field is not None else _extra_values(annotation)
        elif get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        else:
            return None
        annotation = _unwrap(annotation)
    return annotation if _is_model(annotation) else None


def _extra_values(model: type[BaseModel]) -> Any:
    """Return the type of the values under the free keys of a model."""
    return (get_args(get_type_hints(model).get('__pydantic_extra__')) or (None, None))[1]


def _unwrap(annotation: Any) -> Any:
    """Return the model or mapping inside ``... | None`` and ``Annotated[...]``."""
    if get_origin(annotation) in (Union, UnionType, Annotated):
        inner = [_unwrap(argument) for argument in get_args(annotation)]
        return next((one for one in inner if _is_model(one) or get_origin(one) is dict), annotation)
    return annotation


def _is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
