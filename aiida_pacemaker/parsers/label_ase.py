"""Parser of the labelling job."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode

from aiida_pacemaker.calculations.label_ase import AseLabelCalculation
from aiida_pacemaker.data.trajectories import trajectories_from_frames
from aiida_pacemaker.engine.evaluation_files import read_evaluation
from aiida_pacemaker.frames.hashing import frame_hashes, hex_hashes
from aiida_pacemaker.frames.table import Frames, IntArray
from aiida_pacemaker.parsers.base import PaceParser, finite

#: Name and message of the error of a frame that has no labels and of which the driver says nothing.
UNKNOWN = ('unknown', 'the driver gave no reason')


class AseLabelParser(PaceParser):
    """Attach the labelled frames, and say which are missing and why."""

    def parse(self, **kwargs: Any) -> ExitCode:
        """Parse the retrieved files."""
        path = self.temporary(kwargs.get('retrieved_temporary_folder'), AseLabelCalculation.LABELS)
        if AseLabelCalculation.SUMMARY not in self.names or path is None:
            return self.verdict(self.diagnose(), self.silent())
        dataset = self.node.inputs.dataset
        try:
            arrays = read_evaluation(path, dataset.n_frames, dataset.n_atoms, with_gamma=False, complete=False)
            summary = json.loads(self.read_text(AseLabelCalculation.SUMMARY))
            failures = {entry['frame']: (str(entry['reason']), str(entry['message'])) for entry in summary['failures']}
        except (ValueError, KeyError, TypeError, RecursionError) as exception:
            return self.verdict(self.exit_codes.ERROR_LABELS_INVALID.format(reason=str(exception)))

        frames = dataset.get_frames().with_labels(arrays['energy'], arrays['forces'], arrays['stress'])
        whole = np.isfinite(arrays['forces']).all(axis=1)
        good = np.isfinite(arrays['energy']) & np.logical_and.reduceat(whole, frames.offsets[:-1])
        self.out(
            'failures',
            orm.Dict({'failures': _listed(frames, np.flatnonzero(~good), failures), **finite(_costs(summary))}),
        )
        for index, trajectory in enumerate(trajectories_from_frames(frames.select(good))):
            self.out(f'trajectories.composition_{index:04d}', trajectory)
        if not good.any():
            reason = ': '.join(failures.get(0, UNKNOWN))
            return self.verdict(self.exit_codes.ERROR_ALL_LABELS_FAILED.format(count=len(frames), reason=reason))
        return self.verdict()


def _listed(frames: Frames, missing: IntArray, failures: dict[int, tuple[str, str]]) -> list[dict[str, Any]]:
    hashes = hex_hashes(frame_hashes(frames.select(missing)))
    return [
        {
            'hash': digest,
            'source': frames.source_of(frame),
            'step': int(frames.step[frame]),
            'reason': failures.get(frame, UNKNOWN)[0],
            'message': failures.get(frame, UNKNOWN)[1],
        }
        for frame, digest in zip(missing.tolist(), hashes, strict=True)
    ]


def _costs(summary: dict[str, Any]) -> dict[str, Any]:
    return {key: summary[key] for key in ('seconds', 'versions') if key in summary}
