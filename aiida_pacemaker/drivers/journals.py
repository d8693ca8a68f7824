"""Reading the journals of the drivers: a line of JSON for each thing that they have done, cut anywhere by a kill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any


def entries(handle: IO[bytes], size: int) -> Iterator[dict[str, Any]]:
    """Iterate over the lines of a journal that hold a mapping; any other line is passed over.

    :param handle: a file open for reading bytes.
    :param size: no more bytes than these are read.
    """
    for line in handle.read(size).splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry
