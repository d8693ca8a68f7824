"""Results of explorations: runs, and the tables that are made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aiida_pacemaker.analysis.statistics import quantiles_of
from aiida_pacemaker.exploration.options import Reason
from aiida_pacemaker.frames.table import FloatArray, Frames, IntArray

#: Quantities that are recorded at each check, beside the number of the step.
TRACES = ('gamma_max', 'temperature', 'energy', 'min_distance')


@dataclass(frozen=True, eq=False)
class Run:
    """One run of an exploration, which is known by its place among the starting structures.

    ``C`` checks were made and ``K`` frames of ``n`` atoms were kept.

    :param number: position of its starting structure.
    :param reason: why it came to its end.
    :param steps: number of time steps that it did.
    :param message: of a failure, else empty.
    :param step: steps at which it was checked, shape (C,).
    :param traces: for each of `TRACES` what was found there, shape (C,): largest gamma, temperature in K, potential
        energy per atom relative to the isolated atoms in eV, shortest distance in angstrom (infinite if it is long).
    :param kept_step: steps at which a frame was kept, shape (K,).
    :param positions: of the kept frames in angstrom, shape (K * n, 3).
    :param cells: of the kept frames in angstrom, shape (K, 3, 3).
    :param gamma: of each atom of the kept frames, shape (K * n,); infinite for interactions that the data never had.
    :param energies: of the kept frames by potential and baseline in eV, relative to the isolated atoms, shape (K,);
        None if the program does not report them with all digits.
    :param forces: of the kept frames by potential and baseline in eV/angstrom, shape (K * n, 3); None if the program
        does not report them with all digits.
    """

    number: int
    reason: Reason
    steps: int
    message: str
    step: IntArray
    traces: Mapping[str, FloatArray]
    kept_step: IntArray
    positions: FloatArray
    cells: FloatArray
    gamma: FloatArray
    energies: FloatArray | None = None
    forces: FloatArray | None = None


def candidate_frames(starts: Frames, runs: Sequence[Run], keys: Sequence[str]) -> Frames | None:
    """Return all frames that were kept, run by run, or None if there are none.

    :param starts: the starting structures of all runs.
    :param keys: for each starting structure the key of the source that its run is.
    """
    parts = [_kept_frames(starts.select([run.number]), run, keys[run.number]) for run in runs if len(run.kept_step)]
    return Frames.concatenate(parts) if parts else None


def _kept_frames(start: Frames, run: Run, key: str) -> Frames:
    count = len(run.kept_step)
    zeros = np.zeros(count, dtype=np.int64)
    return Frames(
        n_atoms=np.repeat(start.n_atoms, count),
        numbers=np.tile(start.numbers, count),
        positions=run.positions,
        cells=run.cells,
        pbc=np.repeat(start.pbc, count, axis=0),
        energy=None,
        forces=None,
        stress=None,
        source_keys=(key,),
        source=zeros,
        step=run.kept_step,
        generation=zeros,
    )


def grades(runs: Sequence[Run]) -> dict[str, npt.NDArray[Any]]:
    """Return gamma, energy and forces of the kept frames, in the order of `candidate_frames`; there has to be one.

    :returns: `gamma` (A,) of each atom, and for each frame `gamma_max`, `run` and `step` (F,). Where all runs have
        them also `energy` (F,), relative to the isolated atoms, and `forces` (A, 3).
    """
    kept = [run for run in runs if len(run.kept_step)]
    energies = [run.energies for run in kept if run.energies is not None]
    forces = [run.forces for run in kept if run.forces is not None]
    complete = len(energies) == len(forces) == len(kept)
    return {
        'gamma': np.concatenate([run.gamma for run in kept]),
        'gamma_max': np.concatenate([run.gamma.reshape(len(run.kept_step), -1).max(axis=1) for run in kept]),
        'run': np.repeat([run.number for run in kept], [len(run.kept_step) for run in kept]).astype(np.int64),
        'step': np.concatenate([run.kept_step for run in kept]),
        **({'energy': np.concatenate(energies), 'forces': np.concatenate(forces)} if complete else {}),
    }


def trace_columns(runs: Sequence[Run], timestep: float) -> dict[str, npt.NDArray[Any]]:
    """Return the quantities of all checks of all runs, one after the other, each column of shape (C,).

    :param timestep: in fs.
    :returns: `run`, `step`, `time` in fs, and `TRACES`.
    """
    step = np.concatenate([np.empty(0, dtype=np.int64), *(run.step for run in runs)])
    numbers = [np.full(len(run.step), run.number, dtype=np.int64) for run in runs]
    return {
        'run': np.concatenate([np.empty(0, dtype=np.int64), *numbers]),
        'step': step,
        'time': step * timestep,
        **{name: np.concatenate([np.empty(0), *(run.traces[name] for run in runs)]) for name in TRACES},
    }


def report(runs: Sequence[Run], copies: int) -> dict[str, Any]:
    """Return a report on the runs.

    :param copies: number of runs from each structure, which follow each other.
    :returns: `n_runs`, `n_candidates`, `reasons` (number of runs by reason), `gamma` (quantiles over all checks, None
        without any; see `quantiles_of`), and `runs` with an entry for each; `gamma_max` is None where it is
        infinite (`unseen`) or there were no checks.
    """
    gamma = np.concatenate([np.empty(0), *(run.traces['gamma_max'] for run in runs)])
    return {
        'n_runs': len(runs),
        'n_candidates': sum(len(run.kept_step) for run in runs),
        'reasons': dict(sorted(Counter(run.reason.value for run in runs).items())),
        'gamma': quantiles_of(gamma) if len(gamma) else None,
        'runs': [
            {
                'run': run.number,
                'seed_frame': run.number // copies,
                'copy': run.number % copies,
                'condition': '',
                'reason': run.reason.value,
                'steps': run.steps,
                'n_kept': len(run.kept_step),
                'gamma_max': _largest(run),
                'unseen': bool(np.isinf(run.traces['gamma_max']).any()),
                'message': run.message,
            }
            for run in runs
        ],
    }


def _largest(run: Run) -> float | None:
    largest = float(run.traces['gamma_max'].max(initial=0.0))
    return largest if len(run.step) and np.isfinite(largest) else None
