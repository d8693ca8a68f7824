"""What all calculation jobs of the engine have in common."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from aiida import orm
from aiida.common import CalcInfo, CodeInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec, ExitCode

from aiida_pacemaker import drivers
from aiida_pacemaker._aiida.processes import FolderKeepingCalcJob
from aiida_pacemaker.calculations.cache import cache_of
from aiida_pacemaker.calculations.checks.inputs import all_of
from aiida_pacemaker.calculations.checks.launch import (
    check_limits,
    check_mpi,
    check_program,
)
from aiida_pacemaker.calculations.python_environment import clean_python
from aiida_pacemaker.calculations.staging import Staging
from aiida_pacemaker.calculations.versions import CACHE_VERSION
from aiida_pacemaker.pace.output.failure_kinds import PROGRAMS
from aiida_pacemaker.pace.output.failures import Diagnosis, Failure

#: Exit status of each failure of a program; a job has those of its own program. 3xx: the same inputs would fail again;
#: 4xx: something can be done about it, by a restart chain or on the computer.
STATUS = {
    Failure.ERROR_PROGRAM_NOT_FOUND: 320,
    Failure.ERROR_ENGINE_NOT_IMPORTABLE: 321,
    Failure.ERROR_EVALUATOR_MISSING: 322,
    Failure.ERROR_ARGUMENTS_NOT_RECOGNIZED: 323,
    Failure.ERROR_INPUT_ILLEGAL: 324,
    Failure.ERROR_INPUT_INCOMPLETE: 325,
    Failure.ERROR_FILE_MISSING: 326,
    Failure.ERROR_POTENTIAL_UNREADABLE: 327,
    Failure.ERROR_PICKLE_UNREADABLE: 328,
    Failure.ERROR_DATASET_EMPTY: 330,
    Failure.ERROR_COLUMN_MISSING: 331,
    Failure.ERROR_ELEMENT_UNKNOWN: 332,
    Failure.ERROR_DISTANCE_TOO_SMALL: 333,
    Failure.ERROR_LABELS_NOT_FINITE: 334,
    Failure.ERROR_FORCES_MISSHAPEN: 335,
    Failure.ERROR_PERIODICITY_MIXED: 336,
    Failure.ERROR_LADDER_RESTART: 340,
    Failure.ERROR_NOTHING_FITTED: 341,
    Failure.ERROR_POTENTIAL_NOT_LINEAR: 342,
    Failure.ERROR_FUNCTIONS_ZERO: 343,
    Failure.ERROR_PROJECTIONS_SINGULAR: 350,
    Failure.ERROR_ELEMENT_ABSENT: 351,
    Failure.ERROR_CANDIDATES_INSUFFICIENT: 352,
    Failure.ERROR_CALCULATOR_NOT_IMPORTABLE: 360,
    Failure.ERROR_CALCULATOR_MISSING: 361,
    Failure.ERROR_CALCULATOR_FILE_MISSING: 362,
    Failure.ERROR_CALCULATOR_ELEMENT_MISSING: 363,
    Failure.ERROR_TRACEBACK_UNKNOWN: 390,
    Failure.ERROR_NO_REASON_GIVEN: 391,
    Failure.ERROR_MEMORY_EXHAUSTED: 420,
    Failure.ERROR_DISK_FULL: 421,
    Failure.ERROR_KILLED: 422,
    Failure.ERROR_JOB_DIED: 423,
    Failure.ERROR_DATASET_DAMAGED: 426,
    Failure.ERROR_ENVIRONMENTS_INSUFFICIENT: 430,
    Failure.ERROR_BATCHES_NEED_ALL_ATOMS: 431,
}

#: Exit status of a job whose files were not there when it began: those that the computer had, of its cache; or those of
#: the folder of an earlier job.
FILES_LOST, PARENT_FILES_LOST = 424, 425

#: Failures that follow from the inputs alone and that a restart chain answers with other inputs. All others may be the
#: computer's fault, so a repetition is not taken from the cache.
CACHED = {Failure.ERROR_ENVIRONMENTS_INSUFFICIENT, Failure.ERROR_BATCHES_NEED_ALL_ATOMS}

#: What to do with a result that cannot be used.
LOOK_AND_REPEAT = 'Look at the output `retrieved` for what the program says, and run it again if the file was damaged.'

#: One process; the number of its threads is set by the environment variable OMP_NUM_THREADS.
RESOURCES = {'num_machines': 1, 'num_mpiprocs_per_machine': 1}


class PaceCalcJob(FolderKeepingCalcJob):
    """Base of the calculation jobs: what their files, options and exit codes have in common."""

    CACHE_VERSION = CACHE_VERSION

    STDOUT: ClassVar[str] = 'stdout.txt'
    STDERR: ClassVar[str] = 'stderr.txt'
    #: Written by the script of the job at its end, so that a job that was stopped is told from one that failed.
    EXIT_STATUS: ClassVar[str] = 'exit_status'

    #: The program, by the name that its failures are known by.
    PROGRAM: ClassVar[str]
    #: Whether files are put in place that the computer may have already.
    STAGED: ClassVar[bool] = True
    #: Whether the program is one of MPI. It is not launched with it by default.
    MPI: ClassVar[bool] = False
    #: Entry point of the parser.
    PARSER: ClassVar[str]

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define what all jobs share."""
        super().define(spec)
        options: Any = spec.inputs['metadata']['options']
        options['resources'].default = lambda: dict(RESOURCES)
        options['withmpi'].default = False
        spec.inputs.validator = all_of(spec.inputs.validator, cls.validate_launch)
        options['parser_name'].default = cls.PARSER
        for failure in sorted(PROGRAMS[cls.PROGRAM], key=STATUS.__getitem__):
            spec.exit_code(
                STATUS[failure], failure.label, message=failure.message, invalidates_cache=failure not in CACHED
            )
        if cls.STAGED:
            spec.exit_code(
                FILES_LOST,
                'ERROR_FILES_LOST',
                invalidates_cache=True,
                message='Files of the job were not whole when it began: {files}. They are sent again when the job is '
                'run again, which a restart chain does by itself.',
            )

    @classmethod
    def validate_launch(cls, inputs: Any, _: Any) -> str | None:
        """Check that the codes can be launched as is asked for."""
        options = inputs.get('metadata', {}).get('options', {})
        return check_mpi(inputs, options, mpi=cls.MPI) or check_limits(options) or check_program(inputs, cls.PARSER)

    @classmethod
    def exit_code_of(cls, diagnosis: Diagnosis) -> ExitCode:
        """Return the exit code of a failure of the program."""
        return ExitCode(STATUS[diagnosis.failure], diagnosis.message, diagnosis.failure not in CACHED)

    def code_info(self, code: orm.AbstractCode, arguments: list[str]) -> CodeInfo:
        """Return how a program is called; its output goes to the files that the parser reads."""
        info = CodeInfo()
        info.code_uuid = code.uuid
        info.cmdline_params = arguments
        info.stdout_name = self.STDOUT
        info.stderr_name = self.STDERR
        return info

    def stage(self, folder: Folder, info: Any) -> Staging:
        """Return a context that provides the files of the job, and sends those that the computer does not have."""
        return Staging(folder, info, cache_of(self))

    @classmethod
    def lost_files(cls, text: str) -> ExitCode | None:
        """Return the exit code for what the script of the job says of files that it could not put in place."""
        lines = [line.split(maxsplit=1) for line in text.splitlines() if len(line.split()) > 1]
        if not lines:
            return None
        of_parent = [said for what, said in lines if what == 'from']
        if of_parent:
            return cls.exit_codes.ERROR_PARENT_FILES_LOST.format(files='; '.join(of_parent))
        return cls.exit_codes.ERROR_FILES_LOST.format(files='; '.join(said for _, said in lines))

    @staticmethod
    def insert_drivers(folder: Folder, *names: str) -> None:
        """Put a driver into the folder of a job, with those that it imports."""
        for name in names:
            folder.insert_path(Path(drivers.__file__).parent / name, name)

    @staticmethod
    def insert_modules(folder: Folder, modules: Iterable[ModuleType]) -> None:
        """Put modules of this package into the folder of a job, for its drivers: those that need nothing of it."""
        for module in modules:
            path = Path(str(module.__file__))
            folder.insert_path(path, path.name)

    @staticmethod
    def insert_package(folder: Folder, package: ModuleType) -> None:
        """Put a package of this one into the folder of a job, for its drivers: one that needs nothing of the rest."""
        source = Path(str(package.__file__)).parent
        inside = folder.get_subfolder(source.name, create=True)
        for path in sorted(source.glob('*.py')):
            inside.insert_path(path, path.name)

    def calc_info(self, codes: list[CodeInfo], retrieve: list[Any]) -> Any:
        """Return the plan of a job, with nothing in it yet but what is called and retrieved.

        It is a `CalcInfo`, which declares that any of its lists may be missing; here all of them are there. Programs
        run in the Python environment that was set for them, whatever the daemon has.
        """
        info = CalcInfo()
        info.codes_info = codes
        info.retrieve_list = [*retrieve, self.EXIT_STATUS]
        info.prepend_text = clean_python(self.options.get('environment_variables') or {})
        info.append_text = f'echo $? > {self.EXIT_STATUS}'
        info.retrieve_temporary_list = []
        info.local_copy_list = []
        info.remote_copy_list = []
        info.remote_symlink_list = []
        info.provenance_exclude_list = []
        return info
