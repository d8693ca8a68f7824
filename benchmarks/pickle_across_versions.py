"""Who can load which dataset: ours and that of ``DataFrame.to_pickle``, with old and new pandas and numpy.

Two throw-away virtual environments stand for the environment of AiiDA and that of an engine on a cluster. Each loads
the 100 MgO frames of ``examples/mgo-lda.extxyz`` as pickled by this package, and as pickled by ``DataFrame.to_pickle``
in either environment, and compares every value. Then the time and size of both ways are measured for 10,000 frames of
32 atoms, unless ``--no-times`` is given. Fails if ours cannot be loaded, or if one value differs.

Needs pip and an index; run it with the Python that has this package: ``python benchmarks/pickle_across_versions.py``.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from time import perf_counter

import ase.io
import numpy as np

from aiida_pacemaker.frames.pickles.reading import read_dataset
from aiida_pacemaker.frames.pickles.writing import write_dataset
from aiida_pacemaker.frames.table import Frames

SOURCE = Path(__file__).parents[1] / 'examples' / 'mgo-lda.extxyz'
ENVIRONMENTS = {
    'pandas 2.0.3, numpy 1.26.4': ['pandas==2.0.3', 'numpy==1.26.4', 'ase==3.22.1'],
    'pandas 3.1.1, numpy 2.4.6': ['pandas==3.1.1', 'numpy==2.4.6', 'ase==3.29.0'],
}
#: Exit code if the packages cannot be had.
NO_INDEX = 75

# What the environments run; they do not have this package.
PREPARE = """
import sys, time
import ase.io, pandas
def table(images):
    return pandas.DataFrame({
        'ase_atoms': [image.copy() for image in images],
        'energy': [image.get_potential_energy() for image in images],
        'forces': [image.get_forces() for image in images],
    })
images = ase.io.read(sys.argv[1], index=':')
"""
WRITE = PREPARE + "table(images).to_pickle(sys.argv[2], compression='gzip', protocol=4)"
LOAD = (
    PREPARE
    + """
expected, loaded = table(images), pandas.read_pickle(sys.argv[2], compression='gzip')
assert len(loaded) == len(expected)
for row in range(len(expected)):
    ours, theirs = loaded.loc[row], expected.loc[row]
    assert ours.energy == theirs.energy and (ours.forces == theirs.forces).all()
    for part in ('numbers', 'positions', 'cell', 'pbc'):
        assert (getattr(ours.ase_atoms, part) == getattr(theirs.ase_atoms, part)).all(), part
"""
)
TIME = """
import sys, time
import numpy, pandas
table = pandas.read_pickle(sys.argv[1], compression='gzip')
start = time.perf_counter()
pandas.read_pickle(sys.argv[1], compression='gzip')
read_ours = time.perf_counter() - start
start = time.perf_counter()
table.to_pickle(sys.argv[2], compression='gzip', protocol=4)
written = time.perf_counter() - start
start = time.perf_counter()
pandas.read_pickle(sys.argv[2], compression='gzip')
print(read_ours, written, time.perf_counter() - start)
"""


def frames_of(images: list[ase.Atoms]) -> Frames:
    """Return structures as columns, without labels."""
    rows = np.arange(len(images))
    return Frames(
        n_atoms=np.array([len(image) for image in images]),
        numbers=np.concatenate([image.numbers for image in images]),
        positions=np.concatenate([image.positions for image in images]),
        cells=np.array([image.cell for image in images]),
        pbc=np.array([image.pbc for image in images]),
        energy=None,
        forces=None,
        stress=None,
        source_keys=('mgo-lda',),
        source=np.zeros_like(rows),
        step=rows,
        generation=np.zeros_like(rows),
    )


def write_ours(path: Path, images: list[ase.Atoms]) -> None:
    """Pickle the labelled structures with this package."""
    energy = np.array([image.get_potential_energy() for image in images])
    forces = np.concatenate([image.get_forces() for image in images])
    with path.open('wb') as handle:
        write_dataset(frames_of(images), handle, energy=energy, forces=forces)


def outcome(python: Path, dataset: Path) -> str:
    """Say whether an environment loads a dataset, and if not, why."""
    process = subprocess.run(
        [python, '-W', 'ignore', '-c', LOAD, SOURCE, dataset], capture_output=True, text=True, check=False
    )
    return 'all values equal' if process.returncode == 0 else process.stderr.strip().splitlines()[-1]


def build(folder: Path) -> dict[str, Path]:
    """Build the environments; exit if an index cannot be reached."""
    interpreters = {}
    for name, packages in ENVIRONMENTS.items():
        venv.create(folder / name, with_pip=False)
        interpreters[name] = folder / name / 'bin' / 'python'
        # Our pip, since to install one takes longer than pandas. Little of what is installed is imported.
        pip = [sys.executable, '-m', 'pip', '--python', interpreters[name]]
        install = ['install', '--quiet', '--disable-pip-version-check', '--no-compile', '--only-binary', ':all:']
        if subprocess.run([*pip, *install, *packages], check=False).returncode:
            print(f'cannot install {", ".join(packages)}: is a package index reachable?', file=sys.stderr)
            sys.exit(NO_INDEX)
    return interpreters


def compare_versions(interpreters: dict[str, Path], folder: Path) -> bool:
    """Print who loads what, and return whether ours is loaded by all."""
    datasets = {'aiida-pacemaker': folder / 'ours.pckl.gzip'}
    write_ours(datasets['aiida-pacemaker'], ase.io.read(SOURCE, index=':'))
    for name, python in interpreters.items():
        datasets[f'to_pickle of {name}'] = folder / f'{name}.pckl.gzip'
        subprocess.run([python, '-c', WRITE, SOURCE, folder / f'{name}.pckl.gzip'], check=True)

    print('| written by | size | ' + ' | '.join(f'loaded by {name}' for name in interpreters) + ' |')
    print('|---|---|' + '---|' * len(interpreters))
    results = {}
    for writer, path in datasets.items():
        results[writer] = [outcome(python, path) for python in interpreters.values()]
        print(f'| {writer} | {path.stat().st_size / 1000:.0f} kB | ' + ' | '.join(results[writer]) + ' |')
    return set(results['aiida-pacemaker']) == {'all values equal'}


def compare_times(python: Path, folder: Path, n_frames: int = 10_000, n_atoms: int = 32) -> None:
    """Print what both ways cost; pandas runs in the given environment, with the gzip level it chooses."""
    rng = np.random.default_rng(0)
    image = ase.Atoms(['Mg', 'O'] * (n_atoms // 2), cell=np.eye(3) * 8, pbc=True)
    frames = frames_of([image] * n_frames)
    positions, forces = rng.random((2, n_frames * n_atoms, 3))
    frames.positions[:] = positions
    energy = rng.random(n_frames)
    print('\n| 10,000 frames of 32 atoms | write | read by pandas | read by us | size |\n|---|---|---|---|---|')
    for level in (0, 1):
        start = perf_counter()
        buffer = io.BytesIO()
        write_dataset(frames, buffer, energy=energy, forces=forces, level=level)
        written = perf_counter() - start
        ours = folder / f'level-{level}.pckl.gzip'
        ours.write_bytes(buffer.getvalue())
        theirs = folder / 'theirs.pckl.gzip'
        times = subprocess.run([python, '-c', TIME, ours, theirs], check=True, capture_output=True, text=True)
        loaded, theirs_written, theirs_loaded = map(float, times.stdout.split())
        print(f'| aiida-pacemaker, gzip level {level} | {written:.2f} s | {loaded:.2f} s | {_read(ours)} |')
    print(f'| to_pickle, compression="gzip" | {theirs_written:.2f} s | {theirs_loaded:.2f} s | {_read(theirs)} |')


def _read(path: Path) -> str:
    start = perf_counter()
    read_dataset(path, 'mgo-lda')
    return f'{perf_counter() - start:.2f} s | {path.stat().st_size / 1e6:.1f} MB'


def main() -> None:
    """Print two tables, and fail if a dataset of ours is not loaded everywhere."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        interpreters = build(folder)
        portable = compare_versions(interpreters, folder)
        if '--no-times' not in sys.argv:
            compare_times(list(interpreters.values())[-1], folder)
    sys.exit(0 if portable else 1)


if __name__ == '__main__':
    main()
