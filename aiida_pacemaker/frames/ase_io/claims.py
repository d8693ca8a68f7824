"""What a file claims of itself, held against its content before ASE takes it at its word."""

from __future__ import annotations

import re

#: In the header of a structure in extxyz: how many columns each property has.
_COLUMNS = re.compile(r':[RISL]:(\d+)', re.IGNORECASE)
_MAX_COLUMNS = 1000
#: What stands once in each structure of a file.
MARKERS = {
    'vasp-xml': '<calculation>',
    'vasp-out': 'FREE ENERGIE OF THE ION-ELECTRON SYSTEM',
    'vasp-xdatcar': 'onfiguration=',
    'lammps-dump-text': 'ITEM: TIMESTEP',
}


def checked(text: str, file_format: str) -> str:
    """Return the text of a file, of which ASE can read every structure, or refuse it.

    ASE takes numbers of atoms at their word: it goes on reading behind the end of the file, or fills the memory. And it
    stops at a blank line between structures, which is left out here.

    :raises ValueError: if a number does not fit the file, or if what follows a structure is none.
    """
    if file_format in ('vasp', 'vasp-xdatcar'):
        counts = [int(field) for line in text.split('\n', 7)[5:7] for field in line.split() if field.isdecimal()]
        if sum(counts) > len(text):
            raise ValueError(f'it claims {sum(counts)} atoms')
    elif file_format == 'lammps-dump-text':
        _check_dump(text)
    elif file_format in ('extxyz', 'xyz'):
        return _structures_only(text)
    return text


def _structures_only(text: str) -> str:
    """Return the text of a file of structures one after the other without the blank lines between them."""
    lines = text.split('\n')
    kept: list[tuple[int, int]] = []
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        if not lines[start].strip().isdecimal():
            raise ValueError(f'line {start + 1} is {lines[start][:80]!r}, a number of atoms is needed there')
        n_atoms = int(lines[start])
        stop = start + 2 + n_atoms
        if stop > len(lines):
            raise ValueError(f'line {start + 1} claims {n_atoms} atoms, but {len(lines) - start} lines are left')
        _check_columns(lines, start)
        while stop < len(lines) and lines[stop].lstrip().startswith('VEC'):
            stop += 1
        kept.append((start, stop))
        start = stop
    if sum(stop - start for start, stop in kept) == len(lines):
        return text
    return '\n'.join(line for start, stop in kept for line in lines[start:stop]) + '\n' * bool(kept)


def _check_columns(lines: list[str], start: int) -> None:
    counts = [int(count) for count in _COLUMNS.findall(lines[start + 1])]
    if any(count > _MAX_COLUMNS for count in counts):
        raise ValueError(f'line {start + 2} claims more than {_MAX_COLUMNS} columns of a property')
    # Each takes two characters at least.
    if len(lines) > start + 2 and int(lines[start]) and sum(counts) > len(lines[start + 2]):
        raise ValueError(f'line {start + 2} claims {sum(counts)} columns, which line {start + 3} does not have')


def _check_dump(text: str) -> None:
    """Hold the numbers of atoms in a dump of LAMMPS against its lines, and look whether it names the elements."""
    n_lines = text.count('\n') + 1
    for match in re.finditer(r'ITEM: NUMBER OF ATOMS[^\n]*\n\s*(\S+)', text):
        if not match[1].isdecimal() or int(match[1]) > n_lines:
            raise ValueError(f'it claims {match[1][:20]} atoms, but has {n_lines} lines')
    for match in re.finditer(r'ITEM: ATOMS([^\n]*)', text):
        if not {'element', 'mass'} & set(match[1].split()):
            raise ValueError(
                'its atoms have types and no elements, which ASE would take for atomic numbers: write it by '
                '`dump ... custom ... id element x y z`, with `dump_modify ... element ...`'
            )
