"""The posterior of a linear fit as an input of jobs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from aiida import orm

from aiida_pacemaker.drivers.linear_files import POSTERIOR


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


def validate_posterior(node: orm.ArrayData | None, _: Any) -> str | None:
    """Check that the posterior has error bars of forces."""
    if node is None:
        return None
    if missing := missing_arrays(node, POSTERIOR):
        return f'{missing} training of the potential'
    if not np.isfinite(node.get_array('calibration')[1]).all():
        return 'the error bars of the fit are not calibrated, for it had too few frames: leave `posterior` out'
    return None
