"""The fake driver of linear fits: reads what the real one reads, and leaves the files that it leaves.

The Python of the fake engine runs it in place of a script of that name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aiida_pacemaker.frames.hashing import frame_hashes, hex_hashes
from aiida_pacemaker.frames.table import FloatArray
from aiida_pacemaker.testing.fake.basis import Function, Potential, build, load
from aiida_pacemaker.testing.fake.dataset import Loader
from aiida_pacemaker.testing.fake.pace_yaml2yace import c_tilde
from aiida_pacemaker.testing.fake.physics import set_coefficients
from aiida_pacemaker.testing.fake.problem import Problem
from aiida_pacemaker.testing.fake.reporting import VERSION, Metrics, now, start_log
from aiida_pacemaker.testing.fake.settings import FitSettings
from aiida_pacemaker.testing.fake.tables import Labelled
from aiida_pacemaker.testing.faults import current

#: How the fake engine fits in any case.
SETTINGS = FitSettings.from_input({'loss': {'L2_coeffs': 1e-8}, 'trainable_parameters': 'func'}, {}, 42)
COLUMNS = ('loss', 'rmse_epa', 'rmse_f_comp', 'mae_f_comp', 'nfuncs', 'ncoefs')


def main() -> None:
    """Run the program."""
    start = time.time()
    start_log()
    fault = current('fit_linear')
    fault.begin()
    request = json.loads(Path('fit_linear.json').read_text())
    potential = load(Path(request['initial'])) if request['initial'] else within(build(request['potential']), request)
    print(f'{potential.count()} functions', flush=True)
    names = {'filename': request['train'], 'test_filename': request['test']}
    loader = Loader({**names, 'reference_energy': request['reference_energies']}, potential, drops=False)
    train, test = loader.load('filename'), loader.load('test_filename')
    if train is None:
        raise ValueError('there is nothing to fit')
    problem = Problem(train, potential, SETTINGS)
    values = problem.best()
    set_coefficients(potential, values)
    # Its only step, whichever a fault asks for.
    fault.iterate(int(fault.options.get('n', 0)), int(fault.options.get('cycle', 0)))
    potential.metadata |= {'pyace_version': VERSION, 'starttime': now()}
    Path('output_potential.yaml').write_text(potential.dump())
    Path('output_potential.yace').write_text(c_tilde(potential))
    metrics = problem.metrics(values, potential.count(), potential.count())
    write_metrics('metrics.txt', metrics, {'mae_f_comp': 'nan'})
    sets = {'train': (train, problem)}
    if test is not None:
        sets['test'] = test, Problem(test, potential, SETTINGS)
        write_metrics('test_metrics.txt', sets['test'][1].metrics(values, potential.count(), potential.count()))
    for label, (_, one) in sets.items() if request['predict'] else ():
        energy, forces = one.predict(values)
        np.savez(f'{label}_predictions.npz', energy=energy, forces=forces)
    write_error_bars(potential, train, problem, values)
    Path('linear_fit.json').write_text(json.dumps(summary_of(potential, train, metrics, time.time() - start)))
    fault.truncate('truncated_potential', Path('output_potential.yaml'))


def within(potential: Potential, request: Mapping[str, Any]) -> Potential:
    """Return the functions of a potential that are within the total degree of a request."""
    degree, first = request['degree'], request['first']

    def is_within(function: Function) -> bool:
        ns, ls = function['nr'], function['nl']
        return degree is None or (ns[0] <= first if len(ns) == 1 else sum(ns) + sum(ls) <= degree)

    for block in potential.blocks:
        block.functions = list(filter(is_within, block.functions))
    return potential


def write_metrics(name: str, metrics: Metrics, unknown: Mapping[str, str] | None = None) -> None:
    """Write a table of one row."""
    row = {**dict.fromkeys(('ladder_step', 'cycle_step', 'iter_num'), 0)}
    cells = {**row, **{column: getattr(metrics, column) for column in COLUMNS}, **(unknown or {})}
    Path(name).write_text(f'{" ".join(cells)}\n{" ".join(map(str, cells.values()))}\n')


def write_error_bars(potential: Potential, train: Labelled, problem: Problem, values: FloatArray) -> None:
    """Write a posterior, and the errors of single frames, those of the fit itself."""
    coefficients = np.array([function['c'][0] for function in potential.functions()])
    count = len(coefficients)
    np.savez(
        'posterior.npz',
        coefficients=coefficients,
        used=np.arange(count),
        scale=np.ones(count),
        root=1e-3 * np.eye(count),
        # Not calibrated, so that nobody asks a stand-in for error bars.
        calibration=np.full((2, 2), np.nan),
        precisions=np.array([100.0, 10.0, 0.0]),
    )
    energy, forces = problem.predict(values)
    squares = np.mean((forces - train.forces) ** 2, axis=1)
    n_frames, n_atoms = len(train), train.frames.n_atoms
    np.savez(
        'frame_errors.npz',
        name=np.array(hex_hashes(frame_hashes(train.frames)), dtype='S64').view('V64'),
        energy=(energy - train.energy) / n_atoms,
        forces=np.sqrt(np.bincount(train.frames.frame_of_atom, squares, n_frames) / n_atoms),
        leverage=np.full(n_frames, count / n_frames),
    )


def summary_of(potential: Potential, train: Labelled, metrics: Metrics, seconds: float) -> dict[str, Any]:
    """Return what a fit says of itself."""
    n_frames, n_atoms = len(train), len(train.forces)
    errors = {'rmse_energy': metrics.rmse_epa, 'rmse_forces': metrics.rmse_f_comp}
    calibration = {'factor': 1.0, 'offset': metrics.rmse_f_comp, 'within_one': 0.68, 'within_two': 0.95}
    return {
        'n_functions': {element: sum(1 for _ in potential.functions(element)) for element in potential.elements},
        'n_frames': n_frames,
        'n_atoms': n_atoms,
        'n_equations': {'energy': n_frames, 'forces': 3 * n_atoms, 'virial': 0},
        'n_reused': 0,
        'rmse': {'energy': metrics.rmse_epa, 'forces': metrics.rmse_f_comp, 'virial': float('nan')},
        'noise': metrics.rmse_f_comp,
        'energy_reference': float((train.energy / train.frames.n_atoms).min()),
        'repulsion': {},
        'cross_validation': {'n_frames': n_frames, 'of': n_frames, **errors},
        'calibration': {'energy': calibration, 'forces': calibration},
        'seconds': seconds,
        'versions': {'pyace': VERSION, 'numpy': np.__version__},
    }


if __name__ == '__main__':
    main()
