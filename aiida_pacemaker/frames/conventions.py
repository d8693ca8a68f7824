"""Names, units, signs and coordinates of the arrays of a trajectory, as those who write trajectories have them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Convention:
    """How the arrays of a trajectory are named and what their numbers mean.

    Factors lead to the units of datasets: angstrom, eV, eV/angstrom, and eV/angstrom^3 with the sign of ASE (tension
    positive).

    :param name: by which it is stated.
    :param about: units and signs in words, for documentation and messages.
    :param energy: names of the arrays that can be the energy (steps,), best first: that which the forces are the
        derivative of, the free energy where occupations are smeared.
    :param forces: name of the forces, shape (steps, n, 3).
    :param stress: name of the stress, shape (steps, 3, 3).
    :param length: factor of positions (steps, n, 3) and cells (steps, 3, 3).
    :param energy_factor: factor of the energy.
    :param forces_factor: factor of the forces.
    :param stress_factor: factor of the stress.
    :param fractional: whether positions are in units of the cell vectors.
    :param surplus_label: whether there may be one energy, force and stress more than structures; the last is left out.
    """

    name: str
    about: str
    energy: tuple[str, ...] = ('energy',)
    forces: str = 'forces'
    stress: str = 'stress'
    length: float = 1.0
    energy_factor: float = 1.0
    forces_factor: float = 1.0
    stress_factor: float = 1.0
    fractional: bool = False
    surplus_label: bool = False

    def standard(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return `positions`, `cells` and the labels `energy`, `forces` and `stress` in the units of datasets.

        :param arrays: of a trajectory; arrays that are neither positions, cells nor labels are left out.
        :raises ValueError: if positions are fractional and there are no cells that fit them.
        """
        found: dict[str, Array] = {}
        for name in ('positions', 'cells'):
            if name in arrays:
                found[name] = np.asarray(arrays[name], dtype=float) * (
                    1.0 if name == 'positions' and self.fractional else self.length
                )
        if self.fractional and 'positions' in found:
            found['positions'] = self._cartesian(found['positions'], found.get('cells'))
        energy = next((name for name in self.energy if name in arrays), None)
        for label, name, factor in (
            ('energy', energy or '', self.energy_factor),
            ('forces', self.forces, self.forces_factor),
            ('stress', self.stress, self.stress_factor),
        ):
            if name in arrays:
                values = np.asarray(arrays[name], dtype=float) * factor
                surplus = self.surplus_label and values.ndim > 0 and len(values) == len(found.get('positions', ())) + 1
                found[label] = values[:-1] if surplus else values
        return found

    def _cartesian(self, positions: Array, cells: Array | None) -> Array:
        if cells is None:
            raise ValueError(f'positions of the convention {self.name!r} are fractional, an array `cells` is needed')
        if positions.ndim != 3 or positions.shape[2] != 3 or cells.shape != (len(positions), 3, 3):
            raise ValueError(
                f'the array `positions` of the trajectory has shape {positions.shape} and `cells` {cells.shape}, '
                '(steps, n, 3) and (steps, 3, 3) are needed'
            )
        product: Array = positions @ cells
        return product


#: Our own. Those of foreign programs stand beside their classes, see `aiida_pacemaker.sources`.
EV_ASE = Convention('eV-ASE', 'eV, eV/Å, eV/Å³ with tension positive (the sign of ASE), positions in Å')


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Return what to say of a convention that is not known."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f'; did you mean {near[0]!r}?' if near else ''
    return f'the convention is {name!r}, one of {names} is needed{hint}'
