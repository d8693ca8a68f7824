"""What a profile knows of the files that it has sent to a computer: the checksum of each.

It is kept in the storage of the profile, never on the computer, where somebody else might write it. Nothing is lost
with it but time: a file whose checksum is not known is sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.manage import get_manager
from sqlalchemy.exc import SQLAlchemyError

#: What is noted of a file that a job did not find as it was sent.
LOST = ''


class Checksums:
    """The checksums of files that were sent to a computer.

    :param computer: the computer.
    """

    def __init__(self, computer: orm.Computer) -> None:
        self._prefix = f'aiida_pacemaker:sent:{computer.uuid}:'
        self._known: dict[str, str | None] = {}

    def get(self, name: str) -> str | None:
        """Return the checksum of a file; empty if it was lost, None if nothing is known of it."""
        if name not in self._known:
            try:
                self._known[name] = str(self._storage.get_global_variable(self._prefix + name))
            except KeyError:
                self._known[name] = None
        return self._known[name]

    def note(self, sums: Mapping[str, str]) -> None:
        """Note what was sent, or lost. If it cannot be noted it is sent again."""
        new = {name: digest for name, digest in sums.items() if self.get(name) != digest}
        self._known |= new
        if not new:
            return
        try:
            with self._storage.transaction():
                for name, digest in new.items():
                    self._storage.set_global_variable(self._prefix + name, digest)
        # Two workers may send the same file at once, and the database may be locked.
        except SQLAlchemyError:
            self._known.clear()

    @property
    def _storage(self) -> Any:
        return get_manager().get_profile_storage()
