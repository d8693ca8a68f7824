"""Whether D-optimal selection is better than drawing at random: test errors against the number of labels.

``python benchmarks/selection.py`` begins with 15 frames of MgO near equilibrium and adds labels from a pool, a few at a
time: those that the loop would take (active set, gamma of the pool, `pace_select`), or as many at random. All else
is the same: initial set, pool, test set, basis, and fits from nothing with one number of iterations. It is done for
several splits of the data into pool and test set, and for two pools: the frames as they are, and the same frames with
those near equilibrium ten times each, turned in space, as a long simulation comes back to what it has seen.

The processes run in a profile of their own that is thrown away. What is left are the numbers and the plot,
``selection.json`` and ``selection.svg`` in ``--output FOLDER``. The numbers are written after each fit: a run that was
stopped has those of all that it came to, and ``--plot`` draws them. ``--quick`` takes one seed and two generations.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from aiida import orm
from aiida.engine import run_get_node
from aiida.manage import get_manager
from aiida.manage.caching import enable_caching
from aiida.manage.configuration import create_profile, get_config, load_profile
from aiida.manage.configuration.settings import AiiDAConfigDir

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.base import RESOURCES
from aiida_pacemaker.calculations.functions.datasets import exclude_frames, find_candidates, split_frames
from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.cli.setup.codes import ensure_codes
from aiida_pacemaker.cli.setup.engine import Place
from aiida_pacemaker.cli.setup.localhost import ensure_computer, nearby
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.frames.table import FloatArray, Frames
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.trainer import PacemakerTrainer
from aiida_pacemaker.workflows.base.evaluate import PaceEvaluateBaseWorkChain
from aiida_pacemaker.workflows.base.select import PaceSelectBaseWorkChain

STRUCTURES = Path(__file__).parents[1] / 'examples' / 'mgo-lda.extxyz'
#: Isolated atoms at the settings of the data, in eV: see README.md beside the structures.
ENERGIES = {'Mg': -27.441497613508435, 'O': -426.11747912713093}
#: Linear in 28 functions per element, which `pyace` with its numerical gradients fits in seconds. It makes its splines
#: anew whenever a coefficient changes: with the default of 0.001 angstrom that is most of its time, and the loss is the
#: same to six digits.
CONFIG = {
    'elements': sorted(ENERGIES),
    'evaluator': 'pyace',
    'r_cut': 4.5,
    'max_epochs': 40,
    'potential': {
        'deltaSplineBins': 0.02,
        'functions': {'ALL': {'nradmax_by_orders': [4, 2], 'lmax_by_orders': [0, 1]}},
    },
}
#: Frames with larger forces, in eV/angstrom, are left out: their atoms are as close as 1.2 angstrom.
MAX_FORCE = 20.0
INITIAL = ('rocksalt-eos-0.98', 'rocksalt-eos-1.00', 'rocksalt-eos-1.02')
INITIAL_KIND = 'rocksalt8-rattle0.04'
#: Kinds that the redundant pool has many times.
NEAR = ('rocksalt8-rattle0.09', 'rocksalt-strain')
COPIES = 10
#: What extrapolates at all. The loop has 1.5, and may stop before the labels are spent.
GAMMA = 1.0
TEST_FRACTION = 0.3
PER_GENERATION = 6
GENERATIONS = 2
SEEDS = 4
STRATEGIES = {'D-optimal': 'C0', 'random': 'C1'}


@dataclass(frozen=True)
class Split:
    """What one seed decides.

    :param pools: the candidates by the name of their pool.
    :param test: the frames that are never trained on.
    """

    seed: int
    pools: dict[str, PaceDatasetData]
    test: PaceDatasetData


@dataclass(frozen=True)
class Fit:
    """A potential, and what it was trained on."""

    dataset: PaceDatasetData
    potential: PacePotentialData


class Bench:
    """The jobs of the loop, one at a time, on the data of MgO."""

    def __init__(self, codes: Mapping[str, orm.AbstractCode]) -> None:
        images = ase.io.read(STRUCTURES, ':')
        images = [image for image in images if np.linalg.norm(image.get_forces(), axis=1).max() <= MAX_FORCE]
        self.labels = [str(image.info['label']) for image in images]
        self.codes = codes
        self.trainer = PacemakerTrainer(
            parse_config(CONFIG),
            {program: codes[program] for program in ('pacemaker', 'pace_activeset')},
            baseline=DeltaBaseline.for_elements(sorted(ENERGIES)),
            reference_energies=ENERGIES,
        )
        frames = from_atoms(images, 'mgo-lda')
        first = np.array([label in INITIAL or kind_of(label) == INITIAL_KIND for label in self.labels])
        self.rest = PaceDatasetData(frames.select(~first)).store()
        self.first = self.fit(PaceDatasetData(frames.select(first)).store())

    def split(self, seed: int) -> Split:
        """Return pools and test set; the copies are of frames of the pool, and none of the test set."""
        pool, test = split_frames(self.rest, test_fraction=TEST_FRACTION, seed=seed)
        frames = pool.get_frames()
        near = frames.select([kind_of(self.labels[step]) in NEAR for step in frames.step])
        generator = np.random.default_rng(seed)
        copies = Frames.concatenate([frames, *(turned(near, generator) for _ in range(COPIES - 1))])
        return Split(seed, {'diverse': pool, 'redundant': PaceDatasetData(copies).store()}, test)

    def fit(self, dataset: PaceDatasetData) -> Fit:
        """Train from nothing."""
        return Fit(dataset, self.trainer.train(dataset)[0])

    def evaluate(self, fit: Fit, **inputs: Any) -> Any:
        """Return the outputs of an evaluation."""
        pace = {'code': self.codes['pace_python'], 'potential': fit.potential, **inputs}
        return self._run(PaceEvaluateBaseWorkChain, pace)

    def errors(self, fit: Fit, test: PaceDatasetData) -> dict[str, float]:
        """Return the test errors of a potential."""
        return test_errors(self.evaluate(fit, datasets={'test': test})['evaluations']['test'], test)

    def choose(self, fit: Fit, pool: PaceDatasetData) -> PaceDatasetData | None:
        """Return what the loop would label next, None if it knows the pool."""
        active_set = self.trainer.active_set(fit.potential)
        evaluation = self.evaluate(fit, datasets={'pool': pool}, active_set=active_set)['evaluations']['pool']
        found = find_candidates(pool=pool, evaluation=evaluation, gamma_threshold=orm.Float(GAMMA), dataset=fit.dataset)
        if 'candidates' not in found:
            return None
        pace = {
            'code': self.codes['pace_select'],
            'potential': fit.potential,
            'active_set': active_set,
            'candidates': {'pool': found['candidates']},
            'options': orm.Dict({'max_structures': PER_GENERATION}),
        }
        selected: PaceDatasetData | None = self._run(PaceSelectBaseWorkChain, pace).get('selected')
        return selected

    def draw(self, fit: Fit, pool: PaceDatasetData, seed: int) -> PaceDatasetData:
        """Return as many frames of the pool that are not labelled yet, at random."""
        left = exclude_frames(pool, fit.dataset)
        rows = np.random.default_rng([seed, fit.dataset.n_frames]).permutation(left.n_frames)[:PER_GENERATION]
        return PaceDatasetData(left.get_frames().select(rows), sources=left.source_uuids).store()

    def grow(self, fit: Fit, pool: PaceDatasetData, strategy: str, seed: int) -> Fit | None:
        """Return what is trained on some labels more, None if the strategy finds none."""
        chosen = self.choose(fit, pool) if strategy == 'D-optimal' else self.draw(fit, pool, seed)
        if chosen is None:
            return None
        generation = max(fit.dataset.generations) + 1
        return self.fit(merge_frames(chosen, base=fit.dataset, generation=generation)[0])

    def row(self, split: Split, name: str, strategy: str, fit: Fit) -> dict[str, Any]:
        """Return what there is to know about a potential: what it was trained on, and its test errors."""
        frames = fit.dataset.get_frames()
        new = frames.select(frames.generation > 0)
        row = {
            'seed': split.seed,
            'pool': name,
            'strategy': strategy,
            'labels': len(new),
            'atoms': int(new.n_atoms.sum()),
            'kinds': dict(sorted(Counter(kind_of(self.labels[step]) for step in new.step).items())),
            **self.errors(fit, split.test),
        }
        print(' '.join(f'{key}={value}' for key, value in row.items()), flush=True)
        return row

    def rows(self, seeds: int, generations: int) -> Iterator[dict[str, Any]]:
        """Return all rows: the first generation of all seeds, then the second, so that it can be stopped any time."""
        splits = [self.split(seed) for seed in range(seeds)]
        fits: dict[tuple[int, str, str], Fit | None] = {}
        for split in splits:
            begin = self.row(split, '', '', self.first)
            for name, strategy in product(split.pools, STRATEGIES):
                fits[split.seed, name, strategy] = self.first
                yield {**begin, 'pool': name, 'strategy': strategy}
        for _ in range(generations):
            for (seed, name, strategy), last in list(fits.items()):
                fit = None if last is None else self.grow(last, splits[seed].pools[name], strategy, seed)
                fits[seed, name, strategy] = fit
                if fit is not None:
                    yield self.row(splits[seed], name, strategy, fit)
        for split in splits:
            yield self.limit(split)

    def limit(self, split: Split) -> dict[str, Any]:
        """Return the row of the whole pool."""
        everything = merge_frames(split.pools['diverse'], base=self.first.dataset, generation=1)[0]
        return self.row(split, 'diverse', 'all', self.fit(everything))

    def _run(self, process: Any, pace: dict[str, Any]) -> Any:
        inputs = {**pace, 'metadata': {'options': {'resources': RESOURCES}}}
        outputs, node = run_get_node(process, pace=inputs)
        if not node.is_finished_ok:
            raise RuntimeError(f'{node.process_label} failed with [{node.exit_status}] {node.exit_message}')
        return outputs


def kind_of(label: str) -> str:
    """Return the kind of a structure, which is its label without the number at the end."""
    return label.rpartition('-')[0]


def turned(frames: Frames, generator: np.random.Generator) -> Frames:
    """Return the frames with their labels, each turned in space at random: other frames, but nothing new in them."""
    if frames.forces is None or frames.stress is None:
        raise ValueError('only labelled frames can be turned with their labels')
    turns = np.array([np.linalg.qr(generator.normal(size=(3, 3)))[0] for _ in range(len(frames))])
    of_atom = turns[frames.frame_of_atom]
    return replace(
        frames,
        positions=np.einsum('aij,aj->ai', of_atom, frames.positions),
        cells=np.einsum('fij,fkj->fki', turns, frames.cells),
        forces=np.einsum('aij,aj->ai', of_atom, frames.forces),
        stress=np.einsum('fij,fjk,flk->fil', turns, frames.stress, turns),
    )


def test_errors(evaluation: orm.ArrayData, test: PaceDatasetData) -> dict[str, float]:
    """Return errors in meV/atom and meV/angstrom.

    Root mean square of the energies and of the force components; the same over the tenth of the frames, and of the
    atoms, where the error is largest; and the largest ones.
    """
    frames = test.get_frames()
    energy = 1000 * np.abs(evaluation.get_array('energy') - frames.energy) / frames.n_atoms
    # Root mean square of the three components.
    forces = 1000 * np.linalg.norm(evaluation.get_array('forces') - frames.forces, axis=1) / np.sqrt(3)
    errors: dict[str, float] = {}
    for name, values in (('energy', energy), ('forces', forces)):
        worst = np.sort(values)[-max(1, round(len(values) / 10)) :]
        errors |= {name: _rms(values), f'{name}_worst_tenth': _rms(worst), f'{name}_max': round(float(values.max()), 1)}
    return errors


def _rms(values: FloatArray) -> float:
    return round(float(np.sqrt(np.mean(values**2))), 1)


def means(rows: list[dict[str, Any]], pool: str, strategy: str, name: str) -> dict[int, tuple[float, float, int]]:
    """Return mean, standard deviation and number of seeds of an error, by the number of labels that all seeds have."""
    values: dict[int, list[float]] = {}
    for row in rows:
        if (row['pool'], row['strategy']) == (pool, strategy):
            values.setdefault(row['labels'], []).append(row[name])
    full = max(map(len, values.values()), default=0)
    return {
        labels: (float(np.mean(errors)), float(np.std(errors)), full)
        for labels, errors in sorted(values.items())
        if len(errors) == full
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the means over the seeds, and their standard deviations, as a table of Markdown."""
    names = ('atoms', 'energy', 'energy_max', 'forces', 'forces_worst_tenth', 'forces_max')
    lines = [f'| pool | strategy | labels | seeds | {" | ".join(name.replace("_", " ") for name in names)} |']
    lines.append('| --- ' * (4 + len(names)) + '|')
    for pool in ('diverse', 'redundant'):
        for strategy in (*STRATEGIES, 'all'):
            columns = [means(rows, pool, strategy, name) for name in names]
            for labels, (_, _, count) in columns[0].items():
                cells = [f'{column[labels][0]:.0f} ± {column[labels][1]:.0f}' for column in columns]
                lines.append(f'| {pool} | {strategy} | {labels} | {count} | {" | ".join(cells)} |')
    return '\n'.join(lines)


@contextmanager
def throw_away_profile() -> Iterator[None]:
    """Load a profile that is gone afterwards; it needs no services."""
    with tempfile.TemporaryDirectory() as folder:
        AiiDAConfigDir.set(Path(folder, '.aiida'))
        storage = {'filepath': str(Path(folder, 'storage'))}
        config = get_config(create=True)
        create_profile(
            config,
            name='benchmark',
            email='benchmark@localhost',
            storage_backend='core.sqlite_dos',
            storage_config=storage,
        )
        # Without a broker, those who wait for a process ask for it; by default once a minute.
        config.set_option('runner.poll.interval', 1)
        config.set_option('logging.aiida_loglevel', 'WARNING')
        load_profile('benchmark')
        yield
        get_manager().reset_profile()


def run(path: Path, seeds: int, generations: int) -> None:
    """Run the benchmark and write its numbers, again after each fit."""
    start, rows = time.monotonic(), []
    # Where both pools lead to one selection, the fit is not done again.
    with throw_away_profile(), enable_caching():
        computer = ensure_computer()
        codes, _ = ensure_codes(computer, Place(first=nearby()))
        computer.set_minimum_job_poll_interval(0.2)
        for row in Bench(codes).rows(seeds, generations):
            rows.append(json.dumps(row))
            seconds = round(time.monotonic() - start)
            path.write_text(f'{{"seconds": {seconds}, "rows": [\n' + ',\n'.join(rows) + '\n]}\n')


def plot(path: Path, rows: list[dict[str, Any]]) -> None:
    """Draw errors against the number of labels: each seed thin, their mean thick."""
    import matplotlib as mpl

    mpl.use('svg')
    # Text stays text, and the file small.
    mpl.rcParams['svg.fonttype'] = 'none'
    from matplotlib import pyplot as plt

    panels = {
        'forces': 'force RMSE (meV/Å)',
        'forces_worst_tenth': 'force RMSE, worst tenth\nof the atoms (meV/Å)',
        'energy': 'energy RMSE (meV/atom)',
    }
    pools = {'diverse': 'the pool as it is', 'redundant': f'near-equilibrium frames {COPIES} times'}
    figure, axes = plt.subplots(len(panels), len(pools), figsize=(8, 9), sharex=True, sharey='row')
    for (name, label), line in zip(panels.items(), axes, strict=True):
        line[0].set_ylabel(label)
        for pool, axis in zip(pools, line, strict=True):
            draw(axis, rows, pool, name)
    for axis, title in zip(axes[0], pools.values(), strict=True):
        axis.set_title(title)
    for axis in axes[-1]:
        axis.set_xlabel('labels added to the initial set')
    axes[0, 0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={'Date': None})


def draw(axis: Any, rows: list[dict[str, Any]], pool: str, name: str) -> None:
    """Draw one error for one pool."""
    for strategy, colour in STRATEGIES.items():
        chosen = [row for row in rows if (row['pool'], row['strategy']) == (pool, strategy)]
        for seed in sorted({row['seed'] for row in chosen}):
            points = [(row['labels'], row[name]) for row in chosen if row['seed'] == seed]
            axis.plot(*zip(*points, strict=True), color=colour, linewidth=0.7, alpha=0.5)
        average = means(rows, pool, strategy, name)
        axis.plot(
            list(average), [mean for mean, _, _ in average.values()], 'o-', color=colour, linewidth=2.5, label=strategy
        )
    limit = [row[name] for row in rows if row['strategy'] == 'all']
    if limit:
        axis.axhline(np.mean(limit), color='0.4', linestyle='--', linewidth=1, label='all of the pool labelled')
    axis.set_xticks(range(0, 1 + max(row['labels'] for row in rows if row['strategy'] in STRATEGIES), PER_GENERATION))
    axis.set_yscale('log', subs=range(2, 10))
    axis.yaxis.set_major_formatter('{x:g}')
    axis.yaxis.set_minor_formatter('{x:g}')
    axis.grid(which='both', color='0.9', linewidth=0.6)
    axis.set_axisbelow(True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--seeds', type=int, default=SEEDS)
    parser.add_argument('--generations', type=int, default=GENERATIONS)
    parser.add_argument('--output', type=Path, default=Path('selection'), metavar='FOLDER')
    parser.add_argument('--quick', action='store_true', help='one seed and two generations')
    parser.add_argument('--plot', action='store_true', help='draw the plot from the numbers that are there')
    arguments = parser.parse_args()
    arguments.output.mkdir(exist_ok=True)
    path = arguments.output / 'selection.json'
    if not arguments.plot:
        seeds, generations = (1, 2) if arguments.quick else (arguments.seeds, arguments.generations)
        run(path, seeds, generations)
    content = json.loads(path.read_text())
    print(table(content['rows']))
    print(f'{content["seconds"]} seconds')
    plot(path.with_suffix('.svg'), content['rows'])


if __name__ == '__main__':
    main()
