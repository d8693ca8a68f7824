"""What can go wrong in a set-up, each with a message that says what to do."""

from __future__ import annotations


class SetupError(RuntimeError):
    """Something that a person has to do first; the message says what."""


class EngineMissingError(SetupError):
    """The programs of python-ace are not there, or not all of them."""


class InstallError(SetupError):
    """An environment for the engine could not be made."""
