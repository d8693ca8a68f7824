"""Keys of frames that were given as they are, not read from a node: they follow from their content.

A key that somebody has made up may be made up twice, and two sources under one key are one: of one origin, and with
labels of one level of theory.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from hashlib import sha256

import numpy as np

from aiida_pacemaker.frames.table import COLUMNS, Frames

#: What follows the name in a key that was made of content, and what a key is that AiiDA has made of a node.
_OF_CONTENT = re.compile(r'@[0-9a-f]{16}$')
_OF_NODE = re.compile(r'[0-9a-f]{64}')


def follows_from_content(key: str) -> bool:
    """Return whether two sources with this key are equal."""
    return _OF_NODE.fullmatch(key) is not None or _OF_CONTENT.search(key) is not None


def with_content_keys(frames: Frames, known: Collection[str]) -> tuple[Frames, dict[str, str]]:
    """Return frames whose source keys say the content of their source, after the name that it was given.

    :param frames: structures and labels.
    :param known: the keys of sources that have a node, which stay as they are.
    :returns: the frames, and the new key of each source that has got one.
    """
    used = np.unique(frames.source).tolist()
    free = [place for place in used if frames.source_keys[place] not in known]
    if not free:
        return frames, {}
    keys = list(frames.source_keys)
    for place in free:
        part = frames if len(used) == 1 else frames.select(np.flatnonzero(frames.source == place))
        keys[place] = f'{_OF_CONTENT.sub("", keys[place])}@{_digest(part)[:16]}'
    # One that is not used may be the same as a new one, and keys are distinct.
    order = np.full(len(keys), -1)
    order[used] = np.arange(len(used))
    renamed = {frames.source_keys[place]: keys[place] for place in free}
    return replace(frames, source_keys=tuple(keys[place] for place in used), source=order[frames.source]), renamed


def _digest(frames: Frames) -> str:
    """Return a hash of all that frames say of structures and labels."""
    digest = sha256()
    for name in COLUMNS:
        column = getattr(frames, name)
        if name not in ('source', 'generation') and column is not None:
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()
