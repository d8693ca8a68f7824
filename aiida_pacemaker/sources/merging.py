"""Merging the frames of nodes into one dataset: checked, without duplicates, sharing what is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from aiida_pacemaker.data.agreement import add_sources
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.checks import Reason, Refusal, check, enforce
from aiida_pacemaker.frames.merging import deduplicate, differing_labels
from aiida_pacemaker.frames.reading import Reading
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.sources.atoms_aside import AtomsAside
from aiida_pacemaker.sources.known_frames import KnownFrames, part_of_dataset, part_of_frames
from aiida_pacemaker.sources.label_checks import LabelWatch
from aiida_pacemaker.sources.level_checks import LevelConsistency
from aiida_pacemaker.sources.merge_options import BASE, MergeOptions
from aiida_pacemaker.sources.reading import RawSource, Source, SourceFrames, read_sources
from aiida_pacemaker.sources.weight_checks import WeightBook

#: How many near duplicates, and how many isolated atoms, a report lists.
LISTED = 100


@dataclass(frozen=True)
class SingleSource:
    """Where frames are from: the label of the source, the uuid of its node, the level of theory where it is known."""

    label: str
    uuid: str
    level: LevelOfTheory | None


@dataclass
class Merger:
    """Collects frames one part at a time, so that no more than the new ones are in memory."""

    options: MergeOptions
    shared: dict[str, PaceDatasetData] = field(default_factory=dict)
    new: list[Frames] = field(default_factory=list)
    #: Everything that is in the dataset by now.
    known: KnownFrames = field(default_factory=KnownFrames)
    n_base: int = 0
    #: The nodes of the source keys of those frames only that are in the dataset.
    sources: dict[str, str] = field(default_factory=dict)
    #: What is known of their levels of theory.
    consistency: LevelConsistency = field(default_factory=LevelConsistency)
    labels: LabelWatch = field(default_factory=LabelWatch)
    refusals: list[Refusal] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    near: list[dict[str, Any]] = field(default_factory=list)
    #: What people have to be told: each says how many frames of which source, and what to do.
    warnings: list[str] = field(default_factory=list)
    atoms: AtomsAside = field(default_factory=AtomsAside)
    n_given: int = 0
    n_duplicates: int = 0

    def __post_init__(self) -> None:
        self.weights = WeightBook(self.options.weights)

    def take_base(self, base: PaceDatasetData) -> None:
        """Begin with a dataset as it is: its frames have been checked when they joined."""
        self.shared |= {shard['name']: base for shard in base.shards}
        self.sources |= base.source_uuids
        self.consistency.enter(BASE, base.sources, base.theories, self.options.level_of(BASE))
        self.known.parts.append(part_of_dataset(BASE, base))
        self.n_base = base.n_frames
        self.weights.take_dataset(BASE, base)

    def take_dataset(self, label: str, node: PaceDatasetData) -> None:
        """Add the frames of a dataset that are good and new; shards in which all are so are shared as they are."""
        generation, known_sources, first = self.options.generation, node.source_uuids, 0
        theories, level = node.theories, self.options.level_of(label)
        self.weights.take_dataset(label, node)
        self.consistency.compare(label, theories)
        for shard in node.shards:
            if shard['name'] in self.shared:
                self.n_given += shard['n_frames']
                self.n_duplicates += shard['n_frames']
            else:
                stored = node.get_shard(shard['name'])
                given = stored if generation is None else stored.with_generation(generation)
                frames = self.new_ones(*self.good_ones(label, self.weights.of_dataset(label, given), first))
                for keys in self.atoms.claim(known_sources):
                    self.consistency.enter(label, keys, theories, level)
                add_sources(self.sources, {key: known_sources[key] for key in frames.source_keys})
                self.consistency.enter(label, frames.source_keys, theories, level)
                complete = len(frames) == len(stored) and frames.labelled == stored.labelled
                complete &= self.weights.sets(label) is None
                if complete and np.array_equal(given.generation, stored.generation):
                    self.shared[shard['name']] = node
                else:
                    self.new.append(frames)
            first += shard['n_frames']

    def take_others(self, sources: Iterable[SourceFrames]) -> None:
        """Add the frames of trajectories and files that are good and new, all at once.

        Looking up what is known costs as much for one frame as for thousands, and there may be thousands of nodes.
        """
        parts: list[tuple[str, Frames]] = []
        origins: list[dict[str, Any]] = []
        by_key: dict[str, list[SingleSource]] = {}
        for source in sources:
            label, reading = source.label, source.reading
            self.warnings += [f'{label}: {warning}' for warning in reading.warnings]
            frames = reading.frames.with_generation(self.options.generation or 0)
            good, origin = self.good_ones(label, frames, reading=reading)
            for keys in self.atoms.claim(dict.fromkeys(frames.source_keys, source.uuid)):
                self.consistency.enter(label, keys, {}, source.level)
            if len(good):
                parts.append((label, good))
                origins += origin
                by_key.setdefault(good.source_of(0), []).append(SingleSource(label, source.uuid, source.level))
        if parts:
            frames = self.new_ones(Frames.concatenate(self.weights.of_others(parts)), origins)
            for key in frames.source_keys:
                first = by_key[key][0]
                self.sources.setdefault(key, first.uuid)
                self.consistency.enter(first.label, [key], {}, first.level)
            self.new.append(frames)
            entered = set(frames.source_keys)
            # Of nodes with equal content only the first has given frames, but all of them say what their labels are.
            for key, twins in by_key.items():
                for twin in twins[key in entered :] if key in self.consistency.levels else ():
                    self.consistency.compare(twin.label, {} if twin.level is None else {key: twin.level})

    def good_ones(
        self, label: str, frames: Frames, first: int = 0, reading: Reading | None = None
    ) -> tuple[Frames, list[dict[str, Any]]]:
        """Return the frames of one part that are good and where each is from, and remember why the others are not.

        :param label: label of the source.
        :param frames: of the generation that they join in.
        :param first: position in the source of the first frame.
        :param reading: what else is known of these frames.
        """
        options = self.options
        self.n_given += len(frames)
        if not options.labelled:
            frames = frames.without_labels()
        refusals = check(
            frames,
            elements=options.elements,
            min_distance=options.min_distance,
            cutoff=options.cutoff,
            require_labels=options.labelled,
            require_stress=options.require_stress,
        )
        if reading is not None:
            refusals = [_with_what_is_there(refusal, reading.missing) for refusal in refusals]
            refused = {refusal.frame for refusal in refusals}
            refusals += self.unconverged_ones(label, frames, reading.unconverged, refused)
        alone = self.atoms.look_at(frames, label, first, set_aside=options.isolated_atoms == 'set_aside')
        refusals = [refusal for refusal in refusals if not alone[refusal.frame]]
        self.refusals += [replace(refusal, source=label, frame=first + refusal.frame) for refusal in refusals]
        good = np.ones(len(frames), dtype=np.bool_)
        good[[refusal.frame for refusal in refusals]] = False
        good &= ~alone
        self.labels.look_at(frames, good, label, first)
        origins = [
            {'source': label, 'frame': first + row, 'step': int(frames.step[row])}
            for row in np.flatnonzero(good).tolist()
        ]
        return frames.select(good), origins

    def unconverged_ones(
        self, label: str, frames: Frames, unconverged: Mapping[int, str], refused: set[int]
    ) -> list[Refusal]:
        """Return a refusal for each frame that is not converged, or say that they are accepted.

        :param refused: positions of the frames that are refused for another reason.
        """
        found = {row: reason for row, reason in unconverged.items() if row not in refused}
        if not found or not self.options.labelled:
            return []
        if self.options.allow_unconverged:
            row, reason = next(iter(found.items()))
            self.warnings.append(
                f'{label}: {len(found)} frame(s) whose calculation did not converge are accepted, as '
                f'`allow_unconverged` says; the first is frame {row}: {reason}'
            )
            return []
        return [
            Refusal(row, frames.source_of(row), int(frames.step[row]), Reason.UNCONVERGED, reason)
            for row, reason in found.items()
        ]

    def new_ones(self, frames: Frames, origins: Sequence[dict[str, Any]]) -> Frames:
        """Return the frames that are not there yet, and remember them."""
        outcome = deduplicate(frames, self.known.hashes)
        self.n_duplicates += len(outcome.duplicates)
        if len(outcome.duplicates) and frames.weighted:
            self.weights.repeated(len(outcome.duplicates))
        if len(outcome.duplicates) and frames.labelled:
            repeated = self.known.repeated(frames, outcome)
            differ = differing_labels(repeated, frames.select(outcome.duplicates))
            self.conflicts += [
                {**origins[row], 'labels': list(names)}
                for row, names in zip(outcome.duplicates.tolist(), differ, strict=True)
                if names
            ]
        kept = outcome.kept
        self.known.parts.append(part_of_frames(kept, outcome.hashes, [origins[row] for row in outcome.positions]))
        return kept

    def compare_structures(self) -> None:
        """Look for frames that are one structure written differently, and say so of those and of other repetitions."""
        self.near = self.known.near_duplicates(self.n_base)
        self.warnings += self.atoms.warnings()
        if self.conflicts:
            self.warnings.append(
                f'{len(self.conflicts)} repeated frames have other labels than the frames that they repeat (see '
                '`conflicts`): two levels of theory, or labels of something else. The first of each is kept'
            )
        if self.near:
            differ = sum(bool(entry['labels']) for entry in self.near)
            self.warnings.append(
                f'{len(self.near)} frames are structures that are there already, rounded, wrapped or with their atoms '
                f'in another order (see `near_duplicates`), {differ} of them with other labels. All are kept, and no '
                'split parts them'
            )

    def dataset(self) -> PaceDatasetData:
        """Return the merged dataset.

        :raises ValueError: if nothing is left.
        """
        new = [frames for frames in self.new if len(frames)]
        if self.atoms.n_aside and not new and not self.shared:
            raise ValueError('all frames are isolated atoms, so that setting them aside leaves none')
        frames = [Frames.concatenate(new)] if new else []
        parents = list({node.uuid: node for node in self.shared.values()}.values())
        return PaceDatasetData(
            frames, parents=parents, keep=set(self.shared), sources=self.sources, theories=self.consistency.levels
        )

    def report(self) -> dict[str, Any]:
        """Return what became of the given frames; sources are named by their labels, not by uuid.

        `frame` is the position in the node that was given, `step` that in the node which the frame came from at first.
        """
        n_aside = self.atoms.n_aside
        return {
            'n_given': self.n_given,
            'n_added': self.n_given - self.n_duplicates - len(self.refusals) - n_aside,
            'n_duplicates': self.n_duplicates,
            'n_refused': len(self.refusals),
            'n_set_aside': n_aside,
            'isolated_atoms': self.atoms.found[:LISTED],
            'refused': [
                {
                    'source': refusal.source,
                    'frame': refusal.frame,
                    'step': refusal.step,
                    'reason': refusal.reason.value,
                    'message': refusal.message,
                }
                for refusal in self.refusals
            ],
            'conflicts': self.conflicts,
            'n_near_duplicates': len(self.near),
            'near_duplicates': self.near[:LISTED],
            'checks': self.labels.checks(),
            'warnings': self.warnings,
        }


def merge_sources(
    base: PaceDatasetData | None, sources: Mapping[str, Source], options: MergeOptions
) -> tuple[PaceDatasetData, PaceDatasetData | None, dict[str, Any]]:
    """Return the frames of a dataset and of all sources as one dataset, and what became of the given frames.

    Between these are the isolated atoms that were set aside, if there are any.

    Datasets come first, then trajectories and files, in the order of their labels. Of equal frames the first stays.

    :raises FramesRefusedError: if more frames are refused than the options allow.
    :raises ContradictionError: if labels of a source do not belong together and the options do not allow it.
    :raises MixedLevelsError: if labels of different levels of theory would be mixed and the options do not allow it.
    :raises ValueError: if there is nothing to merge, or if labelled and unlabelled frames would be mixed.
    """
    options.check_labels(file_names(sources))
    merger = Merger(options)
    if base is not None:
        merger.take_base(base)
    others: dict[str, RawSource] = {}
    for label, node in sorted(sources.items()):
        if isinstance(node, PaceDatasetData):
            merger.take_dataset(label, node)
        else:
            others[label] = node
    merger.take_others(read_sources(others, options))
    if base is not None and base.labelled and merger.new:
        # A part of it is enough to tell what its energies are like.
        merger.labels.compare_with(base.get_shard(base.shards[0]['name']))
    enforce(merger.refusals, merger.n_given, options.max_failed_fraction)
    if options.labelled and options.mixed_levels == 'refuse':
        merger.consistency.refuse_mixed()
    if options.labelled:
        merger.labels.finish(pool=not merger.consistency.mixtures())
        if options.contradictions == 'refuse':
            merger.labels.refuse_contradictions()
    merger.compare_structures()
    dataset = merger.dataset()
    merger.warnings += merger.weights.said()
    if options.labelled:
        merger.warnings += merger.labels.warnings() + merger.consistency.warnings(dataset)
    return dataset, merger.atoms.dataset(merger.consistency.levels), merger.report()


def file_names(sources: Mapping[str, Source]) -> dict[str, str]:
    """Return the names of files by the labels of their sources; nothing for what is no file."""
    return {label: str(getattr(node, 'filename', '')) for label, node in sources.items()}


def _with_what_is_there(refusal: Refusal, missing: Mapping[int, str]) -> Refusal:
    """Return a refusal for want of a label with what the frame has instead."""
    found = missing.get(refusal.frame)
    if found is None or refusal.reason not in (Reason.ENERGY, Reason.FORCES, Reason.STRESS):
        return refusal
    return replace(refusal, message=f'{refusal.message}; {found}')
