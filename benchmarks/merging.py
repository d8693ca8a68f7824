"""What it costs to grow a dataset: the time and bytes of a merge against what is there already.

``python benchmarks/merging.py`` merges ten trajectories of 2,000 labelled frames of 32 atoms, one after the other, into
one dataset, in a profile of its own that is thrown away. It prints a line for each merge, and how the last ones compare
with the first. Beside it stands what is usually done: all frames are written again as one pickled table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from aiida import orm
from aiida.manage import get_manager
from aiida.manage.configuration import create_profile, get_config, load_profile
from aiida.manage.configuration.settings import AiiDAConfigDir

from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.frames.ase_io import to_atoms
from aiida_pacemaker.sources.reading import read_source

N_ATOMS = 32


@dataclass(frozen=True)
class Cost:
    """What one merge cost.

    :param seconds: wall time of the whole process, its nodes and links included.
    :param repository_bytes: bytes added to the repository.
    :param database_bytes: bytes added to the database file.
    """

    seconds: float
    repository_bytes: int
    database_bytes: int


def random_trajectory(n_frames: int, seed: int) -> orm.TrajectoryData:
    """Return a stored trajectory of frames that are all different: a jittered grid of Mg and O."""
    generator = np.random.default_rng(seed)
    spacing = 2.1
    grid = spacing * np.array([[x, y, z] for x in range(4) for y in range(4) for z in range(2)], dtype=float)
    node = orm.TrajectoryData()
    node.set_trajectory(
        symbols=['Mg', 'O'] * (N_ATOMS // 2),
        positions=grid + generator.uniform(-0.3, 0.3, size=(n_frames, N_ATOMS, 3)),
        cells=np.tile(np.diag([4 * spacing, 4 * spacing, 2 * spacing]), (n_frames, 1, 1)),
        pbc=[True, True, True],
    )
    node.set_array('energy', generator.normal(size=n_frames))
    node.set_array('forces', generator.normal(size=(n_frames, N_ATOMS, 3)))
    node.set_array('stress', generator.normal(scale=0.01, size=(n_frames, 3, 3)))
    return node.store()


def merge_costs(n_merges: int, n_frames: int) -> list[Cost]:
    """Return the cost of each merge into a growing dataset, in the profile that is loaded."""
    dataset, costs = None, []
    for index in range(n_merges):
        trajectory = random_trajectory(n_frames, index)
        before = stored_bytes()
        start = time.perf_counter()
        dataset, _ = merge_frames(trajectory, base=dataset, generation=index)
        seconds = time.perf_counter() - start
        repository, database = (after - then for after, then in zip(stored_bytes(), before, strict=True))
        costs.append(Cost(seconds, repository, database))
    return costs


def plain_costs(n_merges: int, n_frames: int) -> list[Cost]:
    """Return the cost of writing all frames again as a pickled table, in the profile that is loaded."""
    import pandas as pd

    images, energies, forces, costs = [], [], [], []
    for index in range(n_merges):
        frames = read_source(random_trajectory(n_frames, index)).frames
        images += to_atoms(frames.without_labels())
        energies += frames.energy.tolist()
        forces += [frames.forces[atoms] for atoms in frames.slices()]
        before = stored_bytes()
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'frames.pckl.gzip')
            table = pd.DataFrame({'ase_atoms': images, 'energy': energies, 'forces': forces})
            table.to_pickle(path, compression='gzip', protocol=4)
            orm.SinglefileData(path).store()
        seconds = time.perf_counter() - start
        repository, database = (after - then for after, then in zip(stored_bytes(), before, strict=True))
        costs.append(Cost(seconds, repository, database))
    return costs


def stored_bytes() -> tuple[int, int]:
    """Return the size of all objects in the repository, and of the database, of the profile that is loaded."""
    folder = Path(get_manager().get_profile().storage_config['filepath'])
    # The index of the packs, and its log, are no objects.
    files = [path for kind in ('loose', 'packs') for path in (folder / 'container' / kind).rglob('*') if path.is_file()]
    return sum(path.stat().st_size for path in files), sum(
        path.stat().st_size for path in folder.glob('database.sqlite*')
    )


def growth(costs: list[Cost], name: str) -> float:
    """Return the last costs in units of the first: the smallest of three of each, as noise only adds."""
    values = [getattr(cost, name) for cost in costs]
    return min(values[-3:]) / min(values[:3])


@contextmanager
def throw_away_profile() -> Iterator[None]:
    """Load a profile that is gone afterwards; it needs no services."""
    with tempfile.TemporaryDirectory() as folder:
        AiiDAConfigDir.set(Path(folder, '.aiida'))
        storage = {'filepath': str(Path(folder, 'storage'))}
        create_profile(
            get_config(create=True),
            name='benchmark',
            email='benchmark@localhost',
            storage_backend='core.sqlite_dos',
            storage_config=storage,
        )
        load_profile('benchmark')
        yield
        get_manager().reset_profile()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--merges', type=int, default=10)
    parser.add_argument('--frames', type=int, default=2000)
    arguments = parser.parse_args()
    with throw_away_profile():
        # The first process loads half of AiiDA.
        merge_costs(1, 10)
        merges = merge_costs(arguments.merges, arguments.frames)
        plain = plain_costs(arguments.merges, arguments.frames)
    print('           merge                                   all written again')
    print('  frames   seconds    repository      database     seconds    repository')
    for index, (one, other) in enumerate(zip(merges, plain, strict=True)):
        print(
            f'{(index + 1) * arguments.frames:8d}  {one.seconds:8.2f}  {one.repository_bytes / 1e6:9.2f} MB'
            f'  {one.database_bytes / 1e3:9.0f} kB    {other.seconds:8.2f}  {other.repository_bytes / 1e6:9.2f} MB'
        )
    for name in ('seconds', 'repository_bytes'):
        print(f'last/first in {name}: merge {growth(merges, name):.2f}, all again {growth(plain, name):.2f}')
        last, plain_last = getattr(merges[-1], name), getattr(plain[-1], name)
        print(f'    the last merge takes 1/{plain_last / last:.1f} of writing all again')


if __name__ == '__main__':
    main()
