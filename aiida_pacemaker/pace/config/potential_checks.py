"""Checks of a complete ``potential`` section, in which the engine would fail or ignore parts without a message."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

from aiida_pacemaker.pace.config.species import GROUPS, is_block_key, is_species_key, species_of

#: Largest l in the engine's table of coupled functions, by order; it leaves functions beyond out without a word.
LMAX_OF_ORDER = (0, 10, 6, 4, 3, 2, 2, 1, 1, 1, 1, 1)
#: Largest number of different (element, n) factors in one function of that table, by order where it is limited.
DISTINCT_OF_ORDER = {6: 2, 7: 2, 8: 2, 9: 2, 10: 2, 11: 2, 12: 1}

Problem = tuple[str, str]
Block = tuple[str, ...]


def resolve(specifications: dict[str, Any], block: Block) -> dict[str, Any]:
    """Merge what holds for a block of elements, as the engine does: ``ALL``, then the group, then the elements.

    :param specifications: sections as plain mappings by key.
    :param block: the elements of the block, the central atom first.
    """
    merged: dict[str, Any] = {}
    for key in ('ALL', GROUPS[len(set(block))] if len(set(block)) < len(GROUPS) else ''):
        merged.update(specifications.get(key, {}))
    for key, specification in specifications.items():
        if key not in GROUPS and species_of(key) == block:
            merged.update(specification)
    return merged


def bonds_of(potential: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what holds for each pair of elements, in both orders.

    :param potential: a complete ``potential`` section as a plain mapping.
    """
    bonds = {}
    for pair in product(potential['elements'], repeat=2):
        specification = resolve(potential['bonds'], pair[:1] if pair[0] == pair[1] else pair)
        for key, given in potential['bonds'].items():
            if key not in GROUPS and sorted(species_of(key) * (3 - len(species_of(key)))) == sorted(pair):
                specification.update(given)
        bonds[pair] = specification
    return bonds


def blocks_of(potential: dict[str, Any]) -> dict[Block, dict[str, Any]]:
    """Return the shape of the functions of each block that has any, the central atom first, its neighbours sorted.

    :param potential: a complete ``potential`` section as a plain mapping.
    """
    elements = sorted(potential['elements'])
    shapes = {key: shape for key, shape in potential['functions'].items() if isinstance(shape, dict)}
    found: dict[Block, dict[str, Any]] = {}
    for block in _all_blocks(elements):
        shape = resolve(shapes, block)
        if shape:
            found[block] = shape
    return found


def _all_blocks(elements: list[str]) -> list[Block]:
    subsets: list[Block] = [()]
    for element in elements:
        subsets += [(*subset, element) for subset in subsets]
    return [(centre, *(element for element in subset if element != centre)) for subset in subsets for centre in subset]


def check_keys(potential: dict[str, Any]) -> list[Problem]:
    """Return what is wrong with the keys that name elements.

    :param potential: a complete ``potential`` section as a plain mapping.
    """
    problems: list[Problem] = []
    for section, groups, longest in (('embeddings', 2, 1), ('bonds', 3, 2), ('functions', 6, 5)):
        seen: dict[Block, str] = {}
        for key in potential[section]:
            path = f'{section}.{key}'
            if key in GROUPS[:groups] or key == 'number_of_functions_per_element':
                continue
            if not is_species_key(key):
                problems.append((path, f'unknown key; needed: {", ".join(GROUPS[:groups])} or elements such as AlNi'))
                continue
            species = species_of(key)
            strangers = sorted(set(species) - set(potential['elements']))
            if strangers:
                problems.append((path, f'{", ".join(strangers)} not among the elements {_listed(potential)}'))
            if len(species) > longest:
                problems.append((path, f'found {len(species)} elements, needed: at most {longest}'))
            if section == 'functions' and not is_block_key(key):
                problems.append((path, 'write the central atom, then its neighbours in alphabetical order, each once'))
            same = species if section == 'functions' else tuple(sorted(set(species)))
            if same in seen:
                problems.append((path, f'names the same elements as {section}.{seen[same]}; keep one of them'))
            seen[same] = key
    return problems


def check_values(potential: dict[str, Any]) -> list[Problem]:
    """Return what is missing or contradictory in a complete section, once its keys are right.

    :param potential: a complete ``potential`` section as a plain mapping.
    """
    problems = _gather('embeddings', {(one,): _check_embedding(potential, one) for one in potential['elements']})
    bonds = bonds_of(potential)
    problems += _gather('bonds', {pair: _check_bond(bond) for pair, bond in bonds.items() if pair[0] <= pair[1]})
    kinds = sorted({bond.get('inner_cutoff_type', 'distance') for bond in bonds.values()})
    if len(kinds) > 1:
        problems.append(('bonds', f'inner_cutoff_type must be the same for all bonds, found {" and ".join(kinds)}'))
    blocks = blocks_of(potential)
    problems += _gather('functions', {block: check_shape(block, shape) for block, shape in blocks.items()})
    problems += _check_coverage(potential, blocks)
    return problems if problems else _check_radial(bonds, blocks)


def _check_embedding(potential: dict[str, Any], element: str) -> list[Problem]:
    embedding = resolve(potential['embeddings'], (element,))
    missing = [key for key in ('npot', 'fs_parameters', 'ndensity') if key not in embedding]
    if missing:
        return [(key, 'missing; give it for ALL or for this element') for key in missing]
    found, needed = len(embedding['fs_parameters']), 2 * embedding['ndensity']
    if found != needed:
        return [
            ('fs_parameters', f'found {found} numbers, needed: {needed}, a prefactor and an exponent for each density')
        ]
    return []


def _check_bond(bond: dict[str, Any]) -> list[Problem]:
    missing = [key for key in ('radbase', 'radparameters', 'rcut', 'dcut') if key not in bond]
    problems: list[Problem] = [(key, 'missing; give it for ALL or for this pair') for key in missing]
    if not missing and bond['dcut'] >= bond['rcut']:
        problems.append(('dcut', f'found {bond["dcut"]}, needed: less than rcut {bond["rcut"]}'))
    r_in, delta_in = bond.get('r_in', 0.0), bond.get('delta_in', 0.0)
    if delta_in > r_in:
        problems.append(('delta_in', f'found {delta_in}, needed: at most r_in {r_in}, where the transition begins'))
    if r_in >= bond.get('rcut', float('inf')):
        problems.append(('r_in', f'found {r_in}, needed: less than rcut {bond["rcut"]}'))
    return problems


def check_shape(block: Block, shape: dict[str, Any]) -> list[Problem]:
    """Return what is wrong with the orders of a block of elements.

    :param block: the elements of the block.
    :param shape: ``nradmax_by_orders`` and ``lmax_by_orders``.
    """
    missing = [key for key in ('nradmax_by_orders', 'lmax_by_orders') if key not in shape]
    if missing:
        return [(key, 'missing; give it here or for a wider group') for key in missing]
    nradmax, lmax = shape['nradmax_by_orders'], shape['lmax_by_orders']
    problems: list[Problem] = []
    if len(nradmax) != len(lmax):
        problems.append(('lmax_by_orders', f'found {len(lmax)} orders, needed: {len(nradmax)} as in nradmax_by_orders'))
    if min(*nradmax, *lmax, 0) < 0 or nradmax[0] < 1:
        problems.append(('nradmax_by_orders', 'needed: no negative numbers, and at least 1 for the first order'))
    for order, (n, ell) in enumerate(zip(nradmax, lmax, strict=False), start=1):
        largest = LMAX_OF_ORDER[order - 1]
        if ell > largest:
            problems.append(('lmax_by_orders', f'found {ell} for order {order}, needed: at most {largest}'))
        distinct = DISTINCT_OF_ORDER.get(order, n * len(block))
        if n * len(block) > distinct:
            text = f'found {n} for order {order}, needed: at most {distinct // len(block)}'
            problems.append(('nradmax_by_orders', f'{text}, where the table of the engine ends'))
    return problems


def _check_coverage(potential: dict[str, Any], blocks: dict[Block, dict[str, Any]]) -> list[Problem]:
    """Look for what the engine would ignore without a message, or on which it would fail."""
    problems = []
    bare = sorted(set(potential['elements']) - {block[0] for block in blocks if len(block) == 1})
    if bare:
        text = f'no functions for {", ".join(bare)} alone, which the engine would leave out of the potential'
        problems.append(('functions', f'{text}; give ALL, UNARY or {bare[0]}'))
    for block in blocks:
        if len(block) == 2 and block[::-1] not in blocks:
            problems.append(('functions', f'{"".join(block)} is given without {"".join(block[::-1])}; give both'))
        # The engine looks up the pairs of larger blocks and stops where there are none.
        pairs = [''.join(pair) for pair in permutations(block, 2) if pair not in blocks] if len(block) > 2 else []
        if pairs:
            text = f'{"".join(block)} is given without {", ".join(sorted(pairs))}; give BINARY or all of these'
            problems.append(('functions', text))
    limit = potential['functions'].get('number_of_functions_per_element')
    least = -(-len(blocks) // len(potential['elements']))
    if limit is not None and blocks and limit < least:
        text = f'found {limit}, needed: at least {least}, one for each of the {len(blocks)} blocks of elements'
        problems.append(('functions.number_of_functions_per_element', text))
    return problems


def _check_radial(bonds: dict[tuple[str, str], dict[str, Any]], blocks: dict[Block, dict[str, Any]]) -> list[Problem]:
    """Compare explicit sizes of radial functions with what the functions use."""
    found: dict[Block, list[Problem]] = {}
    for block, shape in blocks.items():
        needed = {
            'nradbase': shape['nradmax_by_orders'][0],
            'nradmax': max(shape['nradmax_by_orders'][1:], default=0),
            'lmax': max(shape['lmax_by_orders']),
        }
        for neighbour in block[1:] or block:
            bond = bonds[block[0], neighbour]
            found[block] = [
                (key, f'found {bond[key]}, needed: at least {least} for the functions')
                for key, least in needed.items()
                if bond.get(key, least) < least
            ]
    return _gather('bonds', found)


def _gather(section: str, problems: dict[Block, list[Problem]]) -> list[Problem]:
    """Tell a problem that several blocks of elements share once, and name the blocks."""
    blocks: dict[Problem, list[str]] = {}
    for block, of_block in problems.items():
        for problem in of_block:
            blocks.setdefault(problem, []).append('-'.join(block))
    return [(f'{section} ({", ".join(names)}): {key}', text) for (key, text), names in blocks.items()]


def _listed(potential: dict[str, Any]) -> str:
    return ', '.join(potential['elements'])
