"""Lines of JSON on what is done so far, which survive whatever stops a driver: put beside the other drivers."""

import fcntl
import json
import os


def begin(lines, key):
    """Wait for another run of the driver in the same folder, and return the numbers of what it has come to the end of.

    A job can be submitted twice, when the machine that submitted it went down before it had noted that.

    :param lines: the file, open for appending.
    :param key: the key of the number in the lines that say that something is done.
    """
    try:
        fcntl.flock(lines, fcntl.LOCK_EX)
    except OSError as exception:  # not every file system has locks
        print('without a lock:', exception, flush=True)
    done = set()
    with open(lines.name) as written:
        for line in written:
            try:
                done.add(json.loads(line).get(key))
            except ValueError:  # cut by a kill
                continue
    if lines.tell():
        # What comes next must not continue a line that was cut.
        lines.write('\n')
    return done


def write(lines, content):
    """Write a line that survives the end of the driver and of the machine."""
    lines.write(json.dumps(content) + '\n')
    lines.flush()
    os.fsync(lines.fileno())
