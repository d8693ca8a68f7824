"""How well the memory of the engine's programs is predicted.

``python benchmarks/memory.py`` runs `pacemaker`, `pace_activeset` and `pace_select` on structures of MgO, the real ones
and copies of them that are displaced at random or repeated along one axis, and prints the largest resident size of each
process beside what :mod:`aiida_pacemaker.pace.cost.memory` says. The programs are those beside this Python, or in
``--programs FOLDER``; with ``--tensorpot FOLDER``, the folder of programs of an environment that has `tensorpotential`,
fits with that evaluator are run too. It takes 10 minutes on two cores, and 20 with `tensorpot`. It fails if a
prediction is off by more than the factor at which jobs are refused.

Linux only: the resident size of a process is told in kilobytes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import ase.io
import numpy as np

from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.frames.pickles.writing import write_dataset
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.pace.config.options import ActiveSetOptions, SelectOptions
from aiida_pacemaker.pace.config.rendering import render_input
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.cost.memory import (
    REFUSAL_FACTOR,
    MemoryEstimate,
    predict_active_set_memory,
    predict_selection_memory,
    predict_training_memory,
)
from aiida_pacemaker.pace.cost.survey import Survey, survey
from aiida_pacemaker.pace.output.potentials import read_potential

STRUCTURES = Path(__file__).parents[1] / 'examples' / 'mgo-lda.extxyz'
ENERGIES = {'Mg': -27.44, 'O': -426.12}
CUTOFF = 4.5
DATASET = 'data.pckl.gzip'
WATCH = """
import pathlib, resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
pathlib.Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""


@dataclass(frozen=True)
class Basis:
    """A basis in the words of the engine.

    :param nradmax: largest n of each order.
    :param lmax: largest l of each order.
    :param limit: functions per element, if not all.
    :param n_densities: densities.
    """

    nradmax: tuple[int, ...]
    lmax: tuple[int, ...]
    limit: int | None = None
    n_densities: int = 1

    def config(self, evaluator: str, optimizer: str = 'BFGS', **backend: Any) -> dict[str, Any]:
        """Return a configuration of a fit of one iteration."""
        embedding = {
            'npot': 'FinnisSinclairShiftedScaled',
            'fs_parameters': [1, 1, 1, 0.5][: 2 * self.n_densities],
            'ndensity': self.n_densities,
        }
        functions: dict[str, Any] = {
            'ALL': {'nradmax_by_orders': self.nradmax, 'lmax_by_orders': self.lmax, 'coefs_init': 'random'}
        }
        if self.limit is not None:
            functions['number_of_functions_per_element'] = self.limit
        return {
            'elements': sorted(ENERGIES),
            'r_cut': CUTOFF,
            'max_epochs': 1,
            'evaluator': evaluator,
            'fit': {'optimizer': optimizer},
            'backend': backend,
            'potential': {'embeddings': {'ALL': embedding}, 'functions': functions},
        }


TINY = Basis((3, 1), (0, 1))
SMALL = Basis((6, 3, 2), (0, 3, 2))
WIDE = Basis((8, 5), (0, 5))
LARGE = Basis((8, 4, 3, 2), (0, 4, 3, 1))
#: Frames, copies of each along one axis, basis, optimizer and settings of the evaluator.
PYACE = [
    (20, 1, TINY, 'BFGS', {}),
    (4000, 1, TINY, 'BFGS', {}),
    (500, 4, TINY, 'BFGS', {}),
    (3, 1, WIDE, 'BFGS', {}),
]
TENSORPOT = [
    (20, 1, TINY, 'BFGS', {'batch_size': 100}),
    (500, 1, TINY, 'BFGS', {'batch_size': 10}),
    (100, 1, SMALL, 'BFGS', {'batch_size': 20}),
    (100, 4, SMALL, 'BFGS', {'batch_size': 100}),
    (100, 4, WIDE, 'BFGS', {'batch_size': 100}),
    (20, 1, LARGE, 'BFGS', {'batch_size': 100}),
    (4, 1, Basis((12, 7, 4), (0, 4, 2)), 'BFGS', {'batch_size': 100}),
    (4, 1, Basis((12, 7, 4), (0, 4, 2)), 'L-BFGS-B', {'batch_size': 100}),
    (100, 2, LARGE, 'L-BFGS-B', {'batch_size': 100}),
    (100, 2, Basis((6, 3, 2, 1, 1), (0, 3, 2, 2, 2)), 'L-BFGS-B', {'batch_size': 100}),
    (200, 2, Basis((10, 6, 4, 3, 1), (0, 5, 4, 3, 2), limit=500, n_densities=2), 'BFGS', {'batch_size': 50}),
]
#: Frames, copies, basis and options.
ACTIVE_SETS = [
    (500, 1, SMALL, ActiveSetOptions()),
    (4000, 1, SMALL, ActiveSetOptions()),
    (4000, 1, replace(SMALL, n_densities=2), ActiveSetOptions(kind='full')),
    (2000, 1, LARGE, ActiveSetOptions()),
    (4000, 1, LARGE, ActiveSetOptions(all_atoms=True)),
    (4000, 1, LARGE, ActiveSetOptions(all_atoms=True, batch_size=1000)),
]
SELECTIONS = [
    (500, 1, SMALL, SelectOptions()),
    (4000, 1, LARGE, SelectOptions()),
    (4000, 1, LARGE, SelectOptions(batch_size=1000)),
]


def prepare(folder: Path, n_frames: int, copies: int) -> Survey:
    """Write a dataset, and return its numbers."""
    images = ase.io.read(STRUCTURES, ':')
    rng = np.random.default_rng(0)
    repeated = [images[index % len(images)].repeat((copies, 1, 1)) for index in range(n_frames)]
    for atoms in repeated:
        atoms.positions += rng.normal(0.0, 0.03, atoms.positions.shape)
        atoms.calc, atoms.info = None, {}
    frames: Frames = from_atoms(repeated, 'mgo')
    energy = np.array([sum(ENERGIES[symbol] for symbol in atoms.symbols) for atoms in repeated])
    with (folder / DATASET).open('wb') as handle:
        write_dataset(frames, handle, energy=energy, forces=rng.normal(0.0, 0.1, frames.positions.shape))
    return survey(frames, CUTOFF)


def peak(command: list[str | Path], folder: Path) -> int:
    """Run a program and return its largest resident size in bytes.

    A process inherits the size of the one that made it as its own largest so far, so a small one is put between.
    """
    report = folder / 'peak.txt'
    with (folder / 'output.txt').open('w') as output:
        watch = [sys.executable, '-S', '-c', WATCH, str(report), *map(str, command)]
        status = subprocess.run(watch, cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if status != 0:
        raise RuntimeError(f'{command[0]} failed:\n{(folder / "output.txt").read_text()[-2000:]}')
    return int(report.read_text()) * 1024


def write_input(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Write the input of a fit, and return its sections."""
    parsed = parse_config(config)
    (folder / 'input.yaml').write_text(render_input(parsed, data_files=[DATASET], reference_energy=ENERGIES))
    return parsed.sections()


def fits(programs: Path, evaluator: str) -> Iterator[tuple[str, MemoryEstimate, int]]:
    """Run fits, and return for each what it is, what was predicted and what was measured."""
    for n_frames, copies, basis, optimizer, backend in PYACE if evaluator == 'pyace' else TENSORPOT:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            found = prepare(folder, n_frames, copies)
            sections = write_input(folder, basis.config(evaluator, optimizer, **backend))
            measured = peak([programs / 'pacemaker', 'input.yaml', '--no-predict'], folder)
        label = f'pacemaker {evaluator} {optimizer} {backend or ""}'
        yield f'{label} {_describe(found, basis)}', predict_training_memory(sections, found), measured


def maxvol(programs: Path) -> Iterator[tuple[str, MemoryEstimate, int]]:
    """Run searches for active sets, and return the same."""
    for n_frames, copies, basis, options in ACTIVE_SETS + SELECTIONS:
        # A folder for each: `pace_select` loads an active set that it finds beside the potential.
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            found = prepare(folder, n_frames, copies)
            write_input(folder, basis.config('pyace'))
            peak([programs / 'pacemaker', 'input.yaml', '--dry-run'], folder)
            # The potential as a fit would begin with it.
            file = 'target_potential.yaml'
            potential = read_potential((folder / file).read_text())
            functions = potential.n_functions_per_element
            if isinstance(options, ActiveSetOptions):
                command = ['pace_activeset', *options.arguments(), '-d', DATASET, file]
                predicted = predict_active_set_memory(found, functions, potential.n_densities, options)
            else:
                command = ['pace_select', *options.arguments(), '-p', file, DATASET]
                predicted = predict_selection_memory(found, functions, options)
            measured = peak([programs / command[0], *command[1:]], folder)
        yield f'{" ".join(command)} {_describe(found, basis)}', predicted, measured


def _describe(found: Survey, basis: Basis) -> str:
    shape = f'n {basis.nradmax} l {basis.lmax}{f" limit {basis.limit}" if basis.limit else ""}'
    return f'{found.n_frames} frames, {sum(found.atoms.values())} atoms, {found.n_neighbours} neighbours, {shape}'


def main() -> None:
    """Print a table, and fail if a prediction is far off."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--programs', type=Path, default=Path(sys.executable).parent)
    parser.add_argument('--tensorpot', type=Path)
    arguments = parser.parse_args()
    worst = 1.0
    print('measured    predicted    ratio', flush=True)
    runs = [fits(arguments.programs, 'pyace'), maxvol(arguments.programs)]
    if arguments.tensorpot is not None:
        runs.append(fits(arguments.tensorpot, 'tensorpot'))
    for label, predicted, measured in chain.from_iterable(runs):
        ratio = predicted.total / measured
        worst = max(worst, ratio, 1 / ratio)
        print(f'{measured / 1e6:5.0f} MB    {predicted.total / 1e6:6.0f} MB    {ratio:5.2f}    {label}', flush=True)
    sys.exit(0 if worst < REFUSAL_FACTOR else 1)


if __name__ == '__main__':
    main()
