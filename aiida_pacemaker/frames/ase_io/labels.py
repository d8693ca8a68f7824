"""Energy, forces and stress of a structure of ASE, under the names that it has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import compare_atoms
from ase.stress import voigt_6_to_full_3x3_stress

from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.label_names import (
    SAME_ENERGY,
    SAME_FORCES,
    SAME_STRESS,
    VIRIALS,
    kind_of,
    label_names,
)
from aiida_pacemaker.frames.table import FloatArray

_MATRIX = ((3, 3), (6,), (9,))
#: How many names a message lists.
_LISTED = 20


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of one structure; NaN for those that it does not have.

    :param energy: in eV, the free energy where there is one.
    :param forces: in eV/angstrom, shape (n, 3).
    :param stress: in eV/angstrom^3 with the sign of ASE, shape (3, 3).
    :param extrapolation: the free energy less what is called `energy`, in eV; 0 if there is only one of them.
    :param virial: name of the virial that the stress is made of without having been named.
    :param foreign_stress: whether the stress is of another set of labels than the energy that was named.
    :param free: name of a free energy beside an energy that was named, from which it differs.
    :param left: names of stresses and virials that could be the stress, which is missing.
    :param missing: which labels there are instead, and how to name them; empty if energy, forces and stress are there.
    """

    energy: float
    forces: FloatArray
    stress: FloatArray
    extrapolation: float = 0.0
    virial: str = ''
    foreign_stress: bool = False
    free: str = ''
    left: tuple[str, ...] = ()
    missing: str = ''


def labels_of(image: Atoms, index: int, keys: LabelKeys, *, belonging: bool) -> Labels:
    """Return the labels of a structure.

    They are the results of its calculator, which is never asked to calculate, or else in its `info` and `arrays`.

    :param index: position of the structure, for messages.
    :param keys: names of labels that are not under the usual ones.
    :param belonging: whether the results of the calculator have to be shown to be those of this structure.
    :raises ValueError: if a label has the wrong shape, if results belong to another structure, or if it cannot be told
        which of two labels is meant.
    """
    return _Finder(image, index, keys, belonging).labels()


class _Finder:
    """Looks for the labels of one structure."""

    def __init__(self, image: Atoms, index: int, keys: LabelKeys, belonging: bool) -> None:
        self.image, self.index, self.keys = image, index, keys
        # The results as they are: asking the calculator could start a calculation, and ASE would constrain the forces.
        results = {} if image.calc is None else dict(getattr(image.calc, 'results', None) or {})
        if belonging and any(kind_of(str(name)) for name in results):
            _refuse_foreign(image, index)
        beside = {**image.arrays, **image.info}
        self.values: dict[str, Any] = {str(name): value for name, value in {**beside, **results}.items()}
        self.groups = label_names(self.values)
        self.refuse_contradiction(beside, results)

    def labels(self) -> Labels:
        """Return the labels."""
        energy, extrapolation = self.energy()
        forces = self.forces()
        stress, virial = self.stress()
        left = self.left() if np.isnan(stress).all() else ()
        absent = [name for name, value in (('energy', energy), ('forces', forces)) if np.isnan(value).any()]
        named = kind_of(self.keys.energy) if self.keys.energy else None
        own = named[0] if named else ''
        return Labels(
            energy=energy,
            forces=forces,
            stress=stress,
            extrapolation=extrapolation,
            virial=virial,
            foreign_stress=bool(own) and not (self.keys.stress or self.keys.virial) and not np.isnan(stress).any(),
            free=self.free_beside(energy),
            left=left,
            missing=self.found(absent or ['stress']) if absent or left else '',
        )

    def energy(self) -> tuple[float, float]:
        """Return the energy, and how much less it is than what is called so."""
        if self.keys.energy is not None:
            return float(self.shaped(self.keys.energy, ((),), 'energy')), 0.0
        plain, free = (float(self.shaped(name, ((),), name)) for name in ('energy', 'free_energy'))
        energy = plain if np.isnan(free) else free
        tolerance = SAME_ENERGY * max(1, len(self.image))
        for name, value in self.others('energy', ((),), {'energy', 'free_energy'}):
            if not np.isnan(energy) and not min(abs(value - energy), abs(value - plain)) <= tolerance:
                self.refuse(('energy', 'energy' if np.isnan(free) else 'free_energy'), ('energy', name))
        extrapolation = 0.0 if np.isnan(plain) else energy - plain
        return energy, extrapolation

    def free_beside(self, energy: float) -> str:
        """Return the name of a free energy of the same set as the energy that was named, if the two differ."""
        named = kind_of(self.keys.energy or '')
        if named is None:
            return ''
        known = set(self.groups.get(named[0], {}).get('energy', ()))
        tolerance = SAME_ENERGY * max(1, len(self.image))
        for name, value in self.others('energy', ((),), {self.keys.energy or ''}):
            if name in known and 'free' in name.lower() and abs(value - energy) > tolerance:
                return name
        return ''

    def forces(self) -> FloatArray:
        """Return the forces."""
        shapes = ((len(self.image), 3),)
        if self.keys.forces is not None:
            return self.shaped(self.keys.forces, shapes, 'forces')
        forces = self.shaped('forces', shapes, 'forces')
        for name, value in self.others('forces', shapes, {'forces'}):
            if 'forces' in self.values and not _same(forces, value, SAME_FORCES):
                self.refuse(('forces', 'forces'), ('forces', name))
        return forces

    def stress(self) -> tuple[FloatArray, str]:
        """Return the stress, and the name of the virial that it is made of without having been named."""
        keys = self.keys
        if keys.virial is not None:
            return self.of_virial(keys.virial), ''
        if keys.stress is not None:
            return self.matrix(keys.stress, 'stress'), ''
        stress, name = self.matrix('stress', 'stress'), 'stress'
        if np.isnan(stress).all() and keys.energy is None and keys.forces is None:
            name = next((virial for virial in VIRIALS if virial in self.values), name)
            stress = stress if name == 'stress' else self.of_virial(name)
        for kind in ('stress', 'virial'):
            for other, _ in self.others(kind, _MATRIX, {name}):
                value = self.of_virial(other) if kind == 'virial' else self.matrix(other, 'stress')
                if not np.isnan(stress).all() and not np.isnan(value).all() and not _same(stress, value, SAME_STRESS):
                    self.refuse(('virial' if name in VIRIALS else 'stress', name), (kind, other))
        return stress, '' if name == 'stress' else name

    def of_virial(self, name: str) -> FloatArray:
        """Return the stress of a virial, -virial/volume; NaN for a structure without a volume."""
        volume = self.image.cell.volume
        return -self.matrix(name, 'virial') / volume if volume > 0 else np.full((3, 3), np.nan)

    def matrix(self, name: str, label: str) -> FloatArray:
        """Return a matrix that may also be given by its nine entries, or in the order of Voigt."""
        value = self.shaped(name, _MATRIX, label)
        if value.shape == (6,):
            value = np.asarray(voigt_6_to_full_3x3_stress(value), dtype=np.float64)
        return value.reshape(3, 3)

    def shaped(self, name: str, shapes: tuple[tuple[int, ...], ...], label: str) -> FloatArray:
        """Return a value that has one of the shapes; NaN in the first of them where there is none."""
        value = self.values.get(name)
        if value is None:
            return np.full(shapes[0], np.nan)
        called = label if name == label else f'{label} `{name}`'
        try:
            array = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            found = str(value)[:80]
            raise ValueError(f'the {called} of structure {self.index} is {found!r}, numbers are needed') from error
        if array.shape not in shapes:
            needed = ' or '.join(str(shape) for shape in shapes)
            raise ValueError(f'the {called} of structure {self.index} has shape {array.shape}, {needed} is needed')
        return array

    def others(self, kind: str, shapes: tuple[tuple[int, ...], ...], known: set[str]) -> list[tuple[str, FloatArray]]:
        """Return what else the structure has that could be a label, as far as it has a fitting shape."""
        found = []
        for labels in self.groups.values():
            for name in labels.get(kind, ()):
                try:
                    value = np.asarray(self.values[name], dtype=np.float64)
                except (TypeError, ValueError, OverflowError):
                    continue
                if name not in known and value.shape in shapes and np.isfinite(value).all():
                    found.append((name, value))
        return found

    def left(self) -> tuple[str, ...]:
        """Return the names of stresses and virials that are not read."""
        names = [name for kind in ('stress', 'virial') for name, _ in self.others(kind, _MATRIX, set())]
        return tuple(names) if self.image.cell.volume > 0 else ()

    def found(self, absent: list[str]) -> str:
        """Return what there is, for a structure that lacks labels."""
        names = [name for labels in self.groups.values() for kind in labels.values() for name in kind]
        if not names:
            others = [name for name in self.values if name not in ('numbers', 'positions')][:_LISTED]
            listed = ', '.join(others)
            return f'found no name of a label; its keys are {listed}' if others else 'found no labels in the structure'
        rest = [labels for group, labels in self.groups.items() if group] + [self.groups.get('', {})]
        suggested: dict[str, str] = {}
        for labels in rest:
            fitting = {kind: labels[kind][0] for kind in (*absent, 'stress', 'virial') if kind in labels}
            if len(fitting) > len(suggested):
                suggested = fitting
        if 'stress' in suggested:
            suggested.pop('virial', None)
        said = {kind: name for kind, name in suggested.items() if name != kind}
        advice = f'; say which are the labels, as in keys={said}' if said else ''
        rest_of_keys = [name for name in self.values if name not in (*names, 'numbers', 'positions')][:_LISTED]
        if rest_of_keys and not set(absent) <= suggested.keys():
            advice += f'; its other keys are {", ".join(rest_of_keys)}'
        return f'found {", ".join(names[:_LISTED])}{advice}'

    def refuse_contradiction(self, beside: Mapping[str, Any], results: Mapping[str, Any]) -> None:
        """Refuse labels that the calculator and the structure itself have under one name, but not of one value."""
        tolerances = {
            'energy': SAME_ENERGY * max(1, len(self.image)),
            'forces': SAME_FORCES,
            'stress': SAME_STRESS,
            'virial': SAME_STRESS * self.image.cell.volume,
        }
        for name in sorted(results.keys() & beside.keys(), key=str):
            found = kind_of(str(name))
            if found is None:
                continue
            first, second = np.asarray(results[name]), np.asarray(beside[name])
            if first.shape == second.shape and not _same(first, second, tolerances[found[1]]):
                raise ValueError(
                    f'structure {self.index} has two values of `{name}`: in the results of its calculator, and in its '
                    '`info` or `arrays`. Remove the one that is no label.'
                )

    def refuse(self, first: tuple[str, str], second: tuple[str, str]) -> None:
        """Refuse to choose between two labels, each given by its kind and its name.

        :raises ValueError: always.
        """
        raise ValueError(
            f'structure {self.index} has two sets of labels that differ: {self.shown(first)} and {self.shown(second)}; '
            f'one of them may be the prediction of a model. Say which is the label: keys={dict([first])} or '
            f'keys={dict([second])}'
        )

    def shown(self, label: tuple[str, str]) -> str:
        """Return the name of a label, and its value where that is one number."""
        kind, name = label
        return f'{name} = {float(self.values[name]):.10g}' if kind == 'energy' else name


def _same(first: Any, second: Any, tolerance: float) -> bool:
    try:
        return bool(np.max(np.abs(np.asarray(first, dtype=np.float64) - second), initial=0.0) <= tolerance)
    except (TypeError, ValueError):
        return True


def _refuse_foreign(image: Atoms, index: int) -> None:
    """Refuse results that do not belong to a structure, without any calculation.

    :raises ValueError: if they do not, or if the calculator does not tell.
    """
    calculator: Any = image.calc
    check = getattr(calculator, 'check_state', None)
    if check is not None and getattr(calculator, 'use_cache', True):
        changes = list(check(image))
    else:
        changes = compare_atoms(getattr(calculator, 'atoms', None), image)
    if not changes:
        return
    kind = type(calculator).__name__
    if getattr(calculator, 'atoms', None) is None and set(changes) >= {'positions', 'numbers'}:
        found = f'the {kind} of structure {index} does not say which structure its results belong to'
    else:
        found = (
            f'the results of the {kind} of structure {index} belong to another structure: {", ".join(sorted(changes))} '
            'have changed since it was calculated'
        )
    raise ValueError(
        f'{found}. Give each structure its results at once: '
        'atoms.calc = SinglePointCalculator(atoms, energy=..., forces=..., stress=...)'
    )
