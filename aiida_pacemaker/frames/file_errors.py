"""Messages on files that may hold anything."""

from __future__ import annotations

#: Longest message, in characters: enough for what is wrong and what to do, too little for what a file says at length.
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


class FileError(ValueError):
    """Something is wrong with a file; the message is :func:`printable`."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
