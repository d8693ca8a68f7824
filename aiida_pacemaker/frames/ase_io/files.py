"""Frames from the files that ASE reads."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import IO, Any

import ase.io
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype, ioformats

from aiida_pacemaker.frames.file_errors import FileError
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.reading import Reading
from aiida_pacemaker.frames.table import Frames

from .structures import reading_of

#: The formats of ASE that are read: those of results and structures that its readers take from the file alone. Others
#: have it open files that they name (`gaussian-in`, `onetep-in`) or that lie beside them.
FORMATS = frozenset(
    [
        'extxyz',
        'xyz',
        'traj',
        'json',
        'cif',
        'vasp',
        'vasp-xdatcar',
        'vasp-out',
        'vasp-xml',
        'espresso-in',
        'espresso-out',
        'castep-castep',
        'castep-geom',
        'castep-md',
        'gaussian-out',
        'nwchem-out',
        'orca-output',
        'gpaw-out',
        'lammps-dump-text',
        'proteindatabank',
        'gen',
        'cube',
        'xsf',
    ]
)
#: In the header of a structure in extxyz: how many columns each property has.
_COLUMNS = re.compile(r':[RISL]:(\d+)', re.IGNORECASE)
_MAX_COLUMNS = 1000


class UnreadableFile(FileError):  # noqa: N818 - reads as what happened
    """A file holds no structures that ASE can read."""


def read(
    source: str | Path | IO[bytes],
    *,
    source_key: str,
    name: str | None = None,
    index: str = ':',
    keys: LabelKeys | None = None,
    labelled: bool | None = None,
) -> Frames:
    """Return the structures of a file that ASE reads (extxyz, ...), as :func:`read_all`, without what is to be said."""
    return read_all(source, source_key=source_key, name=name, index=index, keys=keys, labelled=labelled).frames


def read_all(
    source: str | Path | IO[bytes],
    *,
    source_key: str,
    name: str | None = None,
    index: str = ':',
    keys: LabelKeys | None = None,
    labelled: bool | None = None,
) -> Reading:
    """Return the structures of a file that ASE reads, and what is to be said of them.

    :param source: the path of the file, or the file opened for reading bytes.
    :param source_key: key of the source of all structures.
    :param name: name of the file, from which its format is told, where a file without one is given.
    :param index: which structures, in the syntax of ASE.
    :param keys: names of the labels, where these are not the usual ones.
    :param labelled: whether the frames get labels; by default they do if any structure has an energy or forces.
    :raises UnreadableFile: if it is of none of the formats in :data:`FORMATS`, if ASE cannot read it, or if there is no
        structure in it.
    :raises ValueError: as :func:`.structures.from_atoms`.
    """
    if isinstance(source, str | Path):
        content, name = Path(source).read_bytes(), name or Path(source).name
    else:
        content, name = source.read(), name or 'structures.extxyz'
    try:
        file_format = filetype(name, read=False)
    except UnknownFileTypeError:
        file_format = ''
    # Where nothing fits, ASE takes the ending for the name of a format.
    if file_format not in ioformats:
        raise UnreadableFile(f'ASE does not know the format of {name}: give it the usual ending')
    if file_format not in FORMATS:
        raise UnreadableFile(
            f'{name} is of the format {file_format}, which is more than a file, or is not known to be read from that '
            'file alone: convert it to extxyz'
        )
    try:
        if ioformats[file_format].isbinary:
            handle: IO[Any] = io.BytesIO(content)
        else:
            text = content.decode()
            _check_claims(text, file_format)
            handle = io.StringIO(text)
        images = ase.io.read(handle, index=index, format=file_format)
    except Exception as exception:  # a reader of ASE may raise anything for a file that is not as it should be
        raise UnreadableFile(f'ASE cannot read {name}: {type(exception).__name__}: {exception}') from exception
    images = [images] if isinstance(images, Atoms) else list(images)
    if not images:
        raise UnreadableFile(f'{name} holds no structures')
    return reading_of(images, source_key, labelled=labelled, keys=keys, belonging=False)


def _check_claims(text: str, file_format: str) -> None:
    """Hold the numbers of atoms that a file claims against its lines.

    ASE takes them at their word: it goes on reading behind the end of the file, or fills the memory.

    :raises ValueError: if there are more atoms than lines.
    """
    if file_format in ('vasp', 'vasp-xdatcar'):
        counts = [int(field) for line in text.split('\n', 7)[5:7] for field in line.split() if field.isdecimal()]
        if sum(counts) > len(text):
            raise ValueError(f'it claims {sum(counts)} atoms')
    if file_format != 'extxyz':
        return
    lines = text.split('\n')
    start = 0
    while start < len(lines) and lines[start].strip():
        n_atoms = int(lines[start])
        stop = start + 2 + max(0, n_atoms)
        if stop > len(lines):
            raise ValueError(f'line {start + 1} claims {n_atoms} atoms, but {len(lines) - start} lines are left')
        if any(int(count) > _MAX_COLUMNS for count in _COLUMNS.findall(lines[start + 1])):
            raise ValueError(f'line {start + 2} claims more than {_MAX_COLUMNS} columns of a property')
        while stop < len(lines) and lines[stop].lstrip().startswith('VEC'):
            stop += 1
        start = stop
