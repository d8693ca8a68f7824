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
from linear_driver import ENERGIES, STRUCTURES, errors, fit, section, watched, write

TRAIN = 'train.pckl.gzip'


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
        found = errors(folder, held_out, ENERGIES)
        print(f'{name:34}{seconds:9.1f}{loss:14.8f}{found.energy:10.1f}{found.forces:14.0f}', flush=True)
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
