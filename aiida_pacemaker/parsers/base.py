"""What all parsers have in common."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from aiida.common import AttributeDict, LinkType
from aiida.engine import ExitCode
from aiida.parsers import Parser
from aiida.repository.common import FileType

from aiida_pacemaker.calculations.base import STATUS, PaceCalcJob
from aiida_pacemaker.calculations.staging import LOST, lost_by_stderr, note_lost
from aiida_pacemaker.calculations.versions import CACHE_VERSION
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.errors import LogError, printable
from aiida_pacemaker.frames.pickles.reading import MAX_SIZE
from aiida_pacemaker.pace.output.active_sets import MAX_BYTES
from aiida_pacemaker.pace.output.failures import Diagnosis, Failure, diagnose

Summary = TypeVar('Summary')

#: Text files are read up to this size. Nothing the engine has to say comes later.
MAX_TEXT_BYTES = 100 * 1024 * 1024


class PaceParser(Parser):
    """Base of the parsers: reads files safely and turns what the engine says of a failure into an exit code."""

    CACHE_VERSION = CACHE_VERSION

    @property
    def job(self) -> type[PaceCalcJob]:
        """The class of the calculation job."""
        process_class: Any = self.node.process_class
        return process_class

    @cached_property
    def inputs(self) -> AttributeDict:
        """The inputs of the job, namespaces nested; every access to `node.inputs` is a query."""
        return AttributeDict(self.node.base.links.get_incoming(link_type=LinkType.INPUT_CALC).nested())

    @cached_property
    def repository(self) -> Any:
        """The retrieved files; every access to `retrieved` is a query."""
        return self.retrieved.base.repository

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the retrieved files."""
        objects = self.repository.list_objects()
        return frozenset(item.name for item in objects if item.file_type is FileType.FILE)

    def read_text(self, name: str) -> str:
        """Return the content of a retrieved text file; empty if it is not there.

        Bytes that are no text are replaced, since a log may hold anything; so is NUL, which databases do not take.
        """
        if name not in self.names:
            return ''
        with self.repository.open(name, 'rb') as handle:
            return str(handle.read(MAX_TEXT_BYTES).decode('utf-8', errors='replace').replace('\0', '\ufffd'))

    def summarise(self, reader: Callable[[str], Summary], name: str, otherwise: Summary) -> Summary:
        """Return what a reader makes of a retrieved log; a log that makes no sense is left out with a warning."""
        try:
            return reader(self.read_text(name))
        except LogError as exception:
            self.logger.warning(f'{name} is left out: {exception}')
            return otherwise

    def costs(self, name: str) -> dict[str, Any]:
        """Return what the summary of a driver says of time and versions."""
        try:
            summary = json.loads(self.read_text(name) or '{}')
            return {key: finite(summary[key]) for key in ('seconds', 'versions') if key in summary}
        except (ValueError, TypeError, RecursionError) as exception:
            self.logger.warning(f'{name} is left out: {exception}')
            return {}

    def read_bytes(self, name: str) -> bytes | None:
        """Return the content of a retrieved file, None if it is not there.

        Of one that is larger than any that is of use, only so much is returned that its reader refuses it.
        """
        if name not in self.names:
            return None
        with self.repository.open(name, 'rb') as handle:
            return bytes(handle.read(MAX_BYTES + 1))

    @staticmethod
    def table_size(datasets: Iterable[PaceDatasetData]) -> int:
        """Return how many bytes a table of the engine on datasets may take: some ten times what it does take.

        A small file can be made to unpack to any size.
        """
        sizes = [(dataset.n_frames, dataset.n_atoms) for dataset in datasets]
        return min(MAX_SIZE, 2**16 + sum(2**13 * n_frames + 2**9 * n_atoms for n_frames, n_atoms in sizes))

    @staticmethod
    def temporary(folder: str | None, name: str) -> Path | None:
        """Return the path of a file that was retrieved for parsing only, None if it is not there."""
        path = None if folder is None else Path(folder, name)
        return path if path is not None and path.is_file() else None

    def diagnose(self, log: str = '') -> ExitCode | None:
        """Return the exit code for what the job says of why it failed, None if it says nothing."""
        said = self.read_text(LOST) or lost_by_stderr(self.read_text(self.node.get_option('scheduler_stderr')))
        if lost := self.job.lost_files(said):
            # The program was not even called.
            note_lost(self.node, said)
            return lost
        diagnosis = diagnose(
            self.job.PROGRAM, stdout=self.read_text(self.job.STDOUT), stderr=self.read_text(self.job.STDERR), log=log
        )
        if diagnosis is None:
            # What kills a program for its memory says so elsewhere. Nothing else is believed of that file: what the
            # script of the job could not find, for instance, need not have done any harm.
            scheduler = self.read_text(self.node.get_option('scheduler_stderr'))
            diagnosis = diagnose(self.job.PROGRAM, stderr=scheduler)
            if diagnosis is None or diagnosis.failure is not Failure.ERROR_MEMORY_EXHAUSTED:
                return None
        return self.job.exit_code_of(diagnosis)

    @property
    def exit_status(self) -> int | None:
        """The exit status of the last command of the job; None if the job was stopped before its end."""
        text = self.read_text(self.job.EXIT_STATUS).strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else None

    def silent(self, folder: str | None = None) -> ExitCode:
        """Return the exit code of a program that left nothing behind, not even a reason.

        :param folder: where the files are that were retrieved for parsing only: they do not survive a new start of the
            machine.
        """
        status = self.exit_status
        if status is None or (folder is not None and not Path(folder).is_dir()):
            return self.died()
        diagnosis = diagnose(self.job.PROGRAM, exit_status=status)
        failure = Diagnosis(Failure.ERROR_NO_REASON_GIVEN, {'program': self.job.PROGRAM, 'exit_status': status})
        return self.job.exit_code_of(diagnosis or failure)

    def died(self) -> ExitCode:
        """Return the exit code of a job of which nothing more is known than that it did not come to its end."""
        return self.job.exit_code_of(Diagnosis(Failure.ERROR_JOB_DIED, {'program': self.job.PROGRAM}))

    def unusable(self, exit_code: ExitCode, folder: str | None = None) -> ExitCode:
        """Return the exit code for a file that cannot be used: it is cut if its job was stopped while it wrote it."""
        silent = self.silent(folder)
        return exit_code if silent.status == STATUS[Failure.ERROR_NO_REASON_GIVEN] else silent

    def verdict(self, *candidates: ExitCode | None) -> ExitCode:
        """Return the first exit code that is given, or success.

        A verdict of the scheduler (out of memory, out of walltime, node failure) comes before all: that outputs are
        missing then follows from it.
        """
        if self.node.exit_status:
            return ExitCode(self.node.exit_status, self.node.exit_message)
        code = next((code for code in candidates if code is not None), ExitCode(0))
        return code if code.message is None else code._replace(message=printable(code.message))


def finite(value: Any, levels: int = 20) -> Any:
    """Return plain data as the database can hold them: numbers that are not finite become None, texts printable.

    :raises ValueError: if they are nested in more levels.
    """
    match value:
        case dict() | list() | tuple() if not levels:
            raise ValueError('it is nested too deeply')
        case dict():
            return {printable(str(key)): finite(item, levels - 1) for key, item in value.items()}
        case list() | tuple():
            return [finite(item, levels - 1) for item in value]
        case float() if not math.isfinite(value):
            return None
        case str():
            return printable(value)
    return value
