"""Frames that could not be labelled, as every labeller lists them in its output `failures`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiida_pacemaker.frames.hashing import frame_hashes, hex_hashes
from aiida_pacemaker.frames.table import Frames

#: Kind of a reason, and a message.
Failure = tuple[str, str]


def failure_entries(frames: Frames, reasons: Sequence[Failure]) -> list[dict[str, Any]]:
    """Return an entry for each frame that could not be labelled.

    :param frames: these ``F`` frames.
    :param reasons: kind of the reason and message of each, ``F`` in all.
    :returns: the content `hash` of each frame, its `source` and `step`, and `reason` and `message`.
    """
    hashes = hex_hashes(frame_hashes(frames)) if len(frames) else []
    return [
        {
            'hash': digest,
            'source': frames.source_of(frame),
            'step': int(frames.step[frame]),
            'reason': reason,
            'message': message,
        }
        for frame, (digest, (reason, message)) in enumerate(zip(hashes, reasons, strict=True))
    ]
