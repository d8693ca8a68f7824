"""What a profile knows of the files that it has sent to a computer: the checksum of each.

It is kept beside the configuration of AiiDA, which belongs to the user, never on the computer, where somebody else
might write it. Nothing is lost with it but time: a file whose checksum is not known is sent again. It is not kept in
the database: jobs are uploaded in the middle of what AiiDA does there, and one more transaction would compete for its
lock.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from aiida import orm
from aiida.manage import get_manager
from aiida.manage.configuration.settings import AiiDAConfigDir

#: What is noted of a file that a job did not find as it was sent.
LOST = ''


class Checksums:
    """The checksums of files that were sent to a computer, each in a small file of its name.

    :param computer: the computer.
    """

    def __init__(self, computer: orm.Computer) -> None:
        profile = get_manager().get_profile()
        owner = 'none' if profile is None else profile.uuid
        self._folder = Path(AiiDAConfigDir.get(), 'pacemaker', owner, 'sent', computer.uuid)
        self._known: dict[str, str | None] = {}

    def get(self, name: str) -> str | None:
        """Return the checksum of a file; empty if it was lost, None if nothing is known of it."""
        if name not in self._known:
            try:
                self._known[name] = (self._folder / name).read_text(encoding='ascii')
            except (OSError, ValueError):
                self._known[name] = None
        return self._known[name]

    def note(self, sums: Mapping[str, str]) -> None:
        """Note what was sent, or lost. If it cannot be noted it is sent again."""
        new = {name: digest for name, digest in sums.items() if self.get(name) != digest}
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, digest in new.items():
                self._replace(name, digest)
        except OSError:
            self._known.clear()
        else:
            self._known |= new

    def _replace(self, name: str, digest: str) -> None:
        """Write a file as a whole: another worker may read it at any moment."""
        handle, part = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(handle, 'w', encoding='ascii') as file:
            file.write(digest)
        Path(part).replace(self._folder / name)
