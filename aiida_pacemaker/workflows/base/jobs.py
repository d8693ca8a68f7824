"""Restart chains with more than one job: what of their inputs is for which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiida_pacemaker.calculations.base import PaceCalcJob


def own_inputs(job: type[PaceCalcJob], inputs: Mapping[str, Any], jobs: Iterable[type[PaceCalcJob]]) -> dict[str, Any]:
    """Return the inputs of a job out of those of a chain, whose parser may be that of another job by default.

    :param jobs: all jobs of the chain.
    """
    own = {name: value for name, value in inputs.items() if name in job.spec().inputs}
    if 'metadata' in own:
        options = dict(own['metadata'].get('options', {}))
        if options.get('parser_name') in {one.PARSER for one in jobs}:
            options['parser_name'] = job.PARSER
        own['metadata'] = {**own['metadata'], 'options': options}
    return own
