"""Frames from the files that ASE reads."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import ase.io
import numpy as np
from ase import Atoms
from ase.io.formats import ioformats

from aiida_pacemaker.errors import UnreadableFileError
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.reading import Reading
from aiida_pacemaker.frames.table import Frames

from .claims import MARKERS, checked
from .compression import decompressed, plain_name
from .convergence import unconverged
from .formats import format_of
from .structures import reading_of

#: Formats whose readers ask for more of a file than its text: its name, or to open it themselves.
_BY_PATH = frozenset(['castep-castep', 'castep-geom', 'castep-md', 'nomad-json'])
_SAFE_NAME = re.compile(r'[A-Za-z0-9][\w.-]{0,100}', re.ASCII)


def read(
    source: str | Path | IO[bytes],
    *,
    source_key: str,
    name: str | None = None,
    index: str = ':',
    keys: LabelKeys | None = None,
    labelled: bool | None = None,
    file_format: str | None = None,
    allow_unconverged: bool = False,
) -> Frames:
    """Return the structures of a file that ASE reads (extxyz, ...), as :func:`read_all`.

    :param allow_unconverged: whether calculations may have ended before they were self-consistent.
    :raises UnreadableFileError: also if one has and may not have.
    """
    reading = read_all(
        source,
        source_key=source_key,
        name=name,
        index=index,
        keys=keys,
        labelled=labelled,
        file_format=file_format,
    )
    if reading.unconverged and reading.frames.labelled and not allow_unconverged:
        frame, reason = next(iter(reading.unconverged.items()))
        raise UnreadableFileError(f'structure {frame} of {name or source}: {reason}')
    return reading.frames


def read_all(
    source: str | Path | IO[bytes],
    *,
    source_key: str,
    name: str | None = None,
    index: str = ':',
    keys: LabelKeys | None = None,
    labelled: bool | None = None,
    file_format: str | None = None,
) -> Reading:
    """Return the structures of a file that ASE reads, and what is to be said of them.

    Files that are compressed by gzip, xz or bzip2 are decompressed, up to the limits of :mod:`.compression`.

    :param source: the path of the file, or the file opened for reading bytes.
    :param source_key: key of the source of all structures.
    :param name: name of the file, from which its format is told, where a file without one is given.
    :param index: which structures, in the syntax of ASE.
    :param keys: names of the labels, where these are not the usual ones.
    :param labelled: whether the frames get labels; by default they do if any structure has an energy or forces.
    :param file_format: the format, one of :data:`.formats.FORMATS`, if neither name nor content tell it.
    :raises UnreadableFileError: if it is of none of these formats, if ASE cannot read it, or if there is no structure
        in it.
    :raises ValueError: as :func:`.structures.from_atoms`.
    """
    if isinstance(source, str | Path):
        name = name or Path(source).name
        with Path(source).open('rb') as handle:
            content = decompressed(handle, name)
    else:
        name = name or 'structures.extxyz'
        content = decompressed(source, name)
    name = plain_name(name)
    file_format = format_of(name, content, file_format)
    text = ''
    try:
        if not ioformats[file_format].isbinary:
            # Programs of earlier decades, and names of users in headers, are not all of UTF-8.
            strict = file_format in ('extxyz', 'xyz', 'vasp')
            text = content.decode('utf-8-sig', errors='strict' if strict else 'replace')
            text = checked(text.replace('\r\n', '\n'), file_format)
        with warnings.catch_warnings():
            # What readers of ASE warn of is their own future, and what the program itself has warned of.
            warnings.simplefilter('ignore')
            images = _images(content, text, name, file_format, index)
    except Exception as exception:  # a reader of ASE may raise anything for a file that is not as it should be
        reason = f'{type(exception).__name__}: {exception}'
        if isinstance(exception, AttributeError) and file_format == 'vasp':
            # Where the file does not name them, ASE looks for them in files beside it.
            reason = 'it does not name its elements, which VASP 5 writes in the sixth line'
        raise UnreadableFileError(f'ASE cannot read {name}: {reason} (read as {file_format})') from exception
    if not images:
        raise UnreadableFileError(f'{name} holds no structures')
    reading = reading_of(images, source_key, labelled=labelled, keys=keys, belonging=False)
    if index != ':':
        return reading
    return replace(
        reading,
        warnings=reading.warnings + _incomplete(text, file_format, len(images)),
        unconverged=unconverged(text, file_format, [len(image) for image in images]),
    )


def info_of(handle: IO[bytes], name: str, index: int) -> dict[str, str | int | float | bool]:
    """Return what a file says of one structure beside its labels: `label=...` and the like of an extxyz file.

    :param handle: the file, open for reading bytes.
    :param name: its name.
    :param index: position of the structure, counted from zero.
    :returns: text, numbers and truth values by their names; nothing where the format has no such things.
    """
    content = decompressed(handle, name)
    try:
        if format_of(plain_name(name), content) != 'extxyz':
            return {}
    except UnreadableFileError:
        # Its format was said in the merge, and is none that is known by name or content as extxyz is.
        return {}
    text = checked(content.decode('utf-8-sig').replace('\r\n', '\n'), 'extxyz')
    (image,) = _images(content, text, name, 'extxyz', str(index))
    said = {key: value.item() if isinstance(value, np.generic) else value for key, value in image.info.items()}
    return {key: value for key, value in said.items() if isinstance(value, str | int | float)}


class _Text(io.StringIO):
    """The text of a file, with a path beside which there can be no other file."""

    name = '/dev/null/structures'


def _images(content: bytes, text: str, name: str, file_format: str, index: str) -> list[Atoms]:
    """Have ASE read a file: from memory, or from a folder in which there is nothing else."""
    reader = ioformats[file_format]
    if reader.acceptsfd and file_format not in _BY_PATH:
        handle: IO[Any] = io.BytesIO(content) if reader.isbinary else io.StringIO(text)
        if file_format == 'vasp-out':
            # Its reader looks for constraints beside the file: there are none.
            handle = _Text(text)
        images = ase.io.read(handle, index=index, format=file_format)
    else:
        with TemporaryDirectory() as folder:
            path = Path(folder, name if _SAFE_NAME.fullmatch(name) else 'structures')
            path.write_bytes(content if reader.isbinary or not text else text.encode())
            images = ase.io.read(str(path), index=index, format=file_format, do_not_split_by_at_sign=True)
    return [images] if isinstance(images, Atoms) else list(images)


def _incomplete(text: str, file_format: str, n_images: int) -> tuple[str, ...]:
    """Return a warning if a file begins more structures than ASE has read from it."""
    marker = MARKERS.get(file_format)
    n_begun = text.count(marker) if marker else 0
    if n_begun <= n_images:
        return ()
    return (f'{n_images} of {n_begun} structures could be read: the others are incomplete, get the whole file',)
