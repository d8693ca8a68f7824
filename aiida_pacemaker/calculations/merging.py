"""Merging the frames of nodes into one dataset: checked, without duplicates, sharing what is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from aiida_pacemaker.calculations.sources import Convention, Source, read_source, source_key
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.checks import MIN_DISTANCE, Refusal, check, enforce
from aiida_pacemaker.frames.hashing import HASH_DTYPE, HashArray, frame_hashes
from aiida_pacemaker.frames.merging import deduplicate
from aiida_pacemaker.frames.table import FloatArray, Frames


class MergeOptions(BaseModel):
    """What may join a dataset, and how it is read."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    generation: int = Field(default=0, ge=0, description='Generation that the new frames join in.')
    max_failed_fraction: float = Field(
        default=0.0, ge=0, le=1, description='Fraction of the given frames that may be refused; 0 is strict.'
    )
    cutoff: float | None = Field(
        default=None, gt=0, description='Refuse frames without any neighbours within this distance in angstrom.'
    )
    min_distance: float = Field(
        default=MIN_DISTANCE, gt=0, description='Refuse frames with atoms closer than this in angstrom.'
    )
    labelled: bool = Field(
        default=True, description='False drops all labels, for candidates that are only to be selected from.'
    )
    require_stress: bool = Field(default=True, description='Refuse periodic frames without stress.')
    elements: list[str] | None = Field(default=None, description='Refuse frames with other elements.')
    conventions: dict[str, Convention] = Field(
        default_factory=dict, description='Units and signs of each trajectory, by the label of the source.'
    )


@dataclass
class Merger:
    """Collects frames one part at a time, so that no more than the new ones are in memory."""

    options: MergeOptions
    shared: dict[str, PaceDatasetData] = field(default_factory=dict)
    new: list[Frames] = field(default_factory=list)
    hashes: list[HashArray] = field(default_factory=list)
    #: The energies that belong to `hashes`: read only if they are needed.
    energies: list[Callable[[], FloatArray]] = field(default_factory=list)
    sources: dict[str, str | None] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    n_given: int = 0
    n_duplicates: int = 0

    def take_base(self, base: PaceDatasetData) -> None:
        """Begin with a dataset as it is: its frames have been checked when they joined."""
        self.shared |= {shard['name']: base for shard in base.shards}
        self.know(base.get_hashes(), base.get_energies)

    def take(self, label: str, node: Source) -> None:
        """Add the frames of a source that are good and new."""
        if not isinstance(node, PaceDatasetData):
            self.sources[source_key(node)] = node.uuid
            for frames in read_source(node, self.options.conventions.get(label)):
                self.n_given += len(frames)
                self.new.append(self.good_and_new(label, frames.with_generation(self.options.generation)))
            return
        self.sources |= {key: uuid or node.uuid for key, uuid in node.sources.items()}
        for shard in node.shards:
            self.n_given += shard['n_frames']
            if shard['name'] in self.shared:
                self.n_duplicates += shard['n_frames']
                continue
            frames = self.good_and_new(label, node.get_shard(shard['name']))
            if len(frames) == shard['n_frames'] and frames.labelled == node.labelled:
                # Nothing was left out: the shard is shared as it is, the generations of its frames included.
                self.shared[shard['name']] = node
            else:
                self.new.append(frames)

    def good_and_new(self, label: str, frames: Frames) -> Frames:
        """Return the frames of one part that are good and new, and remember what became of the others."""
        options = self.options
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
        self.refusals += [replace(refusal, source=label) for refusal in refusals]
        good = np.ones(len(frames), dtype=np.bool_)
        good[[refusal.frame for refusal in refusals]] = False
        frames = frames.select(good)
        known = np.concatenate([np.empty(0, dtype=HASH_DTYPE), *self.hashes])
        outcome = deduplicate(frames, known)
        if len(outcome.duplicates) and frames.labelled:
            energies = np.concatenate([np.empty(0), *(read() for read in self.energies)])
            outcome = deduplicate(frames, known, energies)
        self.n_duplicates += len(outcome.duplicates)
        self.conflicts += [{'source': label, 'step': int(frames.step[frame])} for frame in outcome.conflicts.tolist()]
        kept = outcome.kept
        self.know(frame_hashes(kept), lambda: _energies(kept))
        return kept

    def know(self, hashes: HashArray, energies: Callable[[], FloatArray]) -> None:
        """Remember frames that are in the dataset now."""
        self.hashes.append(hashes)
        self.energies.append(energies)

    def dataset(self) -> PaceDatasetData:
        """Return the merged dataset.

        :raises ValueError: if nothing is left.
        """
        new = [frames for frames in self.new if len(frames)]
        frames = Frames.concatenate(new) if new else None
        parents = list({node.uuid: node for node in self.shared.values()}.values())
        return PaceDatasetData(frames, parents=parents, keep=set(self.shared), sources=self.sources)

    def report(self) -> dict[str, Any]:
        """Return what became of the given frames; sources are named by their labels, not by uuid."""
        return {
            'n_given': self.n_given,
            'n_added': self.n_given - self.n_duplicates - len(self.refusals),
            'n_duplicates': self.n_duplicates,
            'n_refused': len(self.refusals),
            'refused': [
                {
                    'source': refusal.source,
                    'step': refusal.step,
                    'reason': refusal.reason.value,
                    'message': refusal.message,
                }
                for refusal in self.refusals
            ],
            'conflicts': self.conflicts,
        }


def merge_sources(
    base: PaceDatasetData | None, sources: Mapping[str, Source], options: MergeOptions
) -> tuple[PaceDatasetData, dict[str, Any]]:
    """Return the frames of a dataset and of all sources as one dataset, and what became of the given frames.

    :raises FramesRefused: if more frames are refused than the options allow.
    :raises ValueError: if there is nothing to merge, or if labelled and unlabelled frames would be mixed.
    """
    merger = Merger(options)
    if base is not None:
        merger.take_base(base)
    for label, node in sorted(sources.items()):
        merger.take(label, node)
    enforce(merger.refusals, merger.n_given, options.max_failed_fraction)
    return merger.dataset(), merger.report()


def _energies(frames: Frames) -> FloatArray:
    return np.full(len(frames), np.nan) if frames.energy is None else frames.energy
