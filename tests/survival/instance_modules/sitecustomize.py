"""Lets a daemon worker kill itself at a chosen commit to its database: found by every Python of the instance.

The file `kill_at_commit` in the folder of the instance holds a number. The worker counts its commits from the first at
which the file is there, and kills itself before that of the number.
"""

import os
import signal
import sys
from pathlib import Path


def _kill_at_commit(file: Path) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    left: list[int] = []

    def count_down(_connection: object) -> None:
        if not left and file.exists():
            left.append(int(file.read_text()))
        if left:
            left[0] -= 1
            if left[0] <= 0:
                file.unlink(missing_ok=True)
                os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, 'commit', count_down)


if sys.orig_argv[-2:] == ['daemon', 'worker'] and 'INSTANCE_FOLDER' in os.environ:
    _kill_at_commit(Path(os.environ['INSTANCE_FOLDER']) / 'kill_at_commit')
