"""The level of theory of labels: what a reference calculation was done with, and whether two of them can be mixed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field

#: Digits of numbers that count: constants of nature differ between programs from the ninth on.
SIGNIFICANT_DIGITS = 8
#: Whole numbers beyond this are no longer distinct as floating point.
_LARGEST_WHOLE = 2**53
_ELEMENTS = frozenset(chemical_symbols[1:])


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)


class Pseudopotential(_Record):
    """The pseudopotential of one element."""

    md5: str = Field(description='Checksum of the file: this is what affects the energies.')
    filename: str | None = Field(default=None, description='Name of the file.')
    family: str | None = Field(default=None, description='Label of the family that it was taken from.')


class Cutoffs(_Record):
    """Kinetic-energy cutoffs of plane waves in eV."""

    wavefunction: float = Field(gt=0, description='Of the wave functions.')
    density: float | None = Field(default=None, gt=0, description='Of the charge density.')


class Smearing(_Record):
    """How occupations are smeared."""

    kind: str = Field(description='Name in the code, such as `cold` or `gaussian`.')
    width: float | None = Field(default=None, ge=0, description='Width in eV.')


class LevelOfTheory(_Record):
    """What the labels of a frame were calculated with.

    What does not apply to a code, or is not known, is left out. The version of the code and the labels of families are
    recorded, but labels that differ in nothing else can be mixed.
    """

    code: str = Field(min_length=1, description='`quantumespresso.pw`, `ase:ase.calculators.emt:EMT`, ...')
    version: str | None = Field(default=None, description='Version of the code; not part of the fingerprint.')
    functional: str | None = Field(default=None, description='Exchange and correlation, as the code names it.')
    pseudopotentials: dict[str, Pseudopotential] = Field(default_factory=dict, description='By element.')
    cutoffs: Cutoffs | None = Field(default=None, description='Cutoffs in eV.')
    kpoints_distance: float | None = Field(
        default=None, gt=0, description='Largest distance between k-points in 1/angstrom, in every cell.'
    )
    kpoints_mesh: list[int] | None = Field(
        default=None, min_length=3, max_length=3, description='The mesh of k-points, where no distance was asked for.'
    )
    smearing: Smearing | None = Field(default=None, description='Smearing of the occupations.')
    spin: str | None = Field(default=None, description='`none`, `collinear`, `non-collinear` or `spin-orbit`.')
    energy: Literal['free', 'extrapolated'] | None = Field(
        default=None,
        description='Which energy: `free`, whose derivatives the forces are and which is read wherever a code tells '
        'the two apart, or `extrapolated` to zero smearing, which is another level.',
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict, description='Whatever else affects the energies: arguments of a calculator, keywords.'
    )

    def identity(self) -> dict[str, Any]:
        """Return what affects the energies, in a form that is equal for equal levels of theory."""
        record = self.model_dump(mode='json', exclude={'version', 'pseudopotentials'}, exclude_none=True)
        if record.get('energy') == 'free':
            # What is meant where nothing is said.
            del record['energy']
        record['pseudopotentials'] = {element: pseudo.md5 for element, pseudo in self.pseudopotentials.items()}
        return {key: _canonical(value) for key, value in record.items() if value != {}}

    def fingerprint(self) -> str:
        """Return a short hash of what affects the energies, 16 hexadecimal digits."""
        content = json.dumps(self.identity(), sort_keys=True, separators=(',', ':'))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        parts = [self.code, self.version, self.functional]
        if self.cutoffs is not None:
            parts.append(f'{self.cutoffs.wavefunction:.6g} eV')
        if self.kpoints_distance is not None:
            parts.append(f'k-points by {self.kpoints_distance:g}/Å')
        return f'{", ".join(part for part in parts if part)} ({self.fingerprint()})'


def differences(a: LevelOfTheory, b: LevelOfTheory) -> list[str]:
    """Return in what two levels of theory differ, one text per field with both values; nothing if they can be mixed.

    What is said by element is compared for the elements that both have: calculations of Mg and of MgO can be mixed if
    Mg is described alike, though their fingerprints are not the same.
    """
    return _compare('', a.identity(), b.identity())


def joined(levels: Sequence[LevelOfTheory]) -> LevelOfTheory:
    """Return the level of theory that some levels are parts of: each with what it says of its elements.

    :param levels: at least one, without differences.
    :raises ValueError: if two of them differ, with the differences.
    """
    first, *others = levels
    for other in others:
        found = differences(first, other)
        if found:
            raise ValueError(f'levels of theory differ in {"; ".join(found)}')
    records = [level.model_dump(mode='json') for level in levels]
    record = records[0]
    for key in ('pseudopotentials', 'arguments'):
        record[key] = _united([other[key] for other in records])
    versions = dict.fromkeys(level.version for level in levels if level.version is not None)
    return LevelOfTheory.model_validate({**record, 'version': ', '.join(versions) or None})


def _united(parts: Sequence[Any]) -> Any:
    """Return what equal values have in common, or all that is said by element."""
    if not all(isinstance(part, Mapping) for part in parts):
        return parts[0]
    values: dict[str, list[Any]] = {}
    for part in parts:
        for key, value in part.items():
            values.setdefault(key, []).append(value)
    return {key: _united(found) for key, found in values.items()}


def _compare(path: str, a: Any, b: Any) -> list[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        by_element = bool(a) and bool(b) and a.keys() <= _ELEMENTS and b.keys() <= _ELEMENTS
        keys = a.keys() & b.keys() if by_element else a.keys() | b.keys()
        return [
            text for key in sorted(keys) for text in _compare(f'{path}.{key}' if path else key, a.get(key), b.get(key))
        ]
    return [] if a == b else [f'{path}: {_readable(a)} and {_readable(b)}']


def _readable(value: Any) -> str:
    return 'not said' if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _canonical(value: Any) -> Any:
    """Return a value in which equal numbers are equal, be they whole or not, and digits that do not count are gone."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)):
        if isinstance(value, int) and abs(value) > _LARGEST_WHOLE:
            return value
        # The sum turns -0 into 0.
        return float(f'{value:.{SIGNIFICANT_DIGITS}g}') + 0.0
    return value
