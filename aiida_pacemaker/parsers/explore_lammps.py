"""Parser of the exploration job with LAMMPS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida.engine import ExitCode

from aiida_pacemaker.calculations.checks.inputs import options_of
from aiida_pacemaker.calculations.explore import starting_frames
from aiida_pacemaker.calculations.explore_lammps import PaceExploreLammpsCalculation
from aiida_pacemaker.calculations.unseen import unseen_of
from aiida_pacemaker.errors import ExplorationFileError
from aiida_pacemaker.exploration.lammps_output import read_log, read_trace
from aiida_pacemaker.exploration.lammps_runs import failed_run, read_run
from aiida_pacemaker.exploration.lammps_script import LOG, TRACE
from aiida_pacemaker.exploration.options import ExploreOptions
from aiida_pacemaker.exploration.results import Run
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.parsers.explore import ExplorationParser


class PaceExploreLammpsParser(ExplorationParser):
    """Attach what the runs kept and saw, and say how they ended."""

    def parse(self, **kwargs: Any) -> ExitCode:
        """Parse the retrieved files."""
        retrieved = kwargs.get('retrieved_temporary_folder')
        folder = None if retrieved is None else Path(retrieved)
        inputs = self.inputs
        options = options_of(ExploreOptions, inputs)
        starts = starting_frames(inputs.initial_structures, options, int(inputs.random_seed.value))
        names = [PaceExploreLammpsCalculation.name_of(number) for number in range(len(starts))]
        begun = [number for number, name in enumerate(names) if folder and (folder / f'{name}.{LOG}').is_file()]
        if folder is None or not begun:
            return self.verdict(self.diagnose(), self.silent(retrieved))
        runs, problems = self.read(folder, names, begun, starts, options)
        self.attach(starts, runs, **_costs(folder, names, begun, options))
        if problems:
            invalid = self.exit_codes.ERROR_EXPLORATION_INVALID.format(count=len(problems), reason=problems[0])
            return self.verdict(self.unusable(invalid, retrieved))
        missing = len(starts) - len(runs)
        if missing:
            code = self.exit_codes.ERROR_EXPLORATION_INTERRUPTED.format(missing=missing, count=len(starts))
            return self.verdict(code)
        return self.verdict(self.judge(runs))

    def read(
        self, folder: Path, names: list[str], begun: list[int], starts: Frames, options: ExploreOptions
    ) -> tuple[list[Run], list[str]]:
        """Return the runs that came to their end, and what is wrong with the files of the others.

        A run without an end has failed if another came after it, or the job to its end; else it was stopped with the
        job.
        """
        potential = self.inputs.potential
        elements, unseen = potential.elements, unseen_of(self.inputs.active_set, potential)
        runs, problems = [], []
        for number in range(len(names)):
            start = starts.select([number])
            try:
                run = read_run(folder, names[number], number, start, elements, options, unseen)
                if run is None and (self.exit_status is not None or number < max(begun)):
                    run = failed_run(number, len(start.numbers), folder, names[number], options)
            except ExplorationFileError as exception:
                problems.append(str(exception))
                continue
            if run is not None:
                runs.append(run)
        return runs, problems


def _costs(folder: Path, names: list[str], begun: list[int], options: ExploreOptions) -> dict[str, Any]:
    """Return what LAMMPS says of time and version."""
    times = [read_log(folder / f'{names[number]}.{LOG}')[1] for number in begun]
    versions = set()
    for number in begun:
        path = folder / f'{names[number]}.{TRACE}'
        try:
            versions.add(read_trace(path, options).version if path.is_file() else '')
        except ExplorationFileError:
            continue
    said = ', '.join(sorted(versions - {''}))
    return {
        **({'seconds': sum(time or 0 for time in times)} if any(time is not None for time in times) else {}),
        **({'versions': {'lammps': said}} if said else {}),
    }
