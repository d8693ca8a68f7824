"""Which frames of a run of an exploration are kept: those that are worth a label, and the one at the edge.

It needs nothing at all: this file is also put beside the drivers, which run where this package is not installed. The
script of LAMMPS keeps frames at its checks by the same rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Keeping:
    """The rule by which frames are kept.

    :param gamma_low: a frame is worth a label from this largest gamma of its atoms on.
    :param gamma_high: above this gamma a frame is nothing that is wanted, and the run ends.
    :param max_frames_per_run: largest number of frames that are kept.
    :param spacing: smallest number of steps between two of them.
    """

    def __init__(self, gamma_low: float, gamma_high: float, max_frames_per_run: int, spacing: int) -> None:
        self.gamma_low = gamma_low
        self.gamma_high = gamma_high
        self.max_frames_per_run = max_frames_per_run
        self.spacing = spacing

    def has_room(self, kept: Sequence[int], step: int) -> bool:
        """Tell whether a frame can be kept without giving up another.

        :param kept: steps of the frames that are kept, rising.
        :param step: that of the frame.
        """
        if len(kept) >= self.max_frames_per_run:
            return False
        return not kept or step - kept[-1] >= self.spacing

    def is_worthy(self, gamma: float, is_unseen: bool) -> bool:
        """Tell whether a frame before the end of a run is worth a label.

        One with interactions that the data never had is, whatever gamma says of the active set, unless that is too high
        for it to be anything that is wanted.

        :param gamma: largest gamma of its atoms by the active set alone.
        :param is_unseen: whether any atom has interactions that the data never had.
        """
        return bool((is_unseen or gamma >= self.gamma_low) and gamma <= self.gamma_high)

    def edge(
        self, kept: Sequence[int], passed: Sequence[int], is_wanted: Callable[[int], bool]
    ) -> tuple[int, int] | None:
        """Return the frame at the edge of what a potential knows: the latest that is wanted before a run ended.

        It comes in place of the last frame kept if there is no room for it.

        :param kept: steps of the frames that are kept, rising.
        :param passed: steps that the run came through before it ended, rising.
        :param is_wanted: tells of a position in `passed` whether the frame is worth a label and possible; it is asked
            from the end on.
        :returns: the position in `passed`, and how many of the kept frames stay; None if there is no such frame.
        """
        for position in reversed(range(len(passed))):
            if kept and kept[-1] >= passed[position]:
                return None
            if is_wanted(position):
                return position, len(kept) - (not self.has_room(kept, passed[position]))
        return None
