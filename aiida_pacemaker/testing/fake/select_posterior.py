"""The fake driver of selections by the posterior: reads what the real one reads, and leaves the files that it leaves.

The Python of the fake engine runs it in place of a script of that name. The choice is the real one, by the functions of
the fake engine, one of energy and forces of each structure.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from aiida_pacemaker.frames.table import FloatArray, Frames
from aiida_pacemaker.linear.coefficients import Coefficients
from aiida_pacemaker.linear.selecting import choose, factor_of
from aiida_pacemaker.testing.fake.basis import load
from aiida_pacemaker.testing.fake.physics import check_elements, coefficients, describe
from aiida_pacemaker.testing.fake.reporting import VERSION, start_log
from aiida_pacemaker.testing.fake.tables import concatenate, structures
from aiida_pacemaker.testing.faults import current


def main() -> None:
    """Run the program."""
    start = time.time()
    start_log()
    current('select_posterior').begin()
    request = json.loads(Path('select.json').read_text())
    potential = load(Path(request['potential']))
    with np.load(request['posterior'], allow_pickle=False) as content:
        known = Coefficients(*(content[name] for name in ('coefficients', 'used', 'scale', 'root')))
        of_energy, of_forces, _ = content['precisions'].tolist()
    frames = concatenate([frames_of(table) for table in request['candidates']])
    check_elements(potential, frames)
    count = len(coefficients(potential))
    if len(known.coefficients) < count:
        raise ValueError('the posterior is not that of the potential: their coefficients differ')

    def rows_of(position: int) -> FloatArray:
        mask = np.zeros(len(frames), dtype=np.bool_)
        mask[position] = True
        found = describe(potential, frames.select(mask))
        energy = of_energy * found.values.sum(axis=0)[None] / len(found.values)
        rows = np.concatenate([energy, of_forces * found.forces.reshape(-1, count)])
        # Functions of more atoms are always zero here.
        return np.pad(rows, ((0, 0), (0, len(known.coefficients) - count)))

    factor = factor_of(rows_of, len(frames), len(known.coefficients))
    most = request['max_structures'] or len(frames)
    chosen = choose(rows_of, np.ones(len(frames)), known, 1.0, most, factor)
    np.savez(
        'selection.npz',
        positions=np.array([one.position for one in chosen], dtype=np.int64),
        gains=np.array([one.gain for one in chosen]),
    )
    versions = {'pyace': VERSION, 'numpy': np.__version__}
    summary = {'n_candidates': len(frames), 'seconds': time.time() - start, 'versions': versions}
    Path('selection.json').write_text(json.dumps(summary))


def frames_of(table: Any) -> Frames:
    """Return the structures of a table, or of rows of several."""
    if isinstance(table, str):
        return structures(Path(table))
    parts = [structures(Path(name)).select(np.array(rows)) for name, rows in table['tables'].items()]
    return concatenate(parts).select(np.array(table['order']))


if __name__ == '__main__':
    main()
