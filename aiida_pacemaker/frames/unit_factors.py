"""What it means when energies change by some factor times what forces or stresses say."""

from __future__ import annotations

from collections.abc import Mapping

from ase import units

_RY, _HA, _BOHR, _KCAL, _KJ = units.Ry, units.Ha, units.Bohr, units.kcal / units.mol, units.kJ / units.mol

#: Ratios of changes of energies to those by the forces, where one of the two is not in eV and angstrom.
FORCE_FACTORS: Mapping[str, float] = {
    'energies in hartree': 1 / _HA,
    'energies in Ry': 1 / _RY,
    'energies in kcal/mol': 1 / _KCAL,
    'energies in kJ/mol': 1 / _KJ,
    'energies in meV': 1000.0,
    'forces in hartree/bohr': _HA / _BOHR,
    'forces in Ry/bohr': _RY / _BOHR,
    'forces in hartree/angstrom': _HA,
    'forces in Ry/angstrom': _RY,
    'forces in kcal/mol/angstrom': _KCAL,
    'forces in kJ/mol/angstrom': _KJ,
    'forces in meV/angstrom': 1e-3,
    'forces in eV/bohr, or energies and forces in atomic units with positions in angstrom': 1 / _BOHR,
    'positions in bohr': _BOHR,
}
#: The same for stresses.
STRESS_FACTORS: Mapping[str, float] = {
    'stresses in GPa': units.GPa,
    'stresses in kbar': 0.1 * units.GPa,
    'stresses in bar': 1e-4 * units.GPa,
    'stresses in MPa': 1e-3 * units.GPa,
    'stresses in Pa': 1e-9 * units.GPa,
    'stresses in hartree/bohr^3': _HA / _BOHR**3,
    'stresses in Ry/bohr^3': _RY / _BOHR**3,
    'energies in hartree': 1 / _HA,
    'energies in Ry': 1 / _RY,
    'energies in kcal/mol': 1 / _KCAL,
    'positions in bohr': _BOHR**3,
}
#: What is found may be this much below and above what it is: the trapezoidal rule errs to the lower side.
_LOW, _HIGH = 0.78, 1.15


def has_meaning(ratio: float, factors: Mapping[str, float]) -> bool:
    """Return whether some unit explains a ratio.

    :param ratio: of changes of energies to those by the label.
    :param factors: ratios by what they mean.
    """
    return any(_LOW < ratio / factor < _HIGH for factor in factors.values())


def meanings(label: str, ratio: float, factors: Mapping[str, float]) -> str:
    """Return what a ratio may mean, and what to do.

    :param label: `forces` or `stress`.
    :param ratio: of changes of energies to those by the label.
    :param factors: ratios by what they mean.
    """
    opposite = {
        'forces': 'the forces have the opposite sign (gradients?): multiply them by -1',
        'stress': 'the stresses have the opposite sign (compression positive?): multiply them by -1',
    }[label]
    if abs(ratio + 1) < 0.5:
        return opposite
    near = {text: abs(ratio / factor - 1) for text, factor in factors.items() if _LOW < ratio / factor < _HIGH}
    turned = {text: abs(ratio / factor + 1) for text, factor in factors.items() if _LOW < -ratio / factor < _HIGH}
    found = near or turned
    scale = ', or '.join(sorted(found, key=found.__getitem__)[:3]) or 'one of the two is in other units'
    return scale if near or ratio > 0 else f'{scale}; besides, {opposite}'
