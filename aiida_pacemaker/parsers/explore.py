"""Parser of the exploration job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiida import orm
from aiida.engine import ExitCode

from aiida_pacemaker.baseline.reference_energies import reference_energy
from aiida_pacemaker.calculations.checks.inputs import options_of
from aiida_pacemaker.calculations.explore import PaceExploreCalculation, run_keys, starting_frames
from aiida_pacemaker.calculations.unseen import unseen_of
from aiida_pacemaker.data.arrays import array_data
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.drivers.exploration_files import Ending, read_endings, read_run
from aiida_pacemaker.errors import ExplorationFileError
from aiida_pacemaker.exploration.options import ExploreOptions, Reason
from aiida_pacemaker.exploration.results import Run, candidate_frames, grades, report, trace_columns
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.pace.unseen import UNKNOWN
from aiida_pacemaker.parsers.base import PaceParser, finite


class ExplorationParser(PaceParser):
    """Base of the parsers of all exploration jobs: the outputs that are made of runs."""

    def attach(self, starts: Frames, runs: Sequence[Run], **more: Any) -> None:
        """Attach the outputs.

        :param starts: the structures that the runs began from.
        :param runs: those that came to their end.
        :param more: further entries of the report.
        """
        inputs = self.inputs
        options = options_of(ExploreOptions, inputs)
        if unseen_of(inputs.active_set, inputs.potential) is None:
            self.logger.warning(UNKNOWN)
        content = {**report(runs, options.copies), 'n_planned': len(starts), **more}
        self.out('report', orm.Dict(finite(content)))
        if not runs:
            return
        self.out('traces', array_data(trace_columns(runs, options.timestep)))
        candidates = candidate_frames(starts, runs, run_keys(starts, inputs))
        if candidates is not None:
            self.out('candidates', PaceDatasetData(candidates))
            known = grades(runs)
            if 'energy' in known:
                known['energy'] = known['energy'] + reference_energy(candidates, inputs.potential.reference_energies)
            self.out('grades', array_data(known))

    def judge(self, runs: Sequence[Run]) -> ExitCode | None:
        """Return the exit code of a job in which every run failed, None for others."""
        if any(run.reason is not Reason.FAILED or len(run.kept_step) for run in runs):
            return None
        reason = runs[0].message if runs else 'nothing'
        return self.exit_codes.ERROR_ALL_RUNS_FAILED.format(count=len(runs), reason=reason)


class PaceExploreParser(ExplorationParser):
    """Attach kept frames, checks and report of the runs."""

    def parse(self, **kwargs: Any) -> ExitCode:
        """Parse the retrieved files."""
        folder = kwargs.get('retrieved_temporary_folder')
        inputs = self.inputs
        if PaceExploreCalculation.RUNS not in self.names:
            return self.verdict(self.diagnose(), self.silent())
        options = options_of(ExploreOptions, inputs)
        starts = starting_frames(inputs.initial_structures, options, int(inputs.random_seed.value))
        with self.repository.open(PaceExploreCalculation.RUNS, 'rb') as handle:
            endings = read_endings(handle, len(starts), options)
        whole = PaceExploreCalculation.SUMMARY in self.names
        if not endings and not whole:
            return self.verdict(self.diagnose(), self.silent(folder))
        runs, problems = self.read(folder, endings, starts, options)
        self.attach(starts, runs, **self.costs(PaceExploreCalculation.SUMMARY))
        if problems:
            invalid = self.exit_codes.ERROR_EXPLORATION_INVALID.format(count=len(problems), reason=problems[0])
            return self.verdict(self.unusable(invalid, folder))
        if len(endings) < len(starts):
            missing = len(starts) - len(endings)
            code = self.exit_codes.ERROR_EXPLORATION_INTERRUPTED.format(missing=missing, count=len(starts))
            return self.verdict(code)
        return self.verdict(self.judge(runs))

    def read(
        self, folder: str | None, endings: dict[int, Ending], starts: Frames, options: ExploreOptions
    ) -> tuple[list[Run], list[str]]:
        """Return the runs that came to their end, and what is wrong with the files of the others."""
        runs, problems = [], []
        for number, ending in endings.items():
            path = self.temporary(folder, PaceExploreCalculation.output_of(number))
            try:
                if path is None:
                    raise ExplorationFileError(f'there is no file with the results of run {number}')
                runs.append(read_run(path, number, ending, int(starts.n_atoms[number]), options))
            except ExplorationFileError as exception:
                problems.append(str(exception))
        return runs, problems
