"""Calculation functions of labelling: which frames are left, and which have failed."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_pacemaker.calculations.label_ase import INTERRUPTED, RUNNING
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.hashing import hex_hashes


@calcfunction
def interrupted_frames(dataset: PaceDatasetData, failures: orm.Dict) -> dict[str, PaceDatasetData]:
    """Return the frames that a job was to label and did not come to; no output if there are none.

    The frame that the job was stopped at is the last: it may be the reason.

    :param failures: the output of the labelling job.
    """
    reasons = {entry['hash']: entry['reason'] for entry in failures['failures']}
    of_frame = [reasons.get(digest) for digest in hex_hashes(dataset.get_hashes())]
    left = [frame for reason in (INTERRUPTED, RUNNING) for frame, of in enumerate(of_frame) if of == reason]
    if not left:
        return {}
    frames = dataset.get_frames().select(np.array(left))
    return {'dataset': PaceDatasetData(frames, sources=dataset.source_uuids, theories=dataset.theories)}


@calcfunction
def join_failures(**jobs: orm.Dict) -> orm.Dict:
    """Return the failures and the costs of labelling jobs that followed each other.

    :param jobs: the output `failures` of each, by names in their order.
    """
    ordered = [job.get_dict() for _, job in sorted(jobs.items())]
    failures: list[dict[str, Any]] = [
        entry
        for job in ordered[:-1]
        for entry in job['failures']
        # What one job did not come to was given to the next.
        if entry['reason'] not in (INTERRUPTED, RUNNING)
    ]
    return orm.Dict(
        {
            'failures': [*failures, *ordered[-1]['failures']],
            'seconds': sum(job.get('seconds') or 0 for job in ordered),
            'versions': ordered[-1].get('versions'),
        }
    )


@calcfunction
def frames_without_labels(
    selected: PaceDatasetData, dataset: PaceDatasetData, earlier: PaceDatasetData | None = None
) -> dict[str, PaceDatasetData]:
    """Return the selected frames that did not get into a dataset, without labels, after those of earlier selections.

    There is no output if all are in the dataset.

    :param selected: what was to be labelled and merged.
    :param dataset: the dataset that it was merged into.
    :param earlier: what this function returned before.
    """
    missing = ~np.isin(selected.get_hashes(), dataset.get_hashes())
    if not missing.any():
        return {}
    frames = selected.get_frames().select(missing).without_labels()
    parents = [] if earlier is None else [earlier]
    return {'dataset': PaceDatasetData(frames, parents=parents, sources=selected.source_uuids)}
