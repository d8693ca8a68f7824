"""What a merge says of the labels that it is given."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from aiida_pacemaker.errors import ContradictionError
from aiida_pacemaker.frames.consistency import Finding, Verdict, examine
from aiida_pacemaker.frames.magnitudes import EnergyBook, Oddity, joined, odd_labels
from aiida_pacemaker.frames.table import BoolArray, Frames

#: A source with fewer frames is looked at together with others that have few.
FEW = 4
#: How many frames of such sources are looked at.
POOLED = 400
#: What these are called.
POOL = 'sources with few frames'
#: How many contradictions a message spells out.
SHOWN = 5


@dataclass
class LabelWatch:
    """Looks at the labels of all frames that are good, one part at a time."""

    oddities: list[Oddity] = field(default_factory=list)
    energies: EnergyBook = field(default_factory=EnergyBook)
    findings: list[tuple[str, Finding]] = field(default_factory=list)
    pool: list[Frames] = field(default_factory=list)
    n_pooled: int = 0

    def look_at(self, frames: Frames, good: BoolArray, source: str, first: int) -> None:
        """Take note of frames of a source.

        :param frames: all frames of a part of it.
        :param good: which of them can be used, shape (F,).
        :param first: position in the source of the first of them.
        """
        if not frames.labelled or not good.any():
            return
        self.oddities += odd_labels(frames, good, source, first)
        self.energies.enter(frames, good, source, first)
        usable = frames.select(good)
        if len(usable) >= FEW:
            self.findings += [(f'`{source}`', finding) for finding in examine(usable)]
        elif self.n_pooled < POOLED:
            self.pool.append(usable)
            self.n_pooled += len(usable)

    def compare_with(self, frames: Frames) -> None:
        """Take frames that are known for what others are compared with."""
        self.energies.enter(frames, np.ones(len(frames), dtype=np.bool_), None)

    def finish(self, *, pool: bool) -> None:
        """Look at the frames of sources with few of them.

        :param pool: whether their labels can be compared with each other, being of one level of theory.
        """
        if self.pool and pool:
            self.findings += [(POOL, finding) for finding in examine(Frames.concatenate(self.pool))]
        self.pool = []

    def contradictions(self) -> list[str]:
        """Return what was found to contradict itself."""
        return [
            f'{finding.label} of {source}: {finding.text}'
            for source, finding in self.findings
            if finding.verdict is Verdict.CONTRADICTION
        ]

    def refuse_contradictions(self) -> None:
        """Refuse labels that do not belong together.

        :raises ContradictionError: naming the sources, what was found, and what to do.
        """
        found = self.contradictions()
        if found:
            more = f', and {len(found) - SHOWN} more' if len(found) > SHOWN else ''
            raise ContradictionError(
                'labels contradict each other. '
                + '. '.join(found[:SHOWN])
                + f'{more}. Energies of the cell in eV, forces in eV/angstrom and stresses in eV/angstrom^3 (tension '
                'positive) are needed: correct the source, or say its `conventions` or `keys`. To merge it as it is, '
                "set `contradictions` to 'warn'"
            )

    def warnings(self) -> list[str]:
        """Return what has to be said."""
        contradictions = [f'labels contradict each other: {text}' for text in self.contradictions()]
        return contradictions + [oddity.text() for oddity in joined([*self.oddities, *self.energies.odd()])]

    def checks(self) -> dict[str, str]:
        """Return for each label whether the frames confirm it: `consistent`, `contradiction` or `cannot be told`."""
        checks = {}
        for label in ('energy', 'forces', 'stress'):
            found = [(source, finding) for source, finding in self.findings if finding.label == label]
            for verdict in (Verdict.CONTRADICTION, Verdict.CONSISTENT, Verdict.UNKNOWN):
                these = [(source, finding) for source, finding in found if finding.verdict is verdict]
                if these:
                    source, finding = these[0]
                    others = f' (and in {len(these) - 1} of {len(found) - 1} others)' if len(these) > 1 else ''
                    checks[label] = f'{verdict.value}: {source}{others}: {finding.text}'
                    break
            else:
                checks[label] = f'{Verdict.UNKNOWN.value}: there are no labels'
        return checks
