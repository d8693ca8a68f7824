"""Reading structures from shards: put beside the other drivers, with the Python of the engine."""

import ase
import numpy as np


def read_structures(names):
    """Iterate over the structures of `.npz` shards, one shard in memory at a time."""
    for name in names:
        with np.load(name, allow_pickle=False) as shard:
            columns = {column: shard[column] for column in ('n_atoms', 'numbers', 'positions', 'cells', 'pbc')}
        stops = np.cumsum(columns['n_atoms'])
        for frame, stop in enumerate(stops):
            rows = slice(stop - columns['n_atoms'][frame], stop)
            yield ase.Atoms(
                numbers=columns['numbers'][rows],
                positions=columns['positions'][rows],
                cell=columns['cells'][frame],
                pbc=columns['pbc'][frame],
            )
