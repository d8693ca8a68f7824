"""What comes of reading a source of frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiida_pacemaker.frames.table import Frames


@dataclass(frozen=True, eq=False)
class Reading:
    """The frames of a source, and what is to be said of them.

    :param frames: all of its frames, in their order.
    :param warnings: what was left out or is in doubt, and what to do about it; sentences for people.
    :param unconverged: why the labels of some frames cannot be trusted, by the position of the frame: the calculation
        ended before it was self-consistent.
    :param missing: what frames that lack labels have instead, by their position, for the message of a refusal.
    """

    frames: Frames
    warnings: tuple[str, ...] = ()
    unconverged: Mapping[int, str] = field(default_factory=dict)
    missing: Mapping[int, str] = field(default_factory=dict)
