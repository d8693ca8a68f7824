"""Exact linear fits as their job makes them, without a profile of AiiDA: for benchmarks, which import this file.

A fit is a process of its own, as on a computer: the driver, what lies beside it, and the tables of structures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from aiida.common.folders import Folder
from ase import Atoms

from aiida_pacemaker.baseline.reference_energies import reference_energy
from aiida_pacemaker.baseline.targets import write_targets
from aiida_pacemaker.calculations.fit_linear import PaceLinearFitCalculation
from aiida_pacemaker.frames.ase_io import from_atoms

STRUCTURES = Path(__file__).parents[1] / 'examples' / 'mgo-lda.extxyz'
#: Isolated atoms at the settings of the data, in eV: see README.md beside the structures.
ENERGIES = {'Mg': -27.441497613508435, 'O': -426.11747912713093}
#: The weights that a config has by default.
WEIGHTING = {'kind': 'physical', 'ratio': 10.0, 'scale': 1.0, 'reference': None, 'virial': 0.5}
#: Runs a command and writes its processor seconds and its largest resident size in kilobytes.
WATCH = """
import json, pathlib, resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
pathlib.Path(sys.argv[1]).write_text(json.dumps([usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
sys.exit(status)
"""


def section(
    elements: Sequence[str], degree: int, order: int = 3, radbase: str = 'ChebExpCos', cutoff: float = 5.5
) -> dict[str, Any]:
    """Return the section `potential` of the engine's input, with all functions that a total degree may take from."""
    return {
        'deltaSplineBins': 0.001,
        'elements': list(elements),
        'embeddings': {'ALL': {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1, 1], 'ndensity': 1}},
        'bonds': {
            'ALL': {
                'radbase': radbase,
                'radparameters': [5.25],
                'rcut': cutoff,
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
    """Run a command on one thread; return its processor seconds and its largest resident size in MB."""
    usage = folder / 'usage'
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}
    with (folder / 'output').open('w') as output:
        status = subprocess.run(
            [sys.executable, '-c', WATCH, str(usage), *command],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            check=False,
        ).returncode
    if status:
        raise SystemExit(f'{" ".join(command)} ended with status {status}:\n{(folder / "output").read_text()}')
    seconds, kilobytes = json.loads(usage.read_text())
    return seconds, kilobytes / 1024


def fit(folder: Path, tables: Sequence[str], references: Mapping[str, float], **changes: Any) -> tuple[float, float]:
    """Fit tables by the driver of linear fits; return processor seconds and MB.

    :param changes: of the request; `potential` is needed.
    """
    request = {
        'degree': None,
        'first': None,
        'initial': None,
        'weighting': WEIGHTING,
        'prior': 'order_degree',
        'penalty': 0.0,
        'virial': False,
        'repulsion': None,
        'train': list(tables),
        'test': [],
        'equations': {},
        'reference_energies': dict(references),
        'n_workers': 1,
        'predict': False,
        **changes,
    }
    PaceLinearFitCalculation.insert_program(Folder(str(folder)))
    (folder / 'fit_linear.json').write_text(json.dumps(request))
    return watched([sys.executable, 'fit_linear.py'], folder)


class Errors(NamedTuple):
    """Root mean square errors of a potential.

    :param energy: in meV/atom.
    :param forces: of a component, in meV/angstrom.
    :param stress: of a component, in meV/angstrom^3; NaN without stresses.
    """

    energy: float
    forces: float
    stress: float


def errors(folder: Path, images: Sequence[Atoms], references: Mapping[str, float]) -> Errors:
    """Return the errors of the potential that a fit has left in a folder."""
    from pyace import PyACECalculator

    calculator = PyACECalculator(str(folder / 'output_potential.yaml'))
    isolated = reference_energy(from_atoms(list(images), 'benchmark'), references)
    energies, forces, stresses = [], [], [np.zeros(0)]
    for image, reference in zip(images, isolated, strict=True):
        atoms = image.copy()
        atoms.calc = calculator
        energies.append((atoms.get_potential_energy() + reference - image.get_potential_energy()) / len(atoms))
        forces.append((atoms.get_forces() - image.get_forces()).ravel())
        if 'stress' in image.calc.results and atoms.pbc.all():
            stresses.append(atoms.get_stress() - image.get_stress())
    stress = np.concatenate(stresses)
    rms = [float(1e3 * np.sqrt(np.mean(np.square(found)))) for found in (energies, np.concatenate(forces))]
    return Errors(*rms, float(1e3 * np.sqrt(np.mean(stress**2))) if len(stress) else np.nan)
