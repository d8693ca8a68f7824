"""Parser of the selection by the posterior of a linear fit."""

from __future__ import annotations

from typing import Any

from aiida.engine import ExitCode

from aiida_pacemaker.calculations.select_posterior import PaceSelectPosteriorCalculation
from aiida_pacemaker.drivers.selection_files import read_choice
from aiida_pacemaker.errors import SelectionFileError
from aiida_pacemaker.parsers.select import PaceSelectParser


class PaceSelectPosteriorParser(PaceSelectParser):
    """Attach the selected frames, and what each is worth.

    With an active set, frames with interactions that its data never had come first, as of `pace_select`.
    """

    def parse(self, **kwargs: Any) -> ExitCode:
        """Parse the retrieved files."""
        folder = kwargs.get('retrieved_temporary_folder')
        job = PaceSelectPosteriorCalculation
        if job.SUMMARY not in self.names:
            return self.verdict(self.diagnose(), self.silent(folder))
        candidates = dict(sorted(self.inputs.candidates.items()))
        path = self.temporary(folder, job.SELECTED)
        try:
            if path is None:
                raise SelectionFileError(f'{job.SELECTED} is not there')
            rows, gains = read_choice(path, sum(dataset.n_frames for dataset in candidates.values()))
        except SelectionFileError as exception:
            invalid = self.exit_codes.ERROR_SELECTION_INVALID.format(reason=str(exception))
            return self.verdict(self.diagnose(), self.unusable(invalid))
        self.attach(rows, candidates, {**self.costs(job.SUMMARY), 'gains': gains.tolist()})
        return self.verdict()
