"""What is to be said when a server cannot be started on this machine."""

from __future__ import annotations

import shutil


class ServiceMissing(Exception):  # noqa: N818 (it says what is missing)
    """A program of a service is not installed; the message names what to install."""


#: Where servers are that are not in the search path of every user.
SYSTEM_PATHS = ('/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/lib/rabbitmq/bin')


def program(name: str, package: str) -> str:
    """Return the path of a program.

    :param package: the package of Debian that it comes with.
    :raises ServiceMissing: if it is not installed.
    """
    found = shutil.which(name, path=':'.join(SYSTEM_PATHS)) or shutil.which(name)
    if found is None:
        raise ServiceMissing(f'NO {name}, SO NOTHING IS SAID ABOUT {package}: apt-get install {package}')
    return found
