"""The posterior of a linear fit as an input of jobs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from aiida import orm


def archive_of(posterior: orm.ArrayData, names: Sequence[str]) -> bytes:
    """Return arrays of a posterior as an archive, the same for the same arrays."""
    content = io.BytesIO()
    arrays: dict[str, Any] = {name: posterior.get_array(name) for name in names}
    np.savez(content, **arrays)
    return content.getvalue()


def missing_arrays(posterior: orm.ArrayData, names: Sequence[str]) -> str:
    """Return which arrays a posterior lacks, as the beginning of a message; empty if none."""
    missing = sorted(set(names) - set(posterior.get_arraynames()))
    return f'`posterior` has no {", ".join(missing)}: give the output `posterior` of the' if missing else ''
