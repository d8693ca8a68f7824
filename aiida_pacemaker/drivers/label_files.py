"""What the labelling driver writes: a line of JSON before and after each structure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np

from aiida_pacemaker.drivers.journals import entries
from aiida_pacemaker.errors import printable
from aiida_pacemaker.frames.table import FloatArray, Frames

#: Size of a line: numbers in full precision with their brackets take 80 bytes a row, this is more than enough.
_BYTES, _BYTES_PER_ATOM = 8192, 256
#: How many packages are asked for their versions, at most.
_VERSIONS = 20


@dataclass(frozen=True)
class Labels:
    """Labels of frames, as far as they came.

    :param energy: total energies in eV, shape (F,); NaN without label.
    :param forces: in eV/angstrom, shape (A, 3); NaN without label.
    :param stress: in eV/angstrom^3 with the sign of ASE, shape (F, 3, 3); NaN without label or where it has no meaning.
    :param failures: for each frame that failed, the kind of the error and its message.
    :param running: the frame that was being labelled when the file ends, None if there is none.
    :param versions: of the packages that were in use, by their names, as far as the file says.
    """

    energy: FloatArray
    forces: FloatArray
    stress: FloatArray
    failures: dict[int, tuple[str, str]]
    running: int | None
    versions: dict[str, str]


def read_labels(handle: IO[bytes], frames: Frames) -> Labels:
    """Read the labels of frames.

    The program may have been stopped at any byte, and may have run twice: a line that makes no sense is passed over,
    and of two lines for one frame the first counts. Frames without a line have neither labels nor a failure.

    :param handle: `labels.jsonl`. No more of it is read than all frames could need twice over.
    :param frames: the frames that were to be labelled.
    """
    labels = Labels(
        energy=np.full(len(frames), np.nan),
        forces=np.full((len(frames.numbers), 3), np.nan),
        stress=np.full((len(frames), 3, 3), np.nan),
        failures={},
        running=None,
        versions={},
    )
    rows = list(frames.slices())
    done: set[int] = set()
    running = None
    for entry in entries(handle, 2 * (_BYTES * len(frames) + _BYTES_PER_ATOM * len(frames.numbers))):
        if not labels.versions:
            labels.versions.update(read_versions(entry.get('versions')))
        begun, frame = _index(entry, 'begin', len(frames)), _index(entry, 'frame', len(frames))
        if begun is not None:
            running = begun
        elif frame is not None and frame not in done and _take(entry, frame, rows[frame], labels):
            done.add(frame)
    return replace(labels, running=None if running in done else running)


def read_versions(found: Any) -> dict[str, str]:
    """Return the versions of packages by their names, without what makes no sense."""
    if not isinstance(found, dict):
        return {}
    pairs = list(found.items())[:_VERSIONS]
    return {printable(str(name)[:100]): printable(value[:100]) for name, value in pairs if isinstance(value, str)}


def _index(entry: dict[str, Any], key: str, count: int) -> int | None:
    value = entry.get(key)
    is_index = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count
    return value if is_index else None


def _take(entry: dict[str, Any], frame: int, rows: slice, labels: Labels) -> bool:
    """Take over what a line says of a frame, whose atoms are in these rows, and return whether it says anything."""
    if 'reason' in entry:
        labels.failures[frame] = (printable(str(entry['reason'])[:200]), printable(str(entry.get('message', ''))[:500]))
        return True
    energy = _array(entry.get('energy'), ())
    forces = _array(entry.get('forces'), (rows.stop - rows.start, 3))
    stress = _array(entry.get('stress'), (3, 3))
    if energy is None or forces is None or (stress is None and entry.get('stress') is not None):
        return False
    labels.energy[frame], labels.forces[rows] = energy, forces
    if stress is not None:
        labels.stress[frame] = stress
    return True


def _array(value: Any, shape: tuple[int, ...]) -> FloatArray | None:
    """Return finite numbers of a shape, None if these are none."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return array if array.shape == shape and bool(np.isfinite(array).all()) else None
