"""The potentials of the fake engine: B-basis files like those of the real one, with functions of orders one and two."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import combinations_with_replacement, permutations, product
from pathlib import Path
from typing import Any

import yaml

_GROUPS = {1: 'UNARY', 2: 'BINARY', 3: 'TERNARY'}
_EMBEDDING = {
    'npoti': ('npot', 'FinnisSinclairShiftedScaled'),
    'parameters': ('fs_parameters', [1, 1]),
    'rho_core_cut': ('rho_core_cut', 100000),
    'drho_core_cut': ('drho_core_cut', 250),
}
_BOND = {
    'rcutij': ('rcut', 5.0),
    'dcutij': ('dcut', 0.01),
    'NameOfCutoffFunctionij': ('NameOfCutoffFunction', 'cos'),
    'r_in': ('r_in', 0),
    'delta_in': ('delta_in', 0),
    'inner_cutoff_type': ('inner_cutoff_type', 'distance'),
    'radbase': ('radbase', 'SBessel'),
    'radparameters': ('radparameters', [5.25]),
    'core-repulsion': ('core-repulsion', [0, 0]),
}

Function = dict[str, Any]


@dataclass
class Block:
    """The functions of one set of elements, the central one first.

    :param species: chemical symbols.
    :param settings: embedding and radial functions, as in the file.
    :param functions: basis functions, as in the file: ``type``, ``nr``, ``nl`` and coefficients ``c``.
    """

    species: tuple[str, ...]
    settings: dict[str, Any]
    functions: list[Function]


@dataclass
class Potential:
    """A potential in the B-basis.

    :param blocks: one for each set of elements.
    :param metadata: notes, which the file holds as strings.
    :param spline_spacing: spacing of the radial splines in angstrom.
    """

    blocks: list[Block]
    metadata: dict[str, str] = field(default_factory=dict)
    spline_spacing: float = 0.001

    @property
    def elements(self) -> list[str]:
        """Chemical symbols, sorted."""
        return sorted(block.species[0] for block in self.blocks if len(block.species) == 1)

    @property
    def cutoff(self) -> float:
        """The largest outer cutoff in angstrom."""
        return max(float(block.settings['rcutij']) for block in self.blocks if 'rcutij' in block.settings)

    @property
    def n_parameters(self) -> int:
        """Coefficients of basis and radial functions."""
        radial = sum(_count(block.settings.get('radcoefficients', [])) for block in self.blocks)
        return radial + sum(len(function['c']) for function in self.functions())

    def n_densities(self, element: str) -> int:
        """Return the number of densities of an element."""
        return next(int(block.settings['ndensityi']) for block in self.blocks if block.species == (element,))

    def functions(self, element: str | None = None) -> Iterator[Function]:
        """Iterate over the functions around one element, or over all."""
        for block in self.blocks:
            if element is None or block.species[0] == element:
                yield from block.functions

    def pair_functions(self) -> list[Function]:
        """Return the functions of order one, which are those that the fake engine evaluates, in the engine's order."""
        found = [function for function in self.functions() if len(function['nr']) == 1]
        return sorted(found, key=lambda function: str(function['type']).split())

    def count(self) -> int:
        """Return the number of functions."""
        return sum(1 for _ in self.functions())

    def copy(self) -> Potential:
        """Return a copy that shares nothing with this one."""
        return parse(self.dump())

    def dump(self) -> str:
        """Return the text of the file."""
        lines = ['metadata:', *(f'  {key}: {flow(value)}' for key, value in sorted(self.metadata.items()))]
        lines += ['global:', f'  DeltaSplineBins: {self.spline_spacing}', 'species:']
        for block in self.blocks:
            lines.append(f'  - speciesblock: {" ".join(block.species)}')
            lines += [f'    {key}: {flow(value)}' for key, value in block.settings.items()]
            lines += ['    nbody:' if block.functions else '    nbody: []']
            lines += [f'      - {flow(function)}' for function in block.functions]
        return '\n'.join(lines if self.metadata else lines[1:]) + '\n'


def parse(text: str) -> Potential:
    """Read a potential.

    :raises RuntimeError: as the engine does, if the text is not YAML.
    """
    try:
        document = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = '' if mark is None else f' at line {mark.line + 1}, column {mark.column + 1}'
        raise RuntimeError(f'yaml-cpp: error{where}: {error.problem}') from error
    blocks = []
    for settings in document['species']:
        species = tuple(settings.pop('speciesblock').split())
        blocks.append(Block(species, settings, settings.pop('nbody', None) or []))
    metadata = {key: str(value) for key, value in document.get('metadata', {}).items()}
    return Potential(blocks, metadata, document['global']['DeltaSplineBins'])


def load(path: Path) -> Potential:
    """Read the file of a potential.

    :raises ValueError: as the engine does, if there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"Potential file {path} doesn't exists")
    return parse(path.read_text())


def build(section: Mapping[str, Any]) -> Potential:
    """Make a potential of the shape that the section ``potential`` of the input describes, with coefficients of zero.

    Functions of the third and higher orders are left out.
    """
    elements = sorted(section['elements'])
    blocks = [
        _block(species, section)
        for size in (1, 2, 3)
        for centre in elements
        for species in _neighbourhoods(centre, elements, size)
        if size == 1 or _specification(section['functions'], species)
    ]
    blocks.sort(key=lambda block: (len(block.species), block.species))
    potential = Potential(blocks, {}, section.get('deltaSplineBins', 0.001))
    limit = section['functions'].get('number_of_functions_per_element')
    if limit is not None:
        # All blocks get the same share, also those that have less to offer.
        potential = grown(potential, set(), limit * len(elements) // len(blocks))
    for block in potential.blocks:
        if len(block.species) <= 2:
            block.settings |= _radial_sizes(potential, {block.species[0], block.species[-1]})
    return potential


def transfer(source: Potential, target: Potential) -> None:
    """Give the functions of ``target`` the coefficients that the same functions have in ``source``."""
    known: dict[str, list[float]] = {key_of(function): function['c'] for function in source.functions()}
    for function in target.functions():
        if key_of(function) in known:
            function['c'] = list(known[key_of(function)])


def grown(target: Potential, kept: Set[str], step: int) -> Potential:
    """Return a potential with the functions of ``target`` that are kept, and up to ``step`` more in each block.

    The simplest ones come first.
    """
    potential = target.copy()
    for block in potential.blocks:
        new = sorted((f for f in block.functions if key_of(f) not in kept), key=_complexity)[:step]
        block.functions = [function for function in block.functions if key_of(function) in kept or function in new]
    return potential


def key_of(function: Function) -> str:
    """Return what tells a function from the others of a potential."""
    return ' '.join(f'{name}:{value}' for name, value in sorted(function.items()) if name != 'c')


def _neighbourhoods(centre: str, elements: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    others = [element for element in elements if element != centre]
    for rest in sorted({tuple(sorted(choice)) for choice in permutations(others, size - 1)}):
        yield (centre, *rest)


def _block(species: tuple[str, ...], section: Mapping[str, Any]) -> Block:
    shape = _specification(section['functions'], species)
    n_max, l_max = list(shape.get('nradmax_by_orders', [])), list(shape.get('lmax_by_orders', []))
    embedding = _specification(section.get('embeddings', {}), species[:1])
    n_densities = embedding.get('ndensity', 1)
    functions = list(_functions(species, n_max, l_max, n_densities))
    settings: dict[str, Any] = {}
    if len(species) == 1:
        settings['ndensityi'] = n_densities
        settings |= {name: embedding.get(key, default) for name, (key, default) in _EMBEDDING.items()}
    if len(species) <= 2:
        bonds = section.get('bonds', {})
        bond = _specification(bonds, species[::-1]) | bonds.get(''.join(species), {})
        settings |= {name: bond.get(key, default) for name, (key, default) in _BOND.items()}
    return Block(species, settings, functions)


def _radial_sizes(potential: Potential, pair: set[str]) -> dict[str, Any]:
    """Return how many radial functions a pair of elements needs, and their coefficients: each is one basis function."""
    n_radial, l_largest, n_base = 0, 0, 0
    for function in potential.functions():
        centre, *neighbours = function['type'].split()
        for neighbour, n, angular in zip(neighbours, function['nr'], function['nl'], strict=True):
            if {centre, neighbour} == pair:
                n_base, l_largest = max(n_base, n), max(l_largest, angular)
                n_radial = max(n_radial, n) if len(neighbours) > 1 else n_radial
    rows = [[[int(k == n) for k in range(n_base)] for _ in range(l_largest + 1)] for n in range(n_radial)]
    return {'nradmaxi': n_radial, 'lmaxi': l_largest, 'nradbaseij': n_base, 'radcoefficients': rows}


def _specification(section: Mapping[str, Any], species: tuple[str, ...]) -> dict[str, Any]:
    """Return what a section says of some elements: the more special key comes before the more general one."""
    merged: dict[str, Any] = {}
    for key in ('ALL', _GROUPS[len(species)], ''.join(species)):
        merged |= section.get(key, {})
    return merged


def _functions(
    species: tuple[str, ...], n_max: Sequence[int], l_max: Sequence[int], n_densities: int
) -> Iterator[Function]:
    """Iterate over the functions with neighbours of exactly these elements."""
    centre = species[0]
    for order in (1, 2):
        if order > len(n_max):
            return
        for neighbours in combinations_with_replacement(sorted(species), order):
            if {centre, *neighbours} != set(species):
                continue
            for nr in product(range(1, n_max[order - 1] + 1), repeat=order):
                if len(set(neighbours)) == 1 and list(nr) != sorted(nr):
                    continue
                for angular in range(l_max[order - 1] + 1 if order > 1 else 1):
                    yield {
                        'type': ' '.join((centre, *neighbours)),
                        'nr': list(nr),
                        'nl': [angular] * order,
                        'c': [0.0] * n_densities,
                    }


def _complexity(function: Function) -> tuple[int, int]:
    return len(function['nr']), sum(function['nr']) + sum(function['nl'])


def _count(value: Any) -> int:
    return sum(map(_count, value)) if isinstance(value, list) else 1


def flow(value: Any) -> str:
    """Return a value in the flow style of YAML."""
    match value:
        case dict():
            return '{' + ', '.join(f'{key}: {flow(item)}' for key, item in value.items()) + '}'
        case list() | tuple():
            return '[' + ', '.join(map(flow, value)) + ']'
        case str() if value.startswith('{'):
            return json.dumps(value)
        case float():
            return f'{value:.17g}'
    return str(value)
