"""Parser of the labelling job."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode

from aiida_pacemaker.calculations.label_ase import INTERRUPTED, RUNNING, AseCalculator, AseLabelCalculation
from aiida_pacemaker.data.trajectories import trajectories_from_frames
from aiida_pacemaker.drivers.label_files import Labels, read_labels, read_versions
from aiida_pacemaker.frames.label_failures import Failure, failure_entries
from aiida_pacemaker.frames.table import BoolArray
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.pace.output.failures import diagnose
from aiida_pacemaker.parsers.base import PaceParser


class AseLabelParser(PaceParser):
    """Attach the labelled frames, and say which are missing and why."""

    def parse(self, **_: Any) -> ExitCode:
        """Parse the retrieved files."""
        if AseLabelCalculation.LABELS not in self.names:
            return self.verdict(self.diagnose(), self.silent())
        whole = AseLabelCalculation.SUMMARY in self.names
        frames = self.inputs.dataset.get_frames()
        with self.repository.open(AseLabelCalculation.LABELS, 'rb') as handle:
            labels = read_labels(handle, frames)
        frames = frames.with_labels(labels.energy, labels.forces, labels.stress)
        good = np.isfinite(labels.energy)
        failures = _failures(labels, good, whole)
        costs = self.costs(AseLabelCalculation.SUMMARY)
        listed = failure_entries(frames.select(list(failures)), list(failures.values()))
        self.out('failures', orm.Dict({'failures': listed, **costs}))
        theory = self.theory(read_versions(costs.get('versions')) or labels.versions)
        for index, trajectory in enumerate(trajectories_from_frames(frames.select(good), theory=theory)):
            self.out(f'trajectories.composition_{index:04d}', trajectory)
        if not whole:
            missing = sum(reason in (INTERRUPTED, RUNNING) for reason, _ in failures.values())
            # The standard error holds the tracebacks of all frames that failed, which are not the reason.
            return self.verdict(self.exit_codes.ERROR_LABELS_INTERRUPTED.format(missing=missing, count=len(frames)))
        if not good.any():
            reason = ': '.join(failures[0])
            code = self.exit_codes.ERROR_ALL_LABELS_FAILED
            return self.verdict(code.format(count=len(frames), reason=reason, advice=_advice(reason)))
        return self.verdict()

    def theory(self, versions: dict[str, str]) -> LevelOfTheory:
        """Return the level of theory of the labels: the calculator, with the versions of its package and of ASE."""
        made = AseCalculator.model_validate(self.inputs.calculator.get_dict())
        packages = dict.fromkeys((made.calculator.partition(':')[0].partition('.')[0], 'ase'))
        named = [f'{package} {versions[package]}' for package in packages if package in versions]
        return LevelOfTheory(
            code=f'ase:{made.calculator}',
            version=', '.join(named) or None,
            energy='free',
            arguments=made.identity(),
        )


def _failures(labels: Labels, good: BoolArray, whole: bool) -> dict[int, Failure]:
    """Return for each frame without labels the kind of the reason and its message, in order."""
    unsaid: Failure = ('unknown', 'the driver gave no reason')
    if not whole:
        unsaid = (INTERRUPTED, 'the job was stopped before it came to this frame')
    failures = {frame: labels.failures.get(frame, unsaid) for frame in np.flatnonzero(~good).tolist()}
    if not whole and labels.running in failures:
        failures[labels.running] = (RUNNING, 'the job was stopped while it labelled this frame')
    return failures


def _advice(reason: str) -> str:
    """Return what to do about what a calculator said of a frame."""
    diagnosis = diagnose(AseLabelCalculation.PROGRAM, stderr=reason)
    return 'Repair the calculator or its arguments.' if diagnosis is None else diagnosis.message
