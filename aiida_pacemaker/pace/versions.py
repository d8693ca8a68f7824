"""The versions of the engine that this package was tested with."""

from __future__ import annotations

#: Versions of python-ace whose programs the tests run, and whose outputs they have recorded.
TESTED = ('0.4.0rc1',)


def untested(version: str | None) -> str | None:
    """Return a warning of a version that was not tested; None for one that was, or where it is not known."""
    if version is None or version in TESTED:
        return None
    return (
        f'The engine is python-ace {version}; tested: {", ".join(TESTED)}. Compare a small fit with one of a tested '
        'version before you rely on it.'
    )
