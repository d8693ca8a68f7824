"""Frames from and to ASE and the files that it reads."""

from .files import info_of, read, read_all
from .formats import FORMATS
from .structures import from_atoms, reading_of, to_atoms
from .writing import write_extxyz

__all__ = [
    'FORMATS',
    'from_atoms',
    'info_of',
    'read',
    'read_all',
    'reading_of',
    'to_atoms',
    'write_extxyz',
]
