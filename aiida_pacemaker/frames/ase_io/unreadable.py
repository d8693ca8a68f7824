"""The error of files of structures."""

from __future__ import annotations

from aiida_pacemaker.frames.file_errors import FileError


class UnreadableFile(FileError):  # noqa: N818 - reads as what happened
    """A file holds no structures that can be read."""
