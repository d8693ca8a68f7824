"""Bases, structures and labels for the tests of linear fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

pytest.importorskip('pyace', reason='python-ace is not installed: `pip install python-ace==0.4.0rc1`')

from aiida_pacemaker.linear.basis import Basis, configuration_of
from aiida_pacemaker.linear.equations import Equations, FrameRows
from aiida_pacemaker.linear.rows import Label, RowMaker
from aiida_pacemaker.linear.weighting import Physical, Weighting

MGO = Path(__file__).parents[2] / 'examples' / 'mgo-lda.extxyz'
#: Isolated atoms at the settings of the MgO data, in eV.
REFERENCES = {'Mg': -27.441497613508435, 'O': -426.11747912713093}


def section(
    elements: Sequence[str], degree: int, order: int = 3, cutoff: float = 5.5, **changes: Any
) -> dict[str, Any]:
    """Return the section `potential` of the engine's input for a basis of total degree.

    :param changes: of the section `embeddings` (`embedding`), of `bonds` (`bond`), both of all elements.
    """
    embedding = {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1, 1], 'ndensity': 1}
    bond = {'radbase': 'ChebExpCos', 'radparameters': [5.25], 'rcut': cutoff, 'dcut': 0.01}
    bond['NameOfCutoffFunction'] = 'cos'
    return {
        'deltaSplineBins': 0.001,
        'elements': list(elements),
        'embeddings': {'ALL': {**embedding, **changes.get('embedding', {})}},
        'bonds': {'ALL': {**bond, **changes.get('bond', {})}},
        'functions': {
            'ALL': {
                'nradmax_by_orders': [max(degree, 8)] + [degree - k + 1 for k in range(2, order + 1)],
                'lmax_by_orders': [0] + [(degree - k) // 2 for k in range(2, order + 1)],
            }
        },
    }


def basis_of(elements: Sequence[str], degree: int, **changes: Any) -> Basis:
    """Return the functions of a total degree; the parameters are those of `section`."""
    return Basis.of_configuration(configuration_of(section(elements, degree, **changes), degree, max(degree, 8)))


def read_mgo() -> list[Atoms]:
    """Return the 100 structures of MgO in an order in which kinds of structures are mixed."""
    images = ase.io.read(MGO, ':')
    return [images[index] for index in np.random.default_rng(0).permutation(len(images))]


def labelled(images: Iterable[Atoms], references: dict[str, float] | None = None) -> list[tuple[Atoms, Label]]:
    """Return structures with the labels of their calculators, less the energies of isolated atoms."""
    found = []
    for index, atoms in enumerate(images):
        isolated = sum((references or {}).get(symbol, 0.0) for symbol in atoms.get_chemical_symbols())
        stress = atoms.get_stress(voigt=False) if 'stress' in atoms.calc.results else None
        label = Label(f'{index:04d}', atoms.get_potential_energy() - isolated, atoms.get_forces(), stress)
        found.append((atoms, label))
    return found


def emt_frame(seed: int, symbols: str = 'Cu', copies: tuple[int, int, int] = (2, 2, 1), width: float = 0.15) -> Atoms:
    """Return a strained and rattled crystal with labels of EMT.

    :param symbols: elements that are put on the sites of copper at random.
    :param width: standard deviation of displacements in angstrom.
    """
    rng = np.random.default_rng(seed)
    atoms = bulk('Cu', cubic=True) * copies
    atoms.symbols = rng.choice(Atoms(symbols).get_chemical_symbols(), len(atoms))
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.positions += width * rng.normal(size=atoms.positions.shape)
    atoms.calc = EMT()
    results = {'energy': atoms.get_potential_energy(), 'forces': atoms.get_forces(), 'stress': atoms.get_stress()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def rows_of(
    basis: Basis, structures: Iterable[tuple[Atoms, Label]], weighting: Weighting | None = None, *, virial: bool = False
) -> list[FrameRows]:
    """Return the equations of labelled structures, one by one."""
    maker = RowMaker(basis, Physical() if weighting is None else weighting, virial=virial)
    return [maker.equations_of(atoms, label) for atoms, label in structures]


def equations_of(n_columns: int, frames: Iterable[FrameRows]) -> Equations:
    """Return the equations of frames as one."""
    result = Equations(n_columns)
    result.add(frames)
    return result


def scales_of(weighting: Weighting, equations: Equations) -> dict[str, float]:
    """Return what the rows of each kind are multiplied with."""
    return weighting.scales(equations.weights, equations.counts)


def error_of(coefficients: np.ndarray, frames: Iterable[FrameRows], kind: str) -> float:
    """Return the root mean square residual of rows of a kind."""
    vector = np.append(coefficients, -1.0)
    return float(np.sqrt(np.mean(np.concatenate([frame.rows[kind] @ vector for frame in frames]) ** 2)))
