"""Numbers of bytes as people read them."""

from __future__ import annotations

import pytest

from aiida_pacemaker.pace.cost.byte_sizes import shown_bytes


@pytest.mark.parametrize(
    ('size', 'expected'),
    [(0, '0 B'), (999, '999 B'), (1500, '1.5 kB'), (2**30, '1.07 GB'), (12_345_678_901, '12.3 GB'), (3e12, '3 TB')],
)
def test_three_digits(size, expected):
    assert shown_bytes(size) == expected
