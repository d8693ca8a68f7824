"""Isolated atoms among the frames of a merge, which can give the reference energies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.checks import MAX_ENERGY
from aiida_pacemaker.frames.isolated import isolated_atoms
from aiida_pacemaker.frames.table import BoolArray, Frames
from aiida_pacemaker.frames.theory import LevelOfTheory


@dataclass
class AtomsAside:
    """Labelled atoms alone, which stay among the others or become a dataset of their own."""

    #: Where each is from, its element and its energy in eV.
    found: list[dict[str, Any]] = field(default_factory=list)
    aside: list[Frames] = field(default_factory=list)
    #: The nodes of their source keys.
    sources: dict[str, str] = field(default_factory=dict)
    #: Those whose source is not noted yet.
    unclaimed: list[Frames] = field(default_factory=list)

    @property
    def n_aside(self) -> int:
        """Number of atoms that do not stay among the others."""
        return sum(len(frames) for frames in self.aside)

    def look_at(self, frames: Frames, label: str, first: int, *, set_aside: bool) -> BoolArray:
        """Take note of labelled atoms alone, and return which of the frames are set aside, shape (F,).

        :param label: label of the source.
        :param first: position in the source of the first frame.
        :param set_aside: whether any are.
        """
        alone = isolated_atoms(frames)
        if frames.energy is None:
            return np.zeros_like(alone)
        alone &= np.isfinite(frames.energy) & (np.abs(frames.energy) <= MAX_ENERGY)
        self.found += [
            {
                'source': label,
                'frame': first + row,
                'step': int(frames.step[row]),
                'element': str(chemical_symbols[int(frames.numbers[frames.offsets[row]])]),
                'energy': float(frames.energy[row]),
            }
            for row in np.flatnonzero(alone).tolist()
        ]
        if not set_aside:
            return np.zeros_like(alone)
        if alone.any():
            atoms = frames.select(alone)
            # By symmetry nothing pulls at an atom alone, and in vacuum its stress has no meaning.
            forces, stress = np.zeros((len(atoms), 3)), np.full((len(atoms), 3, 3), np.nan)
            self.unclaimed.append(atoms.with_labels(frames.energy[alone], forces, stress))
        return alone

    def claim(self, sources: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
        """Note where the atoms are from that were set aside last, and iterate over their source keys.

        :param sources: uuid of the node of each source key.
        """
        waiting, self.unclaimed = self.unclaimed, []
        for atoms in waiting:
            self.aside.append(atoms)
            self.sources |= {key: sources[key] for key in atoms.source_keys}
            yield atoms.source_keys

    def dataset(self, levels: Mapping[str, LevelOfTheory]) -> PaceDatasetData | None:
        """Return those that do not stay among the others, or None if there are none."""
        if not self.aside:
            return None
        return PaceDatasetData(Frames.concatenate(self.aside), sources=self.sources, theories=levels)

    def warnings(self) -> list[str]:
        """Return what has to be said of those that stay."""
        if len(self.found) == self.n_aside:
            return []
        return [
            f'{len(self.found)} frames are isolated atoms (see `isolated_atoms`), which have nothing to fit: the '
            "engine may drop them without a word. `isolated_atoms='set_aside'` in the merge keeps them out, and "
            '`reference_energies_from` gives their energies'
        ]
