"""The errors of this package: one tree, whose root is :class:`PacemakerError`.

All of them are also what Python calls such errors (`ValueError` for what is given, `RuntimeError` for what happens), so
that callers may catch either. It imports no AiiDA, as the rooms that raise most of them do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiida_pacemaker.frames.checks import Refusal

#: Longest message on a file, in characters: enough for what is wrong and what to do, too little for what a file says at
#: length.
MAX_LENGTH = 1000
_HEAD = 700
_OMISSION = ' [...] '


def printable(text: str) -> str:
    """Return a message that is short and only shows, whatever the files have put into it.

    Control characters, which could steer a terminal, and what a database does not take (NUL, lone surrogates) are
    escaped as in a Python literal; line breaks stay. Of a long text the beginning and the end are kept.
    """
    text = ''.join(map(_shown, _shortened(text)))
    return _shortened(text)


def _shortened(text: str) -> str:
    if len(text) <= MAX_LENGTH:
        return text
    return text[:_HEAD] + _OMISSION + text[_HEAD + len(_OMISSION) - MAX_LENGTH :]


def _shown(character: str) -> str:
    if character.isprintable() or character == '\n':
        return character
    return character.encode('unicode_escape').decode()


class PacemakerError(Exception):
    """Something that this package cannot do, or will not do; the message says why and what to do."""


# What is given.


class ConfigError(PacemakerError, ValueError):
    """An input that cannot be used; the message holds one problem a line."""


class ProblemsError(PacemakerError, ValueError):
    """Problems found by a check that sees several keys at once.

    :param problems: pairs of a dotted path, relative to the model whose validator raises, and what is wrong there.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__('; '.join(f'{path}: {text}' for path, text in problems))
        self.problems = problems


class FramesRefusedError(PacemakerError, ValueError):
    """More frames were refused than the caller tolerates.

    :param refusals: all of them.
    """

    def __init__(self, message: str, refusals: Sequence[Refusal]) -> None:
        super().__init__(message)
        self.refusals = tuple(refusals)


class PerturbationError(PacemakerError, ValueError):
    """A structure cannot be perturbed as was asked for."""


class UnknownConventionError(PacemakerError, ValueError):
    """It cannot be known what the arrays of a trajectory mean."""


class ContradictionError(PacemakerError, ValueError):
    """Energies, forces and stresses of a source do not belong together."""


class MixedLevelsError(PacemakerError, ValueError):
    """Labels of different levels of theory would get into one dataset."""


class RefusedError(PacemakerError, ValueError):
    """A function on datasets could not do what was asked for."""


# Files.


class FileError(PacemakerError, ValueError):
    """Something is wrong with a file; the message is :func:`printable`."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class UnreadableFileError(FileError):
    """A file holds no structures that can be read."""


class UnreadablePickleError(FileError):
    """A file is not a pickle, is damaged or too large, or does not hold the kind of table that was expected."""


class ForbiddenPickleError(UnreadablePickleError):
    """A pickle refers to something that does not belong in a table of structures."""


class ArchiveError(FileError):
    """A file is not an archive of arrays, or a damaged one."""


class ShardError(FileError):
    """A file is not a shard, or a damaged one, or frames cannot be stored in one."""


class PotentialFileError(FileError):
    """A file is not a potential of the engine."""


class ImportedPotentialError(FileError):
    """A potential cannot be taken as it is described."""


class ActiveSetFileError(FileError):
    """A file is not an active set of the engine."""


class MetricsFileError(FileError):
    """A text is not a metrics table of the engine."""


class LogError(FileError):
    """A text has records like those of the engine, but they do not make sense."""


class EvaluationFileError(FileError):
    """A file does not hold the results that it should."""


class SelectionFileError(FileError):
    """A file does not hold a choice of candidates."""


class LinearFitFileError(FileError):
    """A file does not hold what a linear fit leaves behind."""


class ExplorationFileError(FileError):
    """A file does not hold what a run of an exploration leaves behind."""


# Computers, and what is run.


class CacheError(PacemakerError):
    """A cache is not to be used: it says why, and what to do."""


class TrainerError(PacemakerError, RuntimeError):
    """A process that a trainer ran has failed; the message is that of the process."""


# The command line.


class ImportFileError(PacemakerError):
    """A file cannot be imported; the message says why and what to do."""


class SetupError(PacemakerError, RuntimeError):
    """Something that a person has to do first; the message says what."""


class EngineMissingError(SetupError):
    """The programs of python-ace are not there, or not all of them."""


class InstallError(SetupError):
    """An environment for the engine could not be made."""


class CheckError(SetupError):
    """A job of the check has failed; the message is that of the job."""
