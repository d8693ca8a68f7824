"""Trajectories from and to structures of ASE, for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiida import orm

from aiida_pacemaker.data.theory import Theory, say_theory
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.frames.trajectory import to_arrays

if TYPE_CHECKING:
    from ase import Atoms


def trajectories_from_atoms(images: Sequence[Atoms], *, theory: Theory | None = None) -> list[orm.TrajectoryData]:
    """Return structures of ASE as trajectories, one per composition and periodicity, with the labels that they have.

    The arrays are `energy` (eV), `forces` (eV/angstrom) and `stress` (eV/angstrom^3, sign of ASE).

    :param images: the structures; either all have labels or none.
    :param theory: level of theory of the labels, or its fields; labels of different levels are not merged.
    """
    return trajectories_from_frames(from_atoms(images, 'given'), theory=theory)


def trajectories_from_frames(frames: Frames, *, theory: Theory | None = None) -> list[orm.TrajectoryData]:
    """Return frames as trajectories, one per composition and periodicity, with the labels that they have.

    :param theory: level of theory of the labels, or its fields.
    """
    nodes = []
    for part in to_arrays(frames):
        node = orm.TrajectoryData()
        node.set_trajectory(
            symbols=list(part.symbols),
            positions=part.positions,
            cells=part.cells,
            pbc=[bool(flag) for flag in part.pbc],
        )
        for name, array in part.arrays.items():
            node.set_array(name, array)
        if theory is not None and part.arrays:
            say_theory(node, theory)
        nodes.append(node)
    return nodes
