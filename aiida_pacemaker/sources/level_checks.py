"""Whether the labels that meet in a dataset are of one level of theory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.errors import MixedLevelsError
from aiida_pacemaker.frames.theory import LevelOfTheory, differences

#: How many sources a message names.
NAMED = 5


@dataclass
class LevelConsistency:
    """Compares the levels of theory of all labels of a dataset."""

    #: By source key, as far as it is known.
    levels: dict[str, LevelOfTheory] = field(default_factory=dict)
    #: The label of the node that brought each source key.
    sources: dict[str, str] = field(default_factory=dict)
    #: What two nodes say of the labels of one source, where they do not say the same: it is in the texts as it is.
    contradictions: dict[str, None] = field(default_factory=dict)
    #: What differs between two levels, by their identities; they are kept, so that these stay theirs.
    _compared: dict[tuple[int, int], tuple[list[str], LevelOfTheory, LevelOfTheory]] = field(default_factory=dict)

    def enter(
        self, source: str, keys: Iterable[str], levels: Mapping[str, LevelOfTheory], otherwise: LevelOfTheory | None
    ) -> None:
        """Note the level of theory of some sources; of one that has been noted before, whether it is the same.

        :param source: label of the node that brought them.
        :param levels: what is known of each source key.
        :param otherwise: the level of those of which nothing is known.
        """
        for key in keys:
            level = levels.get(key, otherwise)
            if key in self.sources:
                self._compare(source, key, level)
                continue
            self.sources[key] = source
            if level is not None:
                self.levels[key] = level

    def compare(self, source: str, levels: Mapping[str, LevelOfTheory]) -> None:
        """Note whether a node says the same of the sources that have been noted before.

        :param source: label of the node.
        :param levels: what it says of each source key.
        """
        for key, level in levels.items():
            if key in self.sources:
                self._compare(source, key, level)

    def _compare(self, source: str, key: str, level: LevelOfTheory | None) -> None:
        known = self.levels.get(key)
        if known is None or level is None or known is level:
            return
        # Thousands of sources share a few objects.
        pair = (id(known), id(level))
        if pair not in self._compared:
            self._compared[pair] = (differences(known, level), known, level)
        found, *_ = self._compared[pair]
        if found:
            text = (
                f'`{self.sources[key]}` and `{source}` have labels of the same source, and differ in {"; ".join(found)}'
            )
            self.contradictions[text] = None

    def mixtures(self) -> list[str]:
        """Return a text for each pair of levels of theory that cannot be mixed: who has them, and what differs."""
        distinct = {id(level): level for level in self.levels.values()}
        fingerprints = {identity: level.fingerprint() for identity, level in distinct.items()}
        by_fingerprint = {fingerprints[identity]: level for identity, level in distinct.items()}
        sources: dict[str, dict[str, None]] = {}
        for key, level in self.levels.items():
            sources.setdefault(fingerprints[id(level)], {})[self.sources[key]] = None
        texts = list(self.contradictions)
        for (one, level), (other, second) in combinations(by_fingerprint.items(), 2):
            found = differences(level, second)
            if found:
                texts.append(
                    f'{_named(list(sources[one]))} and {_named(list(sources[other]))} differ in ' + '; '.join(found)
                )
        return texts

    def refuse_mixed(self) -> None:
        """Refuse labels that cannot be mixed.

        :raises MixedLevelsError: naming the sources, what differs, and what to do.
        """
        texts = self.mixtures()
        if texts:
            raise MixedLevelsError(
                'labels of different levels of theory cannot be mixed: '
                + '. '.join(texts)
                + '. Label all of them at one level, or leave one side out; if their energies are known to be '
                'comparable, merge with `mixed_levels` set to `warn`'
            )

    def warnings(self, dataset: PaceDatasetData) -> list[str]:
        """Return what has to be said of the levels of theory in a dataset.

        :param dataset: what the sources have become; its frames are counted if some levels are known and others not.
        """
        texts = [f'levels of theory are mixed: {text}' for text in self.mixtures()]
        unknown = [key for key in self.sources if key not in self.levels]
        if self.levels and unknown:
            counts = dataset.frames_per_source()
            n_unknown = sum(counts.get(key, 0) for key in unknown)
            sources = _named(list(dict.fromkeys(self.sources[key] for key in unknown)))
            texts.append(
                f'the level of theory of {n_unknown} of {dataset.n_frames} frames, from {sources}, is not known, so '
                'nothing says that their labels can be mixed with those of the others: say it with `levels`'
            )
        return texts


def _named(labels: list[str]) -> str:
    shown = ', '.join(f'`{label}`' for label in labels[:NAMED])
    return shown if len(labels) <= NAMED else f'{shown} and {len(labels) - NAMED} more'
