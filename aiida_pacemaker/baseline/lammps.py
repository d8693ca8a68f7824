"""The lines with which LAMMPS uses a potential together with its baseline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Literal

from aiida_pacemaker.baseline.elements import atomic_number
from aiida_pacemaker.baseline.model import DeltaBaseline, LJBaseline, ZBLBaseline

#: What a file name may consist of: nothing that LAMMPS splits, joins, comments out, quotes or substitutes.
FILE_NAME = re.compile(r'[A-Za-z0-9_./][A-Za-z0-9_./+=,:@-]*')

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
    ``units metal``. Numbers are written so that LAMMPS reads exactly the same ones.

    :param baseline: the baseline that was subtracted from the labels.
    :param elements: chemical symbol of each atom type, in order; an element may have more than one type.
    :param potential_file: path of the potential as LAMMPS will see it, ``.yace`` or ``.yaml``; it must be ``.yaml``
        where there is an active set.
    :param active_set: path of the active set (``.asi``), for a ``pace/extrapolation`` style that can compute
        extrapolation grades.
    :param algorithm: algorithm of ``pair_style pace``, where it is not to be the one LAMMPS prefers (``recursive``).
    :raises ValueError: if an element is not one, if a file name is not fit for LAMMPS, if potential, active set and
        algorithm do not go together, or if the LJ baseline lacks a pair of elements.
    """
    if not elements:
        raise ValueError('there are no elements; give the chemical symbol of each atom type')
    numbers = [atomic_number(symbol) for symbol in elements]
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
            styles.append(f'zbl {term.inner!r} {term.outer!r}')
            lines += _zbl_coefficients(numbers)
        else:
            styles.append(f'lj/cut {term.cutoff!r}')
            lines += _lj_coefficients(term, elements)
            lines.append(f'pair_modify pair lj/cut shift {"yes" if term.shift else "no"}')
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


def _type_pairs(count: int) -> list[tuple[int, int]]:
    return list(combinations_with_replacement(range(1, count + 1), 2))


def _zbl_coefficients(numbers: Sequence[int]) -> list[str]:
    return [
        f'pair_coeff {first} {second} zbl {numbers[first - 1]} {numbers[second - 1]}'
        for first, second in _type_pairs(len(numbers))
    ]


def _lj_coefficients(term: LJBaseline, elements: Sequence[str]) -> list[str]:
    parameters = {frozenset(pair.elements): pair for pair in term.pairs_of(elements)}
    lines = []
    for first, second in _type_pairs(len(elements)):
        pair = parameters[frozenset((elements[first - 1], elements[second - 1]))]
        lines.append(f'pair_coeff {first} {second} lj/cut {pair.epsilon!r} {pair.sigma!r} {pair.cutoff!r}')
    return lines


def _check_file_name(name: str, suffixes: tuple[str, ...]) -> None:
    if not FILE_NAME.fullmatch(name):
        raise ValueError(
            f'the file name {name!r} cannot go into a LAMMPS input; use letters, digits and any of _ . / + = , : @ -'
        )
    if not name.endswith(suffixes):
        reason = ' with an active set' if suffixes == ('.yaml',) else ''
        raise ValueError(f'the file name {name!r} must end in {" or ".join(suffixes)}{reason}')
