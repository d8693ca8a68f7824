"""Which weights the frames of a merge have, and with what those count that have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.frames.weights import Weights

#: Frames without weights in datasets count as 1. Where others have a mean beyond this range, nobody can have meant it.
_COMPARABLE = 0.1, 10.0


class FrameWeights(BaseModel):
    """How much frames count in a fit; only ratios matter."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    energy: float = Field(default=1.0, ge=0, description='Weight of the energy of each frame.')
    forces: float = Field(default=1.0, ge=0, description='Weight of the force on each atom.')


@dataclass
class WeightBook:
    """Sets the weights of sources, and remembers who has some.

    :param wanted: weights by the label of the source, or those of all sources.
    """

    wanted: FrameWeights | Mapping[str, FrameWeights]
    #: Of those that bring their own.
    own: Weights = field(default_factory=Weights)
    #: Frames of datasets that have none, by label.
    without: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def sets(self, label: str) -> FrameWeights | None:
        """Return the weights that a source is given, None if it is given none."""
        return self.wanted if isinstance(self.wanted, FrameWeights) else self.wanted.get(label)

    def take_dataset(self, label: str, dataset: PaceDatasetData) -> None:
        """Note the weights that the frames of a dataset have."""
        if self.sets(label) is None:
            weights = dataset.weights
            self.own = self.own.plus(weights)
            if weights.n_frames < dataset.n_frames:
                self.without[label] = dataset.n_frames - weights.n_frames

    def of_dataset(self, label: str, frames: Frames) -> Frames:
        """Return frames of a dataset with the weights that they are given, or with their own."""
        wanted = self.sets(label)
        return frames if wanted is None else frames.with_weights(wanted.energy, wanted.forces)

    def of_others(self, parts: Sequence[tuple[str, Frames]]) -> list[Frames]:
        """Return the frames of trajectories and files with weights, if any frame of the merge has some.

        Those that have none and are given none count like the mean of those that bring their own.

        :param parts: the frames, with the label of their source.
        """
        for label, frames in parts:
            if self.sets(label) is None:
                self.own = self.own.plus(Weights.of(frames))
        weighted = [self.of_dataset(label, frames) for label, frames in parts]
        energy, forces = (self.own.energy_mean, self.own.forces_mean) if self.own.n_frames else (1.0, 1.0)
        if not self.own.n_frames and not any(frames.weighted for frames in weighted):
            return weighted
        filled = []
        for (label, _), frames in zip(parts, weighted, strict=True):
            if not frames.weighted:
                said = 'the mean of those that have some' if self.own.n_frames else 'as frames without weights do'
                self.warnings.append(
                    f'{label}: {len(frames)} frame(s) have no weights, others have: they count with {energy:.6g} for '
                    f"the energy and {forces:.6g} for each atom, {said}. To set them: weights={{'{label}': {{'energy': "
                    f"{energy:.6g}, 'forces': {forces:.6g}}}}}"
                )
            filled.append(frames if frames.weighted else frames.with_weights(energy, forces))
        return filled

    def repeated(self, count: int) -> None:
        """Note that frames with weights are there already."""
        self.warnings.append(
            f'{count} frame(s) with weights repeat frames that are there already, which keep the weights that they '
            'have: to change these, merge the dataset as a source with `weights`'
        )

    def said(self) -> list[str]:
        """Return what has to be said at the end.

        :raises ValueError: if frames of datasets have no weights, where others have some that are of another size.
        """
        if not self.without or not self.own.n_frames:
            return self.warnings
        means = f'{self.own.energy_mean:.6g} for the energy and {self.own.forces_mean:.6g} for each atom'
        counts = ', '.join(f'{count} of {label}' for label, count in self.without.items())
        text = f'{counts} have no weights and count with 1 (energy and each atom); the mean of others is {means}'
        low, high = _COMPARABLE
        if not (low <= self.own.energy_mean <= high and low <= self.own.forces_mean <= high):
            raise ValueError(
                f'frames without weights cannot be merged with these: {text}. Scale the weights so that 1 is that of a '
                "usual frame, or give all datasets as sources with weights={'source_0000': {'energy': ..., 'forces': "
                '...}, ...}, which sets them anew'
            )
        return [*self.warnings, text]
