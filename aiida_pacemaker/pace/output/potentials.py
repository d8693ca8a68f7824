"""The engine's potentials: what is in a B-basis ``.yaml`` or a ``.yace``, and how to continue from one."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from ase.data import chemical_symbols

from aiida_pacemaker.errors import PotentialFileError, printable

#: Potentials larger than this are refused; one of 4000 functions for five elements takes 1 MB.
MAX_BYTES = 64 * 1024**2
#: As are those of more pieces (numbers, names, brackets), each of which takes memory: that one has 200,000.
_MAX_EVENTS = 2_000_000
#: The engine nests seven levels deep.
_MAX_DEPTH = 20
_NESTED = f'it is nested more than {_MAX_DEPTH} levels deep'


@dataclass(frozen=True)
class PotentialSummary:
    """What a B-basis potential holds.

    :param elements: chemical symbols, sorted.
    :param cutoff: largest outer cutoff of a pair, angstrom: the range of the potential.
    :param n_functions: basis functions in all.
    :param n_functions_per_element: basis functions around an atom of each element; they add up to ``n_functions``.
    :param n_parameters: coefficients in all, of basis functions and of radial functions (the engine's "number of
        parameters"; which of them are fitted is a choice of each fit).
    :param n_densities: atomic densities of each element.
    :param embeddings: name of the embedding function of each element.
    :param core_repulsion: prefactor and exponent of the core repulsion of each pair, keyed by its symbols; zero where
        there is none.
    :param metadata: the engine's notes: versions, times, ``_loss``, ``_fit_cycles`` and what the user gave.
    :param reference_energy: atomic reference energy (E0) of each element in eV that was subtracted from the training
        data; None where the potential does not say.
    :param pair_cutoffs: how far an atom sees its neighbours in angstrom, keyed by the symbols of the two.
    :param functions_by_type: basis functions by the symbols of their centre and, once for each factor, of their
        neighbours. Functions with a coefficient of zero count as well.
    """

    elements: tuple[str, ...]
    cutoff: float
    n_functions: int
    n_functions_per_element: dict[str, int]
    n_parameters: int
    n_densities: dict[str, int]
    embeddings: dict[str, str]
    core_repulsion: dict[tuple[str, str], tuple[float, float]]
    metadata: dict[str, str] = field(default_factory=dict)
    reference_energy: dict[str, float] | None = None
    pair_cutoffs: dict[tuple[str, str], float] = field(default_factory=dict)
    functions_by_type: dict[tuple[str, tuple[str, ...]], int] = field(default_factory=dict)

    @property
    def blocks(self) -> dict[tuple[str, tuple[str, ...]], int]:
        """Basis functions by what they need: a central atom and at least one neighbour of each of some elements.

        They are keyed by the symbols of the centre and, sorted and each once, of the neighbours.
        """
        found: dict[tuple[str, tuple[str, ...]], int] = {}
        for (centre, neighbours), count in self.functions_by_type.items():
            needed = centre, tuple(sorted(set(neighbours)))
            found[needed] = found.get(needed, 0) + count
        return dict(sorted(found.items()))

    def blocks_in_order(self, element: str) -> list[tuple[str, ...]]:
        """Return which neighbours each function around an element needs, in the order of the engine's projections.

        That is by the number of neighbours, and then by their elements in order of the alphabet.
        """
        types = sorted(
            (len(neighbours), neighbours) for centre, neighbours in self.functions_by_type if centre == element
        )
        return [
            tuple(sorted(set(neighbours)))
            for _, neighbours in types
            for _ in range(self.functions_by_type[element, neighbours])
        ]


@dataclass(frozen=True)
class CTildeSummary:
    """What a C-tilde-basis potential (``.yace``) holds.

    :param elements: chemical symbols in the order of the file, which is that of the species types in LAMMPS.
    :param cutoff: largest outer cutoff of a pair, angstrom.
    """

    elements: tuple[str, ...]
    cutoff: float


def read_potential(content: str | bytes) -> PotentialSummary:
    """Summarise a B-basis potential (``output_potential.yaml``, ``interim_potential_0.yaml``).

    The format has no end mark. A file that was cut between two functions or two blocks cannot be told from a smaller
    potential: where the log says how many functions there are, compare.

    :param content: the content of the file.
    :raises PotentialFileError: if it is not such a potential, or not a whole one.
    """
    document = _load_mapping(content)
    blocks = document.get('species')
    if not isinstance(blocks, list) or not blocks:
        raise PotentialFileError('it has no list `species`: this is not a potential in the B-basis of the engine')
    functions: dict[str, int] = {}
    named: set[str] = set()
    densities: dict[str, int] = {}
    embeddings: dict[str, str] = {}
    cutoffs: dict[tuple[str, str], float] = {}
    types: dict[tuple[str, tuple[str, ...]], int] = {}
    core: dict[tuple[str, str], tuple[float, float]] = {}
    n_parameters = 0
    for position, block in enumerate(blocks):
        where = f'block {position} of `species`'
        symbols = _symbols(_get(block, 'speciesblock', where), where)
        where = f'block `{" ".join(symbols)}`'
        named.update(symbols)
        if len(symbols) == 1:
            functions.setdefault(symbols[0], 0)
            densities[symbols[0]] = _count(_get(block, 'ndensityi', where), where)
            embeddings[symbols[0]] = str(_get(block, 'npoti', where))
        if len(symbols) <= 2:
            pair = (symbols[0], symbols[-1])
            cutoffs[pair] = _number(_get(block, 'rcutij', where), where)
            core[pair] = _core_repulsion(block.get('core-repulsion', ['0', '0']), where)
            n_parameters += _count_leaves(block.get('radcoefficients', []))
        nbody = block.get('nbody', [])
        if not isinstance(nbody, list):
            raise PotentialFileError(f'`nbody` of {where} is not a list')
        for function in nbody:
            centre, *neighbours = _symbols(_get(function, 'type', where), where)
            types[centre, tuple(neighbours)] = types.get((centre, tuple(neighbours)), 0) + 1
            functions[centre] = functions.get(centre, 0) + 1
            n_parameters += _count_leaves(_get(function, 'c', where))
    if named != set(densities):
        raise PotentialFileError(
            f'it names {sorted(named)} but has blocks for {sorted(densities)} only: a part is missing'
        )
    metadata = _metadata(document)
    return PotentialSummary(
        elements=tuple(sorted(densities)),
        cutoff=max(cutoffs.values()),
        n_functions=sum(functions.values()),
        n_functions_per_element=dict(sorted(functions.items())),
        n_parameters=n_parameters,
        n_densities=densities,
        embeddings=embeddings,
        core_repulsion=core,
        metadata={printable(key): printable(value) for key, value in metadata.items()},
        reference_energy=_reference_energy(metadata),
        pair_cutoffs=cutoffs,
        functions_by_type=types,
    )


def blocks_of_pairs(content: str | bytes) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return what a B-basis potential says of each pair of elements, in both orders; numbers as they are written.

    :param content: the content of the file.
    :raises PotentialFileError: if it is not such a potential.
    """
    blocks = _load_mapping(content).get('species')
    if not isinstance(blocks, list):
        raise PotentialFileError('it has no list `species`: this is not a potential in the B-basis of the engine')
    found = {}
    for position, block in enumerate(blocks):
        where = f'block {position} of `species`'
        symbols = _symbols(_get(block, 'speciesblock', where), where)
        if len(symbols) <= 2:
            found[symbols[0], symbols[-1]] = block
    return found


def read_coefficients(content: str | bytes) -> list[float]:
    """Return the coefficients of all basis functions of a B-basis potential, function by function.

    :param content: the content of the file.
    :raises PotentialFileError: if it is not such a potential.
    """
    blocks = _load_mapping(content).get('species')
    if not isinstance(blocks, list):
        raise PotentialFileError('it has no list `species`: this is not a potential in the B-basis of the engine')
    return [
        _number(value, 'a coefficient')
        for block in blocks
        for function in block.get('nbody', [])
        for value in _get(function, 'c', 'a function')
    ]


def read_ctilde(content: str | bytes) -> CTildeSummary:
    """Summarise a C-tilde-basis potential, as ``pace_yaml2yace`` makes it for LAMMPS.

    :param content: the content of the ``.yace`` file.
    :raises PotentialFileError: if it is not such a potential, or not a whole one.
    """
    document = _load_mapping(content)
    elements, bonds, functions = document.get('elements'), document.get('bonds'), document.get('functions')
    if not isinstance(elements, list) or not isinstance(bonds, Mapping) or not isinstance(functions, Mapping):
        raise PotentialFileError('it lacks `elements`, `bonds` or `functions`: this is not a .yace potential')
    if len(functions) != len(elements):
        raise PotentialFileError(f'it has functions for {len(functions)} of {len(elements)} elements')
    cutoffs = [_number(_get(bond, 'rcut', f'bond {pair}'), f'bond {pair}') for pair, bond in bonds.items()]
    if not cutoffs:
        raise PotentialFileError('its `bonds` are empty')
    return CTildeSummary(_symbols(' '.join(map(str, elements)), '`elements`'), max(cutoffs))


def strip_fit_cycles(text: str) -> str:
    """Remove ``_fit_cycles`` from the metadata of a B-basis potential and leave everything else as it is.

    With that note the engine takes the potential for finished and skips the fit, with exit status 0.

    :param text: the content of a B-basis potential.
    """
    metadata = re.search(r'^metadata:[ \t]*\r?\n(?:[ \t]+.*(?:\n|\Z))*', text, re.MULTILINE)
    if metadata is None:
        return text
    kept = re.sub(r'^[ \t]+_fit_cycles:.*(?:\n|\Z)', '', metadata[0], flags=re.MULTILINE)
    return text[: metadata.start()] + kept + text[metadata.end() :]


def newest_interim(names: Iterable[str]) -> str | None:
    """Choose the file from which a fit that was killed is to be continued.

    A ladder fit continues from its last finished step (``interim_potential_ladder_step_N.yaml``, with the engine's
    option ``-ip``), any other from its last fit cycle (``interim_potential_N.yaml``, with ``-p``).
    ``interim_potential_best_cycle.yaml`` is the last resort: it says ``_fit_cycles`` and must be stripped of it.

    :param names: names of the files that the fit left behind.
    :returns: the name of the file, or None if there is none.
    """
    found = set(names)
    for pattern in (r'interim_potential_ladder_step_(\d+)\.yaml', r'interim_potential_(\d+)\.yaml'):
        numbered = {int(match[1]): name for name in found if (match := re.fullmatch(pattern, name))}
        if numbered:
            return numbered[max(numbered)]
    best = 'interim_potential_best_cycle.yaml'
    return best if best in found else None


def _load_mapping(content: str | bytes) -> Mapping[Any, Any]:
    size = len(content)
    if size > MAX_BYTES:
        raise PotentialFileError(f'it has {size} bytes; potentials have no more than {MAX_BYTES}')
    if isinstance(content, bytes):
        try:
            content = content.decode()
        except UnicodeDecodeError as exception:
            raise PotentialFileError('it is not text: this is not a potential in YAML') from exception
    if not content.strip():
        raise PotentialFileError('it is empty: the engine was stopped before it wrote anything')
    try:
        document = _build(content)
    except (yaml.YAMLError, UnicodeEncodeError) as exception:
        problem = ' '.join(str(exception).split())
        if 'nesting depth' in problem:
            # Newer parsers count the brackets ahead of what they tell of.
            raise PotentialFileError(_NESTED) from exception
        raise PotentialFileError(
            f'it is not a whole YAML file, perhaps it was cut while written: {problem}'
        ) from exception
    if len(re.findall(r'^species[ \t]*:', content, re.MULTILINE)) > 1:
        # Readers of YAML do not agree which of two counts: we would say one element, the engine another.
        raise PotentialFileError('it has more than one list `species`: leave one in it')
    if not isinstance(document, Mapping):
        raise PotentialFileError('it does not hold sections: this is not a potential of the engine')
    return document


def _build(text: str) -> Any:
    """Build dictionaries, lists and strings from YAML.

    PyYAML's own loaders recurse (a file of brackets ends the process with a segmentation fault) and expand anchors (a
    file of a few lines can fill the memory). Working on the stream of events does neither and is several times faster.
    """
    root: list[Any] = []
    stack: list[list[Any]] = [root]
    for count, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        if count > _MAX_EVENTS:
            raise PotentialFileError(f'it has more than {_MAX_EVENTS} pieces, which no potential has')
        if getattr(event, 'anchor', None) is not None:
            raise PotentialFileError('it has anchors or aliases, which the engine does not write')
        if isinstance(event, yaml.ScalarEvent):
            stack[-1].append(event.value)
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(stack) > _MAX_DEPTH:
                raise PotentialFileError(_NESTED)
            stack.append([])
        elif isinstance(event, yaml.SequenceEndEvent):
            items = stack.pop()
            stack[-1].append(items)
        elif isinstance(event, yaml.MappingEndEvent):
            items = stack.pop()
            stack[-1].append({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})
    if len(root) != 1:
        raise PotentialFileError(f'it holds {len(root)} YAML documents instead of one')
    return root[0]


def _key(key: Any) -> str | tuple[str, ...]:
    # The bonds of a .yace file are keyed by pairs of species types.
    if isinstance(key, list) and all(isinstance(item, str) for item in key):
        return tuple(key)
    if not isinstance(key, str):
        raise PotentialFileError('it has a mapping for a key')
    return key


def _get(mapping: Any, key: str, where: str) -> Any:
    if not isinstance(mapping, Mapping) or key not in mapping:
        raise PotentialFileError(f'{where} has no `{key}`')
    return mapping[key]


def _symbols(value: Any, where: str) -> tuple[str, ...]:
    symbols = tuple(value.split()) if isinstance(value, str) else ()
    unknown = [symbol for symbol in symbols if symbol not in chemical_symbols[1:]]
    if not symbols or unknown:
        raise PotentialFileError(f'{where} names {unknown or value!r}, which are not chemical symbols')
    return symbols


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise PotentialFileError(f'{where} has {value!r} where a number belongs')
    return number


def _count(value: Any, where: str) -> int:
    number = _number(value, where)
    if not 0 <= number < 1000:
        raise PotentialFileError(f'{where} has {value!r} densities')
    return int(number)


def _core_repulsion(value: Any, where: str) -> tuple[float, float]:
    if not isinstance(value, Sequence) or len(value) != 2:
        raise PotentialFileError(f'`core-repulsion` of {where} is not a pair of numbers')
    return _number(value[0], where), _number(value[1], where)


def _count_leaves(value: Any) -> int:
    return sum(map(_count_leaves, value)) if isinstance(value, list) else 1


def _metadata(document: Mapping[Any, Any]) -> dict[str, str]:
    metadata = document.get('metadata', {})
    if not isinstance(metadata, Mapping):
        return {}
    return {str(key): str(value) for key, value in metadata.items()}


def _reference_energy(metadata: Mapping[str, str]) -> dict[str, float] | None:
    if 'reference_energy' not in metadata:
        return None
    try:
        energies = json.loads(metadata['reference_energy'])
        return {symbol: _number(energy, symbol) for symbol, energy in energies.items()}
    except (ValueError, AttributeError, RecursionError) as exception:
        found = metadata['reference_energy']
        raise PotentialFileError(
            f'`reference_energy` in its metadata is {found!r}, not energies by element'
        ) from exception
