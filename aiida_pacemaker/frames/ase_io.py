"""Frames from and to ASE and the files that it reads."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import key_val_dict_to_str
from ase.io.formats import UnknownFileTypeError, filetype, ioformats
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from .file_errors import FileError
from .label_keys import LabelKeys
from .table import FloatArray, Frames

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


def from_atoms(
    images: Sequence[Atoms], source_key: str, *, labelled: bool | None = None, keys: LabelKeys | None = None
) -> Frames:
    """Return ASE structures as frames of one source.

    Labels are taken from the results of an attached calculator, which is never asked to calculate, or else from
    `info['energy']`, `arrays['forces']` and `info['stress']`, in the units and with the sign of ASE; a stress may be a
    matrix, its nine entries, or Voigt's six (xx, yy, zz, yz, xz, xy). A label that is missing is NaN.

    :param images: the structures.
    :param source_key: key of the source of all of them.
    :param labelled: whether the frames get labels; by default they do if any structure has an energy or forces.
    :param keys: names of the labels, where these are not `energy`, `forces` and `stress`.
    :raises ValueError: if a label has the wrong shape.
    """
    labels = [_labels(image, index, keys or LabelKeys()) for index, image in enumerate(images)]
    if labelled is None:
        labelled = any(np.isfinite(energy) or np.isfinite(forces).any() for energy, forces, _ in labels)
    steps = len(images)
    return Frames(
        n_atoms=np.array([len(image) for image in images], dtype=np.int64),
        numbers=_concatenate([image.numbers for image in images], (0,)).astype(np.int64),
        positions=_concatenate([image.positions for image in images], (0, 3)),
        cells=_concatenate([[image.cell[:]] for image in images], (0, 3, 3)),
        pbc=_concatenate([[image.pbc] for image in images], (0, 3)).astype(np.bool_),
        energy=np.array([energy for energy, _, _ in labels], dtype=np.float64) if labelled else None,
        forces=_concatenate([forces for _, forces, _ in labels], (0, 3)) if labelled else None,
        stress=_concatenate([[stress] for _, _, stress in labels], (0, 3, 3)) if labelled else None,
        source_keys=(source_key,) if steps else (),
        source=np.zeros(steps, dtype=np.int64),
        step=np.arange(steps, dtype=np.int64),
        generation=np.zeros(steps, dtype=np.int64),
    )


def to_atoms(frames: Frames) -> list[Atoms]:
    """Return frames as ASE structures.

    Labels are attached as the results of a `SinglePointCalculator`, those that are NaN left out (of a stress the
    symmetric part, all that ASE keeps); the origin is in `info` as `source` (a key), `step` and `generation`.
    """
    images = []
    for frame, atoms in enumerate(frames.slices()):
        image = Atoms(
            numbers=frames.numbers[atoms],
            positions=frames.positions[atoms],
            cell=frames.cells[frame],
            pbc=frames.pbc[frame],
            info=_origin(frames, frame),
        )
        results = _present_labels(frames, frame, atoms)
        if 'stress' in results:
            results['stress'] = full_3x3_to_voigt_6_stress(results['stress'])
        if results:
            image.calc = SinglePointCalculator(image, **results)
        images.append(image)
    return images


def read(
    source: str | Path | IO[bytes],
    *,
    source_key: str,
    name: str | None = None,
    index: str = ':',
    keys: LabelKeys | None = None,
) -> Frames:
    """Return the structures of a file that ASE reads (extxyz, ...).

    :param source: the path of the file, or the file opened for reading bytes.
    :param source_key: key of the source of all structures.
    :param name: name of the file, from which its format is told, where a file without one is given.
    :param index: which structures, in the syntax of ASE.
    :param keys: names of the labels, where these are not `energy`, `forces` and `stress`.
    :raises UnreadableFile: if it is of none of the formats in :data:`FORMATS`, if ASE cannot read it, or if there is no
        structure in it.
    :raises ValueError: if a label has the wrong shape.
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
    return from_atoms(images, source_key, keys=keys)


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


def write_extxyz(frames: Frames, target: str | Path | IO[str]) -> None:
    """Write frames with their labels and origin as extended XYZ.

    Numbers have all their digits (ASE writes eight decimals), so that what is read back has the same content hashes.

    :param target: the path of the file, or the file opened for writing text.
    """
    if isinstance(target, str | Path):
        with Path(target).open('w', encoding='utf-8') as handle:
            write_extxyz(frames, handle)
        return
    for frame, (image, atoms) in enumerate(zip(to_atoms(frames.without_labels()), frames.slices(), strict=True)):
        labels = _present_labels(frames, frame, atoms)
        columns, properties = [frames.positions[atoms]], 'species:S:1:pos:R:3'
        if 'forces' in labels:
            columns.append(labels.pop('forces'))
            properties += ':forces:R:3'
        # The writer of ASE lists a matrix by columns, the format has the cell vectors one after the other.
        cell = {'Lattice': frames.cells[frame].T} if frames.cells[frame].any() else {}
        comment = {**cell, 'Properties': properties, **labels, 'pbc': frames.pbc[frame], **_origin(frames, frame)}
        rows = zip(image.get_chemical_symbols(), np.hstack(columns).tolist(), strict=True)
        lines = [str(len(image)), key_val_dict_to_str(comment)]
        lines += [' '.join([symbol, *map(repr, values)]) for symbol, values in rows]
        target.write('\n'.join(lines) + '\n')


def _origin(frames: Frames, frame: int) -> dict[str, Any]:
    return {
        'source': frames.source_of(frame),
        'step': int(frames.step[frame]),
        'generation': int(frames.generation[frame]),
    }


def _present_labels(frames: Frames, frame: int, atoms: slice) -> dict[str, Any]:
    """Return those labels of a frame that have no NaN."""
    if frames.energy is None or frames.forces is None or frames.stress is None:
        return {}
    labels = {'energy': float(frames.energy[frame]), 'forces': frames.forces[atoms], 'stress': frames.stress[frame]}
    return {name: value for name, value in labels.items() if not np.isnan(value).any()}


def _labels(image: Atoms, index: int, keys: LabelKeys) -> tuple[float, FloatArray, FloatArray]:
    """Return energy, forces (n, 3) and stress (3, 3) of a structure; NaN for what it does not have."""
    # The results as they are: asking the calculator could start a calculation, and ASE would constrain the forces.
    results = {} if image.calc is None else dict(getattr(image.calc, 'results', {}))
    values = {**image.arrays, **image.info, **results}
    n_atoms = len(image)
    energy = _shaped(values.get(keys.energy or 'energy'), ((),), 'energy', index)
    forces = _shaped(values.get(keys.forces or 'forces'), ((n_atoms, 3),), 'forces', index)
    stress = _shaped(values.get(keys.virial or keys.stress or 'stress'), ((3, 3), (6,), (9,)), 'stress', index)
    if stress.shape == (6,):
        stress = np.asarray(voigt_6_to_full_3x3_stress(stress), dtype=np.float64)
    stress = stress.reshape(3, 3)
    return float(energy), forces, stress if keys.virial is None else -stress / image.cell.volume


def _shaped(value: Any, shapes: tuple[tuple[int, ...], ...], name: str, index: int) -> FloatArray:
    """Return a value that has one of the shapes as an array; NaN in the first of them where there is none."""
    if value is None:
        return np.full(shapes[0], np.nan)
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f'the {name} of structure {index} is {str(value)[:80]!r}, numbers are needed') from error
    if array.shape not in shapes:
        needed = ' or '.join(str(shape) for shape in shapes)
        raise ValueError(f'the {name} of structure {index} has shape {array.shape}, {needed} is needed')
    return array


def _concatenate(parts: Sequence[Any], empty: tuple[int, ...]) -> FloatArray:
    return np.concatenate([np.empty(empty), *(np.asarray(part, dtype=np.float64) for part in parts)])
