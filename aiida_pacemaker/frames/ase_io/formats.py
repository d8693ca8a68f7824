"""Which format of ASE a file is of: told by its content, by its name, or said."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath

from ase.io.formats import UnknownFileTypeError, filetype, ioformats

from aiida_pacemaker.errors import UnreadableFileError

#: The formats of ASE that are read: those of results and structures that its readers take from one file. Left out are
#: those that have it open others, which the file names (`gaussian-in`, `onetep-in`, `octopus-in`, `dftb`) or which lie
#: beside it (`xtd`, `dacapo-text`, `bundletrajectory`, `res`), databases (`db`), readers that need more than the file
#: (`cp2k-dcd`), and files that do not say which elements the atoms are of (`lammps-data`, `lammps-dump-binary`).
# fmt: off
FORMATS = frozenset([
    # Labels and structures.
    'extxyz', 'xyz', 'traj', 'json', 'vasp-out', 'vasp-xml', 'espresso-out', 'aims-output', 'abinit-out',
    'castep-castep', 'castep-geom', 'castep-md', 'gaussian-out', 'gpaw-out', 'gpw', 'nwchem-out', 'orca-output',
    'onetep-out', 'gamess-us-out', 'qbox', 'elk', 'nomad-json', 'runnerdata', 'turbomole-gradient',
    # Structures.
    'aims', 'cfg', 'cif', 'cp2k-restart', 'crystal', 'cube', 'dlp4', 'dlp-history', 'dmol-arc', 'dmol-car',
    'dmol-incoor', 'eon', 'espresso-in', 'gamess-us-punch', 'gen', 'gpumd', 'gromacs', 'gromos', 'jsv',
    'lammps-dump-text', 'magres', 'mol', 'nwchem-in', 'proteindatabank', 'rmc6f', 'sdf', 'siesta-xv', 'struct',
    'struct_out', 'sys', 'turbomole', 'v-sim', 'vasp', 'vasp-xdatcar', 'wout', 'xsd', 'xsf',
])
# fmt: on
#: Bytes of a file that its format is told by; headers of programs are long.
HEAD = 50_000
#: Endings that programs of many kinds give to their output: they say nothing.
_COMMON = frozenset(['', 'out', 'log', 'txt', 'dat', 'data', 'in', 'xml', 'output', 'result'])
#: Formats with a signature of ASE that is rather a common word.
_WEAK = frozenset(['gamess-us-punch', 'turbomole', 'xsf'])


def _has(*patterns: str) -> Callable[[str], bool]:
    compiled = [re.compile(pattern, re.MULTILINE) for pattern in patterns]
    return lambda text: all(pattern.search(text) for pattern in compiled)


_NUMBER = r'[-+]?[\d.]+(?:[eEdD][-+]?\d+)?'
_VECTOR = rf'[ \t]*{_NUMBER}[ \t]+{_NUMBER}[ \t]+{_NUMBER}[^\n]*\n'
#: Signatures that ASE does not look for.
_SIGNATURES: dict[str, Callable[[str], bool]] = {
    'vasp-xml': _has(r'<modeling>'),
    'vasp-out': _has(r'\A *vasp\.\d', r'executed on|running on'),
    'vasp-xdatcar': _has(r'^Direct configuration='),
    'lammps-dump-text': _has(r'\AITEM: TIMESTEP'),
    'aims-output': _has(r'^ *\| Number of atoms +:', r'[Ss]elf-consistency loop|Self-consistency convergence'),
    'castep-castep': _has(r'^ *\|? *CCC +AA +SSS|Welcome to .*CASTEP|CASTEP version'),
    'json': _has(r'\A\s*\{\s*"(?:1|ids|nextid)":'),
    'cif': _has(r'^data_', r'^_cell_length_a'),
    'extxyz': _has(r'\A\s*\d+[ \t]*\r?\n'),
    'runnerdata': _has(r'\Abegin\s'),
    'vasp': _has(rf'\A[^\n]*\n[ \t]*{_NUMBER}[ \t]*\n(?:{_VECTOR}){{3}}'),
    'aims': _has(r'\A(?:[ \t]*(?:#[^\n]*)?\n)*[ \t]*(?:lattice_vector|atom|atom_frac)[ \t]+[-+\d.]'),
    'proteindatabank': _has(r'^(?:CRYST1|ATOM  |HETATM)'),
}
#: Programs whose output nobody can read here, and what to do about it.
_UNKNOWN_TO_ASE = (
    (re.compile(r'CP2K\| version string'), 'CP2K, which ASE does not read'),
    (re.compile(r'SIESTA \S+|Welcome to SIESTA', re.IGNORECASE), 'SIESTA, which ASE does not read'),
)


def format_of(name: str, content: bytes, said: str | None = None) -> str:
    """Return the format of a file.

    A name that only one program uses tells it, otherwise the content does; what is said comes before both.

    :param name: name of the file, without the ending of a compressed one.
    :param content: its content, or the beginning of it.
    :param said: the format, if somebody said it.
    :raises UnreadableFileError: if it cannot be told, or is not one of :data:`FORMATS`.
    """
    if said is not None:
        if said not in FORMATS:
            raise UnreadableFileError(f'`{said}` is no format that is read; these are: {_listed()}')
        return said
    head = content[:HEAD]
    says_nothing = PurePosixPath(name.lower()).suffix.removeprefix('.') in _COMMON and not _is_pattern(name)
    named = '' if says_nothing else _by_name(name)
    found = named or _by_content(head)
    if not found:
        program = next((program for seen, program in _UNKNOWN_TO_ASE if seen.search(head.decode('latin-1'))), '')
        about = f'it is of {program}: convert it to extxyz' if program else 'neither its name nor its content tells it'
        raise UnreadableFileError(
            f'ASE does not know the format of {name}: {about}. Say it by `formats`, as in '
            f"formats={{'{name}': 'gpaw-out'}}; one of {_listed()}"
        )
    if found not in FORMATS:
        raise UnreadableFileError(
            f'{name} is of the format {found}, which is more than a file, or is not known to be read from that file '
            'alone: convert it to extxyz'
        )
    return found


def _is_pattern(name: str) -> bool:
    """Return whether the name, beyond its ending, is one that a program gives: `OUTCAR.out`, `vasprun.xml`."""
    return any(found.match_name(PurePosixPath(name).name) for found in ioformats.values())


def _by_name(name: str) -> str:
    """Return the format that the name alone tells, or that its ending is the name of; empty if there is none."""
    try:
        found = filetype(name, read=False)
    except UnknownFileTypeError:
        return ''
    # Where nothing fits, ASE takes the ending for the name of a format.
    return found if found in ioformats else ''


def _by_content(head: bytes) -> str:
    """Return the format that the beginning of a file tells; empty if it tells none."""
    known = [found for name, found in ioformats.items() if name in FORMATS]
    for weak in (False, True):
        for found in known:
            if (found.name in _WEAK) is weak and found.match_magic(head):
                return str(found.name)
        if not weak:
            text = head.decode('latin-1')
            for name, matches in _SIGNATURES.items():
                if matches(text):
                    return name
    return ''


def _listed() -> str:
    return ', '.join(sorted(FORMATS & set(ioformats)))
