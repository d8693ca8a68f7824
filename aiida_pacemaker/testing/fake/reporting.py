"""What the fake engine says, in the formats of the real one: its log and its tables of metrics."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path

#: The versions that the fake engine gives itself.
VERSION = '0.4.0rc1'
EVALUATOR_VERSION = '2024.7.4'
TENSORPOT_VERSION = '0.6.2.1'

log = logging.getLogger()

_COUNTS = ('ladder_step', 'cycle_step', 'iter_num')


def start_log(path: Path | None = None) -> None:
    """Send the log to the standard error and, if given, to the end of a file."""
    log.setLevel(logging.DEBUG)
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(logging.Formatter('%(asctime)s - %(name)s - %(levelname)s - %(message)s'))
    log.addHandler(console)
    if path is not None:
        log.info('Redirecting log into file %s', path)
        handler = logging.FileHandler(path, 'a')
        handler.setFormatter(logging.Formatter('%(asctime)s %(levelname).1s - %(message)s'))
        log.addHandler(handler)


def now() -> str:
    """Return the time as the engine notes it in potentials."""
    return str(datetime.now())


def size_of(path: Path) -> str:
    """Return the size of a file for a reader."""
    return f'{path.stat().st_size / 1024:.1f}KiB'


@dataclass(frozen=True)
class Metrics:
    """One row of a table of metrics: energies in eV/atom, forces in eV/angstrom per component, the rest without unit.

    The order is that of the columns.
    """

    loss: float
    e_loss_contrib: float
    f_loss_contrib: float
    reg_loss: float
    rmse_epa: float
    rmse_f_comp: float
    low_rmse_epa: float
    low_rmse_f_comp: float
    mae_f_comp: float
    low_mae_f_comp: float
    nfuncs: int
    ncoefs: int
    l1_reg_contrib: float
    l2_reg_contrib: float
    smooth_orth: int = 0
    smooth_w1: float = 0.0
    smooth_w2: float = 0.0
    smooth_w3: float = 0.0

    def summary(self) -> str:
        """Return the figures that the log tells of each iteration."""
        energy, forces = 1000 * self.rmse_epa, 1000 * self.rmse_f_comp
        return (
            f'Loss: {self.loss:.4e} | RMSE Energy(low): {energy:.2f} ({energy:.2f}) meV/at | '
            f'Forces(low): {forces:.2f} ({forces:.2f}) meV/A | Time/eval: 100.00 mcs/at'
        )


_FIGURES = tuple(field.name for field in fields(Metrics))


class Tables:
    """The tables of metrics of one fit.

    :param folder: where they are.
    :param ladder: whether there are ladder steps, for which the engine has one table more.
    """

    def __init__(self, folder: Path, *, ladder: bool) -> None:
        self._folder = folder
        levels = {'': 3, 'cycle_': 2} | ({'ladder_': 1} if ladder else {})
        tested = {'test_': 3, 'test_cycle_': 2, 'test_ladder_': 1}
        self._counts = {f'{prefix}metrics.txt': _COUNTS[:count] for prefix, count in (levels | tested).items()}
        for name, counts in self._counts.items():
            (folder / name).write_text(_line({column: column for column in (*counts, *_FIGURES)}))

    def append(self, name: str, counts: Mapping[str, int], metrics: Metrics) -> None:
        """Append a row to a table."""
        row = {column: counts[column] for column in self._counts[name]}
        figures = {figure: getattr(metrics, figure) for figure in _FIGURES}
        with (self._folder / name).open('a') as handle:
            handle.write(_line(row | figures))


def _line(row: Mapping[str, object]) -> str:
    return ' '.join(f'{value!s:<{_width(name)}}' for name, value in row.items()) + '\n'


def _width(name: str) -> int:
    return len(name) if name in (*_COUNTS, 'nfuncs', 'ncoefs') else 22
