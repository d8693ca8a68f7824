"""Small inputs, and how programs are run on them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from aiida_pacemaker.frames.pickles.writing import write_candidates, write_dataset
from aiida_pacemaker.frames.table import Frames

MGO = Path(__file__).parents[2] / 'examples' / 'mgo-lda.extxyz'
REFERENCE = {'Mg': -27.441497613508435, 'O': -426.11747912713093}
BOND = {'radbase': 'SBessel', 'radparameters': [5.25], 'rcut': 4.5, 'dcut': 0.01, 'NameOfCutoffFunction': 'cos'}
INPUT = {
    'seed': 42,
    'potential': {
        'deltaSplineBins': 0.001,
        'elements': ['Mg', 'O'],
        'embeddings': {'ALL': {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1, 1], 'ndensity': 1}},
        'bonds': {'ALL': BOND},
        'functions': {'ALL': {'nradmax_by_orders': [3, 1], 'lmax_by_orders': [0, 1]}},
    },
    'data': {'filename': ['train.pckl.gzip'], 'reference_energy': REFERENCE},
    'fit': {
        'loss': {'kappa': 0.3, 'L1_coeffs': 1.0e-8, 'L2_coeffs': 1.0e-8},
        'optimizer': 'BFGS',
        'maxiter': 3,
        'trainable_parameters': 'func',
    },
    'backend': {'evaluator': 'pyace', 'parallel_mode': 'serial', 'display_step': 20},
}


@dataclass(frozen=True)
class Outcome:
    """What a run of a program has left."""

    folder: Path
    status: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The last line of the standard error, without the time."""
        lines = self.stderr.strip().splitlines() or ['']
        return re.sub(r'^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ - ', '', lines[-1])

    @property
    def log(self) -> str:
        path = self.folder / 'log.txt'
        return path.read_text() if path.exists() else ''

    @property
    def files(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob('*')}

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()


def run(program: Path, folder: Path, *arguments: str, **variables: str) -> Outcome:
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'COLUMNS': '80', **variables}
    process = subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    # As a shell reports it: 128 and the signal.
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return Outcome(folder, status, process.stdout, process.stderr)


class RealEngine:
    """The real programs, imported once: each run is a process that is forked off, for imports take most of the time."""

    _SERVER = """
import contextlib, importlib, json, os, sys, traceback
import matplotlib.figure
# Pictures are not compared, and take longer than the rest of a short fit.
matplotlib.figure.Figure.savefig = lambda self, name, **options: open(name, 'wb').close()
programs = {name: importlib.import_module('pyace.cli.' + name) for name in sys.argv[1:]}
for line in sys.stdin:
    program, folder, arguments = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        for number, name in ((1, '.stdout'), (2, '.stderr')):
            os.dup2(os.open(os.path.join('..', os.path.basename(folder) + name), os.O_WRONLY | os.O_CREAT), number)
        sys.argv = [program, *arguments]
        try:
            status = programs[program].main() or 0
        except SystemExit as error:
            status = error.code or 0
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

    def __init__(self) -> None:
        programs = ['pacemaker', 'pace_activeset', 'pace_select', 'pace_yaml2yace']
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'COLUMNS': '80'}
        self._process = subprocess.Popen(
            [sys.executable, '-c', self._SERVER, *programs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )

    def run(self, program: str, folder: Path, *arguments: str) -> Outcome:
        self._process.stdin.write(json.dumps([program, str(folder), arguments]) + '\n')
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        stdout, stderr = (folder.with_name(folder.name + suffix).read_text() for suffix in ('.stdout', '.stderr'))
        return Outcome(folder, status, stdout, stderr)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def table(atoms: list[Any]) -> Frames:
    n_atoms = np.array([len(structure) for structure in atoms])
    return Frames(
        n_atoms=n_atoms,
        numbers=np.concatenate([structure.numbers for structure in atoms]).astype(np.int64),
        positions=np.concatenate([structure.positions for structure in atoms]),
        cells=np.array([structure.cell[:] for structure in atoms]),
        pbc=np.array([structure.pbc for structure in atoms]),
        energy=np.array([structure.get_potential_energy() for structure in atoms]),
        forces=np.concatenate([structure.get_forces() for structure in atoms]),
        stress=np.array([structure.get_stress(voigt=False) for structure in atoms]),
        source_keys=('mgo',),
        source=np.zeros(len(atoms), dtype=np.int64),
        step=np.arange(len(atoms)),
        generation=np.zeros(len(atoms), dtype=np.int64),
    )


def write_train(folder: Path, frames: Frames, name: str = 'train.pckl.gzip') -> None:
    with (folder / name).open('wb') as handle:
        write_dataset(frames, handle, energy=frames.energy, forces=frames.forces)


def write_pool(folder: Path, frames: Frames, name: str = 'pool.pckl.gzip') -> None:
    with (folder / name).open('wb') as handle:
        write_candidates(frames, handle)


def write_input(folder: Path, drop: tuple[str, ...] = (), **sections: dict[str, Any]) -> None:
    """Write an input; the keys of ``sections`` are laid over those of a small fit."""
    document = {name: section for name, section in INPUT.items() if name not in drop}
    for name, section in sections.items():
        document[name] = {**document.get(name, {}), **section}
    (folder / 'input.yaml').write_text(yaml.safe_dump(document, sort_keys=False))
