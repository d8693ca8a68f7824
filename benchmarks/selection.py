"""What the choice of frames to label is worth: test errors against labels, by strategy, with exact fits.

``python benchmarks/selection.py`` begins with a few frames of a system near equilibrium and adds labels from a pool, a
few at a time, as the loop does: by the active set and `pace_select` (`maxvol`), by the posterior of the fit
(`information`, `variance`: see `aiida_pacemaker.linear.selecting`), or at random. All else is the same: initial set,
pool, test set, and exact linear fits with the defaults of the package, whose basis grows with the data. There are three
systems and five pools (`selection_systems.py`), of which each seed makes another split into pool and test set.

All runs in this process, with the functions and programs of the engine. The numbers, ``selection.json``, and the plot,
``selection.svg``, are in ``--output FOLDER``. The numbers are written after each seed: a run that was stopped has those
of all that it came to, and ``--plot`` prints and draws them. ``--quick`` takes two seeds and two generations.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyace
from ase.units import GPa
from pyace.aceselect import select_structures_maxvol
from pyace.activelearning import (
    compute_A_active_inverse,
    compute_B_projections,
    compute_extrapolation_grade,
    load_active_inverse_set,
)
from pyace.cli import pace_activeset
from selection_systems import IntArray, Split, System, alloy, copper, mgo

from aiida_pacemaker.baseline.targets import write_targets
from aiida_pacemaker.exploration.options import GAMMA_THRESHOLD
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.linear.basis import Basis, configuration_of, in_degree
from aiida_pacemaker.linear.equations import Equations, FloatArray, FrameRows
from aiida_pacemaker.linear.evidence import Solution, solve_evidence
from aiida_pacemaker.linear.rows import Label, RowMaker
from aiida_pacemaker.linear.selecting import choose, factor_of
from aiida_pacemaker.linear.weighting import Physical
from aiida_pacemaker.pace.config.linear import LinearFit, linear_fit_of
from aiida_pacemaker.pace.config.trainer_config import parse_config

SEEDS = 20
#: What errors are given: unit, and how they are called in the plot.
ERRORS = {'energy': 'energy (meV/atom)', 'forces': 'forces (meV/Å)', 'stress': 'stress (GPa)'}
#: Strategies that are drawn.
COLOURS = {'random': 'C7', 'maxvol': 'C0', 'information': 'C1', 'variance': 'C3'}


@dataclass(frozen=True)
class Strategy:
    """How frames are chosen.

    :param by: `maxvol`, `random`, or by the posterior: `information` or `variance`.
    :param known: whether candidates below the threshold of gamma are left out, as the loop does.
    :param per_atom: whether what a frame is worth is divided by its number of atoms.
    :param functions: largest number of functions of an element, of its atoms.
    :param predicted: whether the rows of candidates have the weights that follow from the predicted energies.
    :param systems: those that it is run for; fits of the alloy take seconds.
    """

    by: str
    known: bool = False
    per_atom: bool = False
    functions: float = 1.0
    predicted: bool = False
    systems: tuple[str, ...] = ('MgO', 'Cu', 'AlCuNi')


STRATEGIES = {
    'random': Strategy('random'),
    'maxvol': Strategy('maxvol', known=True),
    'information': Strategy('information'),
    'variance': Strategy('variance'),
    'random, gamma': Strategy('random', known=True, systems=('MgO', 'Cu')),
    'information per atom': Strategy('information', per_atom=True, systems=('MgO', 'Cu')),
    'variance per atom': Strategy('variance', per_atom=True, systems=('MgO', 'Cu')),
    'variance, gamma': Strategy('variance', known=True, systems=('MgO',)),
    'variance, predicted weights': Strategy('variance', predicted=True, systems=('MgO',)),
    'random, 2 functions per atom': Strategy('random', functions=2.0, systems=('MgO',)),
    'variance, 2 functions per atom': Strategy('variance', functions=2.0, systems=('MgO',)),
}
#: How many functions of an element there may be for each of its atoms.
FUNCTIONS = sorted({strategy.functions for strategy in STRATEGIES.values()})


@dataclass(frozen=True)
class Fit:
    """A solution, and what it is of.

    :param frames: positions of the frames that it was fitted to.
    :param columns: the functions, of those of the largest degree.
    :param scales: of the kinds of rows.
    """

    frames: list[int]
    linear: LinearFit
    columns: IntArray
    weighting: Physical
    scales: dict[str, float]
    solution: Solution


class Bench:
    """The rows of all frames of a system, computed once: functions of a lower degree are some of the columns."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.elements = sorted(system.energies)
        self.frames = from_atoms(system.images, system.name)
        self.isolated = np.array([sum(system.energies[one] for one in image.symbols) for image in system.images])
        self.sizes = np.array([len(image) for image in system.images])
        self.volumes = np.array([image.get_volume() for image in system.images])
        largest = linear_fit_of(parse_config({'elements': self.elements, 'max_deg': system.largest}))
        self.basis = Basis.of_configuration(configuration_of(largest.potential, largest.degree, largest.first))
        self.groups = self.basis.groups('order_degree')
        maker = RowMaker(self.basis, Physical(scale=None), virial=True)
        self.rows = [maker.equations_of(image, self.label(index)) for index, image in enumerate(system.images)]
        with silence():
            self.projections, self.frame_of_row = compute_B_projections(
                self.basis.functions, list(system.images), list(range(len(system.images)))
            )

    def label(self, index: int) -> Label:
        """Return what a frame is fitted to."""
        image = self.system.images[index]
        energy = image.get_potential_energy() - self.isolated[index]
        return Label(str(index), energy, image.get_forces(), image.get_stress(voigt=False))

    def energy(self, index: int) -> float:
        """Return the energy of a frame in eV/atom, isolated atoms subtracted."""
        return float(self.rows[index].rows['energy'][0, -1])

    def weighted(self, index: int, columns: IntArray, weighting: Physical, energy: float | None = None) -> FrameRows:
        """Return the rows of a frame.

        :param energy: in eV/atom, by which they are weighted; None for that of the label.
        """
        rows = self.rows[index]
        of_frame = self.energy(index) if energy is None else energy
        weight, _ = weighting.of_frame(of_frame, np.zeros((1, 3)))
        places = [*columns, -1]
        return replace(
            rows,
            rows={kind: part[:, places] for kind, part in rows.rows.items()},
            weights={kind: np.full(len(part), weight) for kind, part in rows.rows.items()},
        )

    def fit(self, frames: Iterable[int], functions: float, reference: float) -> Fit:
        """Fit frames with the largest basis that they can bear.

        :param functions: largest number of functions of an element, of its atoms.
        :param reference: lowest energy in eV/atom of the first frames.
        """
        chosen = list(frames)
        atoms = Counter(str(symbol) for index in chosen for symbol in self.system.images[index].symbols)
        config: dict[str, Any] = {'elements': self.elements, 'linear': {'functions_per_atom': functions}}
        linear = linear_fit_of(parse_config(config), atoms)
        if linear.degree is None or linear.degree > self.system.largest:
            linear = linear_fit_of(parse_config({**config, 'max_deg': self.system.largest}))
        indices = zip(self.basis.radial, self.basis.angular, strict=True)
        degree, first = int(linear.degree or 0), int(linear.first or 0)
        columns = np.array(
            [place for place, (ns, ls) in enumerate(indices) if in_degree(list(ns), list(ls), degree, first)]
        )
        given = {name: value for name, value in linear.weighting.items() if name != 'kind'}
        weighting = Physical(**{**given, 'reference': reference})
        equations = Equations(len(columns))
        equations.add(self.weighted(index, columns, weighting) for index in chosen)
        scales = weighting.scales(equations.weights, equations.counts)
        solution = solve_evidence(equations.factor(scales), equations.n_used(scales), self.groups[columns])
        return Fit(chosen, linear, columns, weighting, scales, solution)

    def errors(self, fit: Fit, test: IntArray) -> dict[str, float]:
        """Return root mean square errors in meV/atom, meV/angstrom and GPa; of forces also that of the worst tenth."""
        vector, found = np.append(fit.solution.coefficients, -1.0), {}
        residuals: dict[str, list[FloatArray]] = {'energy': [], 'forces': [], 'virial': []}
        for index in test:
            for kind, rows in self.rows[index].rows.items():
                residual = rows[:, [*fit.columns, -1]] @ vector
                if kind == 'virial':
                    residual = residual * self.sizes[index] / self.volumes[index] / GPa
                residuals[kind].append(residual)
        for name, kind, unit in (('energy', 'energy', 1e3), ('forces', 'forces', 1e3), ('stress', 'virial', 1.0)):
            found[name] = unit * float(np.sqrt(np.mean(np.concatenate(residuals[kind]) ** 2)))
        of_atoms = np.sort(np.linalg.norm(np.concatenate(residuals['forces']).reshape(-1, 3), axis=1) / np.sqrt(3))
        worst = of_atoms[-max(1, round(len(of_atoms) / 10)) :]
        return {**found, 'forces_worst_tenth': 1e3 * float(np.sqrt(np.mean(worst**2)))}

    def by_maxvol(self, fit: Fit, pool: IntArray, active_set: dict[int, FloatArray], most: int) -> list[int]:
        """Return the frames that `pace_select` chooses, with the arguments that the package gives it."""
        candidates = pd.DataFrame({'ase_atoms': [self.system.images[index] for index in pool]})
        with silence():
            selected = select_structures_maxvol(
                candidates,
                self.configuration(fit),
                compute_A_active_inverse(active_set),
                gamma_tolerance=1.01,
                max_structures=most,
            )
        return [int(pool[place]) for place in selected.index]

    def by_posterior(self, fit: Fit, pool: IntArray, strategy: Strategy, most: int) -> list[int]:
        """Return the frames that are worth most by the posterior."""

        def rows_of(place: int) -> FloatArray:
            rows = self.rows[pool[place]].rows['energy'][0, fit.columns]
            # Of an unknown energy: as if it were the lowest one, of weight 1.
            energy = float(rows @ fit.solution.coefficients) if strategy.predicted else fit.weighting.reference
            return self.weighted(pool[place], fit.columns, fit.weighting, energy).scaled(fit.scales)[:, :-1]

        costs = self.sizes[pool] if strategy.per_atom else np.ones(len(pool))
        factor = factor_of(rows_of, len(pool), len(fit.columns)) if strategy.by == 'variance' else None
        chosen = choose(rows_of, costs, fit.solution, fit.solution.noise, most, factor)
        return [int(pool[one.position]) for one in chosen]

    def configuration(self, fit: Fit) -> Any:
        """Return the potential of a fit."""
        linear, solution = fit.linear, fit.solution
        basis = Basis.of_configuration(configuration_of(linear.potential, linear.degree, linear.first))
        if [basis.radial, basis.angular] != [
            tuple(every[place] for place in fit.columns) for every in (self.basis.radial, self.basis.angular)
        ]:
            raise RuntimeError('the functions are in another order than those of the largest degree')
        basis.set_coefficients(solution.coefficients)
        return basis.functions.to_BBasisConfiguration()

    def active_set(self, fit: Fit) -> dict[int, FloatArray]:
        """Return the active set by `pace_activeset`; with all atoms where too few would be left, as the package."""
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            pyace.ACEBBasisSet(self.configuration(fit)).save('potential.yaml')
            with Path('data.pckl.gzip').open('wb') as handle:
                write_targets(self.frames.select(np.array(fit.frames)), handle)
            arguments = ['pace_activeset', '-d', 'data.pckl.gzip', '-V', '-g', '1.01', 'potential.yaml']
            try:
                with silence(), patch.object(sys, 'argv', arguments):
                    pace_activeset.main()
            except ValueError as problem:
                if 'Insufficient atomic environments' not in str(problem):
                    raise
                with silence(), patch.object(sys, 'argv', [*arguments, '-a']):
                    pace_activeset.main()
            matrices = load_active_inverse_set('potential.asi')
        numbers = self.basis.functions.elements_to_index_map
        return {numbers.get(key, key): matrix for key, matrix in matrices.items()}

    def gamma(self, fit: Fit, active_set: dict[int, FloatArray]) -> FloatArray:
        """Return the largest extrapolation grade of each frame."""
        largest = np.zeros(len(self.rows))
        for number, (start, end) in enumerate(zip(self.basis.starts, self.basis.starts[1:], strict=False)):
            places = fit.columns[(fit.columns >= start) & (fit.columns < end)] - start
            projections = {number: self.projections[number][:, places]}
            grades = compute_extrapolation_grade(projections, {number: active_set[number]})[number]
            np.maximum.at(largest, self.frame_of_row[number], grades)
        return largest

    def choose(self, fit: Fit, pool: IntArray, strategy: Strategy, generator: np.random.Generator) -> list[int]:
        """Return frames of a pool to label."""
        left, most = np.setdiff1d(pool, fit.frames), self.system.per_generation
        active_set: dict[int, FloatArray] = {}
        if strategy.known:
            active_set = self.active_set(fit)
            left = left[self.gamma(fit, active_set)[left] >= GAMMA_THRESHOLD]
        if not len(left):
            return []
        if strategy.by == 'maxvol':
            return self.by_maxvol(fit, left, active_set, most)
        if strategy.by != 'random':
            return self.by_posterior(fit, left, strategy, most)
        return [int(index) for index in generator.permutation(left)[:most]]

    def run(self, seed: int, generations: int | None) -> Iterator[dict[str, Any]]:
        """Return the rows of all pools and strategies for a seed."""
        for pool, splitter in self.system.splits.items():
            split = splitter(np.random.default_rng(seed))
            reference = min(self.energy(index) for index in split.initial)
            first = {one: self.fit(split.initial, one, reference) for one in FUNCTIONS}
            for name, strategy in STRATEGIES.items():
                if self.system.name not in strategy.systems:
                    continue
                generator, fit = np.random.default_rng([seed, 1]), first[strategy.functions]
                yield self.row(pool, seed, name, split, fit)
                for _ in range(generations or self.system.generations):
                    chosen = self.choose(fit, split.pool, strategy, generator)
                    if not chosen:
                        break
                    fit = self.fit([*fit.frames, *chosen], strategy.functions, reference)
                    yield self.row(pool, seed, name, split, fit)

    def row(self, pool: str, seed: int, name: str, split: Split, fit: Fit) -> dict[str, Any]:
        """Return what there is to know about a fit."""
        new = fit.frames[len(split.initial) :]
        return {
            'system': pool,
            'seed': seed,
            'strategy': name,
            'labels': len(new),
            'atoms': int(self.sizes[new].sum()) if new else 0,
            'functions': len(fit.columns),
            'kinds': dict(sorted(Counter(self.system.kinds[index] for index in new).items())),
            **{key: float(f'{value:.4g}') for key, value in self.errors(fit, split.test).items()},
        }


@contextmanager
def silence() -> Iterator[None]:
    """Let the engine say nothing."""
    logging.disable(logging.WARNING)
    with Path(os.devnull).open('w') as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
    logging.disable(logging.NOTSET)


def run(path: Path, seeds: int, generations: int | None, systems: list[Callable[[], System]]) -> None:
    """Run the benchmark and write its numbers, again after each seed."""
    start, rows = time.process_time(), []
    benches = [Bench(system()) for system in systems]
    for seed in range(seeds):
        for bench in benches:
            rows += [json.dumps(row) for row in bench.run(seed, generations)]
        seconds = round(time.process_time() - start)
        path.write_text(f'{{"seconds": {seconds}, "rows": [\n' + ',\n'.join(rows) + '\n]}\n')
        print(f'seed {seed}: {seconds} s', flush=True)


def curves(rows: list[dict[str, Any]], system: str, strategy: str) -> dict[int, list[dict[str, Any]]]:
    """Return the rows of a strategy by seed, in the order of the generations."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if (row['system'], row['strategy']) == (system, strategy):
            found.setdefault(row['seed'], []).append(row)
    return found


def ratios(
    rows: list[dict[str, Any]], system: str, strategy: str, rival: str, error: str, per: str, part: float = 1.0
) -> FloatArray:
    """Return, of each seed, the error by a strategy over that by a rival at the same number of labels or atoms.

    Between generations the logarithms of errors are interpolated.

    :param part: of the largest number that both came to.
    """
    found, mine, others = [], curves(rows, system, strategy), curves(rows, system, rival)
    for seed in sorted(mine.keys() & others.keys()):
        pair = mine[seed], others[seed]
        where = part * min(curve[-1][per] for curve in pair)
        first, second = (
            np.interp(where, [row[per] for row in curve], [np.log(row[error]) for row in curve]) for curve in pair
        )
        found.append(np.exp(first - second))
    return np.array(found)


def geometric(values: Iterable[float]) -> float:
    """Return the geometric mean."""
    return float(np.exp(np.mean(np.log(list(values)))))


def tables(rows: list[dict[str, Any]]) -> str:
    """Return errors, and their ratios to those of rivals, as tables of Markdown: geometric means over the seeds."""
    systems = list(dict.fromkeys(row['system'] for row in rows))
    errors = (*ERRORS, 'forces_worst_tenth')
    lines = [
        '| Pool | Strategy | Seeds | Labels | Atoms | Functions | ' + ' | '.join(errors) + ' |',
        '| --- ' * 10 + '|',
    ]
    for system in systems:
        begin = [seed[0] for seed in curves(rows, system, 'random').values()]
        for strategy, last in [('none', begin)] + [
            (name, [seed[-1] for seed in curves(rows, system, name).values()]) for name in STRATEGIES
        ]:
            if last:
                means = [f'{np.mean([row[key] for row in last]):.0f}' for key in ('labels', 'atoms', 'functions')]
                cells = [f'{geometric(row[key] for row in last):.3g}' for key in errors]
                lines.append(f'| {system} | {strategy} | {len(last)} | ' + ' | '.join([*means, *cells]) + ' |')
    for rival, per, part in (
        ('random', 'labels', 0.5),
        ('random', 'labels', 1.0),
        ('random', 'atoms', 1.0),
        ('maxvol', 'labels', 0.5),
        ('maxvol', 'labels', 1.0),
        ('maxvol', 'atoms', 1.0),
        ('random, 2 functions per atom', 'labels', 1.0),
    ):
        lines += ['', f'Over {rival}, at {part:.0%} of the {per}: ratio (better in so many seeds)', '']
        lines += ['| Pool | Strategy | ' + ' | '.join(errors) + ' |', '| --- ' * 6 + '|']
        for system in systems:
            for strategy in STRATEGIES:
                cells = []
                for error in errors:
                    values = ratios(rows, system, strategy, rival, error, per, part)
                    if strategy != rival and len(values):
                        cells.append(f'{geometric(values):.2f} ({int(np.sum(values < 1))}/{len(values)})')
                if cells:
                    lines.append(f'| {system} | {strategy} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def plot(path: Path, rows: list[dict[str, Any]]) -> None:
    """Draw errors against labels, and those of forces against atoms: geometric means over the seeds."""
    import matplotlib as mpl

    mpl.use('svg')
    # Text stays text, and the file small.
    mpl.rcParams['svg.fonttype'] = 'none'
    from matplotlib import pyplot as plt

    systems = list(dict.fromkeys(row['system'] for row in rows))
    lines = [('energy', 'labels'), ('forces', 'labels'), ('stress', 'labels'), ('forces', 'atoms')]
    figure, axes = plt.subplots(len(lines), len(systems), figsize=(3 * len(systems), 9), squeeze=False)
    for column, system in enumerate(systems):
        axes[0, column].set_title(system)
        for axis, (error, per) in zip(axes[:, column], lines, strict=True):
            draw(axis, rows, system, error, per)
            axis.set_xlabel(f'{per} added')
            if column == 0:
                axis.set_ylabel(ERRORS[error])
    axes[0, 0].legend(frameon=False, fontsize='small')
    figure.tight_layout()
    figure.savefig(path, metadata={'Date': None})


def draw(axis: Any, rows: list[dict[str, Any]], system: str, error: str, per: str) -> None:
    """Draw one error of one system; the band is the middle half of the seeds."""
    for strategy, colour in COLOURS.items():
        seeds = list(curves(rows, system, strategy).values())
        if not seeds:
            continue
        # Where a seed has nothing more to select, its last fit stands.
        length = max(map(len, seeds))
        kept = [[curve[min(index, len(curve) - 1)] for curve in seeds] for index in range(length)]
        places = [np.mean([row[per] for row in one]) for one in kept]
        axis.plot(places, [geometric(row[error] for row in one) for one in kept], 'o-', color=colour, label=strategy)
        low, high = zip(*(np.quantile([row[error] for row in one], [0.25, 0.75]) for one in kept), strict=True)
        axis.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    axis.set_yscale('log', subs=[2, 5])
    axis.yaxis.set_major_formatter('{x:g}')
    axis.yaxis.set_minor_formatter('{x:g}')
    axis.tick_params(which='both', labelsize='small')
    axis.grid(which='both', color='0.9', linewidth=0.6)
    axis.set_axisbelow(True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--seeds', type=int, default=SEEDS)
    parser.add_argument('--generations', type=int, help='of each system, instead of 4, or 3 of the alloy')
    parser.add_argument('--output', type=Path, default=Path('selection'), metavar='FOLDER')
    parser.add_argument('--quick', action='store_true', help='two seeds and two generations')
    parser.add_argument('--plot', action='store_true', help='print and draw the numbers that are there')
    arguments = parser.parse_args()
    arguments.output.mkdir(exist_ok=True)
    path = arguments.output / 'selection.json'
    if not arguments.plot:
        seeds, generations = (2, 2) if arguments.quick else (arguments.seeds, arguments.generations)
        systems = [mgo, lambda: copper(arguments.output), lambda: alloy(arguments.output)]
        run(path, seeds, generations, systems)
    content = json.loads(path.read_text())
    print(tables(content['rows']))
    print(f'{content["seconds"]} seconds of a processor')
    plot(path.with_suffix('.svg'), content['rows'])


if __name__ == '__main__':
    main()
