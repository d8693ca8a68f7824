"""All readers of files that come back from a computer or from users, each with good files to begin from."""

from __future__ import annotations

import atexit
import io
import json
import tempfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from guard import Outcome, examine
from mutation import Mutator

from aiida_pacemaker.drivers.evaluation_files import read_evaluation
from aiida_pacemaker.drivers.exploration_files import Ending, read_endings, read_run
from aiida_pacemaker.drivers.label_files import read_labels
from aiida_pacemaker.drivers.selection_files import read_choice
from aiida_pacemaker.errors import (
    ActiveSetFileError,
    EvaluationFileError,
    ExplorationFileError,
    LogError,
    MetricsFileError,
    PotentialFileError,
    SelectionFileError,
    ShardError,
    UnreadablePickleError,
)
from aiida_pacemaker.exploration.lammps_output import read_dump, read_trace
from aiida_pacemaker.exploration.lammps_output import read_log as read_lammps_log
from aiida_pacemaker.exploration.options import ExploreOptions, Reason
from aiida_pacemaker.exploration.results import TRACES, candidate_frames, report
from aiida_pacemaker.frames import ase_io
from aiida_pacemaker.frames.checks import check
from aiida_pacemaker.frames.pickles.reading import read_dataset, read_selection, read_table
from aiida_pacemaker.frames.pickles.writing import write_dataset
from aiida_pacemaker.frames.shards import read_columns, read_hashes, read_shard, write_shard
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.pace.output.active_sets import read_active_set
from aiida_pacemaker.pace.output.failures import diagnose
from aiida_pacemaker.pace.output.logs import read_active_set_log, read_log, read_selection_log
from aiida_pacemaker.pace.output.metrics import TrainingMetrics, read_metrics, stitch
from aiida_pacemaker.pace.output.potentials import read_ctilde, read_potential, strip_fit_cycles

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / 'tests' / 'fixtures'
#: Where readers of paths find their file.
_FOLDER = tempfile.TemporaryDirectory()
FILE = Path(_FOLDER.name, 'results.npz')
atexit.register(_FOLDER.cleanup)


@dataclass(frozen=True)
class Reader:
    """A reader and what it is fuzzed with.

    :param name: its name in tables.
    :param read: reads the content of a file, and does with what it accepts what is done later.
    :param refusals: the errors that it is documented to raise.
    :param corpus: good files.
    """

    name: str
    read: Callable[[bytes], Any]
    refusals: type[Exception] | tuple[type[Exception], ...]
    corpus: list[bytes]


def recorded(*patterns: str) -> list[bytes]:
    """Return the recorded files that match, each content once, and none that is empty."""
    paths = [path for pattern in patterns for path in sorted(FIXTURES.glob(pattern))]
    return list(dict.fromkeys(content for path in paths if (content := path.read_bytes())))


@cache
def mgo() -> Frames:
    """Return four labelled frames of different sizes."""
    images = ase.io.read(ROOT / 'examples' / 'mgo-lda.extxyz', ':')
    return ase_io.from_atoms(images[:4], 'mgo-lda')


def text(read: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """Return a reader of bytes, decoded as the parsers do it."""
    return lambda content: read(content.decode('utf-8', errors='replace'))


def from_path(read: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    """Return a reader of bytes for one of paths. The file is there already; see :func:`prepare`."""
    return lambda _: read(FILE)


def storable(value: Any) -> None:
    """Write plain data as the database does."""
    json.dumps(value)


def summary_of(read: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """Return a reader of logs whose summary has to be storable."""

    def run(content: bytes) -> None:
        log = read(content.decode('utf-8', errors='replace'))
        storable(asdict(log))
        if hasattr(log, 'n_dropped'):
            storable(log.n_dropped)

    return run


def running_tables() -> list[bytes]:
    """Return the recorded tables that have a row for each iteration."""
    return [
        content for content in recorded('train/*/metrics.txt', 'train/*/test_metrics.txt') if content.count(b'\n') > 1
    ]


def use_running_table(content: bytes) -> None:
    """Read a running table and take from it what a parser takes."""
    table = read_metrics(content.decode('utf-8', errors='replace'))
    try:
        metrics = TrainingMetrics.from_tables(table)
        stitched = stitch([table, table])
    except ValueError as error:
        raise MetricsFileError(str(error)) from error
    storable([asdict(metrics), stitched.last, stitched.iterations])


def use_table(content: bytes) -> None:
    """Read a table of any kind."""
    table = read_metrics(content.decode('utf-8', errors='replace'))
    storable([table.last, table.divergence, table.truncated])


def diagnose_text(content: bytes) -> None:
    """Ask for the reason of a failure in a text."""
    said = content.decode('utf-8', errors='replace')
    for status in (0, 137):
        diagnosis = diagnose('pacemaker', stderr=said, log=said, exit_status=status)
        if diagnosis is not None:
            assert len(diagnosis.message) < 2000, 'the message is too long'
            storable(dict(diagnosis.values))


def use_potential(content: bytes) -> None:
    """Read a potential and what the node of it keeps."""
    summary = read_potential(content)
    json.dumps([summary.elements, summary.cutoff, summary.n_functions_per_element, summary.metadata], allow_nan=False)
    storable([summary.n_parameters, summary.n_densities, summary.embeddings, summary.reference_energy])


def use_active_set(content: bytes) -> None:
    """Read an active set and what the node of it keeps."""
    storable({symbol: [block.size, block.condition_number] for symbol, block in read_active_set(content).items()})


def use_shard(content: bytes) -> None:
    """Read a shard in all ways."""
    read_hashes(content)
    read_columns(content, ['n_atoms'])
    use_frames(read_shard(content))


def use_frames(frames: Frames) -> None:
    """Do what merging does first."""
    check(frames, require_labels=frames.labelled)


def use_dataset(content: bytes) -> None:
    """Read a dataset."""
    frames, _ = read_dataset(content, 'source')
    use_frames(frames)


def use_evaluation(path: Path) -> None:
    """Read the results of an evaluation, all or some of which there have to be."""
    read_evaluation(path, 4, len(mgo().numbers), with_gamma=True, complete=False)


def use_structures(name: str) -> Callable[[bytes], Any]:
    """Return a reader of files of structures of users."""
    return lambda content: use_frames(ase_io.read(io.BytesIO(content), source_key='source', name=name))


def npz(**arrays: Any) -> bytes:
    """Return an archive of arrays."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def evaluations() -> list[bytes]:
    """Return what the driver of evaluations writes."""
    frames = mgo()
    assert frames.energy is not None
    arrays = {'energy': frames.energy, 'forces': frames.forces, 'stress': frames.stress}
    return [npz(**arrays, gamma=np.ones(len(frames.numbers)))]


def use_choice(path: Path) -> None:
    """Read a choice of six candidates, each of which has to be one of them."""
    positions, gains = read_choice(path, 6)
    assert len(set(positions.tolist())) == len(positions) == len(gains) <= 6
    assert not len(positions) or 0 <= positions.min() <= positions.max() < 6


def choice() -> bytes:
    """Return what the driver of selections by the posterior writes."""
    return npz(positions=np.array([4, 0, 1], dtype=np.int64), gains=np.array([0.5, 0.2, 0.1]))


def explorations() -> list[bytes]:
    """Return what a run of the driver of explorations writes."""
    frames = mgo()
    rows = next(iter(frames.slices()))
    checks = {name: np.array([0.5, 2.0]) for name in TRACES}
    kept = {'kept_step': np.array([10]), 'positions': frames.positions[rows], 'cells': frames.cells[:1]}
    kept |= {'energies': np.array([-1.5]), 'forces': np.zeros((rows.stop, 3))}
    return [npz(step=np.array([0, 10]), **checks, **kept, gamma=np.full(rows.stop, 2.0))]


def use_exploration(path: Path) -> None:
    """Read what a run has left, and make of it what the parser makes."""
    start = mgo().select([0]).without_labels()
    run = read_run(path, 0, Ending(Reason.FINISHED, 10, '', 2, 1), int(start.n_atoms[0]), ExploreOptions())
    frames = candidate_frames(start, [run], ['key'])
    assert frames is not None
    use_frames(frames)
    storable(report([run], 1))


def use_endings(content: bytes) -> None:
    """Read how runs ended."""
    storable([asdict(ending) for ending in read_endings(io.BytesIO(content), 3, ExploreOptions()).values()])


def endings() -> list[bytes]:
    """Return the lines of the driver of explorations."""
    line = {'reason': 'finished', 'steps': 10, 'n_checks': 2, 'n_kept': 1, 'message': ''}
    lines: list[dict[str, Any]] = [{'begin': 0}, {'run': 0, **line}, {'begin': 1}]
    lines += [{'run': 1, **line, 'reason': 'failed', 'message': 'ValueError: no'}, {'begin': 2}]
    return [''.join(json.dumps(line) + '\n' for line in lines).encode()]


#: Those of the recorded explorations by LAMMPS that matter to how much is read.
LAMMPS_OPTIONS = ExploreOptions(n_steps=60)


def labels() -> list[bytes]:
    """Return what the driver of labelling writes."""
    frames = mgo()
    assert frames.energy is not None
    assert frames.forces is not None
    assert frames.stress is not None
    lines: list[dict[str, Any]] = []
    for frame, rows in enumerate(frames.slices()):
        lines.append({'begin': frame})
        label = {'energy': frames.energy[frame], 'forces': frames.forces[rows].tolist()}
        lines.append({'frame': frame, **label, 'stress': frames.stress[frame].tolist()})
    lines += [{'frame': 1, 'reason': 'KeyError', 'message': 'no'}, {'begin': 3}]
    return [''.join(json.dumps(line) + '\n' for line in lines).encode()]


def written(file_format: str) -> bytes:
    """Return structures as ASE writes them."""
    images = ase_io.to_atoms(mgo())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f'structures.{file_format}')
        ase.io.write(path, images if file_format in ('extxyz', 'traj', 'json') else images[0], format=file_format)
        return path.read_bytes()


def datasets() -> list[bytes]:
    """Return datasets as the engine and this package write them."""
    frames = mgo()
    assert frames.energy is not None
    assert frames.forces is not None
    handle = io.BytesIO()
    write_dataset(frames, handle, energy=frames.energy, forces=frames.forces, names=list('abcd'), level=0)
    return [handle.getvalue(), *recorded('pickles/*protocol-*.pckl.gzip', 'pickles/*fitting_data_info*')]


@cache
def all_readers() -> tuple[Reader, ...]:
    """Return all readers."""
    logs = recorded('train/*/log.txt')
    said = recorded('*/*/stderr.txt', '*/*/stdout.txt')
    active_sets = recorded('*/*/*.asi', '*/*/*.asi.nonlinear')
    tables = recorded('pickles/*.gz', 'pickles/*.gzip', 'select/*/*.pkl.gz')
    frames = mgo()
    potentials = [content for content in recorded('train/*/*potential*.yaml') if content.endswith(b']}\n')]
    return (
        Reader('read_log', summary_of(read_log), LogError, logs + said),
        Reader('read_active_set_log', summary_of(read_active_set_log), LogError, recorded('activeset/*/std*.txt')),
        Reader('read_selection_log', summary_of(read_selection_log), LogError, recorded('select/*/std*.txt')),
        Reader('read_metrics', use_table, MetricsFileError, recorded('train/*/*metrics.txt')),
        Reader('TrainingMetrics, stitch', use_running_table, MetricsFileError, running_tables()),
        Reader('diagnose', diagnose_text, (), said + logs),
        Reader('read_potential', use_potential, PotentialFileError, potentials),
        Reader(
            'read_ctilde',
            lambda content: storable(asdict(read_ctilde(content))),
            PotentialFileError,
            recorded('*/*/*.yace'),
        ),
        Reader('strip_fit_cycles', text(strip_fit_cycles), (), potentials),
        Reader('read_active_set', use_active_set, ActiveSetFileError, active_sets),
        Reader('read_evaluation', from_path(use_evaluation), EvaluationFileError, evaluations()),
        Reader('read_choice', from_path(use_choice), SelectionFileError, [choice()]),
        Reader('read_run', from_path(use_exploration), ExplorationFileError, explorations()),
        Reader('read_endings', use_endings, (), endings()),
        Reader(
            'read_trace',
            from_path(lambda path: storable(asdict(read_trace(path, LAMMPS_OPTIONS))['message'])),
            ExplorationFileError,
            recorded('lammps/*/*.trace'),
        ),
        Reader(
            'read_dump',
            from_path(lambda path: read_dump(path, ('Mg', 'O'), 8, 20)),
            ExplorationFileError,
            recorded('lammps/n[pv][t]/*.kept', 'lammps/nvt/*.edge'),
        ),
        Reader(
            'read_lammps_log',
            from_path(lambda path: storable(read_lammps_log(path)[0])),
            (),
            recorded('lammps/*/*.log'),
        ),
        Reader('read_labels', lambda content: read_labels(io.BytesIO(content), frames), (), labels()),
        Reader('shards', use_shard, ShardError, [write_shard(frames), write_shard(frames.without_labels())]),
        Reader('read_table', read_table, UnreadablePickleError, tables),
        Reader('read_dataset', use_dataset, UnreadablePickleError, datasets()),
        Reader(
            'read_selection', read_selection, UnreadablePickleError, recorded('pickles/*selected*', 'select/*/*.pkl.gz')
        ),
        Reader('ase_io, extxyz', use_structures('a.extxyz'), ValueError, [written('extxyz')]),
        Reader('ase_io, traj', use_structures('a.traj'), ValueError, [written('traj')]),
        Reader('ase_io, json', use_structures('a.json'), ValueError, [written('json')]),
        Reader('ase_io, cif', use_structures('a.cif'), ValueError, [CIF]),
        Reader('ase_io, vasp', use_structures('POSCAR'), ValueError, [written('vasp')]),
    )


CIF = b"""data_MgO
_cell_length_a 4.2
_cell_length_b 4.2
_cell_length_c 4.2
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_IT_number 225
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Mg1 Mg 0.0 0.0 0.0
O1 O 0.5 0.5 0.5
"""


def prepare(content: bytes) -> frozenset[str]:
    """Put a file where readers of paths look for it, and return what they may open."""
    FILE.write_bytes(content)
    return frozenset([str(FILE)])


def case_of(reader: Reader, seed: int, others: Sequence[bytes]) -> bytes:
    """Return a hostile file for a reader; it follows from the seed, the recorded files and the version of Python."""
    mutator = Mutator(zlib.crc32(reader.name.encode()) ^ seed, others)
    return mutator.mutate(mutator.random.choice(reader.corpus))


def examine_case(reader: Reader, content: bytes) -> Outcome:
    """Have a reader read a file, under watch."""
    return examine(lambda: reader.read(content), reader.refusals, prepare(content))


def corpora(readers: Iterable[Reader]) -> list[bytes]:
    """Return all good files, to splice parts from."""
    return list(dict.fromkeys(content for reader in readers for content in reader.corpus))
