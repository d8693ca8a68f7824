"""Starting structures for explorations: supercells that are strained, rattled, with vacancies and exchanged atoms."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field

from aiida_pacemaker.errors import PerturbationError
from aiida_pacemaker.frames.random_states import FOR_PERTURBATION, random_state
from aiida_pacemaker.frames.table import BoolArray, FloatArray, Frames, IntArray


class Perturbation(BaseModel):
    """What is done to a structure before it is explored from, in the order of the fields."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    supercell: tuple[int, int, int] = Field(
        default=(1, 1, 1), description='Repetitions along the three cell vectors; 1 where there is no period.'
    )
    strain: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description='Largest component of a random symmetric strain, which periodic frames get along their periods.',
    )
    rattle: float = Field(
        default=0.0, ge=0, description='Standard deviation in angstrom of random displacements along x, y and z.'
    )
    vacancies: int = Field(default=0, ge=0, description='Number of atoms, chosen at random, that are removed.')
    swaps: int = Field(default=0, ge=0, description='Number of exchanges of two atoms of unlike elements.')


def perturb(frames: Frames, perturbation: Perturbation, *, copies: int, seed: int) -> Frames:
    """Return perturbed copies of frames, without labels: all copies of the first frame, then those of the second.

    Each copy has random numbers of its own, which do not depend on the other frames or on the number of copies.

    :param frames: ``F`` frames.
    :param copies: number of copies of each frame.
    :param seed: of the random numbers, not negative.
    :returns: ``F * copies`` frames, each with the source and step of the frame that it was made of.
    :raises PerturbationError: naming the frame, if one cannot be perturbed so.
    """
    parts = []
    for frame in range(len(frames)):
        single = frames.select([frame]).without_labels()
        try:
            parts += [
                _perturbed(single, perturbation, random_state(seed, frame, copy, FOR_PERTURBATION))
                for copy in range(copies)
            ]
        except PerturbationError as error:
            raise PerturbationError(f'frame {frame} ({_formula(single)}): {error}') from error
    return Frames.concatenate(parts)


def _perturbed(frame: Frames, perturbation: Perturbation, random: np.random.RandomState) -> Frames:
    numbers, positions, cell = _repeat(frame, perturbation.supercell)
    periodic = frame.pbc[0]
    cell, positions = _strain(cell, positions, periodic, perturbation.strain, random)
    if perturbation.rattle:
        positions = positions + perturbation.rattle * random.standard_normal(positions.shape)
    kept = _kept(len(numbers), perturbation.vacancies, random)
    numbers, positions = numbers[kept], positions[kept]
    if perturbation.swaps:
        numbers = _swap(numbers, perturbation.swaps, random)
    columns: dict[str, Any] = {'pbc': frame.pbc, 'source': frame.source, 'step': frame.step}
    return Frames(
        n_atoms=np.array([len(numbers)], dtype=np.int64),
        numbers=numbers,
        positions=positions,
        cells=cell[None],
        energy=None,
        forces=None,
        stress=None,
        source_keys=frame.source_keys,
        generation=np.zeros(1, dtype=np.int64),
        **columns,
    )


def _repeat(frame: Frames, supercell: tuple[int, int, int]) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return atomic numbers, positions and cell of a supercell."""
    repetitions = np.array(supercell, dtype=np.int64)
    if (repetitions < 1).any():
        raise PerturbationError(f'found the supercell {list(supercell)}, needed: numbers of at least 1')
    open_ends = (repetitions > 1) & ~frame.pbc[0]
    if open_ends.any():
        axis = int(np.flatnonzero(open_ends)[0])
        raise PerturbationError(
            f'it has no period along cell vector {axis + 1}, so it cannot be repeated {supercell[axis]} times there: '
            'set 1 in `supercell`'
        )
    grid = np.stack(np.meshgrid(*(np.arange(count) for count in supercell), indexing='ij'), axis=-1).reshape(-1, 3)
    shifts = grid @ frame.cells[0]
    positions = (shifts[:, None] + frame.positions[None]).reshape(-1, 3)
    return np.tile(frame.numbers, len(shifts)), positions, repetitions[:, None] * frame.cells[0]


def _strain(
    cell: FloatArray, positions: FloatArray, periodic: BoolArray, strain: float, random: np.random.RandomState
) -> tuple[FloatArray, FloatArray]:
    """Return cell and positions after a random symmetric strain; a frame without periods keeps its shape.

    Along directions without a period there is nothing to strain, so the strain acts within the space of the periods.
    """
    if not strain or not periodic.any():
        return cell, positions
    components = random.uniform(-1, 1, (3, 3))
    components = np.triu(components) + np.triu(components, 1).T
    components *= strain / np.abs(components).max()
    vectors = cell[periodic]
    within = np.linalg.pinv(vectors) @ vectors
    deformation = np.eye(3) + within @ components @ within
    return cell @ deformation, positions @ deformation


def _kept(n_atoms: int, vacancies: int, random: np.random.RandomState) -> IntArray:
    """Return which atoms are left, in order."""
    if vacancies >= n_atoms:
        raise PerturbationError(
            f'{vacancies} vacancies are asked for, but it has {n_atoms} atoms and at least one must be left: take '
            'fewer `vacancies` or a larger `supercell`'
        )
    kept: IntArray = np.sort(random.permutation(n_atoms)[vacancies:]) if vacancies else np.arange(n_atoms)
    return kept


def _swap(numbers: IntArray, swaps: int, random: np.random.RandomState) -> IntArray:
    """Return the atomic numbers after exchanges of two atoms of unlike elements."""
    if len(np.unique(numbers)) < 2:
        raise PerturbationError(
            'it is of one element (after the vacancies), so there are no unlike atoms to exchange: set `swaps` to 0'
        )
    numbers = numbers.copy()
    for _ in range(swaps):
        first = int(random.randint(len(numbers)))
        unlike = np.flatnonzero(numbers != numbers[first])
        second = int(unlike[random.randint(len(unlike))])
        numbers[[first, second]] = numbers[[second, first]]
    return numbers


def _formula(frame: Frames) -> str:
    numbers, counts = np.unique(frame.numbers, return_counts=True)
    return ''.join(f'{chemical_symbols[number]}{count}' for number, count in zip(numbers, counts, strict=True))
