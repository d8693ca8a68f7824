"""Content hashes: two frames are the same structure when species, positions, cell and periodicity are equal."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from aiida_pacemaker.frames.table import Frames

#: Raw bytes, which numpy sorts, searches and compares whole; a string column would lose trailing zero bytes.
HASH_DTYPE = np.dtype('V16')

HashArray = npt.NDArray[np.void]


def frame_hashes(frames: Frames) -> HashArray:
    """Return the content hash of each frame, shape (F,), of type ``HASH_DTYPE``.

    It covers the atomic numbers, positions, cell and periodicity, with every bit of their float64 values; only -0.0 is
    taken as 0.0. Labels and origin do not enter, nor does the kind of machine. Frames whose atoms are listed in another
    order, or whose atoms are moved by a cell vector, are different frames.
    """
    # Adding 0.0 turns -0.0 into 0.0 and changes nothing else.
    positions = np.ascontiguousarray(frames.positions + 0.0, dtype='<f8')
    cells = np.ascontiguousarray(frames.cells + 0.0, dtype='<f8')
    numbers = np.ascontiguousarray(frames.numbers, dtype='<i8')
    pbc = np.ascontiguousarray(frames.pbc, dtype=np.uint8)
    digests = bytearray()
    for index, atoms in enumerate(frames.slices()):
        # The periodicity and the cell have a fixed length and every atom the same one: no two frames share the bytes.
        digest = blake2b(pbc[index].tobytes(), digest_size=HASH_DTYPE.itemsize)
        digest.update(cells[index].tobytes())
        digest.update(numbers[atoms].tobytes())
        digest.update(positions[atoms].tobytes())
        digests += digest.digest()
    return np.frombuffer(bytes(digests), dtype=HASH_DTYPE)


def hex_hashes(hashes: HashArray) -> list[str]:
    """Return the hashes as 32 hexadecimal digits each."""
    return [digest.hex() for digest in hashes.tolist()]
