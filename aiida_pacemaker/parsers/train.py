"""Parser of the training job."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.base import STATUS
from aiida_pacemaker.calculations.train import PaceTrainCalculation
from aiida_pacemaker.data.learning_curves import curves_from_tables
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.engine.config import parse_config
from aiida_pacemaker.engine.failures import Failure, diagnose
from aiida_pacemaker.engine.logs import LogSummary, read_log
from aiida_pacemaker.engine.metrics import MetricsTable, TrainingMetrics, read_metrics
from aiida_pacemaker.engine.potential_files import (
    PotentialFileError,
    newest_interim,
    read_ctilde,
    strip_fit_cycles,
)
from aiida_pacemaker.frames.pickle_reading import read_table
from aiida_pacemaker.parsers.base import PaceParser, finite

#: Status of `scipy.optimize.minimize` for the maximum number of iterations.
MAXITER = 1


class PaceTrainParser(PaceParser):
    """Attach potential, errors and learning curves, whatever there is of them, and then judge the fit."""

    def parse(self, **kwargs: Any) -> ExitCode:
        """Parse the retrieved files."""
        text = self.read_text(PaceTrainCalculation.LOG)
        log = self.summarise(read_log, PaceTrainCalculation.LOG, LogSummary())
        tables, unreadable = self.tables()
        invalid = self.attach_potentials(log)
        fitted = 'potential' in self.outputs
        self.attach_metrics(tables, log, fitted)
        if self.node.inputs.predict.value:
            self.attach_predictions(kwargs.get('retrieved_temporary_folder'))
        if not fitted:
            return self.verdict(self.diagnose(text), invalid, self.interrupted(tables))
        return self.verdict(
            unreadable, self.skipped(tables, text), self.diverged(tables), self.dropped(log), self.conversion()
        )

    @property
    def weighted(self) -> bool:
        """Whether a weighting policy was asked for, which leaves out frames on purpose."""
        return parse_config(self.node.inputs.config.get_dict()).sections()['fit'].get('weighting') is not None

    def tables(self) -> tuple[dict[str, MetricsTable], ExitCode | None]:
        """Return the metrics of each set of frames that has any rows, and what is wrong with those of the training."""
        tables: dict[str, MetricsTable] = {}
        unreadable = None
        for label, name in PaceTrainCalculation.METRICS.items():
            try:
                if name not in self.names and label == 'train':
                    raise ValueError('it is not there')
                table = read_metrics(self.read_text(name))
                if not len(table):
                    continue
                # The names become those of arrays, and the columns have to be those of a running table.
                if not all(re.fullmatch(r'\w+', column, re.ASCII) for column in table.columns):
                    raise ValueError(f'its header is {sorted(table.columns)}')
                TrainingMetrics.from_tables(table)
            except (ValueError, KeyError, OverflowError) as exception:
                self.logger.warning(f'{name} is left out: {exception}')
                if label == 'train':
                    unreadable = self.exit_codes.ERROR_METRICS_INVALID.format(reason=f'{name}: {exception}')
                continue
            tables[label] = table
        return tables, unreadable

    def attach_potentials(self, log: LogSummary) -> ExitCode | None:
        """Attach the fitted potential or, where there is no usable one, the newest usable interim one.

        :returns: what is wrong with the file of the fitted potential.
        """
        content = self.read_bytes(PaceTrainCalculation.POTENTIAL)
        invalid = None
        if content is not None:
            try:
                self.out('potential', self.build(content, self.c_tilde(), log.n_functions))
            except ValueError as exception:
                invalid = self.exit_codes.ERROR_POTENTIAL_INVALID.format(reason=str(exception))
            else:
                return None
        # The steps of a ladder have fewer functions than the one that was stopped.
        n_functions = None if log.ladder else log.n_functions
        names = set(self.names)
        while (name := newest_interim(names)) is not None:
            try:
                stripped = strip_fit_cycles((self.read_bytes(name) or b'').decode())
                self.out('interim_potential', self.build(stripped.encode(), None, n_functions))
            except ValueError as exception:
                # A kill can come while it is being written.
                self.logger.warning(f'{name} is left out: {exception}')
                names.remove(name)
            else:
                break
        return invalid

    def c_tilde(self) -> bytes | None:
        """Return the C-tilde potential if there is a usable one."""
        content = self.read_bytes(PaceTrainCalculation.C_TILDE)
        try:
            if content is not None:
                read_ctilde(content)
        except PotentialFileError as exception:
            self.logger.warning(f'{PaceTrainCalculation.C_TILDE} is left out: {exception}')
            return None
        return content

    def build(self, content: bytes, c_tilde: bytes | None, n_functions: int | None) -> PacePotentialData:
        """Return a potential node, with the baseline and reference energies that it was fitted with.

        :param n_functions: how many functions were fitted, if the log says so.
        :raises ValueError: if the content is no potential, or not all of one: the format has no end mark, so a file
            that is cut between two functions reads as a smaller potential.
        """
        potential = PacePotentialData(
            content,
            c_tilde=c_tilde,
            baseline=DeltaBaseline.model_validate(self.node.inputs.baseline.get_dict()),
            reference_energies=self.node.inputs.reference_energies.get_dict(),
        )
        if n_functions is not None and potential.n_functions != n_functions:
            raise ValueError(f'{n_functions} functions were fitted but the file has {potential.n_functions}: it is cut')
        return potential

    def attach_metrics(self, tables: dict[str, MetricsTable], log: LogSummary, fitted: bool) -> None:
        """Attach the errors at the end and the learning curves."""
        if 'train' not in tables:
            return
        metrics = TrainingMetrics.from_tables(tables['train'], tables.get('test'), log.wall_time)
        content = finite(asdict(metrics))
        content['stop_reason'] = _stop_reason(log, tables['train'], fitted)
        content['warnings'] = [*_range_warnings(log), *self.left_out(log)]
        self.out('metrics', orm.Dict(content))
        self.out('learning_curves', curves_from_tables(tables))

    def attach_predictions(self, folder: str | None) -> None:
        """Attach what the engine predicts and its plots."""
        arrays = orm.ArrayData()
        for label, name in PaceTrainCalculation.PREDICTIONS.items():
            path = self.temporary(folder, name)
            if path is None:
                continue
            try:
                columns = read_table(path).columns
                arrays.set_array(f'{label}_energy', np.asarray(columns['energy_pred'], dtype=float).reshape(-1))
                arrays.set_array(f'{label}_forces', np.concatenate(columns['forces_pred']).astype(float))
            except (ValueError, KeyError, TypeError) as exception:
                self.logger.warning(f'{name} is left out: {exception}')
        if arrays.get_arraynames():
            self.out('predictions', arrays)
        plots = orm.FolderData()
        for root, _, names in self.repository.walk():
            for name in names:
                if str(root) == PaceTrainCalculation.REPORT or name.endswith('.png'):
                    content = self.repository.get_object_content(str(root / name), 'rb')
                    plots.base.repository.put_object_from_bytes(content, str(root / name))
        if plots.base.repository.list_object_names():
            self.out('report', plots)

    def skipped(self, tables: dict[str, MetricsTable], text: str) -> ExitCode | None:
        """Return what there is to say of a potential that comes without a single iteration."""
        if 'train' in tables:
            return None
        diagnosis = diagnose(self.job.PROGRAM, log=text, exit_status=0)
        if diagnosis is not None:
            return self.job.exit_code_of(diagnosis)
        message = (
            'The engine fitted nothing: it found no function to add to the potential that it started from. Extend it '
            'by a config with more functions, or set `potential_mode` to `continue`.'
        )
        return ExitCode(STATUS[Failure.ERROR_NOTHING_FITTED], message, invalidates_cache=True)

    def interrupted(self, tables: dict[str, MetricsTable]) -> ExitCode:
        """Return the exit code of a fit that ended without a potential and without a reason."""
        iterations = tables['train'].iterations if 'train' in tables else 0
        if not iterations and PaceTrainCalculation.LOG not in self.names:
            return self.silent()
        return self.exit_codes.ERROR_FIT_INTERRUPTED.format(iterations=iterations)

    def diverged(self, tables: dict[str, MetricsTable]) -> ExitCode | None:
        """Return what there is to say of a loss or an error that is not a number."""
        if 'train' not in tables or not tables['train'].diverged:
            return None
        table = tables['train']
        name, row = next(
            (name, int(np.flatnonzero(~np.isfinite(table[name]))[0]))
            for name in ('loss', 'rmse_epa', 'rmse_f_comp')
            if not np.isfinite(table[name]).all()
        )
        problem = f'`{name}` is {table[name][row]} at iteration {table["iter_num"][row]}'
        return self.exit_codes.ERROR_FIT_DIVERGED.format(problem=problem)

    def left_out(self, log: LogSummary) -> list[str]:
        """Return a warning of frames that a weighting policy has left out."""
        if not self.weighted or not log.n_dropped:
            return []
        return [f'{log.n_dropped} frames were not fitted: the weighting policy (fit.weighting) left them out.']

    def dropped(self, log: LogSummary) -> ExitCode | None:
        """Return what there is to say of frames that the engine did not fit although it was to."""
        if not log.n_dropped or log.n_train_loaded is None or self.weighted:
            return None
        given = log.n_train_loaded + (log.n_test_loaded or 0)
        return self.exit_codes.ERROR_FRAMES_DROPPED.format(given=given, fitted=given - log.n_dropped)

    def conversion(self) -> ExitCode | None:
        """Return what there is to say of a C-tilde potential that was asked for and is not there."""
        if 'yace_code' not in self.node.inputs or self.outputs['potential'].has_c_tilde:
            return None
        if PaceTrainCalculation.C_TILDE in self.names:
            reason = f'{PaceTrainCalculation.C_TILDE} is damaged'
        else:
            lines = self.read_text(PaceTrainCalculation.YACE_STDERR).strip().splitlines()
            reason = lines[-1] if lines else 'it gave no reason'
        return self.exit_codes.ERROR_CTILDE_MISSING.format(reason=reason)


def _stop_reason(log: LogSummary, train: MetricsTable, fitted: bool) -> str:
    if train.diverged:
        return 'diverged'
    if not fitted:
        return 'interrupted'
    if log.early_stopping is not None:
        return 'early_stop'
    if log.optimizer is not None and log.optimizer.status == MAXITER:
        return 'maxiter'
    return 'converged'


def _range_warnings(log: LogSummary) -> list[str]:
    if log.energy_range is None:
        return []
    bounds = f'{log.energy_range.minimum:g} to {log.energy_range.maximum:g} eV/atom'
    return [
        f'Corrected energies of {bounds} are outside the range that the engine takes for sensible (-20 to 250 eV/atom):'
        ' check the reference energies.'
    ]
