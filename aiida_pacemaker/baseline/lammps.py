"""The lines with which LAMMPS uses a potential together with its baseline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np

from aiida_pacemaker.baseline.elements import atomic_number
from aiida_pacemaker.baseline.model import DeltaBaseline, LJBaseline, ZBLBaseline
from aiida_pacemaker.baseline.pair_terms import lj

#: What a file name may consist of: nothing that LAMMPS splits, joins, comments out, quotes or substitutes.
FILE_NAME = re.compile(r'[A-Za-z0-9_./][A-Za-z0-9_./+=,:@-]*')

#: Points of a table, equally spaced in the square of the distance: energies and forces are then those of the formula
#: to 1e-9 eV and eV/angstrom.
POINTS = 20_000
#: Where a table begins, in angstrom; LAMMPS stops at a shorter distance.
SHORTEST = 0.01

HEADER = """\
# ACE potential in metal units. Atom types: {types}.
"""
OVERLAY_NOTE = """\
# It was fitted on top of a baseline: without the styles added to it here, the potential is wrong.
# With KOKKOS, versions of 2023 let each style overwrite the forces of those before it instead of adding to them
# (https://github.com/lammps/lammps/issues/3936). Compare the forces of one step with those of a run without KOKKOS.
"""
CORE_NOTE = """\
# The potential switches ACE off where atoms collide, which needs a LAMMPS of 2024 or later
# (https://github.com/lammps/lammps/pull/3985).
"""
TABLE_NOTE = '# Lennard-Jones, switched off at short range.\n# UNITS: metal\n\n'


def to_lammps(
    baseline: DeltaBaseline,
    elements: Sequence[str],
    potential_file: str,
    active_set: str | None = None,
    *,
    algorithm: Literal['recursive', 'product'] | None = None,
) -> str:
    """Return the ``pair_style``, ``pair_coeff`` and ``pair_modify`` lines for a potential and its baseline.

    The lines belong after the definition of the simulation box (``read_data``, ``create_box``) in an input with
    ``units metal``. Numbers are written so that LAMMPS reads exactly the same ones. Where LJ is switched they read a
    table (:func:`lammps_table`) that has to be beside the potential.

    :param baseline: the baseline that was subtracted from the labels.
    :param elements: chemical symbol of each atom type, in order; an element may have more than one type.
    :param potential_file: path of the potential as LAMMPS will see it, ``.yace`` or ``.yaml``; it must be ``.yaml``
        where there is an active set.
    :param active_set: path of the active set (``.asi``), for a ``pace/extrapolation`` style that can compute
        extrapolation grades.
    :param algorithm: algorithm of ``pair_style pace``, where it is not to be the one LAMMPS prefers (``recursive``).
    :raises ValueError: if an element is not one, if a file name is not fit for LAMMPS, if potential, active set and
        algorithm do not go together, or if the baseline lacks a pair of elements.
    """
    if not elements:
        raise ValueError('there are no elements; give the chemical symbol of each atom type')
    for symbol in elements:
        atomic_number(symbol)
    style, arguments = _pace(elements, potential_file, active_set, algorithm)
    header = HEADER.format(types=', '.join(f'{type_} {symbol}' for type_, symbol in enumerate(elements, start=1)))
    if baseline.mode in ('core', 'both'):
        header += CORE_NOTE
    if not baseline.subtracted():
        return f'{header}pair_style {style}\npair_coeff * * {arguments}\n'
    header += OVERLAY_NOTE
    styles, lines = [style], [f'pair_coeff * * {style.split()[0]} {arguments}']
    for term in baseline.subtracted():
        if isinstance(term, ZBLBaseline):
            of_term = _zbl(term, elements)
        else:
            of_term = _lj(term, elements, table_file_of(potential_file))
        styles += of_term[0]
        lines += of_term[1]
    return f'{header}pair_style hybrid/overlay {" ".join(styles)}\n' + ''.join(f'{line}\n' for line in lines)


def _pace(
    elements: Sequence[str], potential_file: str, active_set: str | None, algorithm: str | None
) -> tuple[str, str]:
    """Return the style of ACE and its coefficients."""
    _check_file_name(potential_file, ('.yace', '.yaml') if active_set is None else ('.yaml',))
    if active_set is None:
        return ('pace' if algorithm is None else f'pace {algorithm}'), f'{potential_file} {" ".join(elements)}'
    _check_file_name(active_set, ('.asi',))
    if algorithm is not None:
        raise ValueError(
            f'algorithm={algorithm!r} is a choice of pace, which pace/extrapolation does not have; omit it'
        )
    return 'pace/extrapolation', f'{potential_file} {active_set} {" ".join(elements)}'


def _type_pairs(elements: Sequence[str]) -> list[tuple[int, int, tuple[str, str]]]:
    """Return all pairs of atom types, and the elements of each in alphabetical order."""
    types = combinations_with_replacement(enumerate(elements, start=1), 2)
    return [(first, second, (min(a, b), max(a, b))) for (first, a), (second, b) in types]


def _zbl(term: ZBLBaseline, elements: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return a style for each inner and outer cutoff, as all pairs of `zbl` share theirs, and the coefficients."""
    parameters = {pair.elements: pair for pair in term.pairs_of(elements)}
    cutoffs = sorted({(pair.inner, pair.outer) for pair in parameters.values()})
    lines = []
    for first, second, key in _type_pairs(elements):
        pair = parameters[key]
        number = f' {cutoffs.index((pair.inner, pair.outer)) + 1}' if len(cutoffs) > 1 else ''
        charges = ' '.join(str(atomic_number(elements[type_ - 1])) for type_ in (first, second))
        lines.append(f'pair_coeff {first} {second} zbl{number} {charges}')
    return [f'zbl {inner!r} {outer!r}' for inner, outer in cutoffs], lines


def _lj(term: LJBaseline, elements: Sequence[str], table_file: str) -> tuple[list[str], list[str]]:
    """Return `lj/cut` for what is not switched, a table for what is, and the coefficients."""
    parameters = {pair.elements: pair for pair in term.pairs_of(elements)}
    whole = [pair.cutoff for pair in parameters.values() if pair.on is None]
    styles, lines = [], []
    if whole:
        styles.append(f'lj/cut {max(whole)!r}')
    if len(whole) < len(parameters):
        styles.append(f'table spline {POINTS}')
    for first, second, key in _type_pairs(elements):
        pair = parameters[key]
        if pair.on is None:
            lines.append(f'pair_coeff {first} {second} lj/cut {pair.epsilon!r} {pair.sigma!r} {pair.cutoff!r}')
        else:
            lines.append(f'pair_coeff {first} {second} table {table_file} {"-".join(key)} {pair.cutoff!r}')
    if whole:
        lines.append(f'pair_modify pair lj/cut shift {"yes" if term.shift else "no"}')
    return styles, lines


def table_file_of(potential_file: str) -> str:
    """Return the path of the table that belongs to a potential, as LAMMPS will see it: beside the potential."""
    return f'{potential_file.rpartition(".")[0]}.table'


def lammps_table(baseline: DeltaBaseline, elements: Sequence[str]) -> str | None:
    """Return the content of the table that the lines of :func:`to_lammps` read, None if they read none.

    It holds what no pair style of LAMMPS has: the LJ potential that is switched off at short range.

    :param baseline: as for :func:`to_lammps`.
    :param elements: chemical symbols.
    :raises ValueError: if the baseline lacks a pair of elements.
    """
    if baseline.lj is None:
        return None
    parts = []
    for pair in baseline.lj.pairs_of(elements):
        if pair.off is None or pair.on is None:
            continue
        # LAMMPS computes the same distances and, since it is to have as many, does not interpolate between them.
        squared = np.linspace(SHORTEST**2, pair.cutoff**2, POINTS)
        distance = np.minimum(np.sqrt(squared), pair.cutoff)
        # The last point, at the cutoff, is what the energy comes from there, not the zero beyond.
        cutoff = np.full(POINTS, np.nextafter(pair.cutoff, np.inf))
        epsilon, sigma = np.full(POINTS, pair.epsilon), np.full(POINTS, pair.sigma)
        energy, slope = lj(distance, epsilon, sigma, cutoff, baseline.lj.shift, pair.off, pair.on)
        rows = zip(range(1, POINTS + 1), distance.tolist(), energy.tolist(), (-slope).tolist(), strict=True)
        lines = ['-'.join(pair.elements), f'N {POINTS} RSQ {SHORTEST!r} {pair.cutoff!r}', '']
        lines += [f'{number} {r!r} {e!r} {f!r}' for number, r, e, f in rows]
        parts += [TABLE_NOTE, *(f'{line}\n' for line in lines), '\n']
    return ''.join(parts) or None


def _check_file_name(name: str, suffixes: tuple[str, ...]) -> None:
    if not FILE_NAME.fullmatch(name):
        raise ValueError(
            f'the file name {name!r} cannot go into a LAMMPS input; use letters, digits and any of _ . / + = , : @ -'
        )
    if not name.endswith(suffixes):
        reason = ' with an active set' if suffixes == ('.yaml',) else ''
        raise ValueError(f'the file name {name!r} must end in {" or ".join(suffixes)}{reason}')
