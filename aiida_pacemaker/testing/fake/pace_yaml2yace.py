"""The fake `pace_yaml2yace`: a C-tilde potential with the right elements, bonds and functions of order one."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiida_pacemaker.testing.fake.basis import Potential, flow, load
from aiida_pacemaker.testing.faults import current


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(prog='pace_yaml2yace', description='Fake conversion: see aiida_pacemaker.testing.')
    parser.add_argument('input', nargs='+', help='B-basis potential')
    parser.add_argument('-o', '--output', default='', help='C-tilde potential')
    arguments = parser.parse_args()
    current('pace_yaml2yace').begin()
    for name in arguments.input:
        output = arguments.output or re.sub(r'ya?ml$', 'yace', name)
        output = f'{name}.yace' if output == name else output
        print(f"Loading B-basis from '{name}'")
        potential = load(Path(name))
        print('Converting to Ctilde-basis')
        text = c_tilde(potential)
        print(f"Saving Ctilde-basis to '{output}'")
        Path(output).write_text(text)


def c_tilde(potential: Potential) -> str:
    """Return the text of a C-tilde potential."""
    return '\n'.join(_lines(potential)) + '\n'


def _lines(potential: Potential) -> Iterator[str]:
    numbers = {element: number for number, element in enumerate(potential.elements)}
    yield f'elements: {flow(potential.elements)}'
    yield f'E0: {flow([0] * len(numbers))}'
    yield f'deltaSplineBins: {potential.spline_spacing}'
    yield 'embeddings:'
    settings = {block.species: block.settings for block in potential.blocks}
    for element, number in numbers.items():
        yield f'  {number}: {flow(_embedding(settings[(element,)]))}'
    yield 'bonds:'
    for first, number in numbers.items():
        for second, other in numbers.items():
            species = (first,) if first == second else (first, second)
            if species in settings:
                yield f'  [{number}, {other}]: {flow(_bond(settings[species]))}'
    yield 'functions:'
    for element, number in numbers.items():
        yield f'  {number}:'
        for function in potential.functions(element):
            if len(function['nr']) == 1:
                neighbour = numbers[function['type'].split()[1]]
                yield f'    - {flow(_function(number, neighbour, function))}'


def _embedding(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        'ndensity': settings['ndensityi'],
        'FS_parameters': settings['parameters'],
        'npoti': settings['npoti'],
        'rho_core_cutoff': settings['rho_core_cut'],
        'drho_core_cutoff': settings['drho_core_cut'],
    }


def _bond(settings: dict[str, Any]) -> dict[str, Any]:
    prefactor, exponent = settings['core-repulsion']
    return {
        'nradmax': settings['nradmaxi'],
        'lmax': settings['lmaxi'],
        'nradbasemax': settings['nradbaseij'],
        'radbasename': settings['radbase'],
        'radparameters': settings['radparameters'],
        'radcoefficients': settings['radcoefficients'],
        'prehc': prefactor,
        'lambdahc': exponent,
        'rcut': settings['rcutij'],
        'dcut': settings['dcutij'],
        'rcut_in': settings['r_in'],
        'dcut_in': settings['delta_in'],
        'inner_cutoff_type': settings['inner_cutoff_type'],
    }


def _function(centre: int, neighbour: int, function: dict[str, Any]) -> dict[str, Any]:
    return {
        'mu0': centre,
        'rank': 1,
        'ndensity': len(function['c']),
        'num_ms_combs': 1,
        'mus': [neighbour],
        'ns': function['nr'],
        'ls': [0],
        'ms_combs': [0],
        'ctildes': function['c'],
    }


if __name__ == '__main__':
    main()
