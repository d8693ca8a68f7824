"""Where the functions of a potential give way to ZBL, below the distances that the data have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyace
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from .equations import FloatArray

Pair = tuple[str, str]

#: In angstrom: over this distance the functions give way to ZBL, as where the engine sets it itself.
WIDTH = 0.2
#: For pairs that the data do not have, of the sum of the covalent radii.
UNSEEN = 0.7
#: What is tried, of the largest radius that was asked for.
TRIED = (1.0, 0.8, 0.65, 0.5, 0.4)
#: A dip of two atoms that is none, in eV.
FLAT = 0.05
#: Distances of two atoms that are looked at, in angstrom: the shortest, and the step.
SHORTEST, STEP = 0.3, 0.02
#: What the engine has where no density is cut off: `rho_core_cut`, `drho_core_cut`.
NO_DENSITY_CUT = 100000.0, 250.0


@dataclass(frozen=True)
class Dip:
    """By how much the energy of two atoms alone falls while they come closer than any in the data.

    :param depth: in eV, 0 where the energy never falls.
    :param distance: where it is lowest after its fall, in angstrom.
    """

    depth: float
    distance: float


def take_back_repulsion(configuration: Any) -> None:
    """Take the ZBL of a potential that is continued back: of :func:`set_repulsion`, or of the engine.

    Where data come closer than those of the earlier fit it would act on them.

    :param configuration: a `BBasisConfiguration`, which is changed.
    """
    for block in configuration.funcspecs_blocks:
        if block.inner_cutoff_type == 'zbl':
            block.inner_cutoff_type, block.r_in, block.delta_in = 'distance', 0.0, 0.0
            block.core_rep_parameters = [0.0, 0.0]
            if block.number_of_species == 1:
                block.rho_cut, block.drho_cut = NO_DENSITY_CUT


def pair_of(block: Any) -> Pair | None:
    """Return the pair of elements that a block of functions is of, in alphabetical order; None if it is of more."""
    names = block.block_name.split()
    return None if len(names) > 2 else (min(names[0], names[-1]), max(names[0], names[-1]))


def place_repulsion(
    configuration: Any, nearest: Mapping[Pair, float], part: float
) -> tuple[dict[Pair, float], dict[Pair, Dip]]:
    """Have the functions give way to ZBL as far from the data as possible without a false minimum in between.

    A linear fit is good for some way below its shortest distances, and turning its functions off is not: many large
    terms cancel in their sum, and structures that are slightly closer than the data would be in error by tens of
    electronvolts. So ZBL begins at `part` of the shortest distance of a pair at most. Further below, the functions are
    chance: of several radii it is the largest with which the energy of two atoms alone never falls while they approach,
    or else the one with which it falls least.

    :param configuration: a `BBasisConfiguration`, which is changed.
    :param nearest: shortest distance in the data of each pair of elements, in angstrom.
    :param part: largest radius, of these distances.
    :returns: by pairs, the radii in angstrom and the dips (:class:`Dip`) that remain; those of pairs without data are
        not looked at.
    :raises ValueError: if an inner cutoff of another type acts on the data, which were fitted with it.
    """
    pairs = {pair for block in configuration.funcspecs_blocks if (pair := pair_of(block)) is not None}
    radii = {pair: UNSEEN * bond_length(pair) for pair in pairs - set(nearest)}
    radii |= {pair: part * nearest[pair] for pair in pairs & set(nearest)}
    chosen: dict[Pair, float] = dict(radii)
    dips: dict[Pair, Dip] = {}
    for factor in TRIED:
        left = [pair for pair in sorted(pairs & set(nearest)) if pair not in dips or dips[pair].depth > FLAT]
        if not left:
            break
        tried = {**radii, **{pair: factor * radii[pair] for pair in left}}
        set_repulsion(configuration, nearest, tried)
        calculator = pyace.PyACECalculator(pyace.ACEBBasisSet(configuration))
        for pair in left:
            dip = dip_of(calculator, pair, nearest[pair])
            if pair not in dips or dip.depth < dips[pair].depth:
                dips[pair], chosen[pair] = dip, tried[pair]
    set_repulsion(configuration, nearest, chosen)
    return chosen, dips


def set_repulsion(configuration: Any, nearest: Mapping[Pair, float], radii: Mapping[Pair, float]) -> None:
    """Have the engine switch to ZBL at given radii, pair by pair.

    Inner cutoffs of another type that are below the data are replaced: the engine takes one type for all pairs.

    :param configuration: a `BBasisConfiguration`, which is changed.
    :param nearest: shortest distance in the data of each pair of elements, in angstrom.
    :param radii: where the functions end, in angstrom.
    :raises ValueError: if an inner cutoff of another type acts on the data, which were fitted with it.
    """
    for block in configuration.funcspecs_blocks:
        pair = pair_of(block)
        if pair is None:
            continue
        if block.inner_cutoff_type != 'zbl' and block.r_in > nearest.get(pair, np.inf):
            raise ValueError(
                f'the inner cutoff of {"-".join(pair)} (type {block.inner_cutoff_type}, r_in {block.r_in:g}) acts on '
                f'the data, which come as close as {nearest[pair]:.3f} angstrom: a repulsion below the data cannot be '
                'set beside it'
            )
        radius = radii[pair]
        block.inner_cutoff_type, block.r_in, block.delta_in = 'zbl', radius, min(WIDTH, radius / 2)
        # As the engine sets them itself; the first is a factor of ZBL, without which there is none.
        block.core_rep_parameters = [1.0, 1.0]


def bond_length(pair: Pair) -> float:
    """Return the sum of the covalent radii of two elements in angstrom."""
    return float(sum(covalent_radii[atomic_numbers[name]] for name in pair))


def dip_of(calculator: Any, pair: Pair, nearest: float) -> Dip:
    """Return by how much the energy of two atoms falls while they approach from the shortest distance in the data."""
    distances = np.arange(nearest, SHORTEST, -STEP)
    energies = np.array([_energy(calculator, pair, distance) for distance in distances])
    falls: FloatArray = np.maximum.accumulate(energies) - energies
    place = int(np.argmax(falls))
    return Dip(float(falls[place]), float(distances[place]))


def _energy(calculator: Any, pair: Pair, distance: float) -> float:
    atoms = Atoms(pair, positions=[[0.0, 0.0, 0.0], [distance, 0.0, 0.0]])
    atoms.calc = calculator
    return float(atoms.get_potential_energy())
