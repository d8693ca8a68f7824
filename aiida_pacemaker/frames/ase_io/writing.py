"""Frames to extended XYZ."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
from ase.io.extxyz import key_val_dict_to_str

from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.frames.weights import weights_of

from .structures import origin, present_labels, to_atoms


def write_extxyz(frames: Frames, target: str | Path | IO[str]) -> None:
    """Write frames with their labels, weights and origin as extended XYZ.

    Numbers have all their digits (ASE writes eight decimals), so that what is read back has the same content hashes.

    :param target: the path of the file, or the file opened for writing text.
    """
    if isinstance(target, str | Path):
        with Path(target).open('w', encoding='utf-8') as handle:
            write_extxyz(frames, handle)
        return
    for frame, (image, atoms) in enumerate(zip(to_atoms(frames.without_labels()), frames.slices(), strict=True)):
        labels = present_labels(frames, frame, atoms)
        columns, properties = [frames.positions[atoms]], 'species:S:1:pos:R:3'
        if 'forces' in labels:
            columns.append(labels.pop('forces'))
            properties += ':forces:R:3'
        weights = weights_of(frames, frame, atoms)
        if weights:
            columns.append(weights.pop('w_forces')[:, None])
            properties += ':w_forces:R:1'
        # The writer of ASE lists a matrix by columns, the format has the cell vectors one after the other.
        cell = {'Lattice': frames.cells[frame].T} if frames.cells[frame].any() else {}
        comment = {**cell, 'Properties': properties, **labels, **weights, 'pbc': frames.pbc[frame]}
        comment |= origin(frames, frame)
        rows = zip(image.get_chemical_symbols(), np.hstack(columns).tolist(), strict=True)
        lines = [str(len(image)), key_val_dict_to_str(comment)]
        lines += [' '.join([symbol, *map(repr, values)]) for symbol, values in rows]
        target.write('\n'.join(lines) + '\n')
