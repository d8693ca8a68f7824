"""What an exact fit costs, and what it is worth, against `pacemaker` on the same functions, data and loss.

``python benchmarks/fitting.py`` fits 50 frames of MgO of ``examples`` with 86 functions by the driver of linear fits
and by `pacemaker` with the evaluator `pyace`, each with a number of iterations, and prints processor seconds, losses
and the errors on the other 50 frames. Then it times the equations of a cell of 32 atoms of Cu with a cutoff of 5.5
angstrom, measures the memory of fits to 100 and to 1,000 such cells with labels of EMT, and what 10 more of them cost.
Processor seconds are those of whole processes, with what they import, on one thread. It takes ten minutes on an idle
core, most of them for `pacemaker`; ``--iterations`` says how long that one tries.

The programs are those beside this Python, which has python-ace: `pip install '.[engine]'`. Linux only: the resident
size of a process is told in kilobytes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

import aiida_pacemaker
from aiida_pacemaker.baseline.reference_energies import reference_energy
from aiida_pacemaker.baseline.targets import write_targets
from aiida_pacemaker.frames.ase_io import from_atoms

PACKAGE = Path(aiida_pacemaker.__file__).parent
STRUCTURES = Path(__file__).parents[1] / 'examples' / 'mgo-lda.extxyz'
#: Isolated atoms at the settings of the data, in eV: see README.md beside the structures.
ENERGIES = {'Mg': -27.441497613508435, 'O': -426.11747912713093}
TRAIN, TEST = 'train.pckl.gzip', 'test.pckl.gzip'
#: Runs a command and writes its processor seconds and its largest resident size in kilobytes.
WATCH = """
import json, pathlib, resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
pathlib.Path(sys.argv[1]).write_text(json.dumps([usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
sys.exit(status)
"""


def section(elements: Sequence[str], degree: int, order: int = 3) -> dict[str, Any]:
    """Return the section `potential` of the engine's input."""
    return {
        'deltaSplineBins': 0.001,
        'elements': list(elements),
        'embeddings': {'ALL': {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1, 1], 'ndensity': 1}},
        'bonds': {
            'ALL': {
                'radbase': 'ChebExpCos',
                'radparameters': [5.25],
                'rcut': 5.5,
                'dcut': 0.01,
                'NameOfCutoffFunction': 'cos',
            }
        },
        'functions': {
            'ALL': {
                'nradmax_by_orders': [max(degree, 8)] + [degree - k + 1 for k in range(2, order + 1)],
                'lmax_by_orders': [0] + [(degree - k) // 2 for k in range(2, order + 1)],
            }
        },
    }


def write(folder: Path, name: str, images: Sequence[Atoms]) -> None:
    """Write a table of structures with their labels."""
    with (folder / name).open('wb') as handle:
        write_targets(from_atoms(list(images), 'benchmark'), handle, None, stress=True)


def watched(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run a command; return its processor seconds and its largest resident size in MB."""
    usage = folder / 'usage'
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}
    with (folder / 'output').open('w') as output:
        subprocess.run(
            [sys.executable, '-c', WATCH, str(usage), *command],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            check=True,
        )
    seconds, kilobytes = json.loads(usage.read_text())
    return seconds, kilobytes / 1024


def fit(folder: Path, tables: Sequence[str], references: dict[str, float], **changes: Any) -> tuple[float, float]:
    """Fit tables by the driver of linear fits; return processor seconds and MB."""
    request = {
        'degree': None,
        'first': None,
        'initial': None,
        'weighting': {'kind': 'physical', 'ratio': 10.0, 'scale': 1.0, 'reference': None, 'virial': 0.5},
        'prior': 'order_degree',
        'penalty': 0.0,
        'virial': False,
        'repulsion': None,
        'train': list(tables),
        'test': [],
        'equations': {},
        'reference_energies': references,
        'n_workers': 1,
        'predict': False,
        **changes,
    }
    for name in ('drivers/fit_linear.py', 'drivers/summary.py', 'drivers/tables.py', 'frames/handedness.py'):
        shutil.copy(PACKAGE / name, folder)
    shutil.copytree(PACKAGE / 'linear', folder / 'linear', dirs_exist_ok=True)
    (folder / 'fit_linear.json').write_text(json.dumps(request))
    return watched([sys.executable, 'fit_linear.py'], folder)


def errors(folder: Path, images: Sequence[Atoms]) -> tuple[float, float]:
    """Return the errors of a potential in meV/atom and meV/angstrom."""
    from pyace import PyACECalculator

    calculator = PyACECalculator(str(folder / 'output_potential.yaml'))
    frames = from_atoms(list(images), 'benchmark')
    isolated = reference_energy(frames, ENERGIES)
    energies, forces = [], []
    for image, reference in zip(images, isolated, strict=True):
        atoms = image.copy()
        atoms.calc = calculator
        energies.append((atoms.get_potential_energy() + reference - image.get_potential_energy()) / len(atoms))
        forces.append((atoms.get_forces() - image.get_forces()).ravel())
    return 1e3 * np.sqrt(np.mean(np.square(energies))), 1e3 * np.sqrt(np.mean(np.square(np.concatenate(forces))))


def against_pacemaker(folder: Path, iterations: Sequence[int]) -> None:
    """Print processor seconds, loss and errors of both."""
    images = ase.io.read(STRUCTURES, ':')
    order = np.random.default_rng(0).permutation(len(images))
    train, held_out = [images[index] for index in order[:50]], [images[index] for index in order[50:]]
    write(folder, TRAIN, train)
    potential, kappa, penalty = section(['Mg', 'O'], 4), 0.3, 1e-8
    print(f'{"":34}{"seconds":>9}{"loss":>14}{"meV/atom":>10}{"meV/angstrom":>14}')

    def show(name: str, seconds: float) -> float:
        row = (folder / 'metrics.txt').read_text().splitlines()
        loss = min(float(dict(zip(row[0].split(), line.split(), strict=True))['loss']) for line in row[1:])
        energy, force = errors(folder, held_out)
        print(f'{name:34}{seconds:9.1f}{loss:14.8f}{energy:10.1f}{force:14.0f}', flush=True)
        return seconds

    weighting = {'kind': 'pacemaker', 'kappa': kappa, 'offsets': None, 'reference': None}
    options = {'potential': potential, 'prior': 'pacemaker', 'penalty': penalty, 'weighting': weighting}
    seconds, _ = fit(folder, [TRAIN], ENERGIES, **options)
    exact = show('exact, the same loss', seconds)
    seconds, _ = fit(folder, [TRAIN], ENERGIES, potential=potential)
    show('exact, evidence', seconds)
    seconds, _ = fit(folder, [TRAIN], ENERGIES, potential=section(['Mg', 'O'], 6), degree=6, first=8)
    show('exact, evidence, 252 functions', seconds)
    document: dict[str, Any] = {
        'cutoff': 5.5,
        'data': {'filename': TRAIN, 'reference_energy': ENERGIES},
        'potential': potential,
        'fit': {
            'loss': {'kappa': kappa, 'L1_coeffs': 0, 'L2_coeffs': penalty},
            'optimizer': 'BFGS',
            'trainable_parameters': 'func',
        },
        'backend': {'evaluator': 'pyace', 'batch_size': 100},
    }
    program = str(Path(sys.executable).with_name('pacemaker'))
    for count in iterations:
        document['fit']['maxiter'] = count
        (folder / 'input.yaml').write_text(yaml.safe_dump(document))
        for name in ('metrics.txt', 'output_potential.yaml'):
            (folder / name).unlink()
        seconds, _ = watched([program, '--no-predict', 'input.yaml'], folder)
        show(f'pacemaker, {count} iterations', seconds)
    print(f'{iterations[-1]} iterations take {seconds / exact:.0f} times as long as the exact fit\n')


def copper(seed: int) -> Atoms:
    """Return 32 atoms of Cu, strained and displaced, with labels of EMT."""
    rng = np.random.default_rng(seed)
    atoms = bulk('Cu', cubic=True) * (2, 2, 2)
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.positions += 0.1 * rng.normal(size=atoms.positions.shape)
    atoms.calc = EMT()
    results = {'energy': atoms.get_potential_energy(), 'forces': atoms.get_forces(), 'stress': atoms.get_stress()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def speed_of_rows() -> None:
    """Print how long the equations of a cell of 32 atoms take."""
    from aiida_pacemaker.linear.basis import Basis, configuration_of
    from aiida_pacemaker.linear.rows import RowMaker
    from aiida_pacemaker.linear.weighting import Physical

    print('microseconds per atom and function, 54 neighbours')
    print(f'{"elements":>10}{"functions":>11}{"energy and forces":>19}{"with virial":>13}')
    for elements, degree in (('Cu',), 5), (('Cu',), 8), (('Al', 'Cu'), 5), (('Al', 'Cu'), 7):
        atoms = bulk('Cu', cubic=True) * (2, 2, 2)
        atoms.symbols[::2] = elements[0]
        atoms.rattle(0.01, seed=0)
        maker = RowMaker(Basis.of_configuration(configuration_of(section(elements, degree), degree, 8)), Physical())
        times = []
        for virial in (False, True):
            start, count = time.process_time(), 0
            while time.process_time() - start < 1.0:
                maker.terms_of(atoms, virial=virial)
                count += 1
            times.append(1e6 * (time.process_time() - start) / count / len(atoms) / maker.basis.n_functions)
        print(f'{len(elements):10}{maker.basis.n_functions:11}{times[0]:19.1f}{times[1]:13.1f}', flush=True)


def memory_and_increments(folder: Path, n_frames: int) -> None:
    """Print what fits to a tenth of the frames and to all of them need, and what ten more frames cost."""
    images = [copper(seed) for seed in range(n_frames + 10)]
    few, many, more = 'few.pckl.gzip', 'many.pckl.gzip', 'more.pckl.gzip'
    for name, part in ((few, images[: n_frames // 10]), (many, images[:n_frames]), (more, images[n_frames:])):
        write(folder, name, part)
    options: dict[str, Any] = {'potential': section(['Cu'], 8), 'degree': 8, 'first': 8}
    options['weighting'] = {'kind': 'physical', 'ratio': 10.0, 'scale': 1.0, 'reference': 0.0, 'virial': 0.5}
    kept = {name: f'{name}.npz' for name in (many, more)}
    print(f'\n{"73 functions, cells of 32 atoms":34}{"seconds":>9}{"MB":>8}')
    before = 0.0
    for name, tables in (
        (f'{n_frames // 10} frames', [few]),
        (f'{n_frames} frames', [many]),
        (f'{n_frames} frames again', [many]),
        ('and 10 more', [many, more]),
    ):
        seconds, size = fit(folder, tables, {'Cu': 0.0}, equations=kept, **options)
        print(f'{name:34}{seconds:9.2f}{size:8.0f}', flush=True)
        before, last = seconds, before
    print(f'10 frames more: {before - last:.2f} seconds')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--iterations', type=int, nargs='+', default=[10, 40, 160], help='of pacemaker, fit by fit')
    parser.add_argument('--frames', type=int, default=1000, help='of copper, at least 100')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        against_pacemaker(Path(name), arguments.iterations)
    speed_of_rows()
    with tempfile.TemporaryDirectory() as name:
        memory_and_increments(Path(name), arguments.frames)


if __name__ == '__main__':
    main()
