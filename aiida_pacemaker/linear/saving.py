"""The potential of solved coefficients: its files, and whether they are right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyace

from .basis import Basis
from .equations import FloatArray
from .repulsion import Dip, Pair, place_repulsion
from .rows import VOIGT, RowMaker
from .weighting import Physical

#: Largest difference that is rounding, of the sum of all magnitudes that are added up.
TOLERANCE = 1e-10


def save(
    basis: Basis, coefficients: FloatArray, name: str, repulsion: Any = None
) -> tuple[dict[Pair, float], dict[Pair, Dip]]:
    """Write `name`.yaml and `name`.yace.

    :param repulsion: shortest distances and part, as of :func:`.repulsion.place_repulsion`; None to leave the short
        range as it is.
    :returns: where the functions end, if they do, and the dips that remain.
    """
    basis.set_coefficients(coefficients)
    configuration = basis.functions.to_BBasisConfiguration()
    placed = ({}, {}) if repulsion is None else place_repulsion(configuration, *repulsion)
    # Each set of functions has tables of megabytes: none lives longer than it is needed.
    pyace.ACEBBasisSet(configuration).save(f'{name}.yaml')
    # From the file: what it rounds has to be the same in both.
    pyace.ACEBBasisSet(f'{name}.yaml').to_ACECTildeBasisSet().save_yaml(f'{name}.yace')
    return placed


def largest_difference(basis: Basis, coefficients: FloatArray, structures: Iterable[Any], name: str) -> FloatArray:
    """Return by how much the files differ from the equations: energy, forces, virial of `.yaml`, then of `.yace`.

    :param structures: with right-handed cells.
    :returns: shape (2, 3), each as a part of the sum of the magnitudes that the equations add up, or of 1 if that is
        smaller. Beyond :data:`TOLERANCE` it is no rounding: the potential is not linear.
    """
    maker = RowMaker(basis, Physical())
    expected = [(atoms, maker.terms_of(atoms, virial=bool(atoms.pbc.all()))) for atoms in structures]
    found = np.zeros((2, 3))
    for row, suffix in enumerate(('yaml', 'yace')):
        calculator = pyace.PyACECalculator(f'{name}.{suffix}')
        for structure, terms in expected:
            atoms = structure.copy()
            atoms.calc = calculator
            n_atoms = len(atoms)
            said = {'energy': [atoms.get_potential_energy() / n_atoms], 'forces': atoms.get_forces().ravel()}
            if 'virial' in terms.rows:
                stress = atoms.get_stress(voigt=False)
                said['virial'] = [stress[place] * atoms.get_volume() / n_atoms for place in VOIGT]
            for column, (kind, values) in enumerate(said.items()):
                rows = terms.rows[kind]
                scale = max(1.0, float((np.abs(rows) @ np.abs(coefficients)).max()))
                difference = np.abs(rows @ coefficients + terms.constant[kind] - values).max() / scale
                found[row, column] = max(found[row, column], difference)
    return found


def reasons_of(basis: Basis, structures: Sequence[Any], name: str) -> list[str]:
    """Return why the potential is not linear in its coefficients, as far as that can be told from its file.

    :param structures: on which the files differ from the equations, with right-handed cells.
    """
    functions = pyace.ACEBBasisSet(f'{name}.yaml')
    elements = list(map(str, functions.elements_name))
    maker, reasons = RowMaker(basis, Physical()), []
    nearest: dict[tuple[int, int], float] = {}
    cores: dict[int, float] = {}
    for structure in structures:
        for pair, distance in maker.terms_of(structure).nearest.items():
            nearest[pair] = min(distance, nearest.get(pair, distance))
        for kind, core in maker.cores_of(structure).items():
            cores[kind] = max(core, cores.get(kind, core))
    for (first, second), distance in sorted(nearest.items()):
        bond = functions.map_bond_specifications[first, second]
        if bond.inner_cutoff_type == 'zbl' and distance < bond.rcut_in:
            reasons.append(
                f'{elements[first]}-{elements[second]} come as close as {distance:.3f} angstrom, where their inner '
                f'cutoff of type zbl acts (r_in {bond.rcut_in:.3f}): with r_in below {distance:.3f} it does not'
            )
    for kind, core in sorted(cores.items()):
        embedding = functions.map_embedding_specifications[kind]
        begin = embedding.rho_core_cutoff - embedding.drho_core_cutoff
        # Of a core of ZBL, another cutoff is said above.
        if core > begin and functions.map_bond_specifications[kind, kind].inner_cutoff_type != 'zbl':
            reasons.append(
                f'the repulsion of cores (core-repulsion) on an atom of {elements[kind]} reaches {core:.3g}, where the '
                f'engine cuts its density off (rho_core_cut {embedding.rho_core_cutoff:g}, from {begin:g})'
            )
    return reasons
