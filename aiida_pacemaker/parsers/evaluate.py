"""Parser of the evaluation job."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode

from aiida_pacemaker.analysis.quality import spreads
from aiida_pacemaker.analysis.statistics import coverage_of, errors_of, largest_per_frame, quantiles_of
from aiida_pacemaker.baseline.evaluation import evaluate
from aiida_pacemaker.baseline.reference_energies import reference_energy
from aiida_pacemaker.calculations.evaluate import PaceEvaluateCalculation
from aiida_pacemaker.calculations.unseen import unseen_of
from aiida_pacemaker.data.arrays import array_data
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.drivers.evaluation_files import read_evaluation
from aiida_pacemaker.errors import EvaluationFileError
from aiida_pacemaker.frames.table import FloatArray
from aiida_pacemaker.pace.unseen import UNKNOWN, Unseen, unseen_atoms
from aiida_pacemaker.parsers.base import PaceParser, finite


class PaceEvaluateParser(PaceParser):
    """Add baseline and reference energies to what the potential says, and compare with the labels."""

    def parse(self, **kwargs: Any) -> ExitCode:
        """Parse the retrieved files."""
        folder = kwargs.get('retrieved_temporary_folder')
        if PaceEvaluateCalculation.SUMMARY not in self.names:
            return self.verdict(self.diagnose(), self.silent())
        errors: dict[str, Any] = {'datasets': {}}
        problem = None
        unseen = self.unseen(errors)
        for label, dataset in sorted(self.inputs.datasets.items()):
            try:
                arrays = self.read(folder, label, dataset)
            except EvaluationFileError as exception:
                invalid = self.exit_codes.ERROR_EVALUATION_INVALID.format(reason=f'{label}: {exception}')
                problem = self.unusable(invalid, folder)
                continue
            evaluation, errors['datasets'][label] = complete(arrays, dataset, self.inputs.potential, unseen)
            self.out(f'evaluations.{label}', evaluation)
        try:
            summary = json.loads(self.read_text(PaceEvaluateCalculation.SUMMARY))
            errors |= {key: finite(summary[key]) for key in ('seconds', 'versions')}
        except (ValueError, KeyError, TypeError, RecursionError) as exception:
            self.logger.warning(f'{PaceEvaluateCalculation.SUMMARY} is left out: {exception}')
        self.out('errors', orm.Dict(finite(errors)))
        return self.verdict(problem)

    def unseen(self, errors: dict[str, Any]) -> Unseen | None:
        """Return the interactions that the data of the active set never had, and say what is known of them.

        :param errors: where their names and warnings are put.
        """
        inputs = self.inputs
        if 'active_set' not in inputs:
            return None
        unseen = unseen_of(inputs.active_set, inputs.potential)
        warning = UNKNOWN if unseen is None else unseen.warning
        errors |= {'unseen': None if unseen is None else unseen.names, 'warnings': [warning] if warning else []}
        if unseen is None:
            self.logger.warning(warning)
        return unseen

    def read(self, folder: str | None, label: str, dataset: PaceDatasetData) -> dict[str, FloatArray]:
        """Return the arrays that the driver wrote for one dataset."""
        path = self.temporary(folder, PaceEvaluateCalculation.output_of(label))
        if path is None:
            raise EvaluationFileError('there is no file with results')
        return read_evaluation(
            path,
            dataset.n_frames,
            dataset.n_atoms,
            with_gamma='active_set' in self.inputs,
            with_sigma=label in PaceEvaluateCalculation.with_error_bars(self.inputs),
        )


def complete(
    arrays: dict[str, FloatArray], dataset: PaceDatasetData, potential: PacePotentialData, unseen: Unseen | None = None
) -> tuple[orm.ArrayData, dict[str, Any]]:
    """Return what is comparable with labels, and how it compares.

    :param arrays: what the potential alone says of the frames of the dataset.
    :param unseen: interactions that the data of the active set never had: gamma of atoms that have them is infinite.
    :returns: the arrays with baseline and reference energies added, and the errors and quantiles.
    """
    frames = dataset.get_frames()
    terms = evaluate(potential.baseline, frames)
    arrays = {
        **arrays,
        'energy': arrays['energy'] + terms.energy + reference_energy(frames, potential.reference_energies),
        'forces': arrays['forces'] + terms.forces,
        'stress': arrays['stress'] + terms.stress,
    }
    errors: dict[str, Any] = {'n_frames': len(frames)}
    if frames.labelled:
        errors |= errors_of(frames, arrays['energy'], arrays['forces'], arrays['stress']) | spreads(frames)
    if 'gamma' in arrays:
        if unseen:
            arrays['gamma'] = np.where(unseen_atoms(frames, unseen), np.inf, arrays['gamma'])
        arrays['gamma_max'] = largest_per_frame(frames, arrays['gamma'])
        errors['gamma'] = quantiles_of(arrays['gamma_max'])
    if 'sigma_forces' in arrays:
        if unseen:
            arrays['sigma_forces'] = np.where(unseen_atoms(frames, unseen), np.inf, arrays['sigma_forces'])
        arrays['sigma_max'] = largest_per_frame(frames, arrays['sigma_forces'])
        errors['sigma'] = quantiles_of(arrays['sigma_max'])
        if frames.forces is not None:
            errors['coverage'] = coverage_of(arrays['forces'] - frames.forces, arrays['sigma_forces'])
    return array_data(arrays), errors
