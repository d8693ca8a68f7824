"""What `selection.py` selects from: frames of MgO by DFT, and of Cu and AlCuNi by EMT from molecular dynamics.

The dynamics are run once, with seeds, and kept in a file: labels of EMT cost milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ase.io
import numpy as np
import numpy.typing as npt
from ase import Atoms, units
from ase.build import bulk, fcc100
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

IntArray = npt.NDArray[np.intp]

STRUCTURES = Path(__file__).parents[1] / 'examples' / 'mgo-lda.extxyz'
#: Isolated atoms, in eV: of MgO at the settings of the data, see README.md beside the structures; of the metals by EMT.
MGO_ENERGIES = {'Mg': -27.441497613508435, 'O': -426.11747912713093}
EMT_ENERGIES = {'Al': 3.28, 'Cu': 3.51, 'Ni': 4.44}
#: Lattice constants of EMT in angstrom.
LATTICE = {'Al': 3.99, 'Cu': 3.58, 'Ni': 3.48}
#: Frames of MgO near equilibrium, from which its learning begins.
INITIAL = ('rocksalt-eos-0.98', 'rocksalt-eos-1.00', 'rocksalt-eos-1.02')
INITIAL_KIND = 'rocksalt8-rattle0.04'
#: Share of the frames of MgO that is never trained on.
TEST_SHARE = 0.3
#: Trajectories of each condition; half of them are for the pool of a seed, half for its test set.
TRAJECTORIES = 8
#: Frames of each trajectory, the steps between them, and those before the first one.
FRAMES, APART, BEFORE = 8, 10, 100
TIME_STEP = 4.0  # fs
#: Frames of each condition but 300 K where these are few.
RARE = 4

#: By name: cell, temperature in K. The first is where learning begins.
CONDITIONS = {
    'small, 300 K': ('small', 300),
    'bulk, 300 K': ('bulk', 300),
    'bulk, 800 K': ('bulk', 800),
    'bulk, 1300 K': ('bulk', 1300),
    'vacancy, 800 K': ('vacancy', 800),
    'slab, 600 K': ('slab', 600),
    'hot, 2500 K': ('bulk', 2500),
}


@dataclass(frozen=True)
class Split:
    """What one seed decides: positions of the first frames, of the candidates, and of the test set."""

    initial: IntArray
    pool: IntArray
    test: IntArray


@dataclass(frozen=True)
class System:
    """Labelled frames, and how they are split.

    :param images: the frames with their labels.
    :param kinds: what each of them is.
    :param energies: of isolated atoms, in eV.
    :param largest: largest total degree.
    :param per_generation: labels that are added at once.
    :param generations: how often, at most.
    :param splits: of a random generator, by the name of the pool.
    """

    name: str
    images: list[Atoms]
    kinds: list[str]
    energies: Mapping[str, float]
    largest: int
    per_generation: int
    generations: int
    splits: Mapping[str, Callable[[np.random.Generator], Split]]


def mgo() -> System:
    """Return the 100 frames of MgO; 15 near equilibrium are the first ones."""
    images = ase.io.read(STRUCTURES, ':')
    labels = [str(image.info['label']) for image in images]
    kinds = [label.rpartition('-')[0] for label in labels]
    first = np.array([label in INITIAL or kind == INITIAL_KIND for label, kind in zip(labels, kinds, strict=True)])

    def split(generator: np.random.Generator) -> Split:
        rest = generator.permutation(np.flatnonzero(~first))
        n_test = round(TEST_SHARE * len(rest))
        return Split(np.flatnonzero(first), rest[n_test:], rest[:n_test])

    return System('MgO', images, kinds, MGO_ENERGIES, 8, 6, 4, {'MgO': split})


def copper(folder: Path) -> System:
    """Return Cu; five frames of small cells at 300 K are the first ones."""
    return by_dynamics('Cu', folder, ('Cu',), largest=8, n_initial=5, per_generation=5, generations=4)


def alloy(folder: Path) -> System:
    """Return AlCuNi, each trajectory of another composition; 24 frames of small cells at 300 K are the first ones.

    With fewer the smallest basis would have more functions than there are atoms of an element. The degree is at most 5:
    169 functions for each element.
    """
    return by_dynamics('AlCuNi', folder, ('Al', 'Cu', 'Ni'), largest=5, n_initial=24, per_generation=8, generations=3)


def by_dynamics(
    name: str,
    folder: Path,
    elements: tuple[str, ...],
    *,
    largest: int,
    n_initial: int,
    per_generation: int,
    generations: int,
) -> System:
    """Return frames of molecular dynamics by EMT; they are made where the folder does not have them.

    One pool has as many frames of each condition; the other one few of those that are not at 300 K, as where somebody
    has run a long simulation and some short ones.
    """
    path = folder / f'{name}.extxyz'
    if not path.exists():
        made = [
            image
            for condition in CONDITIONS
            for number in range(TRAJECTORIES)
            for image in trajectory(elements, condition, number)
        ]
        ase.io.write(path, made)
    images = ase.io.read(path, ':')
    kinds = [str(image.info['kind']) for image in images]
    numbers = np.array([image.info['trajectory'] for image in images])

    def split(generator: np.random.Generator, rare: int | None = None) -> Split:
        test, initial, pool = [], np.zeros(0, dtype=np.intp), []
        for kind in CONDITIONS:
            of_kind = np.array(kinds) == kind
            chosen = generator.permutation(TRAJECTORIES)[: TRAJECTORIES // 2]
            inside = generator.permutation(np.flatnonzero(of_kind & np.isin(numbers, chosen)))
            test.append(np.flatnonzero(of_kind & ~np.isin(numbers, chosen)))
            if not pool:
                initial, inside = inside[:n_initial], inside[n_initial:]
            pool.append(inside[: None if '300 K' in kind else rare])
        return Split(initial, np.sort(np.concatenate(pool)), np.concatenate(test))

    energies = {element: EMT_ENERGIES[element] for element in elements}
    splits = {name: split, f'{name}, mostly 300 K': partial(split, rare=RARE)}
    return System(name, images, kinds, energies, largest, per_generation, generations, splits)


def trajectory(elements: tuple[str, ...], condition: str, number: int) -> list[Atoms]:
    """Return frames of a trajectory in a strained cell, with labels of EMT."""
    shape, temperature = CONDITIONS[condition]
    generator = np.random.default_rng([len(elements), list(CONDITIONS).index(condition), number])
    atoms = cell(shape, elements, generator)
    atoms.calc = EMT()
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * temperature, rng=generator)
    dynamics = Langevin(
        atoms, TIME_STEP * units.fs, temperature_K=temperature, friction=0.02, rng=generator, fixcm=False
    )
    dynamics.run(BEFORE)
    images = []
    for _ in range(FRAMES):
        dynamics.run(APART)
        image = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
        image.info.update(kind=condition, trajectory=number)
        results = {'energy': atoms.get_potential_energy(), 'forces': atoms.get_forces(), 'stress': atoms.get_stress()}
        image.calc = SinglePointCalculator(image, **results)
        images.append(image)
    return images


def cell(shape: str, elements: tuple[str, ...], generator: np.random.Generator) -> Atoms:
    """Return a cell with random elements, of which each is there, strained at random.

    Those of one element have 32 atoms in the bulk, those of several 16.
    """
    symbols: list[str] = []
    several = len(elements) > 1
    size = {'small': (2, 1, 1), 'bulk': (2, 2, 1) if several else (2, 2, 2), 'vacancy': (2, 2, 1 if several else 2)}
    if shape == 'slab':
        atoms = fcc100('Cu', (2, 2, 4), a=LATTICE['Cu'], vacuum=4.0, periodic=True)
    else:
        atoms = bulk('Cu', a=LATTICE['Cu'], cubic=True) * size[shape]
    if shape == 'vacancy':
        del atoms[0]
    shares = generator.dirichlet(np.ones(len(elements)))
    while not symbols or set(symbols) != set(elements):
        symbols = [str(one) for one in generator.choice(elements, len(atoms), p=0.5 * shares + 0.5 / len(elements))]
    atoms.symbols[:] = symbols
    # Vegard's law, and up to 4 % in length for all, 2 % for each component.
    length = np.mean([LATTICE[symbol] for symbol in symbols]) / LATTICE['Cu']
    strain = generator.uniform(-0.03, 0.04) * np.eye(3) + generator.normal(scale=0.01, size=(3, 3))
    atoms.set_cell(length * atoms.cell[:] @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    atoms.pbc = True
    return atoms
