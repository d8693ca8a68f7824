"""What a generation of a growing dataset sends to the computer of the engine, over SSH.

``python benchmarks/traffic.py`` starts an SSH server on loopback behind a port that counts, and runs ten generations of
training, active set, evaluation of the dataset and of a pool, and selection from a part of the pool, on the fake engine
through it, each with as many new frames. It prints the bytes on the wire that each job sent, commands and encryption
included, in units of those of the new frames as the engine reads them. Then the jobs of the last generation are run
again with the cache cleaned before each, which is what they send if everything is sent: the plain approach. It fails if
the last generation sends more than 1.1 times its new frames. The first one sends the pool as well.

It needs `openssh-server` and `openssh-client`, and takes some minutes.
"""

from __future__ import annotations

import argparse
import getpass
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).parents[1] / 'tests'
sys.path[:0] = [str(TESTS / 'services'), str(TESTS / 'instances')]

from aiida_instance import AiidaInstance  # noqa: E402 (found there)
from servers.counting import CountingPort  # noqa: E402
from servers.sshd import ALIAS, Sshd  # noqa: E402

LIMIT = 1.1
N_ATOMS = 32
CONFIG = {'elements': ['Mg', 'O'], 'evaluator': 'pyace', 'r_cut': 4.5, 'max_deg': 3, 'max_order': 2}


@contextmanager
def counted_computer(folder: Path) -> Iterator[tuple[Any, CountingPort]]:
    """Make a profile with a computer over SSH, and yield the computer and what counts the bytes to it."""
    with Sshd(folder / 'sshd') as server, CountingPort(server.port) as port:
        home = folder / 'home'
        shutil.copytree(server.home, home)
        for path in (home / '.ssh').iterdir():
            text = path.read_text().replace(str(server.port), str(port.port)).replace(str(server.home), str(home))
            path.write_text(text)
        instance = AiidaInstance(folder / 'aiida', environment={'HOME': str(home)})
        try:
            instance.make_profile()
            instance.start()
            computer = instance.make_computer('core.ssh_async', 'core.direct', {'host': ALIAS, 'backend': 'asyncssh'})
            # The default of AiiDA over SSH. Asking ten times a second, as tests do, sends more than the job.
            computer.set_minimum_job_poll_interval(10.0)
            yield computer, port
        finally:
            instance.stop()
            instance.clear()


def random_frames(n_frames: int, seed: int) -> Any:
    """Return labelled frames that are all different: a jittered grid of Mg and O."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    from aiida_pacemaker.frames.ase_io import from_atoms

    generator, spacing = np.random.default_rng(seed), 2.1
    grid = spacing * np.array([[x, y, z] for x in range(4) for y in range(4) for z in range(2)], dtype=float)
    images = []
    for _ in range(n_frames):
        positions = grid + generator.uniform(-0.2, 0.2, size=grid.shape)
        atoms = Atoms(['Mg', 'O'] * (N_ATOMS // 2), positions, cell=[4 * spacing, 4 * spacing, 2 * spacing], pbc=True)
        forces, stress = generator.normal(size=(N_ATOMS, 3)), generator.normal(scale=0.01, size=6)
        atoms.calc = SinglePointCalculator(atoms, energy=generator.normal(), forces=forces, stress=stress)
        images.append(atoms)
    return from_atoms(images, f'random-{seed}')


class Generations:
    """Runs the jobs of one generation after the other, and counts what each sends.

    :param computer: where they run.
    :param port: counts.
    :param engine: the programs by their names.
    """

    def __init__(self, computer: Any, port: CountingPort, engine: dict[str, Path]) -> None:
        from aiida import orm

        from aiida_pacemaker.baseline.model import DeltaBaseline
        from aiida_pacemaker.calculations.cache import directory_name

        self._port = port
        self._codes = {
            name: orm.InstalledCode(label=name, computer=computer, filepath_executable=str(path)).store()
            for name, path in engine.items()
        }
        self._baseline = DeltaBaseline.for_elements(['Mg', 'O'])
        self._common = {
            'config': orm.Dict(CONFIG).store(),
            'baseline': orm.Dict(self._baseline.model_dump(mode='json')).store(),
            'reference_energies': orm.Dict({'Mg': 0.0, 'O': 0.0}).store(),
        }
        self.dataset: Any = None
        self._potential: Any = None
        self.cache = Path(computer.get_workdir(), directory_name(getpass.getuser()))

    def add(self, frames: Any) -> tuple[int, int]:
        """Add frames to the dataset; return their bytes as they are stored, and as the engine reads them."""
        from aiida_pacemaker.baseline.targets import write_targets
        from aiida_pacemaker.data.dataset import PaceDatasetData
        from aiida_pacemaker.frames.shards import write_shard

        parents = [] if self.dataset is None else [self.dataset]
        self.dataset = PaceDatasetData(frames, parents=parents).store()
        with tempfile.TemporaryFile() as handle:
            write_targets(frames, handle, self._baseline)
            return len(write_shard(frames)), handle.tell()

    def run(self, pool: Any, seed: int, *, clean: bool = False) -> dict[str, int]:
        """Run the jobs of a generation; return the bytes that each has sent.

        :param pool: what is evaluated beside the dataset.
        :param seed: decides which half of it is selected from.
        :param clean: whether the cache is cleaned before each.
        """
        from aiida_pacemaker.data.dataset import PaceDatasetData

        half = np.random.default_rng(seed).permutation(pool.n_frames)[: pool.n_frames // 2]
        candidates = PaceDatasetData(pool.get_frames().select(np.sort(half))).store()
        sent: dict[str, int] = {}

        def job(name: str, code: str, **inputs: Any) -> Any:
            if clean:
                shutil.rmtree(self.cache)
            sent[name], outputs = self._counted(f'pacemaker.{name}', code, inputs)
            return outputs

        start = {} if self._potential is None else {'potential': self._potential}
        training = job('train', 'pacemaker', dataset=self.dataset, max_epochs=2, **self._common, **start)
        potential = training.potential
        folder = training.remote_folder
        active = job('activeset', 'pace_activeset', potential=potential, parent_folder=folder).active_set
        known = {'potential': potential, 'active_set': active}
        job('evaluate', 'python', datasets={'train': self.dataset, 'pool': pool}, **known)
        chosen = {'candidates': {'pool': candidates}, 'options': {'max_structures': 10}}
        job('select', 'pace_select', pool=pool, python=self._codes['python'], **chosen, **known)
        self._potential = potential
        return sent

    def _counted(self, entry_point: str, code: str, inputs: dict[str, Any]) -> tuple[int, Any]:
        from aiida.engine import run_get_node
        from aiida.plugins import CalculationFactory

        before = self._port.sent
        node = run_get_node(CalculationFactory(entry_point), code=self._codes[code], **inputs).node
        if not node.is_finished_ok:
            raise RuntimeError(f'{entry_point} ended with [{node.exit_status}] {node.exit_message}')
        return self._port.sent - before, node.outputs


def main() -> None:
    """Print what was sent, and fail if it was too much."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--generations', type=int, default=10)
    parser.add_argument('--frames', type=int, default=2000, help='new ones of each generation')
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix='traffic_'))
    try:
        with counted_computer(folder) as (computer, port):
            from aiida_pacemaker.data.dataset import PaceDatasetData
            from aiida_pacemaker.testing.fake.install import install

            generations = Generations(computer, port, install(folder / 'engine'))
            pool = PaceDatasetData(random_frames(arguments.frames, 1000).without_labels()).store()
            print('generation  frames  stored kB  table kB   sent kB: train  activeset  evaluate  select   ratio')
            for index in range(arguments.generations):
                stored, table = generations.add(random_frames(arguments.frames, index))
                sent = generations.run(pool, index)
                ratio = show(f'{index + 1:10d}', generations.dataset.n_frames, stored, table, sent)
            plain = generations.run(pool, index, clean=True)
            all_again = show('all again', generations.dataset.n_frames, stored, table, plain)
        print(f'the last generation sends {ratio:.2f} times its new frames, 1/{all_again / ratio:.1f} of everything')
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if ratio <= LIMIT else f'more than {LIMIT} times the new frames')


def show(name: str, n_frames: int, stored: int, table: int, sent: dict[str, int]) -> float:
    """Print a generation, and return what it sent in units of its new frames."""
    ratio = sum(sent.values()) / table
    print(
        f'{name:10}  {n_frames:6d}  {stored / 1e3:9.0f}  {table / 1e3:8.0f}  {sent["train"] / 1e3:14.0f}'
        f'  {sent["activeset"] / 1e3:9.0f}  {sent["evaluate"] / 1e3:8.0f}  {sent["select"] / 1e3:6.0f}'
        f'  {ratio:6.2f}',
        flush=True,
    )
    return ratio


if __name__ == '__main__':
    os.environ.setdefault('AIIDA_WARN_v3', '1')
    main()
