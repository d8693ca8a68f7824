"""The tables of the fit's progress that the engine writes (``metrics.txt`` and its companions)."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aiida_pacemaker.errors import MetricsFileError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Column = FloatArray | IntArray

#: The columns that count something; all others are float64.
INTEGER_COLUMNS = ('leg', 'ladder_step', 'cycle_step', 'iter_num', 'nfuncs', 'ncoefs')
#: Columns that are finite as long as the fit is healthy. Those of the low-energy tier are not: it may be empty.
_HEALTHY_COLUMNS = ('loss', 'rmse_epa', 'rmse_f_comp')
#: The columns of a running table that are asked for here.
_RUNNING_COLUMNS = (
    *('ladder_step', 'cycle_step', 'iter_num', 'loss', 'rmse_epa', 'rmse_f_comp', 'mae_f_comp', 'nfuncs', 'ncoefs'),
)
#: A loss this many times its lowest value in the same fit cycle explodes.
EXPLOSION = 10.0


#: Longest text, in characters: 50,000 iterations. A line has a few hundred.
MAX_LENGTH = 16 * 1024**2
_MAX_LINE, _MAX_LINES = 10_000, 1_000_000
_NAME = re.compile(r'[A-Za-z]\w{0,39}', re.ASCII)
#: Counts add up over all rows, and must not wrap around.
_MAX_COUNT = 10**12


@dataclass(frozen=True, eq=False)
class MetricsTable:
    """One metrics table: a row per iteration, fit cycle or ladder step.

    The columns are those of the engine: ``ladder_step``, ``cycle_step``, ``iter_num`` (where they apply), ``loss`` and
    its contributions (dimensionless), ``rmse_epa`` (eV/atom), ``rmse_f_comp`` and ``mae_f_comp`` (eV/angstrom, per
    Cartesian component), the same with the prefix ``low_`` for structures of low energy, ``nfuncs`` and ``ncoefs``.

    :param columns: name to values, int64 for counts and float64 for the rest, each of shape (rows,).
    :param truncated: whether the last line was incomplete and has been left out, as after a kill.
    """

    columns: Mapping[str, Column]
    truncated: bool = False

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def row(self, index: int) -> dict[str, float | int]:
        """Return one row as plain numbers.

        :raises IndexError: if there is no such row.
        """
        return {name: column[index].item() for name, column in self.columns.items()}

    @property
    def last(self) -> dict[str, float | int]:
        """The last row; an empty dictionary where there is none."""
        return self.row(-1) if len(self) else {}

    @property
    def divergence(self) -> str | None:
        """What has gone wrong with the numbers of the fit, in words; None for a healthy one.

        That is a loss or an error that is NaN or infinite in any row, or a loss that explodes. The optimisers of the
        engine accept only steps that lower the loss (seen with BFGS, L-BFGS-B, CG and Nelder-Mead on labels of up to
        1e200 eV, where it overflows at once or not at all), so within a fit cycle it never rises in a healthy fit; a
        new cycle may begin high above the one before, for it adds noise. Hence a cycle explodes that ends above
        where it began, or :data:`EXPLOSION` times above its lowest value.
        """
        for name in (name for name in _HEALTHY_COLUMNS if name in self.columns):
            bad = np.flatnonzero(~np.isfinite(self.columns[name]))
            if len(bad):
                return f'`{name}` is {self.columns[name][bad[0]]} {self._place(int(bad[0]))}'
        if not {'loss', 'iter_num'} <= set(self.columns):
            return None
        for rows in self._cycles():
            losses = self.columns['loss'][rows]
            limit = min(losses[0] * (1 + 1e-6), losses.min() * EXPLOSION)
            if losses[-1] > limit:
                return f'`loss` is {losses[-1]:g} {self._place(int(rows[-1]))}, but has been {losses.min():g} before'
        return None

    @property
    def diverged(self) -> bool:
        """Whether there is a :attr:`divergence`."""
        return self.divergence is not None

    def select(self, **counts: int) -> MetricsTable:
        """Return the rows with these values in these columns, as in ``select(cycle_step=0)``."""
        mask = np.ones(len(self), dtype=np.bool_)
        for name, value in counts.items():
            mask &= self.columns[name] == value
        return MetricsTable({name: column[mask] for name, column in self.columns.items()}, self.truncated)

    def _place(self, row: int) -> str:
        return f'at iteration {self.columns["iter_num"][row]}' if 'iter_num' in self.columns else f'in row {row}'

    def _cycles(self) -> Iterator[IntArray]:
        """Iterate over the rows of each fit cycle of each ladder step and leg."""
        names = [name for name in ('leg', 'ladder_step', 'cycle_step') if name in self.columns]
        if not len(self):
            return
        keys = np.stack([self.columns[name] for name in names] or [np.zeros(len(self), dtype=np.int64)])
        begins = np.flatnonzero((keys[:, 1:] != keys[:, :-1]).any(axis=0)) + 1
        yield from np.split(np.arange(len(self)), begins)

    @property
    def iterations(self) -> int:
        """Optimiser iterations done in all, over fit cycles and ladder steps."""
        return _clock(self)[1] if 'iter_num' in self.columns else 0


def read_metrics(text: str) -> MetricsTable:
    """Read a metrics table.

    Repeated headers (the engine's answer to a second run in the same folder) begin the table anew, since the engine
    counts anew as well. A last line without its line break was cut by a kill and is left out.

    :param text: the content of ``metrics.txt``, ``test_metrics.txt``, ``cycle_metrics.txt``, ``ladder_metrics.txt``
        or one of their companions.
    :raises MetricsFileError: if the text is not such a table.
    """
    if len(text) > MAX_LENGTH:
        raise MetricsFileError(f'it has {len(text)} characters; metrics have no more than {MAX_LENGTH}')
    names: list[str] = []
    values = array('d')
    start = number = 0
    while (stop := text.find('\n', start)) >= 0:
        number += 1
        if stop - start > _MAX_LINE or number > _MAX_LINES:
            raise MetricsFileError(f'line {number} has {stop - start} characters: this is no metrics table')
        line, start = text[start:stop], stop + 1
        fields = line.split()
        if not fields:
            continue
        if 'loss' in fields:
            names, values = _header(fields, number), array('d')
        elif not names:
            raise MetricsFileError(f'line {number} comes before any header with a column `loss`: {line[:80]!r}')
        elif len(fields) != len(names):
            raise MetricsFileError(f'line {number} has {len(fields)} values, the header names {len(names)} columns')
        else:
            values.extend(_number(field, name) for field, name in zip(fields, names, strict=True))
    table = np.array(values, dtype=np.float64).reshape(-1, len(names) or 1)
    columns = {name: _column(name, table[:, position]) for position, name in enumerate(names)}
    return MetricsTable(columns, truncated=bool(text[start:].strip()))


def _header(fields: list[str], number: int) -> list[str]:
    # The names become those of arrays.
    if len(set(fields)) < len(fields) or not all(_NAME.fullmatch(field) for field in fields):
        raise MetricsFileError(f'line {number} is not a header: {" ".join(fields)}')
    return fields


def _number(field: str, name: str) -> float:
    try:
        return float(field)
    except ValueError as exception:
        raise MetricsFileError(f'column `{name}` holds something that is not a number: {field}') from exception


def _column(name: str, values: FloatArray) -> Column:
    if name not in INTEGER_COLUMNS:
        return values
    wrong = values[~((values == np.floor(values)) & (np.abs(values) <= _MAX_COUNT))]
    if len(wrong):
        raise MetricsFileError(f'column `{name}` holds {wrong[0]}, which counts nothing')
    return values.astype(np.int64)


def stitch(tables: Sequence[MetricsTable], clocks: Sequence[MetricsTable] | None = None) -> MetricsTable:
    """Join the legs of a fit that was continued after a stop into one curve.

    ``iter_num`` of the result counts the optimiser iterations since the beginning of the first leg, over all fit
    cycles, ladder steps and legs. Where the first row of a leg is the state in which the leg before it stopped (it has
    the same loss), it is left out. It is another one where a ladder goes on from its last finished step, and in a test
    table whose last row lay before the stop. The column ``leg`` counts the legs from zero.

    :param tables: the running tables (with ``iter_num``) of all legs in order; legs without rows are passed over.
    :param clocks: where ``tables`` are test tables, which have no row for each iteration: the training tables of the
        same legs, by which iterations are counted.
    :raises ValueError: if there is no table, if the legs differ in their columns, or if a table has no ``iter_num``.
    """
    if not tables:
        raise ValueError('there are no metrics to stitch')
    clocks = tables if clocks is None else clocks
    if len(clocks) != len(tables):
        raise ValueError(f'{len(tables)} tables cannot be timed by {len(clocks)} training tables')
    names = next((list(table.columns) for table in tables if len(table)), list(tables[0].columns))
    parts: list[dict[str, Column]] = []
    done = 0
    previous: MetricsTable | None = None
    for leg, (table, clock) in enumerate(zip(tables, clocks, strict=True)):
        starts, total = _clock(clock)
        if len(table):
            if list(table.columns) != names:
                raise ValueError(f'leg {leg} has columns {list(table.columns)}, the others have {names}')
            part = dict(table.columns)
            elapsed = table['iter_num'] + [starts.get(key, total) for key in _groups(table)]
            # The evaluator `tensorpot` numbers its last row of the test set one beyond the last iteration.
            part['iter_num'] = done + np.minimum(elapsed, total)
            part['leg'] = np.full(len(table), leg, dtype=np.int64)
            if previous is not None and np.isclose(previous['loss'][-1], table['loss'][0], rtol=1e-6, atol=0):
                part = {name: column[1:] for name, column in part.items()}
            parts.append(part)
            previous = table
        done += total
    names = [*names, 'leg']
    if not parts:
        return MetricsTable({name: _column(name, np.empty(0)) for name in names}, tables[-1].truncated)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return MetricsTable(columns, tables[-1].truncated)


def _groups(table: MetricsTable) -> list[tuple[int, int]]:
    return list(zip(table['ladder_step'].tolist(), table['cycle_step'].tolist(), strict=True))


def _clock(table: MetricsTable) -> tuple[dict[tuple[int, int], int], int]:
    """Return the iterations done before each ladder step and cycle of a leg, and those done in all."""
    missing = [name for name in ('ladder_step', 'cycle_step', 'iter_num') if name not in table.columns]
    if missing:
        if len(table):
            raise ValueError(f'a table without the column `{missing[0]}` does not count iterations')
        return {}, 0
    ends: dict[tuple[int, int], int] = {}
    for key, iteration in zip(_groups(table), table['iter_num'].tolist(), strict=True):
        ends[key] = max(iteration, ends.get(key, 0))
    starts: dict[tuple[int, int], int] = {}
    done = 0
    for key, end in ends.items():
        starts[key] = done
        done += end
    return starts, done


@dataclass(frozen=True)
class TrainingMetrics:
    """How good a fit is and what it cost.

    :param rmse_energy: root-mean-square error of the energy on the training set, eV/atom.
    :param rmse_forces: root-mean-square error of the forces on the training set, eV/angstrom per Cartesian component.
    :param mae_forces: mean absolute error of the forces on the training set, eV/angstrom per Cartesian component. The
        engine's tables have no such figure for energies.
    :param loss: value of the loss function on the training set, dimensionless.
    :param validation_rmse_energy: as ``rmse_energy`` on the test set; None where the engine did not evaluate it.
    :param validation_rmse_forces: as ``rmse_forces`` on the test set; None where the engine did not evaluate it.
    :param validation_loss: value of the loss function on the test set; None where the engine did not evaluate it (its
        evaluator ``pyace`` never does).
    :param training_time: wall time of the fit in seconds, None where it is not known.
    :param iterations: optimiser iterations done in all.
    :param n_functions: basis functions of the potential.
    :param n_parameters: parameters of the potential that were fitted.
    :param diverged: whether a loss or an error became NaN or infinite, or the loss exploded.
    """

    rmse_energy: float
    rmse_forces: float
    mae_forces: float
    loss: float
    validation_rmse_energy: float | None
    validation_rmse_forces: float | None
    validation_loss: float | None
    training_time: float | None
    iterations: int
    n_functions: int
    n_parameters: int
    diverged: bool

    @classmethod
    def from_tables(
        cls, train: MetricsTable, test: MetricsTable | None = None, training_time: float | None = None
    ) -> TrainingMetrics:
        """Take the figures of the potential that the engine keeps from its running tables.

        That is the fit cycle with the lowest final loss, among those of the last ladder step and the last leg.

        :param train: ``metrics.txt``, or the stitched tables of all legs.
        :param test: ``test_metrics.txt``, likewise; its last row of the same fit cycle counts.
        :param training_time: wall time of the fit in seconds.
        :raises ValueError: if the training table has no row, or a table not the columns of a running one.
        """
        if not len(train):
            raise ValueError('the metrics table has no row: the fit stopped before its first iteration')
        for table in (train, test):
            missing = [name for name in _RUNNING_COLUMNS if table is not None and name not in table.columns]
            if missing and table is not None and len(table):
                raise ValueError(f'the metrics table has no column {missing}')
        row = _kept_row(train)
        tested = None if test is None else _last_row_like(test, row)
        return cls(
            rmse_energy=float(row['rmse_epa']),
            rmse_forces=float(row['rmse_f_comp']),
            mae_forces=float(row['mae_f_comp']),
            loss=float(row['loss']),
            validation_rmse_energy=None if tested is None else float(tested['rmse_epa']),
            validation_rmse_forces=None if tested is None else float(tested['rmse_f_comp']),
            validation_loss=None if tested is None else float(tested['loss']),
            training_time=training_time,
            iterations=int(train['iter_num'][-1]) if 'leg' in train.columns else train.iterations,
            n_functions=int(row['nfuncs']),
            n_parameters=int(row['ncoefs']),
            diverged=train.diverged,
        )


def _kept_row(train: MetricsTable) -> dict[str, float | int]:
    last = train.last
    ends: dict[int, int] = {}
    for index in np.flatnonzero(_same(train, last, ('leg', 'ladder_step'))).tolist():
        ends[int(train['cycle_step'][index])] = index
    # NaN compares as the worst, so that a healthy cycle is preferred.
    best = min(ends.values(), key=lambda index: float(np.nan_to_num(train['loss'][index], nan=np.inf)))
    return train.row(best)


def _last_row_like(test: MetricsTable, row: Mapping[str, float | int]) -> dict[str, float | int] | None:
    rows = np.flatnonzero(_same(test, row, ('leg', 'ladder_step', 'cycle_step')))
    return test.row(int(rows[-1])) if len(rows) else None


def _same(table: MetricsTable, row: Mapping[str, float | int], names: Sequence[str]) -> npt.NDArray[np.bool_]:
    mask = np.ones(len(table), dtype=np.bool_)
    for name in names:
        if name in table.columns and name in row:
            mask &= table[name] == row[name]
    return mask
