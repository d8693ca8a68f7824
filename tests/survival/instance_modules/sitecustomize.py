"""Lets a daemon worker die at a chosen commit to its database: found by every Python of the instance.

A file that holds a number is the fuse: the worker counts it down, and kills itself before the last commit.
"""

import os
import signal
import sys
from pathlib import Path


def _light(fuse: Path) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    left: list[int] = []

    def burn(_connection: object) -> None:
        if not left and fuse.exists():
            left.append(int(fuse.read_text()))
        if left:
            left[0] -= 1
            if left[0] <= 0:
                fuse.unlink(missing_ok=True)
                os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, 'commit', burn)


if sys.orig_argv[-2:] == ['daemon', 'worker'] and 'INSTANCE_FOLDER' in os.environ:
    _light(Path(os.environ['INSTANCE_FOLDER']) / 'fuse')
