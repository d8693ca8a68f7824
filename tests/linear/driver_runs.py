"""Runs of the driver of linear fits in a folder, as on the computer of a job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from aiida.common.folders import Folder as AiidaFolder
from ase import Atoms
from linear_cases import section

from aiida_pacemaker.baseline.targets import write_targets
from aiida_pacemaker.calculations.fit_linear import PaceLinearFitCalculation
from aiida_pacemaker.frames.ase_io import from_atoms

PHYSICAL = {'kind': 'physical', 'ratio': 10.0, 'scale': 1.0, 'reference': None, 'virial': 0.5}


class Fit:
    """A run that has ended, and what it has written."""

    def __init__(self, folder: Path, code: int, said: str) -> None:
        self.code, self.said = code, said
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self._files = files if code == 0 else {}

    @property
    def summary(self) -> dict[str, Any]:
        assert self.code == 0, self.said
        return json.loads(self._files['linear_fit.json'])

    @property
    def coefficients(self) -> np.ndarray:
        assert self.code == 0, self.said
        return np.load(BytesIO(self._files['posterior.npz']))['coefficients']

    def metrics(self, name: str = 'metrics.txt') -> dict[str, float]:
        """Return the first row of a table of Pacemaker."""
        return first_row(self._files[name].decode())


def first_row(table: str) -> dict[str, float]:
    """Return the first row of a table of Pacemaker."""
    names, values = (line.split() for line in table.splitlines()[:2])
    return dict(zip(names, map(float, values), strict=True))


class Folder:
    """A folder with the driver, to which tables are written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        PaceLinearFitCalculation.insert_program(AiidaFolder(str(path)))

    def write(self, name: str, images: Sequence[Atoms], **options: Any) -> str:
        """Write a table of structures; the options are those of `write_targets`."""
        frames = from_atoms(list(images), 'test')
        weights = options.pop('weights', None)
        if weights is not None:
            frames = frames.with_weights(*weights)
        with (self.path / name).open('wb') as handle:
            write_targets(frames, handle, None, stress=True, weights=weights is not None, **options)
        return name

    def request(self, train: Sequence[str], references: Mapping[str, float], **changes: Any) -> list[str]:
        """Write what is asked for; return the command."""
        content = {
            'potential': section(sorted(references), 4),
            'degree': 4,
            'first': 8,
            'initial': None,
            'weighting': PHYSICAL,
            'prior': 'order_degree',
            'penalty': 0.0,
            'virial': False,
            'repulsion': None,
            'train': list(train),
            'test': [],
            'equations': {},
            'reference_energies': dict(references),
            'n_workers': 1,
            'predict': False,
            **changes,
        }
        (self.path / 'fit_linear.json').write_text(json.dumps(content))
        (self.path / 'linear_fit.json').unlink(missing_ok=True)
        return [sys.executable, 'fit_linear.py']

    def run(self, train: Sequence[str], references: Mapping[str, float], **changes: Any) -> Fit:
        """Fit tables; `changes` are those of the request."""
        command = self.request(train, references, **changes)
        done = subprocess.run(
            command,
            cwd=self.path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
        )
        return Fit(self.path, done.returncode, done.stdout + done.stderr)
