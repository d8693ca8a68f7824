"""Atomic reference energies (E0), which the engine subtracts from the total energies before it fits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase.data import chemical_symbols

from aiida_pacemaker.frames.composition import composition
from aiida_pacemaker.frames.table import FloatArray, Frames


def element_counts(frames: Frames) -> tuple[tuple[str, ...], FloatArray]:
    """Return the elements that occur, sorted, and how many atoms of each are in each frame, shape (F, elements)."""
    numbers, counts = composition(frames)
    symbols = [str(chemical_symbols[number]) for number in numbers.tolist()]
    return tuple(sorted(symbols)), counts[:, np.argsort(symbols)].astype(np.float64)


def reference_energy(frames: Frames, energies: Mapping[str, float]) -> FloatArray:
    """Return the sum of the atomic reference energies of each frame in eV, shape (F,).

    :param energies: atomic reference energy (E0) of each element in eV.
    :raises ValueError: if an element that occurs has none.
    """
    missing = sorted(set(frames.elements) - set(energies))
    if missing:
        raise ValueError(f'there is no reference energy for {", ".join(missing)}')
    elements, counts = element_counts(frames)
    total: FloatArray = counts @ np.array([energies[element] for element in elements])
    return total


def fit_energies(parts: list[tuple[tuple[str, ...], FloatArray, FloatArray]]) -> dict[str, float]:
    """Return the energy per atom of each element that describes total energies best (least squares).

    Where the compositions do not tell the elements apart (all frames of one stoichiometry) the shortest solution is
    taken: only the sum then has a meaning, and that is all the fit needs.

    :param parts: for each part of a dataset its elements, the counts as of :func:`element_counts` and the total
        energies in eV, shape (F,).
    :returns: energies in eV.
    """
    elements = sorted({element for part, _, _ in parts for element in part})
    counts = np.zeros((sum(len(energy) for _, _, energy in parts), len(elements)))
    start = 0
    for part, numbers, energy in parts:
        columns = [elements.index(element) for element in part]
        counts[start : start + len(energy), columns] = numbers
        start += len(energy)
    solution = np.linalg.lstsq(counts, np.concatenate([energy for _, _, energy in parts]), rcond=None)[0]
    return {element: float(value) for element, value in zip(elements, solution, strict=True)}
