"""What each default of an exact linear fit is worth: errors of frames left out, one option changed at a time.

``python benchmarks/linear_defaults.py`` fits a half of the 100 frames of MgO of ``examples`` by the driver of linear
fits, with the defaults and with one of them changed, and prints the errors on the other half: means over four
divisions (``--seeds``). It takes 15 minutes of an idle core. The Python has to have python-ace:
`pip install '.[engine]'`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from linear_driver import ENERGIES, STRUCTURES, WEIGHTING, Errors, errors, fit, section, write

from aiida_pacemaker.pace.config.expansion import LINEAR

#: Functions of this total degree: 126 of an element, for 236 atoms of each in the mean.
DEGREE = 6
ELEMENTS = ('Mg', 'O')


def request(
    *,
    degree: int = DEGREE,
    radbase: str = 'ChebExpCos',
    cutoff: float = 5.5,
    pair_functions: int = 8,
    prior: str = 'order_degree',
    repulsion: float | None = LINEAR['repulsion'],
    **weighting: Any,
) -> dict[str, Any]:
    """Return what is asked of the driver, with the defaults of a config."""
    potential = section(ELEMENTS, degree, radbase=radbase, cutoff=cutoff)
    potential['functions']['ALL']['nradmax_by_orders'][0] = max(degree, pair_functions)
    return {
        'potential': potential,
        'degree': degree,
        'first': max(degree, pair_functions),
        'prior': prior,
        'repulsion': repulsion,
        'virial': weighting.get('virial', WEIGHTING['virial']) > 0,
        'weighting': {**WEIGHTING, **weighting},
    }


def variants() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return what is tried, with its name."""
    yield 'defaults', request()
    for radbase in ('SBessel', 'ChebPow', 'SBessel, 4.5', 'ChebExpCos, 4.5', 'ChebExpCos, 6.5'):
        name, _, cutoff = radbase.partition(', ')
        yield f'radial {radbase}', request(radbase=name, cutoff=float(cutoff or 5.5))
    for degree in (4, 5, 7, 8):
        yield f'max_deg {degree}', request(degree=degree)
    for count in (6, 12, 16):
        yield f'pair_functions {count}', request(pair_functions=count)
    for ratio in (1.0, 3.0, 30.0, 100.0):
        yield f'energy_ratio {ratio:g}', request(ratio=ratio)
    for scale in (0.1, 0.3, 3.0, None):
        yield f'energy_scale {"equal" if scale is None else f"{scale:g}"}', request(scale=scale)
    for virial in (0.0, 0.1, 0.2, 1.0, 3.0):
        yield f'virial_ratio {virial:g}', request(virial=virial)
    yield 'prior order', request(prior='order')
    for repulsion in (None, 0.4, 0.8, 0.9, 0.95):
        yield f'repulsion {repulsion or 0:g}', request(repulsion=repulsion)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, default=4, help='number of divisions into two halves')
    parser.add_argument('--only', default='', help='part of the names of what is tried')
    arguments = parser.parse_args()
    images = ase.io.read(STRUCTURES, ':')
    print(f'{"":24}{"meV/atom":>16}{"meV/angstrom":>16}{"meV/angstrom^3":>16}{"seconds":>10}')
    for name, options in variants():
        if arguments.only not in name:
            continue
        found, seconds = [], 0.0
        for seed in range(arguments.seeds):
            order = np.random.default_rng(seed).permutation(len(images))
            train, held_out = ([images[index] for index in part] for part in np.array_split(order, 2))
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                write(folder, 'train.pckl.gzip', train)
                seconds += fit(folder, ['train.pckl.gzip'], ENERGIES, **options)[0] / arguments.seeds
                found.append(errors(folder, held_out, ENERGIES))
        mean, spread = Errors(*np.mean(found, axis=0)), Errors(*np.std(found, axis=0))
        columns = [f'{one:.1f} ± {other:.1f}' for one, other in zip(mean, spread, strict=True)]
        print(f'{name:24}{"".join(f"{column:>16}" for column in columns)}{seconds:10.1f}', flush=True)


if __name__ == '__main__':
    main()
