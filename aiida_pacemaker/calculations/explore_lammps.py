"""The exploration job with LAMMPS."""

from __future__ import annotations

from typing import Any, ClassVar

from aiida.common import CalcInfo, CodeInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec

from aiida_pacemaker.baseline.lammps import lammps_table, table_file_of
from aiida_pacemaker.calculations.checks.inputs import all_of, options_of
from aiida_pacemaker.calculations.explore import ExplorationJob, starting_frames
from aiida_pacemaker.calculations.unseen import unseen_of
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.exploration.lammps_box import Box, box_of
from aiida_pacemaker.exploration.lammps_script import (
    EDGE,
    KEPT,
    LOG,
    TRACE,
    check_script,
    random_numbers,
    run_script,
    structure_file,
)
from aiida_pacemaker.exploration.options import ExploreOptions


def validate_boxes(inputs: Any, _: Any) -> str | None:
    """Check that LAMMPS has a box for each of the initial structures."""
    if 'initial_structures' not in inputs:
        return None
    frames = inputs['initial_structures'].get_frames()
    for frame, rows in enumerate(frames.slices()):
        try:
            box_of(frames.cells[frame], frames.pbc[frame], frames.positions[rows])
        except ValueError as exception:
            return f'LAMMPS cannot have a box for frame {frame} of the initial structures: {exception}'
    return None


class PaceExploreLammpsCalculation(ExplorationJob):
    """Explore by molecular dynamics with LAMMPS, and keep frames by their extrapolation grade.

    The code is `lmp` with the package ML-PACE, which is called once for each run, with forces of the potential and its
    baseline. Inputs, outputs and the rules by which frames are kept and runs are stopped are those of
    `pacemaker.explore`; kept frames come back in the orientation of their initial structures. Two things
    differ: `npt` is that of Nose and Hoover (`compressibility` is not used), and the points of temperature and pressure
    schedules are moved to the nearest check.
    """

    SCRIPT: ClassVar[str] = 'explore.in.lammps'
    CHECK: ClassVar[str] = 'check.in.lammps'
    POTENTIAL: ClassVar[str] = 'potential.yaml'
    ACTIVE_SET: ClassVar[str] = 'potential.asi'

    PROGRAM = 'lmp'
    MPI = True
    PARSER = 'pacemaker.explore.lammps'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.inputs.validator = all_of(spec.inputs.validator, validate_boxes)

    @staticmethod
    def name_of(number: int) -> str:
        """Return what the names of the files of a run begin with."""
        return f'run_{number:06d}'

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the script and the structures."""
        potential: PacePotentialData = self.inputs.potential
        active_set: PaceActiveSetData = self.inputs.active_set
        seed = int(self.inputs.random_seed.value)
        options = options_of(ExploreOptions, self.inputs)
        starts = starting_frames(self.inputs.initial_structures, options, seed)
        unseen = unseen_of(active_set, potential)
        codes = []
        for number in range(len(starts)):
            start = starts.select([number])
            box = box_of(start.cells[0], start.pbc[0], start.positions)
            velocities, random = random_numbers(
                start, options.temperatures[0], seed, number // options.copies, number % options.copies
            )
            with folder.open(f'{self.name_of(number)}.data', 'w') as handle:
                handle.write(structure_file(start, box, potential.elements, velocities))
            codes.append(self.run_info(number, box, random))
        scripts = {
            self.SCRIPT: run_script(
                potential.baseline,
                potential.elements,
                options,
                potential_file=self.POTENTIAL,
                active_set_file=self.ACTIVE_SET,
                check_file=self.CHECK,
                unseen=unseen,
            ),
            self.CHECK: check_script(options, unseen=bool(unseen)),
        }
        table = lammps_table(potential.baseline, potential.elements)
        if table is not None:
            scripts[table_file_of(self.POTENTIAL)] = table
        for name, content in scripts.items():
            with folder.open(name, 'w') as handle:
                handle.write(content)
        info = self.calc_info(codes, retrieve=[self.STDOUT, self.STDERR])
        with self.stage(folder, info) as staging:
            staging.potential(potential, self.POTENTIAL)
            staging.active_set(active_set, self.ACTIVE_SET)
        info.retrieve_temporary_list += [(f'run_*.{ending}', '.', 1) for ending in (TRACE, KEPT, EDGE, LOG)]
        # They follow from the inputs, so they are not kept.
        info.provenance_exclude_list += [] if table is None else [table_file_of(self.POTENTIAL)]
        info.provenance_exclude_list += [f'{self.name_of(number)}.data' for number in range(len(starts))]
        return info

    def run_info(self, number: int, box: Box, random: int) -> CodeInfo:
        """Return how LAMMPS is called for a run. One that fails does not keep the others from being done."""
        name = self.name_of(number)
        boundaries = ['p' if periodic else 'm' for periodic in box.periodic]
        variables = {'run': name, **dict(zip('xyz', boundaries, strict=True)), 'seed': str(random)}
        arguments = ['-in', self.SCRIPT, '-log', f'{name}.{LOG}', '-screen', 'none', '-nocite']
        for variable, value in variables.items():
            arguments += ['-var', variable, value]
        info = self.code_info(self.inputs.code, arguments)
        if number:
            # What is wrong with the program itself, the first one says in the files of all jobs.
            info.stdout_name, info.stderr_name = f'{name}.out', f'{name}.err'
        return info
