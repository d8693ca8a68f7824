"""The dataset node: an immutable, ordered set of frames in content-addressed shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np
from aiida import orm
from aiida.common.exceptions import StoringNotAllowed
from aiida.orm.pydantic import OrmMetadataField

from aiida_pacemaker._aiida.storage import (
    AttributeCaching,
    StoringHook,
    files_of,
    files_while_storing,
    objects_in,
    repository_of,
    share_files,
)
from aiida_pacemaker.baseline.targets import write_targets
from aiida_pacemaker.data.agreement import agreed_sources
from aiida_pacemaker.data.shard_files import SettledFiles, SharingSandbox
from aiida_pacemaker.data.summaries import levels_of, summary_of, totals
from aiida_pacemaker.data.trajectories import trajectories_from_frames
from aiida_pacemaker.frames.ase_io import to_atoms, write_extxyz
from aiida_pacemaker.frames.hashing import HashArray
from aiida_pacemaker.frames.shards import (
    read_columns,
    read_hashes,
    read_shard,
    read_source_counts,
    read_sources,
    shard_name,
    split_into_shards,
    write_shard,
)
from aiida_pacemaker.frames.source_keys import with_content_keys
from aiida_pacemaker.frames.table import FloatArray, Frames
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.frames.weights import Weights

if TYPE_CHECKING:
    from aiida.repository.backend import AbstractRepositoryBackend
    from ase import Atoms

    from aiida_pacemaker.baseline.model import DeltaBaseline

Part = TypeVar('Part')

#: A shard is read in one piece, so its size bounds the memory of everything that walks over a dataset. 16 MB are about
#: 9,000 labelled frames of 32 atoms.
SHARD_BYTES = 16 * 1024 * 1024


class PaceDatasetData(StoringHook, orm.Data):
    """An immutable, ordered set of structures of any composition, either all labelled or none.

    The frames live in shards: columnar ``.npz`` files named by their content. A dataset that extends others shares
    their shards, so its cost in time and bytes is that of the new frames. Each frame keeps its source (the node that it
    was read from and its position there) and the generation in which it joined.

    Where it is known, each source has a level of theory, that of the labels of all its frames.

    Equal frames make equal node hashes: the uuids of the sources are attributes that are left out of the hash, and so
    are the records of the levels of theory, whose fingerprints are in it.
    """

    FORMAT = 1
    FOLDER = 'shards'

    _hash_ignored_attributes = ('sources', 'levels')
    _CLS_NODE_CACHING = AttributeCaching

    class AttributesModel(orm.Data.AttributesModel):
        """Attributes, which can be queried without opening the shards."""

        format: int = OrmMetadataField(description='Version of the layout of the node')
        labelled: bool = OrmMetadataField(description='Whether the frames carry energies, forces and stresses')
        elements: list[str] = OrmMetadataField(description='Chemical symbols that occur, sorted')
        n_frames: int = OrmMetadataField(description='Number of frames')
        n_atoms: int = OrmMetadataField(description='Number of atoms in all frames')
        energy_per_atom: list[float] | None = OrmMetadataField(
            None, description='Smallest and largest energy in eV/atom, None if not labelled'
        )
        max_force: float | None = OrmMetadataField(
            None, description='Largest force on any atom in eV/angstrom, None if not labelled'
        )
        generations: dict[str, int] = OrmMetadataField(description='Number of frames that joined in each generation')
        shards: list[dict[str, Any]] = OrmMetadataField(description='Name and summary of each shard, in order')
        sources: dict[str, str | None] = OrmMetadataField(
            description='Uuid of the node behind each source key; None if the frames were given to this node itself'
        )
        levels: dict[str, dict[str, Any]] | None = OrmMetadataField(
            None, description='Levels of theory that occur, by fingerprint; not there if none is known'
        )
        weighted: bool | None = OrmMetadataField(
            None, description='Whether frames have weights of their own in a fit; not there if none has'
        )
        level_of_source: dict[str, str] | None = OrmMetadataField(
            None, description='Fingerprint of the level of theory of each source key of which it is known'
        )

    def __init__(
        self,
        frames: Frames | Iterable[Frames] = (),
        *,
        parents: Sequence[PaceDatasetData] = (),
        keep: Collection[str] | None = None,
        sources: Mapping[str, str | None] | None = None,
        theories: Mapping[str, LevelOfTheory] | None = None,
        **kwargs: Any,
    ) -> None:
        """Construct a dataset from the frames of its parents, in order, followed by new ones.

        :param frames: the new frames, in one table or in several; no two tables get into one shard.
        :param parents: stored datasets whose shards are shared; a shard that several of them have is taken once.
        :param keep: names of the shards to share; all if not given.
        :param sources: uuid of the source node for each source key of the new frames and, with `keep`, of the kept
            shards; keys of new frames that are not given belong to frames that have no node but this one. A hash of
            their content is added to these keys, so that no other frames have the same.
        :param theories: level of theory of the labels of each source key, as far as it is known; those of parents are
            known, and keys that do not occur are passed over.
        :raises ValueError: if there are no frames, if labelled and unlabelled frames are mixed, if a parent is not
            stored or of another format, or if parents disagree on the node or the level of theory of a source.
        """
        super().__init__(**kwargs)
        given = dict(sources or {})
        levels = dict(theories or {})
        shards = self._share(parents, keep)
        known: dict[str, str | None] = {} if keep is None else given.copy()
        if keep is None:
            known |= agreed_sources(parents)
        with_node = {key for key, uuid in given.items() if uuid is not None}
        for table in (frames,) if isinstance(frames, Frames) else frames:
            named, renamed = with_content_keys(table, with_node)
            levels |= {new: levels[old] for old, new in renamed.items() if old in levels}
            for part in split_into_shards(named, SHARD_BYTES):
                content = write_shard(part)
                name = shard_name(content)
                if name not in shards:
                    self.base.repository.put_object_from_bytes(content, self.shard_path(name))
                    shards[name] = summary_of(name, part)
                for key in part.source_keys:
                    known.setdefault(key, given.get(key))
        if not shards:
            raise ValueError('a dataset needs at least one frame')
        summaries = list(shards.values())
        self.base.attributes.set_many(
            {'format': self.FORMAT, **totals(summaries), 'shards': summaries, 'sources': known}
        )
        if self.labelled:
            of_parents = {key: level for parent in parents[::-1] for key, level in parent.theories.items()}
            levels = {**of_parents, **levels}
            self.base.attributes.set_many(levels_of({key: levels[key] for key in known if key in levels}))

    def _share(self, parents: Sequence[PaceDatasetData], keep: Collection[str] | None) -> dict[str, dict[str, Any]]:
        """Refer to the shards of the parents without reading them, and return their summaries by name."""
        shards: dict[str, dict[str, Any]] = {}
        objects: dict[str, Any] = {}
        shared_keys: dict[str, AbstractRepositoryBackend] = {}
        for parent in parents:
            if not parent.is_stored:
                raise ValueError(f'{parent} is not stored: only shards of stored datasets can be shared')
            shared = {shard['name']: shard for shard in parent.shards if keep is None or shard['name'] in keep}
            files = objects_in(parent, self.FOLDER)
            shards |= {name: summary for name, summary in shared.items() if name not in shards}
            objects |= {name: files[name] for name in shared}
            shared_keys |= {files[name]['k']: parent.backend.get_repository() for name in shared}
        if objects:
            # The files of a node that is not stored are copied when it is: that would feed all of them to the object
            # store again.
            share_files(self, repository_of(self.FOLDER, objects, SharingSandbox(shared_keys)))
        return shards

    @contextmanager
    def storing(self) -> Iterator[None]:
        """Store the node: its shards are in the repository afterwards, even if the storage is maintained meanwhile.

        :raises StoringNotAllowed: if a shard that is shared with another dataset is not there any more.
        """
        files = SettledFiles(files_of(self), self.backend.get_repository())
        with files_while_storing(self, files.put()):
            yield
        files.put_again()

    def __str__(self) -> str:
        kind = 'labelled' if self.labelled else 'unlabelled'
        return f'{super().__str__()}: {self.n_frames} {kind} frames of {"-".join(self.elements)}'

    def __len__(self) -> int:
        return self.n_frames

    @property
    def labelled(self) -> bool:
        """Whether the frames carry energies, forces and stresses."""
        return bool(self.base.attributes.get('labelled'))

    @property
    def weighted(self) -> bool:
        """Whether any frames have weights of their own in a fit; the others count as 1 then."""
        return bool(self.base.attributes.get('weighted', False))

    @property
    def weights(self) -> Weights:
        """The weights of those frames that have some, added up."""
        total = Weights()
        for shard in self.shards:
            if 'weights' in shard:
                total = total.plus(Weights(n_frames=shard['n_frames'], n_atoms=shard['n_atoms'], **shard['weights']))
        return total

    @property
    def elements(self) -> list[str]:
        """Chemical symbols that occur, sorted."""
        return list(self.base.attributes.get('elements'))

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return int(self.base.attributes.get('n_frames'))

    @property
    def n_atoms(self) -> int:
        """Number of atoms in all frames."""
        return int(self.base.attributes.get('n_atoms'))

    @property
    def energy_per_atom(self) -> tuple[float, float] | None:
        """Smallest and largest energy in eV/atom, None if not labelled."""
        bounds = self.base.attributes.get('energy_per_atom')
        return None if bounds is None else (bounds[0], bounds[1])

    @property
    def max_force(self) -> float | None:
        """Largest force on any atom in eV/angstrom, None if not labelled."""
        force = self.base.attributes.get('max_force')
        return None if force is None else float(force)

    @property
    def generations(self) -> dict[int, int]:
        """Number of frames that joined in each generation."""
        return {int(generation): count for generation, count in self.base.attributes.get('generations').items()}

    @property
    def shards(self) -> list[dict[str, Any]]:
        """Name and summary of each shard, in order.

        :raises ValueError: if the node is of a format that this version does not read.
        """
        found = self.base.attributes.get('format', None)
        if found != self.FORMAT:
            raise ValueError(
                f'{orm.Data.__str__(self)} is of format {found!r}, and this version of aiida-pacemaker reads format '
                f'{self.FORMAT} of datasets: use the version that has made it, or a newer one'
            )
        return list(self.base.attributes.get('shards'))

    @property
    def sources(self) -> dict[str, str | None]:
        """Uuid of the node behind each source key; None if the frames were given to this node itself."""
        return dict(self.base.attributes.get('sources'))

    @property
    def source_uuids(self) -> dict[str, str]:
        """Uuid of the node behind each source key, which is this node itself for frames that were given to it."""
        return {key: uuid or self.uuid for key, uuid in self.sources.items()}

    @property
    def levels(self) -> dict[str, LevelOfTheory]:
        """Levels of theory of the labels, as far as they are known, by fingerprint."""
        records = self.base.attributes.get('levels', None) or {}
        return {fingerprint: LevelOfTheory.model_validate(record) for fingerprint, record in records.items()}

    @property
    def level_of_source(self) -> dict[str, str]:
        """Fingerprint of the level of theory of each source key of which it is known."""
        return dict(self.base.attributes.get('level_of_source', None) or {})

    @property
    def theories(self) -> dict[str, LevelOfTheory]:
        """Level of theory of each source key of which it is known."""
        levels = self.levels
        return {key: levels[fingerprint] for key, fingerprint in self.level_of_source.items()}

    def shard_path(self, name: str) -> str:
        """Return the path of a shard in the repository of the node."""
        return f'{self.FOLDER}/{name}'

    def iterate(self) -> Iterator[Frames]:
        """Iterate over the frames shard by shard: no more than one shard is in memory."""
        for shard in self.shards:
            yield self.get_shard(shard['name'])

    def get_shard(self, name: str) -> Frames:
        """Return the frames of one shard."""
        with self.base.repository.open(self.shard_path(name), 'rb') as handle:
            return read_shard(handle)

    def get_frames(self) -> Frames:
        """Return all frames in one table; for large datasets see :meth:`iterate`."""
        return Frames.concatenate(list(self.iterate()))

    def get_hashes(self) -> HashArray:
        """Return the content hash of each frame, in order, without reading the frames."""
        return np.concatenate(self._from_shards(read_hashes))

    def get_energies(self) -> FloatArray:
        """Return the total energy of each frame in eV, in order, without reading the rest; NaN without labels."""
        if not self.labelled:
            return np.full(self.n_frames, np.nan)
        return np.concatenate(self._from_shards(lambda handle: read_columns(handle, ['energy'])['energy']))

    def frames_per_source(self) -> dict[str, int]:
        """Return how many frames each source key has, without reading the rest."""
        counts: Counter[str] = Counter()
        for part in self._from_shards(read_source_counts):
            counts.update(part)
        return dict(counts)

    def get_sources(self) -> list[str]:
        """Return the source key of each frame, in order, without reading the rest."""
        return [key for part in self._from_shards(read_sources) for key in part]

    def _from_shards(self, function: Callable[[IO[bytes]], Part]) -> list[Part]:
        """Return the result of a reading function for each shard, in order."""
        # Opening objects one by one takes 4 ms each, which a dataset that has grown by many merges would feel.
        repository = files_of(self)
        keys = [str(repository.get_object(self.shard_path(shard['name'])).key) for shard in self.shards]
        streams = repository.backend.iter_object_streams(keys)
        parts = {key: function(stream) for key, stream in streams}
        return [parts[key] for key in keys]

    def to_ase(self) -> list[Atoms]:
        """Return the frames as ASE structures, their labels as results of a calculator, their origin in `info`."""
        return [image for frames in self.iterate() for image in to_atoms(frames)]

    def to_trajectories(self) -> list[orm.TrajectoryData]:
        """Return the frames as trajectories that are not stored, one per composition and periodicity.

        The arrays are `energy` (eV), `forces` (eV/angstrom) and `stress` (eV/angstrom^3, sign of ASE).
        """
        return trajectories_from_frames(self.get_frames())

    def write_extxyz(self, path: str | Path) -> None:
        """Write the frames, with labels and origin, as extended XYZ."""
        with Path(path).open('w', encoding='utf-8') as handle:
            for frames in self.iterate():
                write_extxyz(frames, handle)

    def write_pickle(self, path: str | Path, baseline: DeltaBaseline | None = None) -> None:
        """Write the frames as a dataset of Pacemaker (`.pckl.gzip`), readable by any version of pandas and numpy.

        Stresses and weights are written too, so that `merge_frames` reads back what was written; the engine uses the
        weights, and no stresses.

        :param baseline: subtracted from the labels if given; otherwise these are written as they are.
        :raises ValueError: if the dataset is not labelled.
        """
        if not self.labelled:
            raise ValueError(f'{self} has no labels: write it as extended XYZ')
        with Path(path).open('wb') as handle:
            write_targets(self.get_frames(), handle, baseline, weights=self.weighted, stress=True)

    def _validate(self) -> bool:
        """Check that the attributes and the files belong together.

        :raises StoringNotAllowed: if a shard is missing, a file is there that is no shard, or an attribute is not what
            the summaries of the shards add up to.
        """
        super()._validate()
        shards = self.base.attributes.get('shards')
        listed = {shard['name'] for shard in shards}
        present = set(self.base.repository.list_object_names(self.FOLDER))
        if listed != present:
            raise StoringNotAllowed(f'the shards {sorted(listed)} are listed but {sorted(present)} are in the node')
        for name, value in {'format': self.FORMAT, **totals(shards)}.items():
            if self.base.attributes.get(name) != value:
                raise StoringNotAllowed(
                    f'the attribute `{name}` is {self.base.attributes.get(name)} where the shards add up to {value}: '
                    'do not set attributes, construct a dataset from frames'
                )
        return True
