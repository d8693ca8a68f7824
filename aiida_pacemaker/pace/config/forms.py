"""The forms in which the engine takes its input, brought to one form of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida_pacemaker.pace.config.species import is_species_key, species_of

#: The parts of ``potential`` whose keys name elements.
BY_ELEMENTS = ('embeddings', 'bonds', 'functions')


def in_one_form(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration in which each thing is said in one way.

    Keys of elements: ``('Al', 'Ni')`` and ``'(Al, Ni)'`` become ``AlNi``; of bonds that are given in both orders alike
    one is kept. What is to be trained: nothing at all is ``ALL``, as for the engine, and the kinds of parameters of a
    block are a name or a list. Equal weights by their name are no weighting. The elements of the potential are those of
    the configuration.

    :param given: the keys of a configuration; it is not changed. What has another type is left as it is.
    """
    config = dict(given)
    potential, fit = config.get('potential'), config.get('fit')
    if isinstance(potential, Mapping):
        potential = dict(potential)
        for part in BY_ELEMENTS:
            if isinstance(potential.get(part), Mapping):
                potential[part] = {species_key(key): value for key, value in potential[part].items()}
        if isinstance(potential.get('bonds'), Mapping):
            potential['bonds'] = _each_bond_once(potential['bonds'])
        config['potential'] = potential
        if 'elements' not in config and potential.get('elements') is not None:
            config['elements'] = potential['elements']
    if isinstance(fit, Mapping):
        fit = dict(fit)
        if 'trainable_parameters' in fit:
            fit['trainable_parameters'] = _trainable(fit['trainable_parameters'])
        weighting = fit.get('weighting')
        if isinstance(weighting, Mapping) and dict(weighting) == {'type': 'UniformWeightingPolicy'}:
            del fit['weighting']
        config['fit'] = fit
    return config


def species_key(key: Any) -> Any:
    """Return the symbols of elements in a key as one word; other keys are left as they are."""
    if isinstance(key, tuple | list) and all(isinstance(part, str) for part in key):
        key = f'({", ".join(key)})'
    if not isinstance(key, str) or not key.startswith('('):
        return key
    inside = key.removeprefix('(').removesuffix(')')
    symbols = [part.strip().strip('\'"') for part in inside.split(',') if part.strip()]
    joined = ''.join(symbols)
    return joined if is_species_key(joined) and list(species_of(joined)) == symbols else key


def _each_bond_once(bonds: Mapping[Any, Any]) -> dict[Any, Any]:
    """Leave out bonds that are given in the other order too, with the same values."""
    kept: dict[Any, Any] = {}
    for key, bond in bonds.items():
        other = ''.join(reversed(species_of(key))) if isinstance(key, str) and is_species_key(key) else key
        if other == key or other not in kept or kept[other] != bond:
            kept[key] = bond
    return kept


def _trainable(given: Any) -> Any:
    if given is None or (isinstance(given, list | tuple | dict | set) and not given):
        return 'ALL'
    if isinstance(given, Mapping):
        return {species_key(key): _kinds(kinds) for key, kinds in given.items()}
    if isinstance(given, list | tuple | set):
        return [species_key(key) for key in (sorted(given, key=str) if isinstance(given, set) else given)]
    return species_key(given)


def _kinds(given: Any) -> Any:
    """Return kinds of parameters as a name or a list; ``{"func", "radial"}`` is a mapping without values in YAML."""
    if isinstance(given, Mapping) and all(value is None for value in given.values()):
        return list(given)
    if isinstance(given, set | tuple):
        return sorted(given, key=str)
    return given
