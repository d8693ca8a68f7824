"""The files of a job that its computer may have already: only what is not there is sent.

What the engine reads follows from nodes, so its files are named by what they follow from: equal files have equal names,
whichever job has sent them. Nothing of them is kept in the provenance, where the nodes already say all.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from aiida import orm
from aiida.common.folders import Folder

from aiida_pacemaker import drivers
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.baseline.targets import write_targets
from aiida_pacemaker.calculations.cache import Cache
from aiida_pacemaker.calculations.checksums import LOST as NOT_FOUND
from aiida_pacemaker.calculations.checksums import Checksums
from aiida_pacemaker.calculations.versions import CACHE_VERSION
from aiida_pacemaker.frames.hashing import HashArray, frame_hashes, hex_hashes
from aiida_pacemaker.frames.pickles.writing import write_candidates

if TYPE_CHECKING:
    from aiida_pacemaker.data.active_set import PaceActiveSetData
    from aiida_pacemaker.data.dataset import PaceDatasetData
    from aiida_pacemaker.data.potential import PacePotentialData

#: Part of the name of every file: another one when the content for the same shard and baseline changes.
LAYOUT = CACHE_VERSION

#: Names of tables, and of what follows from them; everything else is known by its checksum.
NAMED = re.compile(r'[0-9a-f]{24}\.(?:pckl\.gzip|npz)')

#: The script that puts files in place, what it is told, what it says of files that are not to be had, and of those that
#: it has kept.
SCRIPT, LIST, LOST, KEPT = 'stage.sh', 'stage.list', 'stage.lost', 'stage.kept'
#: A line of the last.
_KEPT = re.compile(r'(?P<digest>[0-9a-f]{64}) (?P<name>\S{1,100})', re.ASCII)
_SAID = 'stage.sh lost: '


def training_files(
    dataset: PaceDatasetData, baseline: DeltaBaseline, *, weights: bool = False, stress: bool = False
) -> dict[str, str]:
    """Return the name of the engine's file for each shard of a labelled dataset.

    The name says all that the content follows from: the shard, what the baseline subtracts for its pairs of elements,
    however that is said, and whether weights and stresses are written.
    """
    names = {}
    columns = (' with weights' if weights else '') + (' with stress' if stress else '')
    for shard in dataset.shards:
        parameters = json.dumps(baseline.plain_terms(shard['elements']), sort_keys=True)
        names[shard['name']] = _file_name(shard['name'], parameters + columns)
    return names


def equations_files(tables: Mapping[str, str], origin: Mapping[str, Any]) -> dict[str, str]:
    """Return the name of the file with the equations of each table.

    :param tables: names of the tables, by their shards.
    :param origin: all else that the equations follow from, as plain data.
    """
    said = json.dumps(origin, sort_keys=True)
    return {table: f'{_digest(shard, f"equations of {table} by {said}")}.npz' for shard, table in tables.items()}


def structure_files(dataset: PaceDatasetData) -> dict[str, str]:
    """Return the name of the engine's file for the structures alone of each shard, labelled or not."""
    return {shard['name']: _file_name(shard['name'], 'candidates') for shard in dataset.shards}


def _file_name(shard: str, purpose: str) -> str:
    return f'{_digest(shard, purpose)}.pckl.gzip'


def _digest(shard: str, purpose: str) -> str:
    return hashlib.sha256(f'{LAYOUT}\n{shard}\n{purpose}'.encode()).hexdigest()[:24]


def trained_on(remote: orm.RemoteData) -> PaceDatasetData | None:
    """Return the dataset of the training job that a folder belongs to, None if it belongs to none."""
    if not isinstance(remote.creator, orm.CalcJobNode) or 'baseline' not in remote.creator.inputs:
        return None
    dataset: PaceDatasetData = remote.creator.inputs.dataset
    return dataset


class Rows(NamedTuple):
    """Frames as rows of tables.

    :param tables: the rows that are wanted, by the name of the file that they are in.
    :param order: for each frame, its place among these rows, taken table by table.
    """

    tables: dict[str, list[int]]
    order: list[int]


class Staging:
    """Writes the files of one job that its computer does not have, and what its script is to do about all of them.

    A context: at its end the plan of the job is complete.

    :param folder: what is sent.
    :param info: the plan of the job, as of :meth:`PaceCalcJob.calc_info`.
    :param cache: what the computer has.
    """

    def __init__(self, folder: Folder, info: Any, cache: Cache) -> None:
        self._folder = folder
        self._info = info
        self._cache = cache
        #: What the script is told of each file of the job, and the checksums of those that are sent.
        self._lines: dict[str, str] = {}
        self._sent: dict[str, str] = {}
        self._results: list[str] = []

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        self._folder.insert_path(Path(drivers.__file__).parent / SCRIPT, SCRIPT)
        with self._folder.open(LIST, 'w') as handle:
            handle.writelines(f'{line}\n' for line in (f'cache {self._cache.directory}', *self._lines.values()))
        begin = f'sh {SCRIPT} || exit 1'
        self._info.prepend_text = '\n'.join(filter(None, [self._info.prepend_text, begin]))
        self._info.append_text = '\n'.join(
            [self._info.append_text, *(f'sh {SCRIPT} keep {name}' for name in self._results)]
        )
        self._info.retrieve_list.append(LOST)
        if self._cache.checksums is not None:
            self._cache.checksums.note(self._sent)

    def training(
        self, dataset: PaceDatasetData, baseline: DeltaBaseline, *, weights: bool = False, stress: bool = False
    ) -> list[str]:
        """Provide the shards of a labelled dataset, less the baseline, as the engine reads them.

        :param weights: whether the weights of the frames are written, 1 for those that have none.
        :param stress: whether their stresses are written, as far as there are any.
        :returns: the names of the files, in the order of the dataset.
        """
        names = training_files(dataset, baseline, weights=weights, stress=stress)
        for shard, name in names.items():
            self._written(name, partial(_write_targets, dataset, shard, baseline, weights, stress))
        return list(names.values())

    def labels(self, dataset: PaceDatasetData, baseline: DeltaBaseline) -> list[str]:
        """Provide the shards of a labelled dataset as :meth:`training` does, with stresses if they are there so.

        :returns: the names of the files, in the order of the dataset.
        """
        plain = training_files(dataset, baseline)
        with_stress = training_files(dataset, baseline, stress=True)
        names = []
        for shard, name in plain.items():
            names.append(with_stress[shard] if self._cache.held(with_stress[shard]) else name)
            self._written(names[-1], partial(_write_targets, dataset, shard, baseline, False, False))
        return names

    def equations(self, names: Iterable[str]) -> None:
        """Provide equations that earlier jobs have kept, and have those kept that the job is going to make.

        :param names: of the files, as of :func:`equations_files`.
        """
        for name in names:
            if digest := self._cache.held(name):
                self._lines[name] = f'held {digest} {name}'
            self.keep(name)
        self._info.retrieve_list.append(KEPT)

    def structures(self, dataset: PaceDatasetData) -> list[str]:
        """Provide the structures of a dataset, without labels, as the engine reads them.

        :returns: the names of the files, in the order of the dataset.
        """
        names = structure_files(dataset)
        for shard, name in names.items():
            self._written(name, partial(_write_structures, dataset, shard))
        return list(names.values())

    def partial_labels(self, dataset: PaceDatasetData, baseline: DeltaBaseline) -> list[str]:
        """Provide files that hold the structures of a dataset: those of a training on it, if the computer has them.

        :returns: the names of the files, in the order of the dataset.
        """
        names = {**structure_files(dataset), **self._held_tables(dataset, baseline)}
        for shard, name in names.items():
            self._written(name, partial(_write_structures, dataset, shard))
        return list(names.values())

    def potential(self, potential: PacePotentialData, name: str) -> None:
        """Provide the B-basis of a potential."""
        self.content(potential.get_b_basis(), name)

    def active_set(self, active_set: PaceActiveSetData, name: str) -> None:
        """Provide an active set."""
        self.content(active_set.base.repository.get_object_content(active_set.filename, 'rb'), name)

    def rows_of(self, dataset: PaceDatasetData, pool: PaceDatasetData, baseline: DeltaBaseline) -> Rows | None:
        """Provide the files of a pool that frames of a dataset are in; None if they are not all on the computer.

        :param baseline: that of trainings whose files may hold the structures as well.
        """
        places = _places(dataset.get_hashes(), pool.get_hashes())
        if places is None:
            return None
        held, shards = self._held_tables(pool, baseline), pool.shards
        starts = np.cumsum([0, *(shard['n_frames'] for shard in shards)])
        of_place = np.searchsorted(starts, places, side='right') - 1
        wanted = {index: shards[index]['name'] for index in np.unique(of_place)}
        if not held.keys() >= set(wanted.values()):
            return None
        found: dict[str, list[int]] = {}
        for index, shard in wanted.items():
            self._lines[held[shard]] = f'held {self._cache.held(held[shard])} {held[shard]}'
            found[held[shard]] = (places[of_place == index] - starts[index]).tolist()
        # Where each of the dataset is among those that are taken, table by table.
        order = np.argsort(np.argsort(of_place, kind='stable'), kind='stable')
        return Rows(found, order.tolist())

    def content(self, content: bytes, name: str) -> None:
        """Provide a file that is known by its content, such as what an earlier job has made and kept."""
        digest = hashlib.sha256(content).hexdigest()
        if self._cache.has(digest):
            self._lines[name] = f'held {digest} {name}'
            return
        self._send(name, lambda handle: handle.write(content))
        if self._cache.was_lost(digest):
            self._sent[digest] = digest

    def from_folder(self, remote: orm.RemoteData, name: str) -> None:
        """Provide a file of another job, that is in its folder on the same computer."""
        self._lines[name] = f'from - {name} {remote.get_remote_path()}/{name}'

    def keep(self, name: str) -> None:
        """Have a file that the job is going to make kept for later jobs."""
        self._results.append(name)

    def _held_tables(self, dataset: PaceDatasetData, baseline: DeltaBaseline) -> dict[str, str]:
        """Return the file that the computer has of the structures of each shard, that of a training if there is one."""
        tables = [*structure_files(dataset).items()]
        for weights, stress in product((False, True), repeat=2) if dataset.labelled else ():
            tables += training_files(dataset, baseline, weights=weights, stress=stress).items()
        return {shard: name for shard, name in tables if self._cache.held(name)}

    def _written(self, name: str, write: Callable[[IO[bytes]], Any]) -> None:
        """Provide a file that is named by a hash of what it is made of: from the cache, or written and sent."""
        if name in self._lines:
            return
        if digest := self._cache.held(name):
            self._lines[name] = f'held {digest} {name}'
        else:
            self._sent[name] = self._send(name, write)

    def _send(self, name: str, write: Callable[[IO[bytes]], Any]) -> str:
        """Send a file, and return its checksum."""
        with self._folder.open(name, 'wb') as handle:
            write(handle)
        with self._folder.open(name, 'rb') as handle:
            digest = hashlib.sha256()
            while part := handle.read(2**20):
                digest.update(part)
        self._lines[name] = f'sent {digest.hexdigest()} {name}'
        self._info.provenance_exclude_list.append(name)
        return digest.hexdigest()


def lost_by_stderr(text: str) -> str:
    """Return what the script has said of lost files where it could not write it: the disk may be full.

    :param text: what the whole script of the job has written to its standard error.
    """
    return '\n'.join(line.split(_SAID, 1)[1] for line in text.splitlines() if line.startswith(_SAID))


def note_lost(node: orm.CalcJobNode, said: str) -> None:
    """Note which files a job did not find as they were sent: they are sent again, whatever the computer seems to have.

    :param node: the job.
    :param said: what its script has said of them.
    """
    lost = {fields[1] for fields in map(str.split, said.splitlines()) if len(fields) > 1}
    names: set[str] = set()
    for line in node.base.repository.get_object_content(LIST, 'r').splitlines():
        what, *fields = line.split()
        if what in ('sent', 'held') and fields[1] in lost:
            names.add(fields[1] if NAMED.fullmatch(fields[1]) else fields[0])
    if node.computer is not None:
        Checksums(node.computer).note(dict.fromkeys(names, NOT_FOUND))


def note_kept(node: orm.CalcJobNode, said: str, names: Collection[str]) -> None:
    """Note the checksums of files that a job has made and kept, and that are known by what they follow from.

    :param node: the job.
    :param said: what its script has said of what it has kept.
    :param names: of the files that the job was to make so.
    """
    lines = filter(None, map(_KEPT.fullmatch, said.splitlines()))
    kept = {line['name']: line['digest'] for line in lines if line['name'] in names}
    if node.computer is not None and kept:
        Checksums(node.computer).note(kept)


def _places(wanted: HashArray, pool: HashArray) -> npt.NDArray[np.intp] | None:
    """Return where hashes are among others; None if not all of them are there."""
    place_of = {digest: place for place, digest in enumerate(pool.tolist())}
    places = [place_of.get(digest, -1) for digest in wanted.tolist()]
    return None if -1 in places else np.array(places, dtype=np.intp)


def _write_targets(
    dataset: PaceDatasetData, shard: str, baseline: DeltaBaseline, weights: bool, stress: bool, handle: IO[bytes]
) -> None:
    write_targets(dataset.get_shard(shard), handle, baseline, weights=weights, stress=stress)


def _write_structures(dataset: PaceDatasetData, shard: str, handle: IO[bytes]) -> None:
    frames = dataset.get_shard(shard)
    write_candidates(frames, handle, names=hex_hashes(frame_hashes(frames)))
