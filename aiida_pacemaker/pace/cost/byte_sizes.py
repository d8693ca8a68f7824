"""Numbers of bytes as people read them."""

from __future__ import annotations


def shown_bytes(size: float) -> str:
    """Return a number of bytes in three digits, with a decimal prefix: `1.5 kB`, `12.3 GB`."""
    for unit in ('B', 'kB', 'MB', 'GB'):
        if size < 1000:
            return f'{size:.3g} {unit}'
        size /= 1000
    return f'{size:.3g} TB'
