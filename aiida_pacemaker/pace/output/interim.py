"""Which of the potentials that a fit has left behind can be gone on from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from aiida_pacemaker.pace.output.metrics import MetricsTable
from aiida_pacemaker.pace.output.potentials import newest_interim

#: The engine writes numbers that are not finite as `.nan` and `.inf`, or as C does.
_NOT_FINITE = re.compile(rb'(?<![\w.])[-+]?\.?(?:nan|inf|infinity)(?![\w.])', re.IGNORECASE)
_SPECIES = re.compile(rb'^species:', re.MULTILINE)


def all_finite(content: bytes) -> bool:
    """Tell whether all numbers of a potential are finite; its notes do not count, where `_loss` may be anything.

    :param content: a B-basis ``.yaml``.
    """
    species = _SPECIES.search(content)
    return _NOT_FINITE.search(content, 0 if species is None else species.start()) is None


def usable_interims(names: Iterable[str], table: MetricsTable | None) -> Iterator[str]:
    """Iterate over the interim potentials that a fit can be continued from, the newest first.

    Each is written at the end of an iteration, whatever the loss is by then. Where a fit has diverged, only those of
    the fit cycles and ladder steps are left that have ended well.

    :param names: names of the files that the fit left behind.
    :param table: ``metrics.txt``; None where it cannot be read.
    """
    left = set(names)
    while (name := newest_interim(left)) is not None:
        left.remove(name)
        if table is None or not table.diverged or _ended_well(name, table):
            yield name


def _ended_well(name: str, table: MetricsTable) -> bool:
    match = re.fullmatch(r'interim_potential_(ladder_step_)?(\d+)\.yaml', name)
    if match is None:
        # The best of all cycles, by a comparison that NaN wins.
        return False
    if match[1]:
        part = table.select(ladder_step=int(match[2]))
    else:
        part = table.select(ladder_step=int(table['ladder_step'][-1]), cycle_step=int(match[2]))
    return len(part) > 0 and not part.diverged
