"""The file that a driver writes last: where it is there, all others are complete. Put beside the drivers."""

import json
import sys
import time

import ase
import numpy as np


def versions_with(**packages):
    """Return the versions of NumPy, ASE and Python, and of the packages that are given."""
    return {**packages, 'numpy': np.__version__, 'ase': ase.__version__, 'python': sys.version.split()[0]}


def write_summary(name, start, versions, **more):
    """Write how long the driver took and which versions it used.

    :param name: of the file.
    :param start: when the driver began, by `time.time()`.
    :param versions: by the names of packages.
    :param more: what else there is to report, as plain data.
    """
    with open(name, 'w') as handle:
        json.dump({**more, 'seconds': time.time() - start, 'versions': versions}, handle)
