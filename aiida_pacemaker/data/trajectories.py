"""Trajectories from and to structures of ASE, for scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from aiida import orm
from ase import Atoms

from aiida_pacemaker.data.conventions import say_convention
from aiida_pacemaker.data.theory import Theory, set_level_of_theory
from aiida_pacemaker.frames.ase_io import reading_of
from aiida_pacemaker.frames.conventions import EV_ASE
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.frames.trajectory import to_arrays
from aiida_pacemaker.option_errors import parse_options

#: Attribute of a trajectory with what was to be said of its labels when it was made, for the report of a merge.
REMARKS = 'remarks'
#: Attribute of a trajectory without labels: the names that could be labels in its structures, which it does not keep.
FOUND = 'found_instead_of_labels'


def trajectories_from_atoms(
    images: Iterable[Any] | Atoms, *, theory: Theory | None = None, keys: LabelKeys | Mapping[str, str] | None = None
) -> list[orm.TrajectoryData]:
    """Return structures of ASE as trajectories, one per composition and periodicity, with the labels that they have.

    The arrays are `energy` (eV), `forces` (eV/angstrom) and `stress` (eV/angstrom^3, sign of ASE). The energy is
    `free_energy` where the calculator has one, since the forces are its derivatives.

    :param images: the structures, or a single one; either all have labels or none.
    :param theory: level of theory of the labels, or its fields; labels of different levels are not merged.
    :param keys: names of the labels, where these are not the usual ones: `{'energy': 'REF_energy', ...}`.
    :raises ValueError: if something else than structures of ASE is given, if the results of a calculator are those of
        another structure (it was used for several, or the atoms were moved), if a label has the wrong shape, or if it
        cannot be told which of two labels is meant.
    """
    reading = reading_of(
        listed_atoms(images),
        'given',
        keys=None if keys is None else parse_options(LabelKeys, keys),
    )
    nodes = trajectories_from_frames(reading.frames, theory=theory)
    if reading.warnings:
        for node in nodes:
            node.base.attributes.set(REMARKS, list(reading.warnings))
    found = next((text for text in reading.missing.values() if 'keys=' in text), None)
    if found is not None and reading.frames.energy is None:
        for node in nodes:
            node.base.attributes.set(FOUND, f'the structures that it was made of: {found}')
    return nodes


def listed_atoms(images: Iterable[Any] | Atoms) -> list[Atoms]:
    """Return structures of ASE as a list.

    :raises ValueError: if something else is given, naming it.
    """
    if isinstance(images, (str, PurePath)):
        raise ValueError(
            f'{str(images)!r} is the path of a file: `merge_frames({str(images)!r})` reads it and keeps it, or give '
            f'what ASE reads, `trajectories_from_atoms(ase.io.read({str(images)!r}, ":"))`'
        )
    if not isinstance(images, Iterable):
        raise ValueError(f'structures of ASE (`ase.Atoms`) are needed, {type(images).__name__} was given')
    listed = [images] if isinstance(images, Atoms) else list(images)
    for index, image in enumerate(listed):
        if not isinstance(image, Atoms):
            hint = ': `structure.get_ase()` gives one' if isinstance(image, orm.StructureData) else ''
            raise ValueError(
                f'structures of ASE (`ase.Atoms`) are needed, entry {index} is of type {type(image).__name__}{hint}'
            )
    return listed


def trajectories_from_frames(frames: Frames, *, theory: Theory | None = None) -> list[orm.TrajectoryData]:
    """Return frames as trajectories, one per composition and periodicity, with the labels that they have.

    :param theory: level of theory of the labels, or its fields.
    """
    nodes = []
    for part in to_arrays(frames):
        node = orm.TrajectoryData()
        say_convention(node, EV_ASE.name)
        node.set_trajectory(
            symbols=list(part.symbols),
            positions=part.positions,
            cells=part.cells,
            pbc=[bool(flag) for flag in part.pbc],
        )
        for name, array in part.arrays.items():
            node.set_array(name, array)
        if theory is not None and part.arrays:
            set_level_of_theory(node, theory)
        nodes.append(node)
    return nodes
